. /lib.sh

step on
for nic in /sys/bus/pci/devices/0000:41:00.0/net/*; do
    ip addr add 10.0.3.1/24 dev "${nic##*/}"
    ip link set "${nic##*/}" up
done
dmesg | sed -n 's/.*\(PCI Root Bridge.*\)/root: \1/p'
monitor_on

step firmware
run cellctl host --save /run/host.json
run crs-check --host /run/host.json

step wrong
longer='/"roots"/ { roots = 1 } roots && /"end"/ && !done { sub(/[0-9]+/, $2 + 1); done = 1 } 1'
awk "$longer" /run/host.json > /run/wrong.json
crs-check --host /run/wrong.json && fail "a wrong window was not found"

step tables
run cellctl acpi far.toml --out /run/acpi
cd /run/acpi/far || fail "no tables"
for table in *.dat; do
    [ "$table" = rsd.dat ] && continue
    iasl -d "$table" > /run/iasl 2>&1 || fail "iasl does not read $table: $(cat /run/iasl)"
    echo "root: $table: $(iasl -p /run/out "${table%.dat}.dsl" 2>&1 | grep '^Compilation')"
done
cd /etc/cellvisor || exit 1

step cell
cell_up far far.toml
tell far 20 'io functions'
tell far 20 'dmesg | sed -n "s/.*\(PCI Root Bridge.*\)/cell: \1/p"; echo "cell: bridges=$(dmesg | grep -c "PCI Root Bridge")"'

step net
tell far 20 'io up 10.0.3.20'
tell far 20 'ping -c 3 -W 2 10.0.3.1 | sed -n "s/.* \([0-9]*% packet loss\)/cell: \1/p"'

step off
all_off far
pass
