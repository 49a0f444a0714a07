# What scenarios' scripts are made of. Lines that start with "step:", "ci:" or
# "[cell NAME]" are read by the runner.

# Begins the step NAME of the scenario.
step() {
    echo "step: $1"
}

# Ends the scenario badly.
fail() {
    echo "ci: failed: $*"
    dmesg | tail -n 30
    poweroff -f
}

# Shows a command, runs it, and fails with it.
run() {
    echo "\$ $*"
    "$@" || fail "\`$*\` ended with status $?"
}

# Ends the scenario well.
pass() {
    echo "ci: pass"
    poweroff -f
}

# Copies a cell's console to this one, line by line, until it is gone.
follow() {
    cellctl console --follow "$1" 2> /dev/null | sed -u "s/^/[cell $1] /" &
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
