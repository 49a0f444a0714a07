. /lib.sh

peer=10.0.2.15
pci=/sys/bus/pci/devices
nic=0000:01:00.0
disk=0000:02:00.0
pairs=5

# Lets the driver $2 have the function $1. Linux binds nothing by itself while
# a PF's autoprobe is off.
bind() {
    echo "$2" > "$pci/$1/driver_override"
    echo "$1" > "/sys/bus/pci/drivers/$2/bind"
}

admin() {
    nvme-admin /dev/nvme0 "$@" > /dev/null || fail "NVMe admin command $*"
}

# Makes one VF of each PF for this Linux, as cellctl does for a cell. The NIC's
# is in a network namespace of its own, so that traffic goes through it.
vfs_up() {
    echo 0 > $pci/$nic/sriov_drivers_autoprobe
    echo 0 > $pci/$disk/sriov_drivers_autoprobe
    echo 1 > $pci/$disk/sriov_numvfs
    admin 0x1c $((1 << 16 | 0x107)) 0
    admin 0x1c $((1 << 16 | 0x108)) 2
    admin 0x1c $((1 << 16 | 0x008)) 2
    admin 0x1c $((1 << 16 | 0x009)) 0
    NSID=1 admin 0x15 0 0 1
    bind 0000:02:00.1 nvme
    echo 1 > $pci/$nic/sriov_numvfs
    sleep 3
    bind 0000:01:10.0 igbvf
    unshare -n sh -c 'echo $$ > /run/net; exec sleep 600' &
    keeper=$!
    sleep 1
    net="nsenter -n -t $(cat /run/net)"
    ip link set eth1 netns "$(cat /run/net)"
    within "the VF is in its namespace" 5 $net ip link show eth1
    $net ip link set eth1 name eth0
    $net io up 10.0.2.20 > /dev/null
    within "the VF's disk is there" 10 test -b /dev/nvme0n2
}

vfs_down() {
    kill $keeper
    echo 0000:01:10.0 > /sys/bus/pci/drivers/igbvf/unbind
    echo 0000:02:00.1 > /sys/bus/pci/drivers/nvme/unbind
    NSID=1 admin 0x15 1 0 1
    admin 0x1c $((1 << 16 | 0x107)) 0
    echo 0 > $pci/$nic/sriov_numvfs
    echo 0 > $pci/$disk/sriov_numvfs
    # The VFs' resources go back to the controller at its next reset.
    sleep 2
}

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
# The controller keeps no resources that VFs are to have.
admin 0x1c 0x101 0
admin 0x1c 0x001 0
echo 1 > /sys/class/nvme/nvme0/reset_controller

# A root that remaps DMA itself is there to be compared with; its units are not
# the monitor's to drive.
place=plain
grep -q intel_iommu=on /proc/cmdline && place=remapped

step pairs
for pair in $(seq $pairs); do
    spare 0
    vfs_up
    taskset 2 $net io bench /dev/nvme0n2 $peer | sed "s/^rate:/bench: $place/"
    vfs_down
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
