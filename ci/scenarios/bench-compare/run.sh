. /lib.sh

rounds=3
huge=/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
kvm=kvm_intel
grep -q AuthenticAMD /proc/cpuinfo && kvm=kvm_amd

# What is done, and how often of it.
works="compute:50000 null-calls:300000 context:20000 futex:3000 forks:300 faults:60 timers:500 idle:5"

# Exits so far, by kind: KVM's, or the monitor's. There is always a line.
kinds() {
    echo "none 0"
    case $place in
        plain) ;;
        kvm) (cd /sys/kernel/debug/kvm && grep . exits halt_exits io_exits mmio_exits irq_exits irq_window_exits) | tr : ' ' ;;
        cell) exits cell ;;
    esac
}

# How many of all kinds have come since /run/before, and which.
since() {
    kinds > /run/after
    awk -v what="$1" 'NR == FNR { old[$1] = $2; next }
        { n = $2 - old[$1] } $1 == "exits" { all = n; next }
        { sum += n } n { kinds = kinds " " $1 "=" n }
        END { if (all == "") all = sum + 0
            print "kinds: " what kinds
            print "mark: end " what " kind=exits of=" all " all=" all }' /run/before /run/after
}

# Types the command $2 on the console of the KVM guest, and waits at most $1 seconds for
# its end, as `tell` does for a cell.
tell_guest() {
    told=$(grep -c "^cell: done" /run/cell-guest)
    echo "$2" > /run/guest.in
    within "the KVM guest does: $2" "$1" more_done guest "$told"
}

# Does the command in the present place, on its two CPUs.
does() {
    case $place in
        plain) FIRST=2 SECOND=3 taskset -c 2 sh -c "$1" | sed 's/^/plain: /' ;;
        kvm) tell_guest 300 "$1" ;;
        cell) tell cell 300 "$1" ;;
    esac
}

# All kinds of work in the place $1, one after the other.
all_works() {
    place=$1
    for work in $works; do
        kinds > /run/before
        echo "mark: begin $place-${work%:*}"
        does "compare ${work%:*} ${work#*:}"
        since "$place-${work%:*}"
    done
}

# Starts the KVM guest as the best practice has it: each virtual CPU on a CPU of its own
# where nothing else runs, huge pages, QEMU's own threads elsewhere.
guest_up() {
    load $kvm
    mount -t debugfs debugfs /sys/kernel/debug
    echo 256 > $huge
    mkfifo /run/guest.in /run/guest.out /run/panel.in /run/panel.out
    cat /run/panel.out > /dev/null &
    : > /run/cell-guest
    return=$(printf '\r')
    while IFS= read -r line; do
        line=${line%"$return"}
        echo "guest: $line"
        echo "$line" >> /run/cell-guest
    done < /run/guest.out &
    taskset -c 0,1 qemu-system-x86_64 -L /usr/share/seabios -L /usr/share/qemu -nodefaults -no-user-config \
        -display none -no-reboot -machine q35 -accel kvm -cpu host -smp 2 -m 512 -mem-path /dev/hugepages \
        -mem-prealloc -kernel vmlinuz -initrd initrd.img -append "console=ttyS0 mitigations=off" \
        -serial pipe:/run/guest -monitor pipe:/run/panel -name guest,debug-threads=on -S &
    qemu=$!
    within "QEMU makes its CPUs" 60 pin_guest
    place=kvm
    kinds > /run/before
    echo "mark: begin kvm-boot"
    echo cont > /run/panel.in
    within "the KVM guest is up" 120 grep -q "^cell: ready" /run/cell-guest
    since kvm-boot
}

# Puts both virtual CPUs on their CPUs; fails until they are there.
pin_guest() {
    pinned=0
    for task in /proc/$qemu/task/*; do
        case $(cat "$task/comm") in
            "CPU 0/KVM") taskset -pc 2 "${task##*/}" ;;
            "CPU 1/KVM") taskset -pc 3 "${task##*/}" ;;
            *) continue ;;
        esac && pinned=$((pinned + 1))
    done
    [ $pinned = 2 ]
}

guest_down() {
    echo poweroff > /run/guest.in
    wait $qemu || fail "QEMU ended with status $?"
    rm /run/guest.in /run/guest.out /run/panel.in /run/panel.out
    echo 0 > $huge
    umount /sys/kernel/debug
    unload_all $kvm
}

cell_starts() {
    place=cell
    run cellctl create cell.toml
    kinds > /run/before
    echo "mark: begin cell-boot"
    run cellctl start cell
    follow cell
    cell_says cell 60 "cell: ready"
    since cell-boot
}

step root
# From here on nothing runs on the other two CPUs that is not put there.
taskset -p 3 $$
resources
mkdir -p /dev/hugepages
mount -t hugetlbfs hugetlbfs /dev/hugepages

step rounds
for round in $(seq $rounds); do
    all_works plain
    guest_up
    all_works kvm
    guest_down
    monitor_on
    cell_starts
    all_works cell
    quiet cell
    run cellctl destroy cell
    run cellctl disable
    unload
    echo "root: round $round of $rounds"
done

step off
resources
pass
