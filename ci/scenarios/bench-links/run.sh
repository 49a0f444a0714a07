. /lib.sh

mib=32

# Exits of both cells so far.
all_exits() {
    { exits a; exits b; } | awk '{ all += $2 } END { print all + 0 }'
}

# Sends $2 MiB by the way $1 from a, whose command is $3, to b, whose command is $4 and
# whose port is $5, if it has one. What a has typed and started meanwhile is the same for
# all ways. That all came is seen by their count.
transfer() {
    listens=true
    [ $# -lt 5 ] || listens=$(printf "grep -q ':%04X .* 0A ' /proc/net/tcp*" "$5")
    tell b 20 "$4 | wc -c > /tmp/got & until $listens; do sleep 0.1; done"
    tell a 20 "rm -f /tmp/go /tmp/done; mkfifo /tmp/go /tmp/done; { read -r go < /tmp/go; head -c $(($2 << 20)) /dev/zero | time -f %e $3 > /dev/null 2> /tmp/log; tail -n 1 /tmp/log > /tmp/done; } &"
    begun=$(all_exits)
    echo "mark: begin $1"
    tell a 300 "echo > /tmp/go; read -r seconds < /tmp/done; echo bench: $1 seconds=\$seconds"
    echo "mark: end $1 kind=mib of=$2 all=$(($(all_exits) - begun))"
    tell b 20 "until [ -s /tmp/got ]; do sleep 0.1; done; [ \$(cat /tmp/got) = $(($2 << 20)) ] && rm /tmp/got"
    echo "bench: seconds $1 $(sed -n "s/^bench: $1 seconds=//p" /run/cell-a)"
}

# Round trips per second by the way $1 to the address $2.
trips() {
    tell a 120 "time -f 'bench: $1 trips-seconds=%e' ping -A -q -c 1000 $2"
    echo "bench: trips $1 $(sed -n "s/^bench: $1 trips-seconds=//p" /run/cell-a | awk '{ print 1000 / $1 }')"
}

step on
ip link set eth0 up
monitor_on
run cellctl create a.toml b.toml
run cellctl start
for cell in a b; do
    follow "$cell"
    cell_says "$cell" 60 "cell: ready"
    tell "$cell" 20 "cellnet net > /tmp/net 2>&1 & until [ -s /tmp/net ]; do sleep 0.1; done; cat /tmp/net"
done
tell a 20 "ip addr add 10.1.3.1/24 dev eth0; ip link set eth0 up"
tell b 20 "ip addr add 10.1.3.2/24 dev eth0; ip link set eth0 up"
tell a 60 "until ping -c 1 -W 1 10.1.3.2 && ping -c 1 -W 1 10.1.2.2; do sleep 1; done > /dev/null"

step transfers
transfer nothing 0 cat true
transfer ring $mib "cellmsg board send 2" "cellmsg board receive 1 2> /dev/null"
transfer tcp $mib "nc 10.1.2.2 9001" "sleep 900 | nc -l -p 9001" 9001
transfer vf $mib "nc 10.1.3.2 9002" "sleep 900 | nc -l -p 9002" 9002

step trips
tell b 20 "cellmsg board answer > /dev/null 2>&1 &"
tell a 60 "cellmsg board bench 2"
echo "bench: trips ring $(sed -n 's/^cellmsg: \([0-9]*\) round trips.*/\1/p' /run/cell-a)"
trips tcp 10.1.2.2
trips vf 10.1.3.2
pass
