. /lib.sh

# Begins a process in the cell a that has a heap of $1 MiB and makes $2 rounds, with the
# number $3, which is free in the other cell.
begin() {
    tell a 60 "echo $(($3 - 1)) > /proc/sys/kernel/ns_last_pid; setsid counter $1 $2 < /dev/null > /dev/null 2>&1 & until [ -s /tmp/progress-$1 ]; do sleep 0.1; done; cat /tmp/progress-$1"
}

# Asks the process $2 with a heap of $3 MiB in the cell $1 how far it is.
ask() {
    tell "$1" 20 "rm -f /tmp/progress-$3; kill -USR1 $2; until [ -s /tmp/progress-$3 ]; do sleep 0.1; done; cat /tmp/progress-$3"
}

# Moves the process $1 from a to b.
move() {
    tell b 20 "cellmove road 1 > /tmp/moved 2>&1 &"
    tell a 240 "cellmove road 2 $1"
    tell b 20 "until grep -q runs /tmp/moved; do sleep 0.1; done; cat /tmp/moved"
    tell a 20 "! kill -0 $1 2> /dev/null"
    tell b 20 "kill -0 $1"
}

# What the process has counted, as the cell $1 was told.
counted() {
    sed -n 's/^counter: progress round=\([0-9]*\) .*/\1/p' "/run/cell-$1" | tail -n 1
}

step up
monitor_on
run cellctl create a.toml b.toml
run cellctl start
for cell in a b; do
    follow "$cell"
    cell_says "$cell" 60 "cell: ready"
    # CRIU looks at what TCP can do.
    tell "$cell" 20 "ip link set lo up"
done

step counts
begin 0 1000000 5000
ask a 5000 0
move 5000
ask b 5000 0
before=$(counted a) after=$(counted b)
[ "$after" -gt "$before" ] || fail "it counted $before in a, and then $after in b"
echo "root: it counted on, from $before to $after"

step computes
begin 64 60 6000
move 6000
tell b 240 "until [ -s /tmp/result-64 ]; do sleep 1; done; cat /tmp/result-64"

step stays
begin 1 1000000 7000
tell a 120 "! cellmove road 2 7000"
ask a 7000 1
echo "root: it goes on where it was"

step off
all_off a b
pass
