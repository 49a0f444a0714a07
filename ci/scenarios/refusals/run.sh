. /lib.sh
! grep -q cellvisor.next /proc/cmdline || . /scenario/next.sh

# Runs what must be refused, and prints the reason on one line.
refused() {
    echo "\$ $*"
    if "$@" > /tmp/refusal 2>&1; then
        fail "not refused: $*"
    fi
    echo "refused: $(tr '\n' ' ' < /tmp/refusal)"
}

# Sends the request $1 of /frames, past cellctl.
request() {
    call=$(sed -n "s/^$1 //p" /frames)
    echo "fill ${call#* }" > /proc/provoke
    echo "call ${call% *}" > /proc/provoke
    echo "root: request $1: $(cat /proc/provoke)"
}

step driver
run insmod /lib/modules/cellvisor.ko
echo 8 > /proc/sys/vm/nr_hugepages
driver-tests > /tmp/driver || fail "the driver's test: $(grep FAIL /tmp/driver)"
grep -e 'stopped' -e '^driver test' /tmp/driver
echo "driver: $(grep -c '^ok' /tmp/driver) checks"
echo 0 > /proc/sys/vm/nr_hugepages

step injected
resources
for failure in fail-cpu=2 tsc-khz=99999 late-cpu=2; do
    refused cellctl enable --log-port 0x2f8 --inject $failure
    resources
done

step on
run cellctl enable --log-port 0x2f8
refused cellctl enable

step mistakes
for mistake in bad-key too-much no-kernel no-ways; do
    refused cellctl create "/scenario/$mistake.toml"
done
resources

# Where the monitor has all parts, this would be a cell.
if ! cellctl status | grep -q adapters; then
    step parts
    run cellctl status
    refused cellctl create /scenario/part.toml
    run insmod /lib/modules/provoke.ko
    for name in console-of-lines bell-of-a-cell; do
        request "$name"
    done
    run rmmod provoke
    resources
fi

# All that `cellctl` can change here, in a few lines.
machine() {
    pages=/sys/kernel/mm/hugepages/hugepages-2048kB
    cat /sys/devices/system/cpu/online $pages/nr_hugepages $pages/free_hugepages
    cellctl status --json | grep '"pins"'
    cellctl list
    for file in /run/cellvisor/cells/*; do
        case $file in
            *lock* | *supervisor*) ;;
            *) echo "$file" ;;
        esac
    done
}

# The machine is as it was; $1 is what happened.
as_before() {
    machine > /tmp/after 2>&1
    cmp -s /tmp/before /tmp/after || fail "$1: $(diff /tmp/before /tmp/after)"
}

# Ends a create with the signal $1 after so many hundredths of a second.
cut_off() {
    cellctl create qemu.toml > /tmp/create 2>&1 &
    pid=$!
    sleep "0.$2"
    kill "$1" $pid 2> /dev/null
    wait $pid 2> /dev/null
}

step cuts
machine > /tmp/before 2>&1
record=/run/cellvisor/cells/cell0.json
steps=0
for after in 02 05 08 11 14 17 20 25 30 35 40 50 60 75; do
    cut_off -9 $after
    if [ -e $record ]; then
        steps="$steps $(grep -c '"done"' $record)"
        cellctl destroy cell0 > /tmp/destroy 2>&1 || fail "destroy: $(cat /tmp/destroy)"
    fi
    as_before "killed after 0.$after s"
done
echo "root: killed 14 times, with steps noted: $steps; nothing is left"
for after in 05 10 15 20 30; do
    cut_off -INT $after
    [ ! -e $record ] || cellctl destroy cell0 > /tmp/destroy 2>&1
    as_before "Ctrl-C after 0.$after s"
done
echo "root: Ctrl-C leaves nothing"
dd if=/dev/zero of=/run/fill bs=64k 2> /dev/null
refused cellctl create qemu.toml
rm /run/fill
[ ! -e $record ] || run cellctl destroy cell0
as_before "no room in /run"
echo "root: no room leaves nothing"

step order
refused cellctl start nothere
run cellctl create qemu.toml
refused cellctl disable
refused cellctl create qemu.toml

step suspend
refused sh -c 'echo freeze > /sys/power/state'
dmesg | grep -o 'this machine cannot be suspended while the monitor is on.*' | sed 's/^/root: /'

step apply
sed 's/console=ttyS0/console=ttyS0 quiet/' qemu.toml > changed.toml
run cellctl diff changed.toml
run cellctl apply changed.toml
run cellctl autostart cell0
run cellctl diff

step off
run cellctl disable --force
unload
resources

step kvm
kvm=kvm_intel
grep -q AuthenticAMD /proc/cpuinfo && kvm=kvm_amd
load $kvm
[ -c /dev/kvm ] && echo "root: KVM is there"
run insmod /lib/modules/cellvisor.ko
refused cellctl enable --log-port 0x2f8
unload
unload_all $kvm

step kexec
run insmod /lib/modules/cellvisor.ko
run cellctl apply --log-port 0x2f8
(
    cd / || exit
    printf '%s\n' dev proc run sys tmp
    find bin etc init lib lib.sh patience sbin scenario trouble usr ! -name 'vmlinuz*' ! -name initrd.img
) > /tmp/files
(cd / && cpio -o -H newc < /tmp/files > /tmp/next.cpio 2> /dev/null)
dmesg -n 7
run kexec vmlinuz /tmp/next.cpio "$(cat /proc/cmdline) cellvisor.next"
