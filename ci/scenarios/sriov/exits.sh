# Words of this scenario: exits between two moments, and the physical functions.

# Puts the exits of the cell $1 so far into /run/exits-$1-$2, and the time.
exits_at() {
    exits "$1" > "/run/exits-$1-$2"
    cut -d . -f 1 /proc/uptime > "/run/time-$1-$2"
}

# Fails if the cell $1 had other exits between `exits_at` "before" and "after" than
# ICR writes and CPUID, or more of those than its own kernel has reasons for: it
# wakes its other CPU for what arrives, $2 times for each of $3 MiB at most, and
# besides at most $4 times a second, which on a slow machine is most of it.
only_quiet_between() {
    [ -s "/run/exits-$1-before" ] && [ -s "/run/exits-$1-after" ] || fail "no statistics of $1"
    awk 'NR == FNR { old[$1] = $2; next } $2 > old[$1] { print $1, $2 - old[$1] }' \
        "/run/exits-$1-before" "/run/exits-$1-after" > "/run/exits-$1"
    seconds=$(($(cat "/run/time-$1-after") - $(cat "/run/time-$1-before")))
    echo "root: $1 exits during both transfers: $(tr '\n' ' ' < "/run/exits-$1")in $seconds s"
    loud=$(grep -v -e '^cpuid ' -e '^icr ' "/run/exits-$1" | tr '\n' ' ')
    [ -z "$loud" ] || fail "unexpected exits of $1: $loud"
    total=$(awk '{ n += $2 } END { print n + 0 }' "/run/exits-$1")
    limit=$(($2 * $3 + $4 * seconds))
    [ "$total" -le "$limit" ] || fail "$total exits of $1, more than $limit ($3 MiB, $seconds s)"
    echo "root: $1 only quiet exits: $total of at most $limit"
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
