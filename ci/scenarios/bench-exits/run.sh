. /lib.sh

# True if the cell has had $2 more exits of the kind $1 than at the beginning.
made() {
    exits bench > /run/after
    awk -v kind="$1" -v least="$2" 'NR == FNR { old[$1] = $2; next }
        $1 == kind && $2 - old[kind] >= least { enough = 1 }
        END { exit !enough }' /run/before /run/after
}

# True if /run/slept is there: for what makes no exits.
slept() {
    [ -e /run/slept ]
}

# Lets the cell make $3 exits of the kind $2 by `exits $1`. All is silent when it
# begins and when it has ended, so that the marks need not be exact.
measure() {
    tell bench 20 "{ sleep 10; exits $1 $3; } > /dev/null 2>&1 &"
    sleep 1
    exits bench > /run/before
    echo "mark: begin $1"
    within "the cell makes exits: $1" 400 "${4:-made}" "$2" "$3"
    sleep 1
    exits bench > /run/after
    awk -v what="$1" -v kind="$2" 'NR == FNR { old[$1] = $2; next }
        { all += $2 - old[$1] } $1 == kind { of = $2 - old[$1] }
        END { print "mark: end " what " kind=" kind " of=" of + 0 " all=" all + 0 }' \
        /run/before /run/after
}

step on
monitor_on
cell_up bench bench.toml

step exits
measure cpuid cpuid 200000
measure icr icr 20000
measure console port-read 100000
measure config port-read 100000
measure msr msr-read 100000
measure ioapic mmio 100000
measure ecam mmio 100000
{ sleep 20; touch /run/slept; } &
measure compute none 1000000000 slept
pass
