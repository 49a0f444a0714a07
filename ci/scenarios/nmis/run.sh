. /lib.sh

# A CPU that asks for backtraces sends an NMI to each other one. It gets the next
# only if the end of the last was noticed. What they print must not cut the count
# in two, and what was printed before, of a CPU that had to wait for long, is none of
# them.
seen='dmesg | grep -c "NMI backtrace for cpu [1-9]"'
ten="before=\$($seen); for i in 1 2 3 4 5 6 7 8 9 10; do echo l > /proc/sysrq-trigger; done; sleep 1; echo \$((\$($seen) - before))"

# The kernel tells about the CPU that asks as well, which is CPU 0.
pinned="taskset 1 sh -c '$ten'"

step on
monitor_on
cell_up cell0 qemu.toml

step root
echo "root: nmis=$(eval "$pinned")"

step cell
other=$(sed 's/.*[,-]//' /sys/devices/system/cpu/online)
for round in 1 2 3; do
    echo 0 > "/sys/devices/system/cpu/cpu$other/online"
    echo 1 > "/sys/devices/system/cpu/cpu$other/online"
done &
tell cell0 30 "echo nmis=\$($pinned)"
wait $!
echo "root: cell told"

step off
all_off cell0
pass
