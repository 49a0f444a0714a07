. /lib.sh

ids='sed -n "s/^apicid.*: //p" /proc/cpuinfo | sort -n | xargs echo'

# Who reaches each node's memory best, and how fast: a line for each class of access.
fast='for class in /sys/devices/system/node/node*/access*; do echo "$(echo $class | cut -d / -f 6-) $(cd $class/initiators && for name in *; do [ -d $name ] && echo $name || echo $name=$(cat $name); done | xargs echo) end"; done'

# What the kernel says of an HMAT that it finds good.
known='-e "ACPI: HMAT 0x" -e "ACPI: Reserving HMAT" -e "hmat: Memory Flags" -e "hmat: Locality" -e Initiator-Target'

# Which tables tell of nodes.
tables='cd /sys/firmware/acpi/tables && echo $(ls | grep -x -e SRAT -e SLIT -e HMAT) end'

# Huge pages of a node, all of them cells' or the monitor's.
node_pages() {
    cat "/sys/devices/system/node/node$1/hugepages/hugepages-2048kB/nr_hugepages"
}

step on
echo "root: apic ids $(eval "$ids") end"
echo "root: nodes $(cat /sys/devices/system/node/online)"
eval "$fast" | sed 's/^/root: /'
cellctl host | grep "memory of node"
monitor_on

step far
before=$(node_pages 1)
cell_up far /scenario/far.toml
echo "root: far has $(($(node_pages 1) - before)) pages of node 1"
tell far 20 "echo \"cell: apic ids \$($ids) end\""
tell far 20 "echo \"cell: tables \$($tables)\""
[ -n "$(cat /sys/devices/system/node/node1/cpulist)" ] || echo "root: node 1 has no cpu left"

step near
before=$(node_pages 0)
cell_up near /scenario/near.toml
echo "root: near has $(($(node_pages 0) - before)) pages of node 0"

step both
run cellctl destroy far
cell_up both /scenario/both.toml
tell both 20 "echo \"cell: tables \$($tables), \$(wc -c < /sys/firmware/acpi/tables/HMAT) bytes\""
tell both 20 "$fast | sed 's/^/cell: /'"
tell both 20 'dmesg | sed -n "s,.*acpi/hmat: ,cell: ,p" | tr -s " "'
tell both 20 "dmesg | grep -i -e hmat -e memory-tiers > /told; echo \"cell: \$(grep -v -c $known /told) complaints\""

step off
all_off both near
pass
