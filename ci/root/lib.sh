# What scenarios' scripts are made of. Lines that start with "step:", "ci:" or
# "[cell NAME]" are read by the runner.

# Begins the step NAME of the scenario.
step() {
    echo "step: $1"
}

# Ends the scenario badly, also where output goes to a file.
fail() {
    {
        echo "ci: failed: $*"
        echo "root: last lines of the kernel:"
        dmesg | tail -n 20
        echo "root: the monitor's log:"
        cellctl log 2>&1 | tail -n 20
    } > /dev/console
    poweroff -f
}

# Shows a command, runs it, and fails with it.
run() {
    echo "\$ $*" > /dev/console
    "$@" || fail "\`$*\` ended with status $?"
}

# Ends the scenario well.
pass() {
    echo "ci: pass"
    poweroff -f
}

# Prints what the root has.
resources() {
    pages=/sys/kernel/mm/hugepages/hugepages-2048kB
    echo "root: cpus=$(nproc) huge-pages=$(cat $pages/nr_hugepages) free=$(cat $pages/free_hugepages)"
}

# Copies a cell's console to this one, line by line, until the cell ends.
follow() {
    cellctl console "$1" --follow < /dev/null 2> /dev/null | tr -d '\r' | sed -u "s/^/[cell $1] /" &
}

# Waits at most $2 seconds until the cell $1 has said $3 since its last start.
cell_says() {
    cellctl console "$1" --for "$2" --expect "$3" < /dev/null > /dev/null ||
        fail "cell $1 did not say '$3' within $2 s"
}

# Types the command $3 on the console of the cell $1 and waits at most $2
# seconds for its end.
tell() {
    cellctl console "$1" --new --for "$2" --send "$3\n" --expect "cell: done status=0" \
        < /dev/null > /dev/null || fail "cell $1 did not obey within $2 s: $3"
}

# Fails if the table of exits in the file $1 (CPU, cell, virtual id, total, then
# a column for each kind that was seen) has more than ICR writes and CPUID.
only_quiet() {
    exits=$(head -n 1 "$1" | tr -s ' ' '\n' | tail -n +5 | grep -v -x -e cpuid -e icr | tr '\n' ' ')
    [ -z "$exits" ] || fail "unexpected exits: $exits"
    total=$(awk 'NR > 1 { n += $4 } END { print n + 0 }' "$1")
    kinds=$(head -n 1 "$1" | tr -s ' ' '\n' | tail -n +5 | tr '\n' ' ')
    echo "root: only quiet exits: $total in 10 s (${kinds:-none})"
}

# Waits at most $2 seconds until the command after them succeeds.
within() {
    what=$1
    left=$2
    shift 2
    until "$@" > /dev/null 2>&1; do
        left=$((left - 1))
        [ "$left" -gt 0 ] || fail "$what: not within its time"
        sleep 1
    done
}
