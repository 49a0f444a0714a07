. /lib.sh

# How often: a word of the kernel's command line (cargo xtask bench scale), which is a
# variable of the first process.
rounds=${scale_rounds:-1}
all=$(nproc)

now_ms() {
    awk '{ print int($1 * 1000) }' /proc/uptime
}

# Measures the command after the name $1. Its reader has read the counters when it begins.
measure() {
    name=$1
    shift
    echo "mark: begin $name"
    sleep 0.3
    began=$(now_ms)
    "$@" > /run/said 2>&1 || fail "$name: $(cat /run/said)"
    echo "mark: end $name kind=ms of=$(($(now_ms) - began)) all=0"
}

# From the start of a cell to the prompt, with the kernel image $1: all CPUs but one.
boots() {
    cat > scale.toml << END
version = 1
cell.name = "scale"
cpus.count = $((all - 1))
memory.size = "512MiB"
kernel = { image = "$1", initrd = "initrd.img", cmdline = "console=ttyS0 quiet mitigations=off" }
END
    measure create cellctl create scale.toml
    measure start cellctl start scale
    # The kernel runs: no time to lose.
    began=$(now_ms)
    echo "mark: begin boot-$1"
    cellctl console scale --expect "cell: ready" --for $((600 * $(cat /patience))) \
        < /dev/null > /run/screen 2>&1 || fail "$1 does not come to its prompt: $(tail -c 2000 /run/screen)"
    echo "mark: end boot-$1 kind=ms of=$(($(now_ms) - began)) all=0"
    grep -a "cell: nproc" /run/screen | tr -d '\r' | sed 's/^/root: /'
    measure destroy cellctl destroy scale
}

# Brings all CPUs but the first to the state $1, by hand.
by_hand() {
    for cpu in $(seq $((all - 1))); do
        echo "$1" > "/sys/devices/system/cpu/cpu$cpu/online" || return 1
    done
}

step root
resources
run insmod /lib/modules/cellvisor.ko

step rounds
for round in $(seq "$rounds"); do
    measure enter cellctl enable --log-port 0x2f8
    measure offline by_hand 0
    measure online by_hand 1
    boots vmlinuz
    boots vmlinux
    measure leave cellctl disable
    echo "root: round $round of $rounds"
done
echo "root: all $rounds rounds"

step off
unload
resources
pass
