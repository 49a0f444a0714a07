. /lib.sh

cells="node0 node1 node2 node3 node4 node5 node6 node7"

# Does $1 with each cell and its number on the network, all of them at once.
each() {
    waits=
    number=0
    for cell in $cells; do
        number=$((number + 1))
        "$1" "$cell" "$number" &
        waits="$waits $!"
    done
    for wait in $waits; do
        wait "$wait" || fail "\`$1\` ended badly"
    done
}

# Types on the terminal of the cell $1, which answers there.
terminal() {
    tell "$1" 120 'echo "cell: terminal $(readlink /proc/self/fd/0) of $(nproc) CPUs"'
}

# Joins the network, in the cell $1, and has it answer by ssh, to whoever comes.
join() {
    tell "$1" 300 "cellnet net > /tmp/net 2>&1 & until [ -s /tmp/net ]; do sleep 0.1; done; cat /tmp/net"
    tell "$1" 300 "mkdir -p /etc /root; echo $1 > /proc/sys/kernel/hostname; echo root::0:0::/root:/bin/sh > /etc/passwd; echo root:x:0: > /etc/group; dropbearkey -t ed25519 -f /tmp/key > /dev/null 2>&1; dropbear -B -r /tmp/key"
}

# A command on the machine 10.1.2.$1.
by_ssh() {
    echo "dbclient -y -y root@10.1.2.$1 'echo ssh 10.1.2.$1: \$(hostname), \$(nproc) CPUs, \$(ip -4 -o addr show dev net)' < /dev/null 2> /dev/null"
}

# Logs in to the next cell, from the cell $1, which has the number $2.
onward() {
    tell "$1" 300 "$(by_ssh $(($2 % 8 + 1)))"
}

step root
resources

step on
monitor_on

step create
cellctl generate --policy cluster --boot-node --addresses 10.1.2.0/24 --image vmlinuz --initrd initrd.img > slices.toml
run cellctl create slices.toml
run cellctl list

step start
run cellctl start
for cell in $cells; do
    follow "$cell"
done
for cell in $cells; do
    cell_says "$cell" 300 "cell: ready"
done

step terminals
each terminal

step net
cellnet net > /run/cellnet 2>&1 &
network=$!
each join
within "this Linux is in the network" 60 test -s /run/cellnet
cat /run/cellnet
for number in 1 2 3 4 5 6 7 8; do
    within "10.1.2.$number answers" 60 ping -c 1 -W 2 "10.1.2.$number"
done
echo "root: all answer"

step ssh
for number in 1 2 3 4 5 6 7 8; do
    eval "$(by_ssh "$number")" || fail "no ssh to 10.1.2.$number"
done

step onward
each onward

step off
kill $network
for cell in $cells; do
    quiet "$cell"
done
run cellctl disable --force
unload
resources
pass
