. /lib.sh

step root
echo "root: uname=$(uname -r)"
resources

step enable
run insmod /lib/modules/cellvisor.ko
cellctl check
run cellctl enable --log-port 0x2f8

# Told by an interrupt: what it prints comes without asking.
cellctl events --json > /run/events &
events=$!

step create
run cellctl create qemu.toml
resources

step start
run cellctl start
follow cell0
cell_says cell0 60 "cell: ready"

step checksum
seq 1 200000 | sha256sum | sed 's/ .*//; s/^/root: sum=/' &
sum=$!
tell cell0 60 'seq 1 200000 | sha256sum | sed "s/ .*//; s/^/sum=/"'
wait $sum
echo "root: both computed"

step steady
# What the kernel says meanwhile (of a slow emulator, say) would be port writes.
tell cell0 20 'dmesg -n 1; io computed; for cpu in 1 2; do timeout 15 sh -c "while :; do :; done" & done; true'
run cellctl stats cell0 --expect-quiet 10 > /tmp/stats
cat /tmp/stats
only_quiet /tmp/stats 2 500
# It computed meanwhile, or the monitor had nothing to stay away from.
tell cell0 20 'io computed'
computed=$(awk '/^cell: computed/ { if (n++ == 0) first = $3; last = $3 } END { print last - first }' /run/cell-cell0)
[ "$computed" -ge 200 ] || fail "the cell computed for $computed hundredths of a second"

step list
run cellctl list
run cellctl stats
run cellctl status cell0

step stop
run cellctl stop cell0
run cellctl list
# A second event that nobody has asked for since the first.
within "the event comes" 5 grep -q powered-off /run/events
sed 's/^/root: event /' /run/events

step again
run cellctl start cell0
follow cell0
cell_says cell0 60 "cell: ready"

step destroy
run cellctl destroy cell0
# One that never ran: what the root touches meanwhile takes pages as well.
before=$(pool_free)
run cellctl create qemu.toml
during=$(pool_free)
run cellctl destroy cell0
after=$(pool_free)
[ "$before" -gt "$during" ] || fail "a cell took no page of the monitor's $before"
[ "$before" -eq "$after" ] || fail "$before pages of the monitor were free before a cell, $after after it"
echo "root: monitor-pages=$before taken=$((before - during)) left=$((before - after))"
resources

step disable
kill $events
run cellctl disable
unload
resources
pass
