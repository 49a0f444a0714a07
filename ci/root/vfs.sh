# Words of scenarios where the root uses one virtual function of each card itself.

pci=/sys/bus/pci/devices
nic=0000:01:00.0
nic_vf=0000:01:10.0
disk=0000:02:00.0
disk_vf=0000:02:00.1

# Lets the driver $2 have the function $1. Linux binds nothing by itself while
# a PF's autoprobe is off.
bind() {
    echo "$2" > "$pci/$1/driver_override"
    echo "$1" > "/sys/bus/pci/drivers/$2/bind"
}

# Takes the function $1 from its driver.
unbind() {
    echo "$1" > "$pci/$1/driver/unbind"
}

admin() {
    nvme-admin /dev/nvme0 "$@" > /dev/null || fail "NVMe admin command $*"
}

# The controller keeps no resources that VFs are to have.
vfs_first() {
    admin 0x1c 0x101 0
    admin 0x1c 0x001 0
    echo 1 > /sys/class/nvme/nvme0/reset_controller
}

# Makes one VF of each PF, as cellctl does for a cell; the NVMe controller's has
# namespace 1. Drivers are bound by whoever wants them.
vfs_made() {
    echo 0 > $pci/$nic/sriov_drivers_autoprobe
    echo 0 > $pci/$disk/sriov_drivers_autoprobe
    echo 1 > $pci/$disk/sriov_numvfs
    admin 0x1c $((1 << 16 | 0x107)) 0
    admin 0x1c $((1 << 16 | 0x108)) 2
    admin 0x1c $((1 << 16 | 0x008)) 2
    admin 0x1c $((1 << 16 | 0x009)) 0
    NSID=1 admin 0x15 0 0 1
    echo 1 > $pci/$nic/sriov_numvfs
    sleep 3
}

# Linux drives the VFs. The NIC's is in a network namespace of its own, so that
# traffic goes through it: commands after $net are in there.
vfs_driven() {
    bind $disk_vf nvme
    bind $nic_vf igbvf
    unshare -n sh -c 'echo $$ > /run/net; exec sleep 6000' &
    keeper=$!
    sleep 1
    net="nsenter -n -t $(cat /run/net)"
    ip link set eth1 netns "$(cat /run/net)"
    within "the VF is in its namespace" 5 $net ip link show eth1
    $net ip link set eth1 name eth0
    $net io up 10.0.2.20 > /dev/null
    within "the VF's disk is there" 10 test -b /dev/nvme0n2
}

# Linux drives them no longer.
vfs_idle() {
    kill $keeper
    unbind $nic_vf
    unbind $disk_vf
}

# There are no VFs.
vfs_gone() {
    NSID=1 admin 0x15 1 0 1
    admin 0x1c $((1 << 16 | 0x107)) 0
    echo 0 > $pci/$nic/sriov_numvfs
    echo 0 > $pci/$disk/sriov_numvfs
    # Their resources go back to the controller at its next reset.
    sleep 2
}
