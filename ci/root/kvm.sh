# Words of scenarios that compare cells with KVM guests of the root.

# The module of KVM for these CPUs.
kvm_module() {
    if grep -q AuthenticAMD /proc/cpuinfo; then echo kvm_amd; else echo kvm_intel; fi
}

# Loads KVM, and has $1 MiB in pages of 2 MiB for its guests.
kvm_on() {
    load "$(kvm_module)"
    mount -t debugfs debugfs /sys/kernel/debug
    mkdir -p /dev/hugepages
    mount -t hugetlbfs hugetlbfs /dev/hugepages
    echo $(($1 / 2)) > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
}

# Gives all of it back: with KVM loaded, the monitor cannot be turned on.
kvm_off() {
    echo 0 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
    umount /dev/hugepages
    umount /sys/kernel/debug
    unload_all "$(kvm_module)"
}

# Exits of all KVM guests so far, by kind; `exits` is all of them.
kvm_exits() {
    (cd /sys/kernel/debug/kvm && grep . exits halt_exits io_exits mmio_exits irq_exits irq_window_exits) | tr : ' '
}

# Exits so far in the present place, by kind: KVM's, or those of the cell `cell`. There
# is always a line.
kinds() {
    echo "none 0"
    case $place in
        kvm) kvm_exits ;;
        cell) exits cell ;;
    esac
}

# Begins what is measured as $1.
begins() {
    kinds > /run/before
    echo "mark: begin $1"
}

# Ends it, and tells how many exits of all kinds have come meanwhile, and which.
ends() {
    kinds > /run/after
    awk -v what="$1" 'NR == FNR { old[$1] = $2; next }
        { n = $2 - old[$1] } $1 == "exits" { all = n; next }
        { sum += n } n { kinds = kinds " " $1 "=" n }
        END { if (all == "") all = sum + 0
            print "kinds: " what kinds
            print "mark: end " what " kind=exits of=" all " all=" all }' /run/before /run/after
}

# Makes the KVM guest $1 with $2 MiB, as the best practice has it: each virtual CPU on one
# of the CPUs $4 (as in "2 3") where nothing else runs, huge pages, QEMU's own threads on
# the CPUs $3 (as in 0,1). What follows are more words for QEMU. The guest stands still
# until `guest_goes`. What it says is in /run/cell-$1.
guest_made() {
    guest_name=$1 guest_mib=$2 guest_own=$3 guest_cpus=$4
    shift 4
    mkfifo "/run/$guest_name.in" "/run/$guest_name.out" "/run/$guest_name-panel.in" "/run/$guest_name-panel.out"
    cat "/run/$guest_name-panel.out" > /dev/null &
    : > "/run/cell-$guest_name"
    copied "$guest_name" < "/run/$guest_name.out" &
    taskset -c "$guest_own" qemu-system-x86_64 -L /usr/share/seabios -L /usr/share/qemu -nodefaults -no-user-config \
        -display none -no-reboot -machine q35 -accel kvm -cpu host -smp "$(echo "$guest_cpus" | wc -w)" -m "$guest_mib" \
        -mem-path /dev/hugepages -mem-prealloc -kernel vmlinuz -initrd initrd.img \
        -append "console=ttyS0 mitigations=off" -serial "pipe:/run/$guest_name" -monitor "pipe:/run/$guest_name-panel" \
        -name "guest,debug-threads=on" -S "$@" &
    echo $! > "/run/qemu-$guest_name"
    # shellcheck disable=SC2086 # Several CPUs.
    within "QEMU makes the CPUs of $guest_name" 60 pinned "$(cat "/run/qemu-$guest_name")" $guest_cpus
}

# Copies a guest's console, line by line, here and into the file.
copied() {
    return=$(printf '\r')
    while IFS= read -r line; do
        line=${line%"$return"}
        echo "$1: $line"
        echo "$line" >> "/run/cell-$1"
    done
}

# Puts each virtual CPU of the process $1 on the next of the CPUs that follow; fails until
# all are there.
pinned() {
    tasks=/proc/$1/task
    shift
    vcpu=0
    for cpu in "$@"; do
        task=$(grep -l -x "CPU $vcpu/KVM" "$tasks"/*/comm) || return 1
        task=${task%/comm}
        taskset -pc "$cpu" "${task##*/}" || return 1
        vcpu=$((vcpu + 1))
    done
}

# Lets the guest $1 boot, and waits until it obeys.
guest_goes() {
    echo cont > "/run/$1-panel.in"
    within "the KVM guest $1 is up" 120 grep -q "^cell: ready" "/run/cell-$1"
}

# Types the command $3 on the console of the KVM guest $1, and waits at most $2 seconds
# for its end, as `tell` does for a cell.
tell_guest() {
    told=$(grep -c "^cell: done" "/run/cell-$1")
    echo "$3" > "/run/$1.in"
    ends_well "$@" "$told"
}

# Turns the guest $1 off.
guest_off() {
    echo poweroff > "/run/$1.in"
    wait "$(cat "/run/qemu-$1")" || fail "QEMU of $1 ended with status $?"
    rm "/run/$1.in" "/run/$1.out" "/run/$1-panel.in" "/run/$1-panel.out"
}
