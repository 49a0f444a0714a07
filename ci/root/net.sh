# Words of scenarios in which cells reach each other, beside those of lib.sh.

# Starts the cells $@, follows their consoles, and waits until each is ready.
all_up() {
    run cellctl start
    for cell in "$@"; do
        follow "$cell"
        cell_says "$cell" 60 "cell: ready"
    done
}

# Serves a file of 64 MiB in the cell $1.
serve() {
    tell "$1" 60 "mkdir -p /srv; yes 64-mib-by-tcp-from-$1 | head -c 1048576 > /tmp/mib; for i in \$(seq 64); do cat /tmp/mib; done > /srv/file; httpd -p 80 -h /srv"
}

# Has the cell $2 get the file of the cell $1, which is at the address $3, while exits are
# counted; it shows its interrupts of $4.
transfer() {
    before "$1" "$2"
    tell "$2" 240 "time wget -q -O /tmp/got http://$3/file"
    since "$1" "that sent 64 MiB by TCP" 64
    since "$2" "that received them" 64
    tell "$2" 60 "sha256sum < /tmp/got; rm /tmp/got; grep $4 /proc/interrupts"
}

# Where the root has the memory of the link $1, in hexadecimal.
place() {
    sed -n '/"memory"/,/]/p' "/run/cellvisor/links/$1.json" | sed -n 's/ *"start": \([0-9]*\),*/\1/p' |
        head -n 1 | while read -r start; do printf '%x' "$start"; done
}

# Waits until the kernel of the cell $1 says 1 or 0, which is $2, of its link.
link_is() {
    tell "$1" 20 "until [ \$(cat /sys/class/net/eth0/carrier) = $2 ]; do sleep 0.1; done; echo carrier=$2"
}

# A command: whether somebody listens on the port $1.
listens() {
    printf "grep -q ':%04X .* 0A ' /proc/net/tcp*" "$1"
}

# Has the cell $1 answer by ssh, to whoever comes.
lets_in() {
    tell "$1" 60 "mkdir -p /etc /root; echo root::0:0::/root:/bin/sh > /etc/passwd; echo root:x:0: > /etc/group; dropbearkey -t ed25519 -f /tmp/key > /dev/null 2>&1; dropbear -B -r /tmp/key"
}

# Makes a machine that only the root reaches, and that knows no way to the cells' network.
world_up() {
    unshare -n sleep 3600 &
    world=$!
    within "there is a network beyond" 10 is_beyond "$world"
    # By its path: busybox has one of its own, which makes no pairs.
    run /bin/ip link add near type veth peer name far
    run /bin/ip link set far netns "$world"
    run ip addr add 192.0.2.1/24 dev near
    run ip link set near up
    run beyond ip addr add 192.0.2.2/24 dev far
    run beyond ip link set far up
}

# A command on that machine.
beyond() {
    nsenter -t "$world" -n "$@"
}

# Whether the process $1 is there already.
is_beyond() {
    [ "$(readlink "/proc/$1/ns/net")" != "$(readlink /proc/self/ns/net)" ]
}

# That machine learns the way to the network $1, and still does not reach $2 there.
keeps_out() {
    run beyond ip route add "$1" via 192.0.2.1
    beyond ping -c 2 -W 2 "$2" && fail "somebody from outside reaches a cell"
    echo "root: nobody comes in from outside"
}

# Whether the root forwards, and how many tables of rules it has.
forwarding() {
    echo "root: forwards=$(cat /proc/sys/net/ipv4/ip_forward) tables=$(nft list tables | wc -l)"
}
