# What scenarios' scripts are made of. Lines that start with "step:", "ci:" or
# "[cell NAME]" are read by the runner.

# Begins the step NAME of the scenario.
step() {
    echo "step: $1"
}

# True if the scenario has the step NAME on this machine.
has_step() {
    grep -q -x -F -e "$1" /steps
}

# What else a script has to tell when it fails: scripts put their own in its place.
more_to_tell() {
    :
}

# Ends the scenario badly, also where output goes to a file.
fail() {
    {
        echo "ci: failed: $*"
        echo "root: last lines of the kernel:"
        dmesg | tail -n 40
        echo "root: the monitor's log:"
        cellctl log 2>&1 | tail -n 20
        more_to_tell
    } > /dev/console
    off
}

# Tells of something wrong, after which the script can go on.
wrong() {
    echo "ci: wrong: $*" > /dev/console
}

# Powers off when all that was said is out: a slow serial port has kilobytes to
# send yet.
off() {
    stty -onlcr < /dev/console
    poweroff -f
}

# Shows a command, runs it, and fails with it. All that was said is out before it
# begins: what the kernel says of it would cut a line in two.
run() {
    echo "\$ $*" > /dev/console
    stty -onlcr < /dev/console
    "$@" || fail "\`$*\` ended with status $?"
}

# Ends the scenario well, unless the kernel complains: the runner reads that, and
# all that comes until the machine is off.
pass() {
    dmesg | grep -E -f /trouble
    echo "ci: pass"
    off
}

# Prints what the root has.
resources() {
    pages=/sys/kernel/mm/hugepages/hugepages-2048kB
    echo "root: cpus=$(nproc) huge-pages=$(cat $pages/nr_hugepages) free=$(cat $pages/free_hugepages)"
}

# Says how many seconds $1 took since $began, and begins anew.
took() {
    echo "root: $1 in $(($(date +%s) - began)) s"
    began=$(date +%s)
}

# Pages that the monitor has to give out.
pool_free() {
    cellctl status --json | sed -n 's/.*"pool-free": *\([0-9][0-9]*\).*/\1/p'
}

# Loads the driver and turns the monitor on.
monitor_on() {
    run insmod /lib/modules/cellvisor.ko
    run cellctl enable --log-port 0x2f8 "$@"
}

# Loads the module $1, one of the scenario's "modules-later", and what it needs and is
# not there yet.
load() {
    while read -r module; do
        [ -e "/sys/module/${module%.ko}" ] || run insmod "/lib/modules/$module"
    done < "/lib/modules/later-$1"
}

# Unloads the module $1 and what only it needed.
unload_all() {
    sed 's/\.ko$//' "/lib/modules/later-$1" | tac | while read -r module; do
        within "the module $module unloads" 10 rmmod "$module"
    done
}

# Creates the cell $1 from the file $2, starts it and waits until it is up.
cell_up() {
    run cellctl create "$2"
    run cellctl start "$1"
    follow "$1"
    cell_says "$1" 60 "cell: ready"
}

# Destroys the cells, turns the monitor off, unloads the driver, and prints what
# the root has then.
all_off() {
    for cell in "$@"; do
        quiet "$cell"
        run cellctl destroy "$cell"
    done
    run cellctl disable
    unload
    resources
}

# Shows what the kernel of the cell $1 has complained about, if the cell is
# followed and runs; the runner reads it.
quiet() {
    if [ -e "/run/cell-$1" ] && cellctl list | grep -q "^[0-9]* *$1 *running "; then
        tell "$1" 20 complaints
    fi
}

# Unloads the driver. Followers of consoles look at the monitor's state five
# times a second, and hold the driver until then.
unload() {
    echo "\$ rmmod cellvisor"
    within "the driver unloads" 10 rmmod cellvisor
    echo "root: driver unloaded"
}

# Copies the console of the cell $1 to this one, line by line, from its last
# start on and until it ends. What was copied is also in /run/cell-NAME.
follow() {
    return=$(printf '\r')
    # A follower from before a stop may not have noticed it yet.
    [ ! -e "/run/follow-$1" ] || kill "$(cat "/run/follow-$1")" 2> /dev/null
    : > "/run/cell-$1"
    {
        cellctl console "$1" --follow < /dev/null 2> /dev/null &
        echo $! > "/run/follow-$1"
        wait
    } |
        while IFS= read -r line; do
            line=${line%"$return"}
            echo "[cell $1] $line"
            echo "$line" >> "/run/cell-$1"
        done &
}

# Copies what comes on the serial port $1 to this console, line by line, until the
# process $reader is killed. It is also in /run/uart.
hear() {
    stty -F "$1" 115200 raw -echo
    return=$(printf '\r')
    : > /run/uart
    while IFS= read -r line; do
        line=${line%"$return"}
        echo "uart: $line"
        echo "$line" >> /run/uart
    done < "$1" &
    reader=$!
}

# Waits at most $2 seconds until the cell $1, which is followed, has said $3.
cell_says() {
    within "cell $1 says '$3'" "$2" grep -q -F -e "$3" "/run/cell-$1"
}

# Types the command $3 on the console of the cell $1, which is followed, and
# waits at most $2 seconds for its end, which must be a good one.
tell() {
    told=$(grep -c "^cell: done" "/run/cell-$1")
    cellctl console "$1" --new --for 0 --send "$3\n" < /dev/null > /dev/null ||
        fail "cannot type on the console of $1"
    ends_well "$@" "$told"
}

