. /lib.sh

step on
if dmesg | grep -q -i "x2apic enabled\|x2apic: enabled\|enabled x2apic"; then
    echo "root: apic mode: x2apic"
else
    echo "root: apic mode: xapic"
fi
resources
monitor_on

step id
# The APIC's id, as a program of the root sees and sets it.
id() {
    taskset 2 devmem 0xfee00020 32 "$@"
}
echo "root: apic id $(id)"
id 0x07000000
echo "root: apic id $(id) after a write"
cellctl log | grep 'denied write gpa=0xfee00020'

step cell
cell_up cell0 qemu.toml
tell cell0 20 'echo "cell: x2apic=$(dmesg | grep -c "APIC routing.*x2apic")"'

step off
all_off cell0
pass
