. /lib.sh

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

step on
dd if=/dev/urandom of=/run/canary bs=1M count=32 2> /dev/null
canary=$(sha256sum < /run/canary)
monitor_on
run cellctl create slices.toml
run cellctl start canary
follow canary
cell_says canary 20 "beat 1"

step loops
for endless in halt mwait wbinvd split-locks debug-loop alignment-loop; do
    fresh
    attack "$endless"
done

step ram
for at in 0x4000000 0x8000000 0x40000000 0xfee00000 0xfec00000 0x400000000; do
    fatal "read $at"
done
fatal "write 0x4000000"
fatal "straddle 0x4000000"
fatal "fetch 0x4000000"
fatal "walk 0x40000000"
fatal "triple"

step residue
fresh
attack "pattern"
run cellctl kill mallory
run cellctl start mallory
follow mallory
cell_says mallory 20 "cell: ready"
attack "residue"

step pending
fresh
attack "pending-low"
run cellctl kill mallory
run cellctl destroy mallory
canary_lives "destroy"
root_lives "destroy"
echo "root: reclaimed"

step off
all_off canary
pass