# Waits at most $2 seconds for the end of the command $3 that the cell $1 was told when it
# had done $4 of them.
ends_well() {
    within "cell $1 does: $3" "$2" more_done "$1" "$4"
    status=$(grep "^cell: done" "/run/cell-$1" | sed -n "$(($4 + 1))s/.*status=//p")
    [ "$status" = 0 ] || fail "in cell $1, \`$3\` ended with status $status"
}

more_done() {
    [ "$(grep -c '^cell: done' "/run/cell-$1")" -gt "$2" ]
}

# Exits of the cell $1 so far: a kind and a count in each line.
exits() {
    cellctl stats "$1" | awk 'NR == 1 { for (i = 5; i <= NF; i++) kind[i] = $i; next }
        { for (i = 5; i <= NF; i++) n[i] += $i }
        END { for (i in n) print kind[i], n[i] }'
}

# Remembers what the cells $@ left their guests for so far.
before() {
    for cell in "$@"; do
        exits "$cell" > "/run/before-$cell"
    done
}

# Prints what the cell $1 left its guest for since then, $2, and how often for each of $3
# MiB if it is told.
since() {
    exits "$1" > "/run/after-$1"
    awk -v told="exits of $1 $2" -v mib="${3:-0}" 'NR == FNR { before[$1] = $2; next }
        $2 > before[$1] {
            n = $2 - before[$1]
            what = what " " $1 "=" n (mib ? sprintf(" (%.2f per MiB)", n / mib) : "")
        }
        END { print "root: " told ":" (what ? what : " none") }' "/run/before-$1" "/run/after-$1"
}

# Fails if the table of exits in the file $1 (CPU, cell, virtual id, total, then
# a column for each kind that was seen) has not $2 CPUs, has more than ICR writes
# and CPUID, or more than $3 of those.
only_quiet() {
    cpus=$(($(wc -l < "$1") - 1))
    [ "$cpus" = "$2" ] || fail "statistics of $cpus CPUs, not $2"
    exits=$(head -n 1 "$1" | tr -s ' ' '\n' | tail -n +5 | grep -v -x -e cpuid -e icr | tr '\n' ' ')
    [ -z "$exits" ] || fail "unexpected exits: $exits"
    total=$(awk 'NR > 1 { n += $4 } END { print n + 0 }' "$1")
    [ "$total" -le "$3" ] || fail "$total exits, more than $3"
    kinds=$(head -n 1 "$1" | tr -s ' ' '\n' | tail -n +5 | tr '\n' ' ')
    echo "root: only quiet exits: $total in 10 s (${kinds:-none})"
}

# Waits at most $2 seconds (more where the machine has other work) until the
# command after them succeeds; $1 is what it is about.
within() {
    what=$1
    limit=$(($2 * $(cat /patience)))
    end=$(($(date +%s) + limit))
    shift 2
    until "$@" > /dev/null 2>&1; do
        [ "$(date +%s)" -lt "$end" ] || fail "not within $limit s: $what"
        sleep 0.2
    done
}

# Joins the network of both machines as number $1; the second is the twin.
cable() {
    ip link set lo up
    ip addr add "10.9.0.$1/24" dev eth0
    ip link set eth0 up
}

# The twin does what the first machine wants of it, one word after the other.
obey() {
    while :; do
        wish=$(hear_from 9)
        $wish
    done
}

# What the first machine sends to the port $1. Who sends would stop at an end of what
# goes the other way, so that has none.
hear_from() {
    [ -e /run/never ] || mkfifo /run/never
    nc -l -p "$1" 0<> /run/never
}

# The twin is to do $1, a word of this file or of its own, when it has done what it was
# told before; `true` waits for that alone.
twin() {
    within "the twin listens for $1" 90 wish "$1"
}

wish() {
    echo "$1" | nc -w 10 10.9.0.2 9
}

# Whether the cell $1 runs.
runs() {
    cellctl list | grep -q " $1 .*running"
}

# Whether there is no cell $1.
is_gone() {
    ! cellctl list | grep -q " $1 "
}

# Words of scenarios with Slurm.

# Whether the node $1 is in the state $2, as sinfo writes it.
is() {
    [ "$(sinfo -h -n "$1" -o %T)" = "$2" ]
}

# Whether srun has ended.
is_over() {
    ! kill -0 "$job" 2> /dev/null
}

# Shows the node $1 as far as it is of interest.
node() {
    scontrol show node "$1" | sed -n -e 's/^ *\(State=[^ ]*\) .*/root: \1/p' -e 's/^ *\(Reason=.*\) \[.*/root: \1/p'
}

# Shows the jobs: partition, state and why they wait.
queue() {
    squeue -h -o "root: job in %P is %T (%r)"
}

# A job that may start anew, for the partition $1. It writes to the console of its cell.
batch() {
    echo "\$ sbatch --requeue --partition $1"
    printf '#!/bin/sh\necho "job $SLURM_JOB_ID: $(hostname), restarts: $SLURM_RESTART_COUNT"\n' |
        sbatch --requeue --partition "$1" --output /dev/console || fail "no job for $1"
}
