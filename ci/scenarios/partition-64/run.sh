. /lib.sh

cells=$(seq 1 63 | sed 's/^/core/')

# How many cells are in the state $1.
count() {
    cellctl list | grep -c "^[0-9]* *core[0-9]* *$1 "
}

# Says how many cells run, and what one of them costs: the monitor's memory in KiB, and
# exits since it began.
costs() {
    used=$(($(pool_free) - before))
    exits=$(cellctl stats | awk 'NR > 1 && $2 != "root" { n += $4 } END { print int(n / 63) }')
    echo "root: $(count running) cells running, $((-used * 4 / 63)) KiB of the monitor's memory for each, $exits exits"
}

# Takes four CPUs offline and brings them back by hand, as `create` and `destroy` do.
by_hand() {
    began=$(date +%s)
    for cpu in 60 61 62 63; do
        echo 0 > /sys/devices/system/cpu/cpu$cpu/online
    done
    took "four CPUs offline by hand"
    for cpu in 60 61 62 63; do
        echo 1 > /sys/devices/system/cpu/cpu$cpu/online
    done
    took "four CPUs back by hand"
}

step root
resources
by_hand

step on
monitor_on
by_hand
before=$(pool_free)
echo "root: pool $before pages"

step create
cellctl generate --policy partition --image vmlinuz --initrd initrd.img > slices.toml
echo "root: $(grep -c '^memory.size = "128MiB"' slices.toml) slices of 128 MiB"
began=$(date +%s)
run cellctl create slices.toml
took "created"
echo "root: $(count loadable) cells loadable, the root has CPU $(cat /sys/devices/system/cpu/online)"

step start
began=$(date +%s)
run cellctl start
took "started"
for cell in $cells; do
    follow "$cell"
done
for cell in $cells; do
    cell_says "$cell" 1500 "cell: ready"
done
took "ready"
costs

step compute
began=$(date +%s)
waits=
for cell in $cells; do
    tell "$cell" 500 'seq 1 20000 | sha256sum | sed "s/^/cell: sum /"' &
    waits="$waits $!"
done
seq 1 20000 | sha256sum | sed 's/^/root: sum /'
# shellcheck disable=SC2086
wait $waits
took "computed"

step off
for cell in $cells; do
    quiet "$cell"
done
began=$(date +%s)
# shellcheck disable=SC2086
run cellctl destroy $cells
took "destroyed"
echo "root: pool $(pool_free) pages"
all_off
pass
