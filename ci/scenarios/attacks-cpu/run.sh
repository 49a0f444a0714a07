. /lib.sh
. /attacks.sh

step on
canary_up

step state
fresh
attack "rip-wrap"
attack "rip-wrap user"
attack "mov-ss-int1"
attack "mov-ss-exits"
attack "real-gp"
fresh
attack "moved-code"
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
reclaim mallory canary
wakes_others
all_off
pass
