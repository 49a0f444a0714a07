. /lib.sh

step on
if dmesg | grep -q -i "x2apic enabled\|x2apic: enabled\|enabled x2apic"; then
    echo "root: apic mode: x2apic"
else
    echo "root: apic mode: xapic"
fi
resources
monitor_on

step cell
cell_up cell0 qemu.toml
tell cell0 20 'echo "cell: x2apic=$(dmesg | grep -c "APIC routing.*x2apic")"'

step off
all_off cell0
pass
