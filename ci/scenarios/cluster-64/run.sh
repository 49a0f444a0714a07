. /lib.sh

nodes="1 2 3 4 5 6 7"
cells="node1 node2 node3 node4 node5 node6 node7"

# Every CPU of a cell computes by itself: how many came to which sum.
sums='for cpu in $(seq 0 7); do taskset -c $cpu sh -c "seq 1 20000 | sha256sum" & done | sort | uniq -c | sed "s/^ */cell: sums /"'

# What this Linux has of the node $1: its CPUs, huge pages that are taken.
of_node() {
    dir=/sys/devices/system/node/node$1
    pages=$dir/hugepages/hugepages-2048kB
    echo "cpus=$(cat "$dir/cpulist") pages=$(($(cat "$pages/nr_hugepages") - $(cat "$pages/free_hugepages")))"
}

step root
resources
for node in 0 $nodes; do
    echo "root: node $node: $(of_node $node) distances $(cat /sys/devices/system/node/node$node/distance)"
done

step on
monitor_on
for node in $nodes; do
    echo "root: node $node: $(of_node "$node")"
done

step create
began=$(date +%s)
cellctl generate --policy cluster --image vmlinuz --initrd initrd.img > slices.toml
took "divided"
run cellctl create slices.toml
took "created"
for node in $nodes; do
    echo "root: node $node: $(of_node "$node")"
done
run cellctl list

step start
began=$(date +%s)
run cellctl start
took "started"
for cell in $cells; do
    follow $cell
done
for cell in $cells; do
    cell_says $cell 600 "cell: ready"
done
took "ready"

step compute
began=$(date +%s)
waits=
for cell in $cells; do
    tell $cell 300 "$sums" &
    waits="$waits $!"
done
# The root computes on the node that is left, beside them.
seq 1 20000 | sha256sum | sed 's/^/root: sum /'
# shellcheck disable=SC2086
wait $waits
took "computed"

step off
for cell in $cells; do
    quiet $cell
done
began=$(date +%s)
for cell in $cells; do
    run cellctl destroy $cell
done
took "destroyed"
for node in $nodes; do
    echo "root: node $node: $(of_node "$node")"
done
all_off
pass
