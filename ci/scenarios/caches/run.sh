. /lib.sh

# Lets the module do $2 on CPU $1.
on_cpu() {
    taskset -c "$1" sh -c "echo '$2' > /proc/provoke"
    cat /proc/provoke
}

# The cache behind CPU $1: ways of classes 0 to 3, their delays, if code is apart, and
# the classes of its first three CPUs, the last one first.
cache() {
    line="cpu$1"
    for msr in 0xc90 0xc91 0xc92 0xc93 0xd50 0xd51 0xd52 0xd53 0xc81 0xcff; do
        line="$line $(on_cpu "$1" "rdmsr $msr")"
    done
    echo "$line"
}

# Prints both, after $1.
caches() {
    for cpu in 0 3; do
        echo "root: $1: $(cache $cpu)"
    done
}

# The root writes $4 to the register $3 of CPU $2, where $5 is then, attack $1.
attack() {
    came=$(on_cpu "$2" "wrmsr $3 $4")
    now=$(on_cpu "$2" "rdmsr $3")
    echo "root: attack $1: $came, then $now"
    [ "$now" = "$5" ] || wrong "attack $1: $3 is $now, not $5"
}

step root
grep -q ' cat_l3 .* mba ' /proc/cpuinfo && echo "root: Linux knows caches and bandwidth to be shared out"
run insmod /lib/modules/provoke.ko
caches before | tee /run/before
# What the root may do before there are cells: be in what will be a cell's class.
on_cpu 0 "wrmsr 0xc8f 0x0000000100000000"
on_cpu 3 "wrmsr 0xc8f 0x0000000100000000"
echo "root: in class 1: $(on_cpu 0 "rdmsr 0xc8f")"

step plan
monitor_on
run cellctl plan cells.toml
run cellctl plan cells.toml --text

step mounted
mount -t resctrl none /sys/fs/resctrl
cellctl create cells.toml > /tmp/refusal 2>&1 && fail "a cell was created beside resctrl"
echo "refused: $(tr '\n' ' ' < /tmp/refusal)"
umount /sys/fs/resctrl
on_cpu 0 "wrmsr 0xc8f 0x0000000100000000"
on_cpu 3 "wrmsr 0xc8f 0x0000000100000000"

step cells
cell_up wide cells.toml
caches wide
for cell in narrow far plain; do
    run cellctl start $cell
    follow $cell
    cell_says $cell 20 "beat 1 "
done
caches all
cellctl list

step refused
cellctl destroy narrow > /tmp/destroyed || fail "narrow cannot be destroyed"
caches "without narrow"
cellctl create /scenario/too-wide.toml > /tmp/refusal 2>&1 && fail "too-wide was created"
echo "refused: $(tr '\n' ' ' < /tmp/refusal)"

step root-attacks
attack own-ways 0 0xc90 0x7ff 0x7f0
attack cells-ways 0 0xc91 0x7ff 0xf
attack another-class 0 0xc92 0x7ff 0x7f0
attack cells-delay 0 0xd51 0 0x32
attack code-apart 0 0xc81 1 0x0
attack cells-class 0 0xc8f 0x0000000100000000 0x0
attack far-ways 3 0xc90 0x7ff 0x7c0
attack far-class 3 0xc8f 0x0000000100000000 0x0

step cell-attacks
tell wide 30 classes
caches attacked

step restart
run cellctl kill wide
run cellctl start wide
follow wide
cell_says wide 60 "cell: ready"
caches again
# Nobody else has a class behind its cache.
run cellctl destroy far
caches "without far"

step off
quiet wide
run cellctl destroy wide
run cellctl destroy plain
caches before | tee /run/after
cmp -s /run/before /run/after || fail "not as before: $(cat /run/after)"
echo "root: caches are as before"
# They are the root's again.
attack own-again 0 0xc92 0x3 0x3
attack back-again 0 0xc92 0x7ff 0x7ff
run cellctl disable
unload
caches before | cmp -s /run/before - || fail "not as before: $(caches after)"
echo "root: caches are as before"
resources
pass
