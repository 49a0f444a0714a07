. /lib.sh
. /kvm.sh
. /vfs.sh

peer=10.0.2.15
port=9000
rounds=3

# What is done: a name, how much of it (reads, MiB or round trips), and the command. The
# first is nothing, which is what the console and the beginning of a program cost.
works() {
    cat << END
nothing 0 true
read-4k 8000 blocks random $1 4096 8000 1
read-4k-deep 24000 blocks random $1 4096 24000 16
read-128k 512 blocks sequential $1 131072 4096 8
tcp-stream 48 stream send $peer $port
tcp-trips 2000 stream ask $peer $port 2000
END
}

# Does the command of the work $1, which is $2 of it, in the present place. The root waits
# silently for its end: on a host with few cores, to look at a console would slow it.
does() {
    work=$1 amount=$2
    shift 2
    command="time -f 'bench: $place $work $amount %e' $* < /tmp/zeros > /dev/null 2> /tmp/log; nc $peer 7000 < /dev/null"
    nc -l -p 7000 < /dev/null > /dev/null &
    listener=$!
    within "somebody listens" 10 grep -q ':1B58 .* 0A ' /proc/net/tcp /proc/net/tcp6
    begins "$place-$work"
    case $place in
        kvm) tell_guest guest 20 "{ $command; } > /dev/null 2>&1 &" ;;
        cell)
            tell cell 20 "{ $command; } > /dev/null 2>&1 &"
            kill -STOP "$(cat /run/follow-cell)"
            ;;
        *) taskset 4 $net sh -c "$command" > /dev/null 2>&1 ;;
    esac
    wait $listener
    ends "$place-$work"
    log='cat /tmp/log; ! grep -q status /tmp/log'
    case $place in
        kvm) tell_guest guest 20 "$log" ;;
        cell)
            kill -CONT "$(cat /run/follow-cell)"
            tell cell 20 "$log"
            ;;
        *) sh -c "$log" || fail "$work: see above" ;;
    esac
}

# All kinds of work in the place $1, one after the other, with the disk $2.
all_works() {
    place=$1
    works "$2" > /run/works
    while read -r work <&3; do
        # shellcheck disable=SC2086 # Its words.
        does $work
    done 3< /run/works
}

# A file of zeros to send.
zeros="truncate -s 48M /tmp/zeros"

# This Linux with the VFs, which are made anew.
in_linux() {
    # Making VFs gives the PF new interrupts, which are the peer's.
    echo 3 > /proc/irq/default_smp_affinity
    vfs_made
    echo 4 > /proc/irq/default_smp_affinity
    [ "$1" = plain ] || confined
    vfs_driven
    all_works "$1" /dev/nvme0n2
    vfs_idle
}

# Lets the VFs alone reach nothing but what their driver maps: other functions are faster
# without, and are not what is compared.
confined() {
    for vf in $nic_vf $disk_vf; do
        echo DMA-FQ > $pci/$vf/iommu_group/type || fail "cannot confine $vf"
    done
}

in_guest() {
    bind $disk_vf vfio-pci
    bind $nic_vf vfio-pci
    guest_made guest 384 0,1 2 -device vfio-pci,host=$nic_vf,rombar=0 -device vfio-pci,host=$disk_vf,rombar=0
    guest_goes guest
    tell_guest guest 30 "io up 10.0.2.20; $zeros"
    all_works kvm /dev/nvme0n1
    guest_off guest
    unbind $nic_vf
    unbind $disk_vf
}

in_cell() {
    monitor_on
    cell_up cell cell.toml
    tell cell 30 "io up 10.0.2.20; $zeros"
    all_works cell /dev/nvme0n1
    quiet cell
    run cellctl destroy cell
    run cellctl disable
    unload
}

step root
# The root's own work, that of QEMU and the peer are on two CPUs, and interrupts of what
# they use; those of the VFs are where the work is.
taskset -p 3 $$
for irq in /proc/irq/[0-9]*; do
    echo 3 > "$irq/smp_affinity"
done 2> /dev/null
ip addr add $peer/24 dev eth0
ip link set eth0 up
$zeros
taskset 1 stream serve $port &
vfs_first

# A Linux that remaps DMA is the host of KVM guests; its units are not the monitor's to drive.
others=plain
if grep -q intel_iommu=on /proc/cmdline; then
    others=remapped
    load vfio_iommu_type1
    load vfio_pci
    kvm_on 384
fi

step rounds
for round in $(seq $rounds); do
    in_linux $others
    [ $others = plain ] || in_guest
    vfs_gone
    [ $others = remapped ] || in_cell
    echo "root: round $round of $rounds"
done
pass
