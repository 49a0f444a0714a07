. /lib.sh

step root
echo "uname: $(uname -r)"
echo "cpus: $(nproc)"
if dmesg | grep -q -i "x2apic enabled\|enabled x2apic\|x2apic: enabled"; then
    echo "x2apic: yes"
fi
pass
