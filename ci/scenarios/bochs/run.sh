. /lib.sh

step root
echo "root: uname=$(uname -r)"
resources

step on-off
monitor_on
run cellctl disable
resources

step start
run cellctl enable --log-port 0x2f8
run cellctl create bochs.toml
run cellctl start cell0
follow cell0
cell_says cell0 300 "cell: ready"

step function
run cellctl list
tell cell0 30 'cd /sys/bus/pci/devices; for f in *; do echo "pci: $f" $(cat $f/vendor $f/device); done'
tell cell0 30 'echo "mac: $(cat /sys/class/net/eth0/address)"'
# The driver sets an interrupt off when it is ready. Nothing may be sent: the card
# reaches no memory.
tell cell0 60 'echo 1 > /proc/sys/net/ipv6/conf/eth0/disable_ipv6; ip link set eth0 up; sleep 2; grep eth0 /proc/interrupts; ip link set eth0 down'

step checksum
sum='seq 1 5000 | sha256sum | sed "s/ .*//; s/^/sum=/"'
tell cell0 120 "$sum" &
other=$!
echo "root: $(eval "$sum")"
wait $other

step again
run cellctl kill cell0
run cellctl start cell0
follow cell0
cell_says cell0 300 "cell: ready"

step skipped
echo "root: skipped: the cell's CPU cannot come back: Bochs' local APIC cannot leave x2APIC mode before a reset"
pass
