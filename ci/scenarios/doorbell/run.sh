. /lib.sh
. /net.sh

# A command: how often the process whose number is in the file $1 has slept.
slept() {
    echo "sed -n s/^voluntary_ctxt_switches://p /proc/\$(cat $1)/status"
}

# Has the cell $1 count how often the process of the file $2 looks in 5 s, which is $3.
idle() {
    tell "$1" 30 "one=\$($(slept "$2")); sleep 5; two=\$($(slept "$2")); echo $3=\$((two - one))"
}

# Has the cell $1 answer who asks over the link.
answer() {
    tell "$1" 20 "cellmsg bell answer > /tmp/answer 2>&1 & echo \$! > /tmp/answers; sleep 1; cat /tmp/answer"
}

# Joins the network, in the cell $1.
join() {
    tell "$1" 20 "cellnet net > /tmp/net 2>&1 & echo \$! > /tmp/nets; until [ -s /tmp/net ]; do sleep 0.1; done; cat /tmp/net"
}

# How many frames the cell c was sent so far.
heard() {
    tell c 20 "cat /sys/class/net/eth0/statistics/rx_packets > /tmp/$1"
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
for cell in a b c; do
    tell "$cell" 20 "ls /sys/class/net; cat /sys/bus/acpi/devices/CLVS0001:*/description"
done

step asleep
answer b
tell a 20 "cellmsg bell echo 2 a-word-from-a"
sleep 2
idle b /tmp/answers answerer-looks
tell a 20 "cellmsg bell echo 2 another-word-from-a"

step rings
tell b 20 "$(slept /tmp/answers) > /tmp/before"
before a b
tell a 30 "cellmsg bell ring 2 100"
since a "that rang 100 times"
since b "that was rung"
tell b 20 "$(slept /tmp/answers) > /tmp/after; echo woken=\$((\$(cat /tmp/after) - \$(cat /tmp/before)))"

step net
join b
join c
tell b 20 "ping -c 3 -i 0.2 10.1.2.2"
tell c 20 "ping -c 3 -i 0.2 -s 60000 10.1.2.1"
sleep 2
idle b /tmp/nets network-looks

step transfer
tell b 20 "nc -ll -p 9000 -e sha256sum < /dev/null > /dev/null 2>&1 & until grep -q ':2328 .* 0A ' /proc/net/tcp*; do sleep 0.1; done"
before b c
tell c 120 "yes by-tcp-from-c | head -c 4194304 | nc 10.1.2.1 9000"
since c "that sent 4 MiB by TCP" 4
since b "that received them" 4

step storm
heard before
tell a 60 "attack-bell eth0 5 $(cellctl status c | sed -n 's/.* net: .* doorbell //p')"
heard after
tell c 20 "echo heard=\$((\$(cat /tmp/after) - \$(cat /tmp/before)))"
tell a 20 "cellmsg bell echo 2 after-the-storm"

step attack
# It plays with its adapter behind its kernel's back.
cellctl console a --new --for 0 --send "ip link set eth0 down; echo 00c1:00:00.0 > /sys/bus/pci/drivers/virtio-pci/unbind; attack-net 5\n" < /dev/null > /dev/null
tell b 30 "ping -c 20 -i 0.2 10.1.2.2"
cell_says a 60 "attack-net: done"
run cellctl list

step member-goes
run cellctl destroy a
tell b 20 "cellmsg bell ring 1 5"
run cellctl create a.toml
run cellctl start a
follow a
cell_says a 60 "cell: ready"
tell a 20 "cellmsg bell echo 2 a-is-back"
tell b 20 "ping -c 3 -i 0.2 10.1.2.2"

step off
all_off a b c
pass
