. /lib.sh
. /vfs.sh

peer=10.0.2.15
pairs=5

# Measures in the cell. The root waits as silently as it does while it measures
# itself: on a host with few cores, to look at a console would slow the cell.
measure() {
    nc -l -p 7000 < /dev/null > /dev/null &
    listener=$!
    tell net0 10 "{ io bench /dev/nvme0n1 $peer > /run.log; nc $peer 7000 < /dev/null; } > /dev/null 2>&1 &"
    kill -STOP "$(cat /run/follow-net0)"
    wait $listener
    kill -CONT "$(cat /run/follow-net0)"
    tell net0 10 'cat /run.log'
}

# CPUs that only one of the two would have.
spare() {
    for cpu in 2 3; do
        echo "$1" > /sys/devices/system/cpu/cpu$cpu/online
    done
}

step up
ip addr add $peer/24 dev eth0
ip link set eth0 up
mkdir /srv
dd if=/dev/urandom of=/srv/data bs=1M count=64 2> /dev/null
taskset 1 httpd -p 80 -h /srv
run insmod /lib/modules/cellvisor.ko
vfs_first

# A root that remaps DMA itself is there to be compared with; its units are not
# the monitor's to drive.
place=plain
grep -q intel_iommu=on /proc/cmdline && place=remapped

step pairs
for pair in $(seq $pairs); do
    spare 0
    vfs_made
    vfs_driven
    taskset 2 $net io bench /dev/nvme0n2 $peer | sed "s/^rate:/bench: $place/"
    vfs_idle
    vfs_gone
    spare 1
    [ $place = plain ] || continue
    run cellctl enable --log-port 0x2f8
    cell_up net0 net0.toml
    tell net0 30 'io up 10.0.2.20'
    measure
    sed -n 's/^rate:/bench: cell/p' /run/cell-net0
    run cellctl destroy net0
    run cellctl disable
    echo "root: pair $pair of $pairs"
done
pass
