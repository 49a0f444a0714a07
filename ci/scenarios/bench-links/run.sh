. /lib.sh
. /kvm.sh

# How often, and how much: words of the kernel's command line (cargo xtask bench links),
# which are variables of the first process.
rounds=${links_rounds:-1}
mib=${links_mib:-4}
trips=500

port=9000

# Two cells, or two KVM guests: how they are told something, their names, and their exits.
cells() {
    say=tell one=a other=b
}

guests() {
    say=tell_guest one=ka other=kb
}

all_exits() {
    case $say in
        tell) exits $one; exits $other ;;
        *) kvm_exits | grep "^exits " ;;
    esac | awk '{ all += $2 } END { print all + 0 }'
}

# Measures the command $4 of the first of both, which is $3 times $2, as $1. What is typed
# and started meanwhile is the same for all; its seconds are told by `time`.
measure() {
    $say $one 20 "rm -f /tmp/go /tmp/done; mkfifo /tmp/go /tmp/done; { read -r go < /tmp/go; $4 > /dev/null 2> /tmp/log; tail -n 1 /tmp/log > /tmp/done; } &"
    begun=$(all_exits)
    echo "mark: begin $1"
    $say $one $((60 + mib * 15)) "echo > /tmp/go; read -r seconds < /tmp/done; ! grep status /tmp/log && echo bench: $1 seconds=\$seconds"
    echo "mark: end $1 kind=$2 of=$3 all=$(($(all_exits) - begun))"
    echo "bench: seconds $1 $(sed -n "s/^bench: $1 seconds=//p" /run/cell-$one)"
}

# A command: sends all that is to be sent to the command $1.
sent() {
    echo "head -c $((mib << 20)) /dev/zero | time -f %e $1"
}

# What is measured when nothing is sent, as $1.
nothing() {
    measure "$1" mib 0 "head -c 0 /dev/zero | time -f %e cat"
}

# Both have somebody who listens, and the ways between them are open.
listening() {
    $say $other 20 "stream serve $port > /dev/null 2>&1 & until grep -q '$(printf ':%04X .* 0A ' $port)' /proc/net/tcp; do sleep 0.1; done"
}

# By TCP to the address $2, as $1: all that is to be sent, and round trips.
by_tcp() {
    $say $one 60 "until ping -c 1 -W 1 $2; do sleep 1; done > /dev/null"
    measure "$1" mib "$mib" "$(sent "stream send $2 $port")"
    measure "$1-trips" trips "$trips" "time -f %e stream ask $2 $port $trips"
}

by_ring() {
    tell b 20 "cellmsg board receive 1 > /dev/null 2> /tmp/came &"
    measure ring mib "$mib" "$(sent "cellmsg board send 2")"
    tell b 20 "until grep -x 'cellmsg: $((mib << 20)) bytes came' /tmp/came; do sleep 0.1; done"
    # It measures by itself, and has an end of its own.
    tell b 20 "cellmsg board answer > /dev/null 2>&1 & echo \$! > /tmp/answers"
    tell a 60 "cellmsg board bench 2"
    echo "bench: rate ring $(sed -n 's/^cellmsg: \([0-9]*\) round trips.*/\1/p' /run/cell-a)"
    tell b 20 "kill \$(cat /tmp/answers)"
}

# It looks for frames all the time, so it runs for as long as it is used.
by_cellnet() {
    for cell in a b; do
        tell $cell 20 "cellnet net > /tmp/net 2>&1 & echo \$! > /tmp/cellnet; until [ -s /tmp/net ]; do sleep 0.1; done; cat /tmp/net"
    done
    by_tcp cellnet 10.1.2.2
    for cell in a b; do
        tell $cell 20 "kill \$(cat /tmp/cellnet)"
    done
}

# Gives the address $3 to the interface of $1 that the driver $2 has.
address() {
    $say "$1" 20 "for card in /sys/class/net/*; do case \$(readlink \$card/device/driver) in */$2) ip addr add $3/24 dev \${card##*/}; ip link set \${card##*/} up;; esac; done"
}

between_cells() {
    cells
    monitor_on
    run cellctl create a.toml b.toml
    run cellctl start
    for cell in a b; do
        follow $cell
        cell_says $cell 60 "cell: ready"
    done
    address a igbvf 10.1.3.1
    address b igbvf 10.1.3.2
    address a virtio_net 10.1.4.1
    address b virtio_net 10.1.4.2
    address a fjes 10.1.6.1
    address b fjes 10.1.6.2
    listening
    nothing cells
    by_ring
    by_cellnet
    by_tcp ethernet 10.1.4.2
    by_tcp fjes 10.1.6.2
    by_tcp vf 10.1.3.2
    for cell in a b; do
        quiet $cell
        run cellctl destroy $cell
    done
    run cellctl disable
    unload
}

# Two KVM guests, each with a tap of the root's bridge that the kernel carries for (vhost).
between_guests() {
    guests
    kvm_on 512
    number=0
    for guest in $one $other; do
        number=$((number + 1))
        guest_made "$guest" 256 1 $((number + 1)) \
            -netdev "tap,id=net,ifname=tap$number,script=no,downscript=no,vhost=on" \
            -device "virtio-net-pci,netdev=net,mac=02:00:00:00:02:0$number,romfile="
        run /bin/ip link set tap$number master bridge
        run ip link set tap$number up
    done
    for guest in $one $other; do
        guest_goes "$guest"
    done
    address $one virtio_net 10.1.5.1
    address $other virtio_net 10.1.5.2
    echo "root: vhost has $(grep -l "^vhost-" /proc/[0-9]*/task/*/comm | wc -l) threads"
    listening
    nothing guests
    by_tcp vhost 10.1.5.2
    for guest in $one $other; do
        guest_off "$guest"
    done
    kvm_off
}

step root
# The root's own work is on CPU 0, QEMU's and that of vhost on CPU 1; on the other two
# nothing runs that is not put there.
taskset -p 1 $$
resources
ip link set eth0 up
run /bin/ip link add bridge type bridge
run ip link set bridge up

step rounds
echo "root: $rounds rounds"
for round in $(seq "$rounds"); do
    between_cells
    between_guests
    echo "root: round $round of $rounds"
done

step off
resources
pass
