. /lib.sh

# Gives the cell $1 the address $2.
join() {
    tell "$1" 20 "ip addr add $2/24 dev eth0; ip link set eth0 up; ip -o link show dev eth0; cat /sys/class/net/eth0/device/vendor /sys/class/net/eth0/device/device"
}

# Serves a file of 64 MiB in the cell $1.
serve() {
    tell "$1" 60 "mkdir -p /srv; yes 64-mib-by-tcp-from-$1 | head -c 1048576 > /tmp/mib; for i in \$(seq 64); do cat /tmp/mib; done > /srv/file; httpd -p 80 -h /srv"
}

# Has the cell $2 get the file of the cell $1, which is at the address $3, while exits are
# counted.
transfer() {
    before "$1" "$2"
    tell "$2" 120 "time wget -q -O /tmp/got http://$3/file"
    since "$1" "that sent 64 MiB by TCP"
    since "$2" "that received them"
    tell "$2" 60 "sha256sum < /tmp/got; rm /tmp/got; grep virtio0 /proc/interrupts"
}

# Waits until the kernel of the cell $1 says 1 or 0, which is $2, of its link.
link_is() {
    tell "$1" 20 "until [ \$(cat /sys/class/net/eth0/carrier) = $2 ]; do sleep 0.1; done; echo carrier=$2"
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
run cellctl start
for cell in a b c; do
    follow "$cell"
    cell_says "$cell" 60 "cell: ready"
done
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
transfer a b 10.1.2.1

step back
transfer b a 10.1.2.2

step attack
# One of them plays with its adapter behind its kernel's back; the others send to it, to
# all, and to each other.
cellctl console c --new --for 0 --send "ip link set eth0 down; echo 00c1:00:00.0 > /sys/bus/pci/drivers/virtio-pci/unbind; attack-net 5\n" < /dev/null > /dev/null
tell b 20 "ping -c 30 -i 0.1 10.1.2.3 > /dev/null & ping -c 3 -i 0.2 10.1.2.1"
tell b 120 "wget -q -O /tmp/got http://10.1.2.1/file; sha256sum < /tmp/got; rm /tmp/got"
cell_says c 60 "attack-net: done"
run cellctl list

step member-goes
# In the middle of a transfer.
tell b 20 "wget -q -O /tmp/got http://10.1.2.1/file > /dev/null 2>&1 & until [ \$(stat -c %s /tmp/got 2> /dev/null || echo 0) -gt 1000000 ]; do :; done"
run cellctl destroy a
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
tell b 20 "ping -c 3 -i 0.2 10.1.2.3"
run cellctl create a.toml
run cellctl start a
follow a
cell_says a 60 "cell: ready"
join a 10.1.2.1
tell a 20 "ping -c 3 -i 0.2 10.1.2.2; ping -c 3 -i 0.2 10.1.2.3"
tell c 20 "ping -c 3 -i 0.2 -s 60000 10.1.2.1"

step off
all_off a b c
pass
