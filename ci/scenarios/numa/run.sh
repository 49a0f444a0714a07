. /lib.sh

ids='sed -n "s/^apicid.*: //p" /proc/cpuinfo | sort -n | xargs echo'

step on
echo "root: apic ids $(eval "$ids") end"
echo "root: nodes $(cat /sys/devices/system/node/online)"
monitor_on

step far
cell_up far /scenario/far.toml
tell far 20 "echo \"cell: apic ids \$($ids) end\""
[ -n "$(cat /sys/devices/system/node/node1/cpulist)" ] || echo "root: node 1 has no cpu left"

step near
cell_up near /scenario/near.toml

step off
all_off far near
pass
