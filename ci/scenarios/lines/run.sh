. /lib.sh
. /attacks.sh

# Boots the cell from the file $1.toml, and prints what it left its guest for until it was
# up: by kind, and in all.
boots() {
    cell_up cell "$1.toml"
    exits cell | sort > "/run/exits-$1"
    awk -v what="$1" '{ n += $2; kinds = kinds " " $1 "=" $2 }
        END { print "root: " what ": exits of the boot: all=" n kinds }' "/run/exits-$1"
}

all() {
    awk '{ n += $2 } END { print n }' "/run/exits-$1"
}

ends() {
    quiet cell
    run cellctl destroy cell
}

step on
resources
monitor_on

step characters
boots characters
ends

step lines
boots lines
tell cell 20 'sed "s/^/cell: console /" /proc/consoles; sed "s/^/cell: line /" /proc/cmdline'
# What was said before the driver was there is not lost for good.
tell cell 20 'dmesg | sed -n "s/.*\(Linux version [0-9.]*\).*/cell: it has noted: \1/p"'
[ $((4 * $(all lines))) -lt "$(all characters)" ] ||
    fail "$(all lines) exits with lines, $(all characters) with characters"

step typing
# More than a line of the terminal may have comes in several.
for word in $(seq 40); do
    tell cell 20 "echo cell: $word of 40: $(head -c 600 /dev/zero | tr '\0' x) | wc -c"
done
before cell
tell cell 90 'seq 1 20000'
since cell 'for 20,000 lines that it writes'

step panic
cellctl console cell --new --for 0 --send "panic\n" < /dev/null > /dev/null
cell_says cell 30 "end Kernel panic"
run cellctl kill cell
run cellctl start cell
follow cell
cell_says cell 60 "cell: ready"
tell cell 20 'echo cell: back'

step attack
canary_of canary.toml
# Its driver lets go of the console, whose text is the attack's then.
tell cell 20 "setsid sh -c 'sleep 1; echo 00c1:00:00.0 > /sys/bus/pci/drivers/virtio-pci/unbind; attack-net 5 0; echo' < /dev/ttyS0 > /dev/ttyS0 2>&1 &"
cell_says cell 60 "attack-net: done"
canary_lives "nonsense in a console's rings"
root_lives "nonsense in a console's rings"
run cellctl destroy canary
run cellctl kill cell

step off
all_off cell
pass
