. /lib.sh

peer=10.0.2.15
nic=0000:01:00.0
# What is in this file and its checksum must be the same at the end.
canary=/run/canary

# A counter of the attacker: the sum of what was refused, and the blocked DMA
# and interrupts of its functions.
counter() {
    cellctl status mallory --json | tr ',{}' '\n\n\n' | tr -d ' "' |
        awk -F: '$1 == "config" || $1 == "mmio" || $1 == "dma" { n[$1] = $2 }
            END { print n["config"] + 0, n["dma"] + 0, n["mmio"] + 0 }'
}

# Lets the attacker try $1, and prints a row of the table. The counter named $2
# must rise.
attack() {
    # shellcheck disable=SC2046
    set -- "$1" "$2" $(counter)
    tell mallory 40 "attack-pci $1"
    verdict=$(sed -n "s/^attack: ${1%% *} \(contained\|BROKE OUT\|not tried\).*/\1/p" /run/cell-mallory | tail -n 1)
    now=$(counter)
    more=$(echo "$now $3 $4 $5" | awk '{ print "config +" $1 - $4 " dma +" $2 - $5 " mmio +" $3 - $6 }')
    echo "root: attack ${1%% *}: ${verdict:-no verdict} ($more)"
    [ "$verdict" = contained ] || fail "the attack $1 was not contained"
    echo "$more" | grep -q "$2 +[1-9]" || fail "the attack $1 was not counted"
}

# Interrupts that nobody expected, in the kernel's log here.
strays() {
    dmesg | grep -c -e 'No irq handler' -e 'NMI received' -e 'Spurious'
}

step on
ip addr add $peer/24 dev eth0
ip link set eth0 up
mkdir /srv
dd if=/dev/urandom of=/srv/data bs=1M count=8 2> /dev/null
dd if=/dev/urandom of=$canary bs=1M count=128 2> /dev/null
before=$(sha256sum < $canary)
httpd -p 80 -h /srv
monitor_on

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
tell mallory 10 'dmesg -n 1'

step attacks
# The other cell fetches files all the time.
tell victim 10 "(n=0; while [ ! -e /enough ]; do wget -q -O - http://$peer/data | sha256sum >> /sums; done) > /dev/null 2>&1 &"
attack config-ports config
attack config-ecam config
attack "bar-move $(awk 'NR == 1 { print $1 }' /sys/bus/pci/devices/$nic/resource)" config
tell mallory 10 'echo 0000:00:01.0 > /sys/bus/pci/drivers/igbvf/unbind'
tell mallory 10 'echo 1 > /sys/bus/pci/devices/0000:00:01.0/enable'
attack msix-beyond mmio
attack msix-foreign-cpu mmio
attack "msi-foreign-cpu 3" mmio
attack dma-read dma
attack dma-write dma
attack msi-forged dma
attack nmi-forged dma
attack msi-foreign-handle dma
run cellctl status mallory

step outside
cellctl console mallory --new --for 0 --send 'attack-pci ecam-outside\n' < /dev/null > /dev/null
sleep 2
run cellctl list
cellctl status mallory | grep -e ^state -e ^failure

step others
tell victim 20 'touch /enough; sleep 1; echo "cell: fetched $(wc -l < /sums) times, $(sort -u /sums | wc -l) checksum"; echo "cell: strays=$(dmesg | grep -c -e "No irq handler" -e "NMI received")"'
echo "root: strays=$(strays)"
[ "$before" = "$(sha256sum < $canary)" ] && echo "root: 128 MiB as before"
ping -c 2 10.0.2.2 | sed -n 's/.*, \(.*loss\)/root: PF pings: \1/p'

step off
all_off mallory victim
pass
