# What scenarios are made of in which a payload without a kernel, mallory, attacks,
# and another, canary, looks after itself. They say `. /lib.sh` before.

# The monitor's counters of the attacker, in one line.
counters() {
    cellctl status mallory --json 2> /dev/null | tr ',{}' '\n\n\n' | tr -d ' "' |
        awk -F: '$1 ~ /^(msr|port|config|ipi|dma|mmio)$/ { line = line " " $1 "=" $2 }
            $1 == "state" { state = tolower($2) } END { print "cell=" state line }'
}

# The canary beats on, its memory is as it was, and nobody interrupted it.
canary_lives() {
    beats=$(grep -c '^beat' /run/cell-canary)
    within "the canary beats after $1" 20 more_beats "$beats"
    tail -n 1 /run/cell-canary | grep -q 'changed=0 strays=0' ||
        fail "$1: the canary says $(tail -n 1 /run/cell-canary)"
}

more_beats() {
    [ "$(grep -c '^beat' /run/cell-canary)" -gt "$1" ]
}

# Every CPU of the root runs programs, and memory is as it was.
root_lives() {
    for cpu in $(online); do
        within "CPU $cpu of the root runs a program after $1" 20 taskset -c "$cpu" true
    done
    [ "$canary" = "$(sha256sum < /run/canary)" ] || fail "$1: memory of the root has changed"
}

online() {
    tr , '\n' < /sys/devices/system/cpu/online | while IFS=- read -r first last; do
        seq "$first" "${last:-$first}"
    done
}

# Prints a row: what the attacker came to, and that all others live.
row() {
    canary_lives "$1"
    root_lives "$1"
    echo "root: attack $1: $(counters) canary=alive root=alive"
}

# A fresh attacker.
fresh() {
    if cellctl list | grep -q 'mallory .*running'; then
        run cellctl kill mallory > /dev/null
    fi
    run cellctl start mallory > /dev/null
    follow mallory
    cell_says mallory 20 "cell: ready"
}

# The attacker does what $1 says and goes on.
attack() {
    tell mallory 30 "$1"
    row "$1"
}

# It does not survive what $1 says.
fatal() {
    fresh
    cellctl console mallory --new --for 0 --send "$1\n" < /dev/null > /dev/null
    within "the attacker ends by: $1" 20 failed
    row "$1"
}

failed() {
    cellctl list | grep -q 'mallory .*failed'
}

# Turns the monitor on and makes both; the canary is started.
canary_up() {
    monitor_on
    canary_of slices.toml
}

# Makes what the file $1 describes, and starts the canary; so has the root memory that it
# looks after.
canary_of() {
    dd if=/dev/urandom of=/run/canary bs=1M count=32 2> /dev/null
    canary=$(sha256sum < /run/canary)
    run cellctl create "$1"
    run cellctl start canary
    follow canary
    cell_says canary 20 "beat 1"
}

# Destroys the cells, and both once more: the pool is then as before. What the root
# touches for the first time takes pages as well, so that the first run tells nothing.
reclaim() {
    for cell in "$@"; do
        run cellctl destroy "$cell"
    done
    pool=$(pool_free)
    [ "$pool" -gt 0 ] || fail "cellctl does not tell how many pages the monitor has"
    run cellctl create slices.toml
    run cellctl destroy mallory
    run cellctl destroy canary
    left=$(pool_free)
    [ "$left" = "$pool" ] || fail "the pool had $pool pages free, then $left"
    echo "root: pool as before"
}
