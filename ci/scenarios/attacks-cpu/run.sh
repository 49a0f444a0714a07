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

step state
fresh
attack "rip-wrap"
attack "rip-wrap user"
attack "mov-ss-int1"
attack "mov-ss-exits"
attack "real-gp"
fresh
attack "registers"
attack "instructions"

step sweeps
attack "hypercalls"
attack "ipis"
fresh
attack "msrs"
fresh
attack "ports"

# Every CPU that the attacker had can start another one: its local APIC holds no
# error of the attacker's. CPU 1 is what is started, or CPU 2 by CPU 1 itself.
wakes_others() {
    for cpu in 1 2 3; do
        other=$((cpu == 1 ? 2 : 1))
        for state in 0 1; do
            taskset -c "$cpu" sh -c "echo $state > /sys/devices/system/cpu/cpu$other/online" ||
                fail "CPU $cpu cannot bring CPU $other to state $state"
        done
    done
    echo "root: CPUs 1 to 3 start others"
}

step off
run cellctl destroy mallory
run cellctl destroy canary
wakes_others
all_off
pass
