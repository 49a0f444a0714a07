. /lib.sh

cells=$(seq 1 63 | sed 's/^/core/')

# Shows what the cell $1 says until it has said $2, which takes at most $3 seconds. All
# else is for `cellctl console`. Nobody follows 63 consoles: the root has one CPU.
shows() {
    cell=$1 words=$2 limit=$(($3 * $(cat /patience)))
    shift 3
    cellctl console "$cell" --expect "$words" --for "$limit" "$@" \
        < /dev/null > "/run/cell-$cell" 2>&1 || fail "$cell: $(tail -c 2000 "/run/cell-$cell")"
    tr -d '\r' < "/run/cell-$cell" | sed "s/^/[cell $cell] /"
}

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
    shows "$cell" "cell: ready" 1500
done
took "ready"
costs

step compute
began=$(date +%s)
waits=
for cell in $cells; do
    shows "$cell" "cell: done status=0" 500 --new \
        --send 'seq 1 20000 | sha256sum | sed "s/^/cell: sum /"\n' &
    waits="$waits $!"
done
seq 1 20000 | sha256sum | sed 's/^/root: sum /'
# shellcheck disable=SC2086
wait $waits
took "computed"

step off
waits=
for cell in $cells; do
    shows "$cell" "cell: done" 500 --new --send 'complaints\n' &
    waits="$waits $!"
done
# shellcheck disable=SC2086
wait $waits
began=$(date +%s)
# shellcheck disable=SC2086
run cellctl destroy $cells
took "destroyed"
echo "root: pool $(pool_free) pages"
all_off
pass
