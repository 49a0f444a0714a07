# Words of this scenario: exits between two moments, and the physical functions.

# Fails if the cell $1 had other exits than ICR writes and CPUID between
# /run/before-CELL and /run/after-CELL, or more than $2 of those.
only_quiet_between() {
    [ -s "/run/before-$1" ] && [ -s "/run/after-$1" ] || fail "no statistics of $1"
    awk 'NR == FNR { old[$1] = $2; next } $2 > old[$1] { print $1, $2 - old[$1] }' \
        "/run/before-$1" "/run/after-$1" > "/run/exits-$1"
    echo "root: $1 exits during both transfers: $(tr '\n' ' ' < "/run/exits-$1")"
    loud=$(grep -v -e '^cpuid ' -e '^icr ' "/run/exits-$1" | tr '\n' ' ')
    [ -z "$loud" ] || fail "unexpected exits of $1: $loud"
    total=$(awk '{ n += $2 } END { print n + 0 }' "/run/exits-$1")
    [ "$total" -le "$2" ] || fail "$total exits of $1, more than $2"
    echo "root: $1 only quiet exits: $total"
}

# True if the process $1 has ended.
ended() {
    ! kill -0 "$1" 2> /dev/null
}

# Uses the physical functions until /run/enough is there: reads the NVMe disk;
# the network card serves the cells all the time.
pf_traffic() {
    rounds=0
    while [ ! -e /run/enough ]; do
        dd if=/dev/nvme0n1 of=/dev/null bs=1M count=16 iflag=direct 2> /dev/null ||
            fail "the NVMe PF does not read"
        rounds=$((rounds + 1))
        sleep 0.5
    done
    echo "root: PF read $((rounds * 16)) MiB meanwhile"
}

# Prints how many virtual functions there are.
vfs() {
    pci=/sys/bus/pci/devices
    echo "root: igb VFs=$(cat $pci/$nic/sriov_numvfs) NVMe VFs=$(cat $pci/$disk/sriov_numvfs)"
}
