. /lib.sh
. /net.sh

# Gives the cell $1 the address $2, in the network without the root.
join() {
    tell "$1" 20 "ip addr add $2/24 dev eth0; ip link set eth0 up; ip -o link show dev eth0; cat /sys/class/net/eth0/device/vendor /sys/class/net/eth0/device/device"
}

# Gives the cell $1 the address $2, in the network with the root, which leads on.
join_root() {
    tell "$1" 20 "ip addr add $2/24 dev eth1; ip link set eth1 up; ip route add default via 10.1.3.1"
}

# The root joins it.
cellnet_up() {
    cellnet net > /run/cellnet 2>&1 &
    network=$!
    within "cellnet is up" 20 grep -q "net is up" /run/cellnet
    cat /run/cellnet
}

# The root reaches each cell.
reach_all() {
    for address in 2 3 4; do
        within "10.1.3.$address answers" 20 ping -c 1 -W 1 "10.1.3.$address"
        run ping -c 3 -i 0.2 "10.1.3.$address"
    done
}

# The monitor's number of the link $1.
number() {
    sed -n '/"step": "cell"/,/}/s/ *"id": \([0-9]*\),*/\1/p' "/run/cellvisor/links/$1.json"
}

# Whether the cell c has done with so many attacks.
has_attacked() {
    [ "$(grep -c "attack-net: done" /run/cell-c)" -ge "$1" ]
}

step on
resources
monitor_on

step plan
run cellctl plan a.toml b.toml c.toml
run cellctl create a.toml b.toml c.toml
run cellctl list
run cellctl status b

step up
all_up a b c
join a 10.1.2.1
join b 10.1.2.2
join c 10.1.2.3

step ping
tell a 20 "ping -c 3 -i 0.2 10.1.2.2"
tell b 20 "ping -c 3 -i 0.2 10.1.2.3"
tell c 20 "ping -c 3 -i 0.2 -s 60000 10.1.2.1"

step there
serve a
serve b
transfer a b 10.1.2.1 virtio0

step back
transfer b a 10.1.2.2 virtio0

step root
cellnet_up
join_root a 10.1.3.2
join_root b 10.1.3.3
join_root c 10.1.3.4
reach_all
tell a 20 "ping -c 3 -i 0.2 10.1.3.1"
tell b 20 "ping -c 3 -i 0.2 10.1.3.4"
tell c 20 "ping -c 3 -i 0.2 -s 60000 10.1.3.1"

step root-gets
before a
echo "root: got $(wget -q -O - http://10.1.3.2/file | sha256sum)"
since a "that sent 64 MiB by TCP to the root"

step root-sends
tell b 20 "nc -ll -p 9000 -e sha256sum < /dev/null > /dev/null 2>&1 & until $(listens 9000); do sleep 0.1; done"
before b root
echo "root: sent $(yes 64-mib-by-tcp-from-root | head -c 67108864 | nc 10.1.3.3 9000)"
since b "that received 64 MiB by TCP from the root"
since root "that sent them"

step outside
world_up
forwarding
tell b 30 "ping -c 3 -i 0.2 192.0.2.2"
keeps_out 10.1.3.0/24 10.1.3.3
kill "$world"

step ssh
for cell in a b c; do
    lets_in "$cell"
done
for address in 2 3 4; do
    dbclient -y -y "root@10.1.3.$address" 'uname -r; ip -4 -o addr show dev eth1' < /dev/null ||
        fail "no ssh to 10.1.3.$address"
done

step root-anew
# In the middle of a transfer.
wget -q -O /dev/null http://10.1.3.2/file &
transfer=$!
sleep 1
kill -9 "$network"
wait "$network" || true
tell b 20 "ping -c 3 -i 0.2 10.1.3.2"
cellnet_up
reach_all
kill "$transfer" 2> /dev/null || true

step root-attack
kill "$network"
wait "$network" || true
window at /dev/cellvisor "$(place net)" 2097152 garbage 5 > /dev/null &
garbage=$!
attack-link "$(number net)" 5 &
attack=$!
tell b 30 "ping -c 10 -i 0.2 10.1.3.2"
tell b 120 "wget -q -O /tmp/got http://10.1.3.2/file; sha256sum < /tmp/got; rm /tmp/got"
wait "$attack" || fail "the root's attack ended with $?"
wait "$garbage" || fail "nonsense ended with $?"
cellnet_up
reach_all

step attack
# One of them plays with its adapters behind its kernel's back; the others send to it, to
# all, and to each other.
cellctl console c --new --for 0 --send "for n in 0 1; do ip link set eth\$n down; echo 00c1:00:0\$n.0 > /sys/bus/pci/drivers/virtio-pci/unbind; attack-net 5 \$n; done\n" < /dev/null > /dev/null
tell b 20 "ping -c 30 -i 0.1 10.1.2.3 > /dev/null & ping -c 3 -i 0.2 10.1.2.1"
tell b 120 "wget -q -O /tmp/got http://10.1.2.1/file; sha256sum < /tmp/got; rm /tmp/got"
within "c has attacked the network without the root" 60 has_attacked 1
ping -c 40 -i 0.1 10.1.3.4 > /dev/null &
run ping -c 3 -i 0.2 10.1.3.2
within "c has attacked the one with the root" 60 has_attacked 2
run ping -c 3 -i 0.2 10.1.3.2
run cellctl list

step member-goes
# In the middle of a transfer.
tell b 20 "wget -q -O /tmp/got http://10.1.2.1/file > /dev/null 2>&1 & until [ \$(stat -c %s /tmp/got 2> /dev/null || echo 0) -gt 1000000 ]; do :; done"
wget -q -O /dev/null http://10.1.3.2/file &
transfer=$!
sleep 1
run cellctl destroy a
kill "$transfer" 2> /dev/null || true
run ping -c 3 -i 0.2 10.1.3.3
link_is b 1
run cellctl kill c
link_is b 0
run cellctl destroy c
run cellctl list
run cellctl create c.toml
run cellctl start c
follow c
cell_says c 60 "cell: ready"
link_is b 1
join c 10.1.2.3
join_root c 10.1.3.4
tell b 20 "ping -c 3 -i 0.2 10.1.2.3"
run cellctl create a.toml
run cellctl start a
follow a
cell_says a 60 "cell: ready"
join a 10.1.2.1
join_root a 10.1.3.2
reach_all
tell a 20 "ping -c 3 -i 0.2 10.1.2.2; ping -c 3 -i 0.2 10.1.2.3"
tell c 20 "ping -c 3 -i 0.2 -s 60000 10.1.2.1"

step off
kill "$network"
all_off a b c
forwarding
pass
