. /lib.sh

peer=10.0.2.15
nic=0000:01:00.0
# Guest addresses from here on are no memory of the attacker's.
beyond=$((0x10000000))

# Counters of the attacker: what was refused in configuration space, blocked DMA
# and interrupts of its functions, what was refused in device memory.
counters() {
    cellctl status mallory --json | tr ',{}' '\n\n\n' | tr -d ' "' |
        awk -F: '$1 == "config" || $1 == "mmio" || $1 == "dma" { n[$1] = $2 }
            END { print n["config"] + 0, n["dma"] + 0, n["mmio"] + 0 }'
}

# Lets the attacker try $1, and prints a row of the table: what it says itself
# (contained, or sent where only others can see an effect) and what the monitor
# counted meanwhile.
attack() {
    before=$(counters)
    tell mallory 60 "attack-pci $1"
    said=$(sed -n "s/^attack: ${1%% *} \(contained\|sent\|BROKE OUT\|not tried\).*/\1/p" /run/cell-mallory | tail -n 1)
    more=$(echo "$(counters) $before" | awk '{ print "config +" $1 - $4 " dma +" $2 - $5 " mmio +" $3 - $6 }')
    echo "root: attack ${1%% *}: ${said:-no word} ($more)"
}

# NMIs that this Linux has seen so far, and interrupts that nobody expected.
strays() {
    awk '/NMI:/ { for (i = 2; $i ~ /^[0-9]+$/; i++) n += $i } END { print "NMIs", n + 0 }' /proc/interrupts
    echo "others $(dmesg | grep -c -e 'No irq handler' -e 'NMI received' -e 'Spurious')"
}

# True if the file $2 has $1 lines.
written() {
    [ "$(wc -l < "$2")" = "$1" ]
}

step on
ip addr add $peer/24 dev eth0
ip link set eth0 up
mkdir /srv
dd if=/dev/urandom of=/srv/data bs=1M count=8 2> /dev/null
httpd -p 80 -h /srv
# Pages here that the attack aims at: where little RAM is above 4 GiB the first ones
# that Linux gives are low, so files take as much as lies below, and more if need be.
for ballast in 1 2 3 4; do
    dd if=/dev/zero of=/ballast-$ballast bs=1M count=$((beyond >> 20)) 2> /dev/null
    canary hold 64 /run/canary > /run/canary-said &
    canary=$!
    within "the canary is there" 10 written 64 /run/canary
    foreign=$(for page in $(cat /run/canary); do [ $((page)) -lt $beyond ] || echo "$page"; done | head -n 10 | tr '\n' ' ')
    [ "$(echo "$foreign" | wc -w)" -lt 10 ] || break
    kill $canary
    wait $canary
    rm /run/canary
done
rm /ballast-*
echo "root: canary: $(echo "$foreign" | wc -w) pages to aim at"
monitor_on

# Interrupts by which the card tells the other cell of its link: none while that is up.
# shellcheck disable=SC2016 # for the cell's shell
mailbox='awk '\''$NF == "eth0" { print "cell: mailbox " $2 }'\'' /proc/interrupts'

step cells
run cellctl create slices.toml
for cell in mallory victim; do
    run cellctl start $cell
    follow $cell
done
for cell in mallory victim; do
    cell_says $cell 60 "cell: ready"
done
tell victim 30 'io up 10.0.2.21'
tell victim 10 'canary hold 64 /canary > /canary-said & echo $! > /canary-pid; until [ -s /canary ]; do sleep 1; done; wc -l < /canary | sed "s/^/cell: canary /"'
tell victim 10 "grep NMI: /proc/interrupts | sed 's/^/cell: before /'"
tell victim 10 "$mailbox"
strays > /run/strays

step attacks
# The other cell fetches files all the time.
tell victim 10 "(n=0; while [ ! -e /enough ]; do wget -q -O - http://$peer/data | sha256sum >> /sums; done) > /dev/null 2>&1 &"
attack config-ports
attack config-ecam
attack "bar-move $(awk 'NR == 1 { print $1 }' /sys/bus/pci/devices/$nic/resource)"
tell mallory 10 'echo 0000:00:01.0 > /sys/bus/pci/drivers/igbvf/unbind'
tell mallory 10 'echo 1 > /sys/bus/pci/devices/0000:00:01.0/enable'
attack msix-beyond
attack msix-foreign-cpu
attack "msi-foreign-cpu 3"
attack "dma-read $foreign"
attack "dma-write $foreign"
if has_step forged; then
    step forged
    attack msi-forged
    attack nmi-forged
    attack msi-foreign-handle
fi
quiet mallory
run cellctl status mallory

step outside
cellctl console mallory --new --for 0 --send 'attack-pci ecam-outside\n' < /dev/null > /dev/null
within "mallory has failed" 20 sh -c 'cellctl list | grep -q "mallory .*failed"'
run cellctl list
cellctl status mallory | grep -e ^state -e ^failure

step others
tell victim 20 'touch /enough; sleep 1; echo "cell: fetched $(wc -l < /sums) times, $(sort -u /sums | wc -l) checksum"'
tell victim 10 'kill $(cat /canary-pid); sleep 1; cat /canary-said'
tell victim 10 "grep NMI: /proc/interrupts | sed 's/^/cell: after /'"
tell victim 10 "$mailbox"
strays > /run/strays-after
cmp /run/strays /run/strays-after && echo "root: no strays: $(tr '\n' ' ' < /run/strays)"
kill $canary
wait $canary
sed 's/^/root: /' /run/canary-said
ping -c 2 10.0.2.2 | sed -n 's/.*, \(.*loss\)/root: PF pings: \1/p'

step off
all_off mallory victim
pass
