. /lib.sh

ids='sed -n "s/^apicid.*: //p" /proc/cpuinfo | sort -n | xargs echo'

# Huge pages of a node, all of them cells' or the monitor's.
node_pages() {
    cat "/sys/devices/system/node/node$1/hugepages/hugepages-2048kB/nr_hugepages"
}

step on
echo "root: apic ids $(eval "$ids") end"
echo "root: nodes $(cat /sys/devices/system/node/online)"
monitor_on

step far
before=$(node_pages 1)
cell_up far /scenario/far.toml
echo "root: far has $(($(node_pages 1) - before)) pages of node 1"
tell far 20 "echo \"cell: apic ids \$($ids) end\""
[ -n "$(cat /sys/devices/system/node/node1/cpulist)" ] || echo "root: node 1 has no cpu left"

step near
before=$(node_pages 0)
cell_up near /scenario/near.toml
echo "root: near has $(($(node_pages 0) - before)) pages of node 0"

step off
all_off far near
pass
