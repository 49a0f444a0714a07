. /lib.sh

# Runs what must be refused, and prints the reason on one line.
refused() {
    echo "\$ $*"
    if "$@" > /tmp/refusal 2>&1; then
        fail "not refused: $*"
    fi
    echo "refused: $(tr '\n' ' ' < /tmp/refusal)"
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
refused cellctl enable --log-port 0x2f8 --inject fail-cpu=2
resources

step on
run cellctl enable --log-port 0x2f8
refused cellctl enable

step mistakes
for mistake in bad-key too-much no-kernel; do
    refused cellctl create "/scenario/$mistake.toml"
done
resources

step order
refused cellctl start nothere
run cellctl create qemu.toml
refused cellctl disable
refused cellctl create qemu.toml

step suspend
refused sh -c 'echo freeze > /sys/power/state'
dmesg | grep -o 'this machine cannot be suspended while the monitor is on.*' | sed 's/^/root: /'

step off
run cellctl start cell0
run cellctl disable --force
unload
resources
pass
