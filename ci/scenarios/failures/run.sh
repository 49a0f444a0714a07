. /lib.sh

# The step $1 from now on fails, none with 0; prints what failed since the last order,
# by its number (hypervisor/monitor/src/provoke.rs), 0 for nothing.
order() {
    echo "call 0x6661696c $1" > /proc/provoke
    came=$(cat /proc/provoke)
    came=${came#status }
    echo "${came%% *}"
}

# Ways and delays of the first two classes, and the class of the root's first CPU.
cache() {
    for msr in 0xc90 0xc91 0xd50 0xd51 0xc8f; do
        taskset -c 0 sh -c "echo 'rdmsr $msr' > /proc/provoke"
        cat /proc/provoke
    done
}

# All that `cellctl` and the monitor can change here, in a few lines.
machine() {
    pages=/sys/kernel/mm/hugepages/hugepages-2048kB
    cat /sys/devices/system/cpu/online $pages/nr_hugepages $pages/free_hugepages
    cat /sys/bus/pci/devices/0000:01:00.0/sriov_numvfs
    echo "pool $(pool_free)"
    echo "cache $(cache | tr '\n' ' ')"
    cellctl list
}

# The machine is as it was; $1 is what happened.
as_before() {
    machine > /tmp/after 2>&1
    cmp -s /tmp/before /tmp/after || wrong "$1: $(diff /tmp/before /tmp/after | tr '\n' ' ')"
}

# Counts the failure of kind $1; $2 if what was asked for was done all the same.
note() {
    failures="$failures $1"
    [ "$2" = no ] || survived=$((survived + 1))
}

# Tells how many steps of $1 failed, by their reasons.
tell_failures() {
    for kind in 1 2 3 4; do
        eval "kind$kind=\$(echo \"$failures\" | tr ' ' '\n' | grep -c \"^$kind\$\")"
    done
    # shellcheck disable=SC2154 # made by eval
    echo "root: $1: $(echo "$failures" | wc -w) steps failed: pages=$kind1 owners=$kind2 answers=$kind3 units=$kind4; done all the same: $survived"
    failures=
    survived=0
}
failures=
survived=0

# Runs $2 … with the step $1 failing; what failed is in $failed, whether it was done in
# $was_done. A refusal says why.
try() {
    order "$1" > /dev/null
    shift
    was_done=yes
    "$@" > /run/said 2>&1 || was_done=no
    failed=$(order 0)
    [ $was_done = yes ] || [ -s /run/said ] || wrong "$* failed without a word"
    [ $was_done = yes ] || [ "$failed" != 0 ] || wrong "$* failed by itself: $(cat /run/said)"
    [ "$failed" = 0 ] || note "$failed" $was_done
    echo "root: step $number fails ($failed): done=$was_done $(head -n 1 /run/said)"
}

# Must work now.
again() {
    "$@" > /run/said 2>&1 || fail "$*: $(cat /run/said)"
}

made() {
    again cellctl create cell.toml
}

gone() {
    again cellctl destroy small
    as_before "$1"
}

step enter
resources
run insmod /lib/modules/provoke.ko
run insmod /lib/modules/cellvisor.ko
number=0
while :; do
    number=$((number + 1))
    if cellctl enable --log-port 0x2f8 --inject step=$number > /run/said 2>&1; then
        failed=$(order 0)
        [ "$failed" != 0 ] || break
        note "$failed" yes
        again cellctl disable
    else
        note 0 no
        [ -s /run/said ] || wrong "enable failed without a word"
    fi
    [ "$(nproc)" = 4 ] || fail "step $number of entering: $(nproc) CPUs are left"
done
tell_failures enter

step create
again cellctl create cell.toml
echo "root: cache of a cell: $(cache | tr '\n' ' ')"
again cellctl destroy small
machine > /tmp/before 2>&1
number=0
while :; do
    number=$((number + 1))
    try $number cellctl create cell.toml
    if [ $was_done = yes ]; then
        gone "step $number of create, done all the same"
    else
        as_before "step $number ($failed) of create"
    fi
    [ "$failed" != 0 ] || break
done
tell_failures create

# The state of the cell, in one word.
state() {
    cellctl list --json | sed -n 's/.*"state": *"\([a-z-]*\)".*/\1/p'
}

step start
made
number=0
while :; do
    number=$((number + 1))
    try $number cellctl start small
    [ $was_done = yes ] || again cellctl start small
    [ "$(state)" = running ] || wrong "step $number ($failed) of start: $(state)"
    [ "$failed" != 0 ] || break
    again cellctl destroy small
    made
done
tell_failures start

step stop
number=0
while :; do
    number=$((number + 1))
    try $number cellctl kill small
    [ "$(state)" != running ] || again cellctl kill small
    [ "$failed" != 0 ] || break
    again cellctl start small
done
tell_failures stop

step restart
number=0
while :; do
    number=$((number + 1))
    try $number cellctl start small
    [ $was_done = yes ] || again cellctl start small
    [ "$(state)" = running ] || wrong "step $number ($failed) of a second start: $(state)"
    [ "$failed" != 0 ] || break
    again cellctl kill small
done
tell_failures restart
gone "a cell that was started often"

step destroy
number=0
while :; do
    number=$((number + 1))
    made
    again cellctl start small
    try $number cellctl destroy small
    if [ $was_done = yes ]; then
        as_before "step $number ($failed) of destroy, done all the same"
    else
        gone "step $number ($failed) of destroy"
    fi
    [ "$failed" != 0 ] || break
done
tell_failures destroy

step leave
number=0
while [ $number -lt 12 ]; do
    number=$((number + 1))
    order $number > /dev/null
    if cellctl disable > /run/said 2>&1; then
        again cellctl enable --log-port 0x2f8
        cellctl log | grep -q 'iommu: units=1$' || fail "step $number of leaving: $(cellctl log)"
    else
        note "$(order 0)" no
    fi
    [ "$(nproc)" = 4 ] || fail "step $number of leaving: $(nproc) CPUs are left"
done
tell_failures leave
order 0 > /dev/null
run cellctl disable
unload
resources
pass
