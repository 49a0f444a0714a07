. /lib.sh

card=/sys/bus/pci/devices/0000:00:05.0
# Another card on the same line, which stays here.
neighbour=/sys/bus/pci/devices/0000:00:09.0
peer=/dev/ttyS2

# The terminal that the root's driver made of the card $1.
terminal() {
    basename "$(find "$1/" -name 'ttyS*' | head -n 1)"
}

tell_card() {
    echo "root: card: driver=$(basename "$(readlink $card/driver)") tty=$(terminal $card)"
}

# Interrupts that this Linux has seen of the card's line.
seen_here() {
    line=/sys/kernel/irq/$(cat $card/irq)
    tr ',' '\n' < "$line/per_cpu_count" | awk '{ n += $1 } END { print n + 0 }'
}

# Types a line at the other end of the cell's console.
type_there() {
    echo "$1" > $peer
}

# Types the command $1 there and waits for its end.
ask() {
    asked=$(grep -c '^cell: done' /run/uart)
    type_there "$1"
    within "the cell does: $1" 20 more_asked "$asked"
}

more_asked() {
    [ "$(grep -c '^cell: done' /run/uart)" -gt "$1" ]
}

# Interrupts of the card that the cell has seen, from the last line with $1.
seen_there() {
    grep "^cell: $1:" /run/uart | tail -n 1 |
        awk '{ for (i = 4; $i ~ /^[0-9]+$/; i++) n += $i; print n + 0 }'
}

step on
resources
tell_card
monitor_on

step shared
# Its driver takes the line when the terminal is opened.
echo "root: neighbour: $(terminal $neighbour)"
exec 5<> "/dev/$(terminal $neighbour)"
run cellctl create /scenario/uart.toml 2>&1
cellctl status uart | grep 'no interrupt'
run cellctl destroy uart
exec 5>&-
tell_card

step cell
hear $peer
run cellctl create /scenario/uart.toml
run cellctl start uart
within "the cell is up" 90 grep -q "cell: ready" /run/uart

step driver
ask 'io functions'

step interrupts
here=$(seen_here)
ask 'echo "cell: before: $(grep ttyS4 /proc/interrupts)"'
cellctl stats uart --interval 10 > /run/stats &
stats=$!
sleep 0.5
type_there 'n=0; while read -r heard && [ "$heard" != end ]; do n=$((n + 1)); last=$heard; done; echo "cell: heard $n lines, last=$last"'
for number in $(seq 40); do
    type_there "line-$number"
    sleep 0.1
done
type_there end
within "the cell has heard all" 20 grep -q "^cell: heard" /run/uart
wait $stats
ask 'echo "cell: after: $(grep ttyS4 /proc/interrupts)"'
before=$(seen_there before)
after=$(seen_there after)
echo "root: interrupts of the cell meanwhile: $((after - before))"
[ $((after - before)) -ge 40 ] || fail "fewer interrupts than lines"
only_quiet /run/stats 2 500
echo "root: interrupts here meanwhile: $(($(seen_here) - here))"

step status
run cellctl status uart

step away
# The pin's redirection entry, as a program of the root sees and sets it.
pin=$(cellctl status uart | sed -n 's/.* pin \([0-9]*\) of the I\/O APIC.*/\1/p')
select=$((0x10 + 2 * pin))
io_apic() {
    devmem 0xfec00000 32 $select
    devmem 0xfec00010 32 "$@"
}
echo "root: entry $(io_apic)"
io_apic 0x80ff
echo "root: entry $(io_apic) after a write"
cellctl log | grep 'cell=root cpu=[0-9]* denied write gpa=0xfec00010' | head -n 1
# An unused pin is the root's, but not with the cell's interrupt entry, the first
# of the upper half of 4096.
select=0x3f
io_apic 0x10010000
select=0x3e
io_apic 0x31
echo "root: forged entry $(io_apic)"
ask 'echo "cell: still here"'

step astray
# In the cell: the entry of its line for a CPU that is not there, then as an NMI,
# then as it was.
ask 'put() { devmem 0xfec00000 32 $1; devmem 0xfec00010 32 $2; }; get() { devmem 0xfec00000 32 $1; devmem 0xfec00010 32; }; low=$(get 0x30); high=$(get 0x31); put 0x31 0x07000000; put 0x31 $high; put 0x30 0x84fe; put 0x30 $low'
ask 'echo "cell: back again: $(grep ttyS4 /proc/interrupts), NMIs: $(grep NMI: /proc/interrupts)"'
cellctl status uart | grep '^refused'
cellctl log | grep 'cell=uart denied interrupt message'

step again
run cellctl kill uart
: > /run/uart
run cellctl start uart
within "the cell is up again" 90 grep -q "cell: ready" /run/uart
ask 'echo "cell: again=$((6 * 7))"'

step off
kill $reader
all_off uart
tell_card
terminal=/dev/$(terminal $card)
stty -F "$terminal" 115200 raw -echo
stty -F $peer 115200 raw -echo
here=$(seen_here)
cat $peer > /run/peer &
cat "$terminal" > /run/card &
sleep 0.5
echo 'there and' > "$terminal"
echo 'back again' > $peer
within "the peer hears the card" 10 grep -q 'there and' /run/peer
within "the card hears the peer" 10 grep -q 'back again' /run/card
echo "root: from the card: $(cat /run/peer)"
echo "root: to the card: $(cat /run/card)"
echo "root: interrupts here meanwhile: $(($(seen_here) - here))"
pass
