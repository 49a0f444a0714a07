. /lib.sh
. /net.sh

# Sends 4 MiB from the cell $1 to the cell $2 through the ring, and what both left
# their guests for meanwhile.
transfer() {
    before "$1" "$2"
    tell "$1" 120 "yes abcdefg-to-$2 | head -c 4194304 | window send shared" &
    sender=$!
    tell "$2" 120 "window receive shared | sha256sum"
    wait $sender
    since "$1" "by a ring"
    since "$2" "by a ring"
}

# Whether the cell a, 10.1.2.1, is connected with the port $1 here.
a_is_connected() {
    grep -q "$(printf ':%04X [0-9A-F]*0102010A:.... 01 ' "$1")" /proc/net/tcp*
}

# Joins the network, in the cell $1.
join() {
    tell "$1" 20 "cellnet net > /tmp/net 2>&1 & until [ -s /tmp/net ]; do sleep 0.1; done; cat /tmp/net"
}

# Sends 2 MiB by TCP from $1 to the address $2, which answers with their sum.
stream() {
    echo "yes by-tcp-from-$1 | head -c 2097152 | nc $2 9000"
}

# Sends 16 MiB of the line $4 by TCP from the cell $1 to the cell $2, which is at the
# address $3, and tells what both left their guests for meanwhile. Every program runs, and
# the connection is there, before anything is counted: programs that begin ask for CPUID.
# What is sent is said by the shell itself.
transfer_by_tcp() {
    tell "$2" 20 "sleep 3600 | nc -l -p 9001 > /tmp/got & until $(listens 9001); do sleep 0.1; done"
    tell "$1" 60 "mibs=\$(seq 16); mkfifo /tmp/ready /tmp/go /tmp/done; (big=\$(yes $4 | head -c 1048575); echo > /tmp/ready; read -r go < /tmp/go; for mib in \$mibs; do echo \"\$big\"; done) | nc $3 9001 1<> /tmp/done & read -r go < /tmp/ready; until grep -q ':2329 01 ' /proc/net/tcp; do sleep 0.1; done"
    before "$1" "$2"
    tell "$1" 300 "echo > /tmp/go; read -r sum < /tmp/done; true"
    since "$1" "that sent 16 MiB by TCP" 16
    since "$2" "that received them" 16
    tell "$2" 60 "sha256sum < /tmp/got; rm /tmp/got"
}

# A command on another machine.
by_ssh() {
    echo "dbclient -y -y root@$1 'uname -r; ip -4 -o addr show dev net' < /dev/null"
}

step on
resources
monitor_on

step plan
run cellctl plan a.toml b.toml c.toml
run cellctl create a.toml b.toml c.toml
run cellctl list
run cellctl status c

step up
all_up a b c
for cell in a b c; do
    tell "$cell" 20 "window list"
done

step write
tell a 20 "window write shared from-a-to-all"
tell b 20 "window read shared"
tell c 20 "window read shared"
tell b 20 "window write shared from-b-to-all"
tell a 20 "window read shared"
shared=$(sed -n 's/^window: shared base=0x\([0-9a-f]*\) .*/\1/p' /run/cell-a)
tell a 20 "mkdir -p /d; mount -t debugfs d /d; window read shared; window receive shared > /tmp/none & until grep 'mem 0x0*$shared-' /d/x86/pat_memtype_list; do sleep 0.1; done; kill \$!; wait \$! || true"
run cellctl list

step stream
transfer a b
transfer b a

step net
cellnet net > /run/cellnet 2>&1 &
network=$!
for cell in a b c; do
    join "$cell"
done
cat /run/cellnet
for address in 1 2 3; do
    within "10.1.2.$address answers" 20 ping -c 1 -W 1 "10.1.2.$address"
    run ping -c 3 -i 0.2 "10.1.2.$address"
done
nc -ll -p 9000 -e sha256sum < /dev/null &
listener=$!
within "the root listens" 10 sh -c "$(listens 9000)"
for cell in a b c; do
    tell "$cell" 20 "nc -ll -p 9000 -e sha256sum < /dev/null > /dev/null 2>&1 & until $(listens 9000); do sleep 0.1; done"
