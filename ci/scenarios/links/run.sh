. /lib.sh

# Where the root has the memory of the link $1: an offset and a size, as in its record.
place() {
    sed -n '/"memory"/,/]/p' "/run/cellvisor/links/$1.json" | sed -n 's/ *"start": \([0-9]*\),*/\1/p' |
        head -n 1 | while read -r start; do printf '%x' "$start"; done
}

# Sends 16 MiB from the cell $1 to the cell $2 through the ring, and what both left
# their guests for meanwhile.
transfer() {
    exits "$1" > /run/before-$1
    exits "$2" > /run/before-$2
    tell "$1" 120 "yes abcdefg-to-$2 | head -c 16777216 | window send shared" &
    sender=$!
    sleep 2
    tell "$2" 120 "window receive shared | sha256sum"
    wait $sender
    for cell in "$1" "$2"; do
        exits "$cell" > "/run/after-$cell"
        awk -v cell="$cell" 'NR == FNR { before[$1] = $2; next }
            $2 > before[$1] { what = what " " $1 "=" $2 - before[$1] }
            END { print "root: exits of " cell ":" (what ? what : " none") }' "/run/before-$cell" "/run/after-$cell"
    done
}

# Joins the network, in the cell $1.
join() {
    tell "$1" 20 "cellnet net > /tmp/net 2>&1 & until [ -s /tmp/net ]; do sleep 1; done; cat /tmp/net"
}

# Sends 8 MiB by TCP from $1 to the address $2, which answers with their sum.
stream() {
    echo "yes by-tcp-from-$1 | head -c 8388608 | nc $2 9000"
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
run cellctl start
for cell in a b c; do
    follow "$cell"
    cell_says "$cell" 60 "cell: ready"
    tell "$cell" 20 "window list"
done

step write
tell a 20 "window write shared from-a-to-all"
tell b 20 "window read shared"
tell c 20 "window read shared"
tell b 20 "window write shared from-b-to-all"
tell a 20 "window read shared"
tell a 20 "mkdir -p /d; mount -t debugfs d /d; window read shared; (window receive shared > /tmp/none & sleep 1; cat /d/x86/pat_memtype_list; kill \$!)"
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
    run ping -c 3 "10.1.2.$address"
done
nc -ll -p 9000 -e sha256sum < /dev/null &
listener=$!
for cell in a b c; do
    tell "$cell" 20 "nc -ll -p 9000 -e sha256sum < /dev/null > /dev/null 2>&1 &"
done
tell b 20 "ping -c 3 10.1.2.3"
tell c 20 "ping -c 3 -s 60000 10.1.2.1"
tell a 120 "$(stream a 10.1.2.2)"
tell b 120 "$(stream b 10.1.2.1)"
tell c 120 "$(stream c 10.1.2.4)"
eval "$(stream root 10.1.2.3)"

step messages
tell a 20 "cellmsg shared answer > /tmp/answer 2>&1 & echo \$! > /tmp/pid"
tell b 20 "cellmsg shared echo 1 a-word-from-b"
tell b 60 "cellmsg shared bench 1"
tell a 20 "kill \$(cat /tmp/pid)"
tell a 20 "cellmsg shared receive 2 > /tmp/copy 2> /tmp/why & sleep 1"
tell b 60 "yes a-file-from-b | head -c 1000000 > /tmp/file; cellmsg shared send 1 < /tmp/file"
tell a 20 "sleep 1; cat /tmp/why; sha256sum < /tmp/copy"

step garbage
tell a 60 "window garbage net 5"
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
sleep 2
run cellctl destroy a
run ping -c 3 10.1.2.2
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
kill $network $listener
all_off a b c
pass
