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
# The card's MAC, word by word: ask for it in a register of the card, and poll.
tell cell0 30 'cd /sys/bus/pci/devices/0000:00:01.0; echo 1 > enable; at=$(($(sed "s/ .*//;q" resource) + 0x14)); for word in 1 257 513; do devmem $at 32 $word; mac="$mac $(devmem $at 32)"; done; echo "mac:$mac"'

step checksum
sum='seq 1 5000 | sha256sum | sed "s/ .*//; s/^/sum=/"'
tell cell0 120 "$sum" &
other=$!
echo "root: $(eval "$sum")"
wait $other

step again
run cellctl stop cell0
run cellctl start cell0
follow cell0
cell_says cell0 300 "cell: ready"

step skipped
echo "root: skipped: the cell's CPU cannot come back: Bochs' local APIC cannot leave x2APIC mode before a reset"
pass