done
tell b 20 "ping -c 3 -i 0.2 10.1.2.3"
tell c 20 "ping -c 3 -i 0.2 -s 60000 10.1.2.1"
# All at once: a wire is seldom quiet.
tell a 120 "$(stream a 10.1.2.2)" &
streams=$!
tell b 120 "$(stream b 10.1.2.1)" &
streams="$streams $!"
tell c 120 "$(stream c 10.1.2.4)" &
streams="$streams $!"
eval "$(stream root 10.1.2.3)"
# shellcheck disable=SC2086 # Several processes.
wait $streams

step there
transfer_by_tcp a b 10.1.2.2 abcdefg

step back
transfer_by_tcp b a 10.1.2.1 bcdefgh

step outside
world_up
beyond nc -ll -p 9000 -e sha256sum < /dev/null &
within "somebody listens beyond" 10 nsenter -t "$world" -n sh -c "$(listens 9000)"
forwarding
tell b 20 "ip route"
tell b 60 "$(stream b 192.0.2.2)"
keeps_out 10.1.2.0/24 10.1.2.2

step ssh
lets_in a &
serves=$!
lets_in b &
serves="$serves $!"
lets_in c &
# shellcheck disable=SC2086 # Several processes.
wait $serves $!
for address in 1 2 3; do
    eval "$(by_ssh "10.1.2.$address")" || fail "no ssh to 10.1.2.$address"
done
tell b 60 "$(by_ssh 10.1.2.3)"
tell c 60 "$(by_ssh 10.1.2.1)"

step messages
tell a 20 "cellmsg shared answer > /tmp/answer 2>&1 & echo \$! > /tmp/pid"
tell b 20 "cellmsg shared echo 1 a-word-from-b"
tell b 60 "cellmsg shared bench 1"
tell a 20 "kill \$(cat /tmp/pid)"
tell a 20 "cellmsg shared receive 2 > /tmp/copy 2> /tmp/why &"
tell b 60 "yes a-file-from-b | head -c 1000000 > /tmp/file; cellmsg shared send 1 < /tmp/file"
tell a 20 "until grep ' came' /tmp/why; do sleep 0.1; done; sha256sum < /tmp/copy"

step garbage
tell a 60 "window garbage net 2"
for address in 1 2 3; do
    within "10.1.2.$address answers after nonsense" 30 ping -c 1 -W 1 "10.1.2.$address"
done
tell b 120 "$(stream b 10.1.2.3)"
echo "root: the network is there after nonsense"

step root
[ -e /run/cellvisor/links/board.json ] || fail "no record of the board"
tell a 20 "window write board from-a-to-root"
run window at /dev/cellvisor "$(place board)" 2097152 read
run window at /dev/cellvisor "$(place board)" 2097152 write from-root-to-a
tell a 20 "window read board"
# Its end is expected, and the kernel need not complain about it.
echo 0 > /proc/sys/debug/exception-trace
window at /dev/cellvisor "$(place shared)" 2097152 read
echo "root: reading the others' link ended with $?"

step clock
tell c 20 "window clock shared"
tell b 20 "window read shared"

step reader-writes
tell a 20 "window write shared before-the-mistake"
cellctl console c --new --for 0 --send "window write shared from-c\n" < /dev/null > /dev/null
within "cell c fails" 20 sh -c "cellctl list | grep -q 'c .*failed'"
run cellctl status c
tell b 20 "window read shared"
tell a 20 "window read shared"

step again
run cellctl start c
follow c
cell_says c 60 "cell: ready"
tell c 20 "window read shared"

step member-goes
# In the middle of a stream.
cellctl console a --new --for 0 --send "yes | nc 10.1.2.4 9000\n" < /dev/null > /dev/null
within "the root hears the cell a" 20 a_is_connected 9000
run cellctl destroy a
run ping -c 3 -i 0.2 10.1.2.2
run cellctl list
tell b 20 "window read shared"
tell b 20 "window write shared while-a-is-away"
run cellctl create a.toml
run cellctl start a
follow a
cell_says a 60 "cell: ready"
tell a 20 "window read shared"
tell a 20 "window read board"
join a
within "a is back in the network" 30 ping -c 1 -W 1 10.1.2.1
echo "root: a is back in the network"

step off
kill $network $listener $world
all_off a b c
forwarding
pass
