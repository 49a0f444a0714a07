. /lib.sh
. /kvm.sh

rounds=3

# What is done, and how often of it.
works="compute:50000 null-calls:300000 context:20000 futex:3000 forks:300 faults:60 timers:500 idle:5"

# Exits so far, by kind: KVM's, or the monitor's. There is always a line.
kinds() {
    echo "none 0"
    case $place in
        plain) ;;
        kvm) kvm_exits ;;
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

# Does the command in the present place, on its two CPUs.
does() {
    case $place in
        plain) FIRST=2 SECOND=3 taskset -c 2 sh -c "$1" | sed 's/^/plain: /' ;;
        kvm) tell_guest guest 300 "$1" ;;
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

guest_starts() {
    kvm_on 512
    guest_made guest 512 0,1 "2 3"
    place=kvm
    kinds > /run/before
    echo "mark: begin kvm-boot"
    guest_goes guest
    since kvm-boot
}

guest_ends() {
    guest_off guest
    kvm_off
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

step rounds
for round in $(seq $rounds); do
    all_works plain
    guest_starts
    all_works kvm
    guest_ends
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
