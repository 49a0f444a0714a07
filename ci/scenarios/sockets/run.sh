. /lib.sh
. /net.sh

# Gives the cell $1 the address $2, on the interface that its driver has made.
join() {
    tell "$1" 30 "ip addr add $2/24 dev es0; ip link set es0 up; ip -o link show dev es0; grep es0 /proc/interrupts"
}

# Waits until the cell $1 reaches the address $2.
reaches() {
    tell "$1" 60 "until ping -c 1 -W 1 $2 > /dev/null; do :; done; ping -c 3 -i 0.2 ${3:-} $2"
}

# Has the cell b begin to get the file of the cell $1, which is at the address $2.
begin() {
    tell b 20 "wget -q -O /tmp/got http://$2/file > /dev/null 2>&1 & echo \$! > /tmp/wget; until [ \$(stat -c %s /tmp/got 2> /dev/null || echo 0) -gt 1000000 ]; do :; done"
}

# Starts the cell $1 anew, and lets it join as $2.
anew() {
    run cellctl start "$1"
    follow "$1"
    cell_says "$1" 60 "cell: ready"
    join "$1" "$2"
}

step on
resources
monitor_on
echo "root: pool=$(pool_free)"

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
reaches a 10.1.2.2
reaches b 10.1.2.3
reaches c 10.1.2.1 "-s 60000"

step there
serve a
serve b
transfer a b 10.1.2.1 es0

step back
transfer b a 10.1.2.2 es0

step member-dies
serve c
begin c 10.1.2.3
run cellctl kill c
reaches b 10.1.2.1
run cellctl list
anew c 10.1.2.3
reaches c 10.1.2.1
reaches c 10.1.2.2

step member-goes
serve c
begin c 10.1.2.3
run cellctl destroy c
reaches b 10.1.2.1
reaches a 10.1.2.2
run cellctl list
run cellctl create c.toml
anew c 10.1.2.3
reaches c 10.1.2.1
reaches c 10.1.2.2

step member-reboots
cellctl console c --new --for 0 --send "reboot\n" < /dev/null > /dev/null
reaches a 10.1.2.2
within "cell c is up again" 60 sh -c '[ "$(grep -c "cell: ready" /run/cell-c)" -ge 2 ]'
join c 10.1.2.3
reaches c 10.1.2.1
reaches b 10.1.2.3

step driver
tell a 60 "ip link set es0 down; rmmod fjes"
reaches b 10.1.2.3
tell a 60 "insmod /lib/modules/\$(uname -r)/fjes.ko"
join a 10.1.2.1
reaches a 10.1.2.2
reaches c 10.1.2.1

step attack
# One of them plays with the device behind its kernel's back; the others send to each other.
tell c 60 "ip link set es0 down; rmmod fjes"
cellctl console c --new --for 0 --send "attack-socket 10\n" < /dev/null > /dev/null
tell b 20 "ping -c 20 -i 0.2 10.1.2.1"
tell b 120 "wget -q -O /tmp/got http://10.1.2.1/file; sha256sum < /tmp/got; rm /tmp/got"
within "c has attacked" 120 grep -q "attack-socket: done" /run/cell-c
tell c 60 "insmod /lib/modules/\$(uname -r)/fjes.ko"
join c 10.1.2.3
reaches c 10.1.2.1
reaches b 10.1.2.3

step off
all_off a b c
pass
