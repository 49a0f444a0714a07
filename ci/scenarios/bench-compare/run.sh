. /lib.sh
. /kvm.sh

rounds=3

# What is done, and how often of it.
works="compute:50000 null-calls:300000 context:20000 futex:3000 forks:300 faults:60 timers:500 idle:5"

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
        begins "$place-${work%:*}"
        does "compare ${work%:*} ${work#*:}"
        ends "$place-${work%:*}"
    done
}

guest_starts() {
    kvm_on 512
    guest_made guest 512 0,1 "2 3"
    place=kvm
    begins kvm-boot
    guest_goes guest
    ends kvm-boot
}

guest_ends() {
    guest_off guest
    kvm_off
}

cell_starts() {
    place=cell
    run cellctl create cell.toml
    begins cell-boot
    run cellctl start cell
    follow cell
    cell_says cell 60 "cell: ready"
    ends cell-boot
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
