. /lib.sh

# The cell has the CPUs from here on.
first=32
sums='for cpu in $(seq 0 63); do taskset -c $cpu sh -c "seq 1 20000 | sha256sum" & done | sort | uniq -c | sed "s/^ */cell: sums /"'

nodes=/sys/devices/system/node

# Nodes with CPUs for the cell.
cells_nodes() {
    for node in $(seq 0 63); do
        [ -z "$(cells_cpus "$node")" ] || echo "$node"
    done
}

# CPUs of the node $1 that are for the cell, by the numbers that it gives them.
cells_cpus() {
    tr ',-' '\n ' < "$nodes/node$1/cpulist" |
        while read -r from to; do seq "$from" "${to:-$from}"; done |
        awk -v first=$first '$1 >= first { printf "%s%d", gap, $1 - first; gap = " " }'
}

# The distances from each node in the file $1 to each, row by row.
distances() {
    columns=$(while read -r node; do echo "$((node + 1))"; done < "$1" | tr '\n' ' ')
    while read -r node; do
        awk -v columns="$columns" '{ n = split(columns, of, " ")
            for (i = 1; i <= n; i++) printf "%s%s", $of[i], i < n ? " " : "\n" }' "$nodes/node$node/distance"
    done < "$1"
}

hash() {
    sha256sum | cut -d ' ' -f 1
}

# Huge pages of each node.
pages() {
    for node in $(seq 0 63); do
        cat $nodes/node"$node"/hugepages/hugepages-2048kB/nr_hugepages
    done
}

step root
resources
echo "root: nodes $(cat $nodes/online)"
# The distances are words of their own.
# shellcheck disable=SC2046
set -- $(cat $nodes/node21/distance)
echo "root: node 21 is at ${22} from itself, ${23} from 22, ${57} from 56"
cells_nodes > /run/nodes
echo "root: $(wc -l < /run/nodes) nodes have CPUs for the cell: $(while read -r node; do cells_cpus "$node"; echo; done < /run/nodes | hash)"
echo "root: their distances are $(distances /run/nodes | hash)"

step on
monitor_on
pages > /run/before

step create
began=$(date +%s)
run cellctl create /scenario/many.toml
took "created"
pages | paste /run/before - | awk '$2 > $1 { n++; of[$2 - $1]++ }
    END { print "root: " n " nodes gave memory: " of[16] " of 16 pages, " of[32] " of 32" }'
run cellctl list

step start
began=$(date +%s)
run cellctl start many
took "started"
follow many
cell_says many 500 "cell: ready"
took "ready"

step numa
# The hash of the same words as the root's: the CPUs of each node, the rows of the
# table.
tell many 60 'numactl --hardware > /hardware; cat /hardware'
tell many 60 'sed -n "s/^node [0-9]* cpus: //p" /hardware > /cpus; echo "cell: $(wc -l < /cpus) nodes have CPUs: $(sha256sum < /cpus | cut -d " " -f 1)"'
tell many 60 'sed -n "s/^ *[0-9]*: *//p" /hardware | tr -s " " | sed "s, $,," > /far; echo "cell: their distances are $(sha256sum < /far | cut -d " " -f 1)"'
tell many 60 'echo "cell: $(grep -c "^node [0-9]* size: [1-9]" /hardware) nodes have memory"'

step compute
began=$(date +%s)
tell many 300 "$sums"
took "computed"

step off
quiet many
began=$(date +%s)
run cellctl destroy many
took "destroyed"
all_off
pass
