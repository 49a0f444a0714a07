. /lib.sh

vf=/sys/bus/pci/devices/0000:01:10.0/config
pf=/sys/bus/pci/devices/0000:01:00.0/config

# Lets the module do $1; what came of it.
provoke() {
    echo "$1" > /proc/provoke
    cat /proc/provoke
}

# Compares what came of the attack $1 with $2.
attack() {
    echo "root: attack $1: $3"
    [ "$2" = "$3" ] || wrong "attack $1: $3, not $2"
}

# Sends the request $1 of /frames with the hypercall $2.
request() {
    echo "fill $(sed -n "s/^$1 //p" /frames)" > /proc/provoke
    provoke "call $2"
}

# Four bytes at offset $2 of the configuration space $1, as hexadecimal digits.
config() {
    dd if="$1" bs=1 skip=$(($2)) count=4 2> /dev/null | xxd -p
}

# Writes the bytes $3 (as for printf) there.
config_write() {
    printf "$3" | dd of="$1" bs=1 seek=$(($2)) conv=notrunc 2> /dev/null
}

step on
resources
run insmod /lib/modules/provoke.ko
monitor_on
echo "root: monitor's chunks: $(provoke base)"
free=$(pool_free)

step cell
run cellctl create slices.toml
attack loadable-memory "hidden 0 first 0" "$(provoke sweep | sed 's/0x0/0/')"
run cellctl start victim
follow victim
cell_says victim 90 "cell: ready"

step memory
swept=$(provoke sweep)
attack running-memory "hidden 128" "${swept%% first*}"
first=${swept##*first }
attack peek "#GP" "$(provoke "peek $first")"
attack poke "#GP" "$(provoke "poke $first 0x41414141")"
attack call-buffer "status 3 length 0" "$(provoke "call 1 $first")"
attack call-buffer-of-nobody "status 3 length 0" "$(provoke "call 1 0x8000000000000")"

step calls
attack user-call "usercall: unknown instruction" "$(usercall)"
attack leave "status 15 detail 1" "$(provoke leave)"
attack start-running "status 6 length 0" "$(request start-running 4)"
for frame in foreign-cpu no-cpu device-memory beyond-memory taken-name; do
    said=$(request $frame 3)
    echo "root: create $frame: $said"
    [ "${said%% length*}" != "status 0" ] || wrong "create $frame: done"
done

step registers
base=$(provoke "rdmsr 0x1b")
attack apic-off "#GP" "$(provoke "wrmsr 0x1b 0xfee00000")"
attack apic-moved "#GP" "$(provoke "wrmsr 0x1b $((base + 0x10000))")"
attack apic-base-kept "$base" "$(provoke "rdmsr 0x1b")"
attack smi "done" "$(provoke "wrmsr 0x830 0x0000000100000200")"
attack nmi-to-the-cell "done" "$(provoke "wrmsr 0x830 0x0000000300000400")"
attack init-to-the-cell "done" "$(provoke "wrmsr 0x830 0x0000000300004500")"

attack log-port "ff" "$(dd if=/dev/port bs=1 skip=$((0x2fd)) count=1 2> /dev/null | xxd -p)"

step functions
attack config-read "ffffffff" "$(config $vf 8)"
config_write $vf 4 '\0\0'
before=$(config $pf 0x168)
config_write $pf 0x168 '\0\0'
attack sriov-control "$before" "$(config $pf 0x168)"

step dma
canary hold 4 /run/canary > /run/canary-said &
canary=$!
within "the canary is there" 10 test -s /run/canary
export ATTACK_EDU="3 /sys/bus/pci/devices/0000:03:00.0"
# The engine reaches what is the root's, or the next line would show nothing.
attack dma-own "BROKE OUT" "$(attack-pci dma-read "$(head -n 1 /run/canary)" | sed 's/^attack: dma-read \(.*\): .*/\1/')"
attack-pci dma-write "$first" "$(printf '%#x' $((first + 0x1000)))"
kill $canary
wait $canary

step victim
tell victim 30 'echo "cell: sum=$(seq 1 20000 | sha256sum | cut -c 1-8) NMIs=$(sed -n "s/ *NMI: *\([0-9]*\).*/\1/p" /proc/interrupts) functions=$(ls /sys/bus/pci/devices | wc -l)"'

step again
# Between scrubbing and start its memory is in sight; a CPU of the root that has
# seen it must forget where it is.
provoke "watch $first 1" > /dev/null
run cellctl restart victim
follow victim
cell_says victim 90 "cell: ready"
attack watch "seen, then out of sight" "$(provoke watched)"

step scrubbed
quiet victim
run cellctl stop victim
attack stopped-memory "hidden 128" "$(provoke sweep | sed 's/ first.*//')"
run cellctl destroy victim
zeros=$(provoke zeros)
echo "root: scrubbed memory: $zeros"
dirty=$(echo "$zeros" | sed 's/dirty \([0-9]*\) .*/\1/')
[ "$dirty" -le 24 ] || wrong "scrubbing: $zeros"
attack memory-back "denied 0" "${zeros##*dirty [0-9]* }"
[ "$free" -gt 0 ] || fail "cellctl does not tell how many pages the monitor has"
attack pool "$free" "$(pool_free)"

step off
run rmmod provoke
all_off
pass
