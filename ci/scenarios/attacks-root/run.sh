. /lib.sh

vf=/sys/bus/pci/devices/0000:01:10.0/config
pf=/sys/bus/pci/devices/0000:01:00.0/config
host=/sys/bus/pci/devices/0000:00:00.0/config
bridge=$(readlink -f /sys/bus/pci/devices/0000:01:00.0/..)/config

# Lets the module do $1, on CPU 1: some registers differ. What came of it. Whoever
# follows a console calls the monitor as well, which says then that it is busy.
provoke() {
    for try in 1 2 3 4 5 6 7 8 9 10; do
        taskset 2 sh -c "echo '$1' > /proc/provoke"
        came=$(cat /proc/provoke)
        [ "${came#status 9 }" != "$came" ] || break
    done
    echo "$came"
}

# Compares what came of the attack $1 with $2.
attack() {
    echo "root: attack $1: $3"
    [ "$2" = "$3" ] || wrong "attack $1: $3, not $2"
}

# Number of the hypercall of the request $1 of /frames.
number() {
    sed -n "s/^$1 \(0x[0-9a-f]*\) .*/\1/p" /frames
}

# Sends that request.
request() {
    echo "fill $(sed -n "s/^$1 0x[0-9a-f]* //p" /frames)" > /proc/provoke
    provoke "call $(number "$1")"
}

# Four bytes at offset $2 of the configuration space $1, as hexadecimal digits.
config() {
    dd if="$1" bs=1 skip=$(($2)) count=4 2> /dev/null | xxd -p
}

# Writes the bytes $3 (as for printf) there.
config_write() {
    printf "$3" | dd of="$1" bs=1 seek=$(($2)) conv=notrunc 2> /dev/null
}

# The root writes the bytes $4 at offset $3 of the configuration space $2, of which
# four bytes stay as they are.
kept() {
    before=$(config "$2" "$3")
    config_write "$2" "$3" "$4"
    attack "$1" "$before" "$(config "$2" "$3")"
}

step on
resources
run insmod /lib/modules/provoke.ko
monitor_on
echo "root: monitor's chunks: $(provoke base)"

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
attack call-buffer "status 3 length 0" "$(provoke "call $(number info) $first")"
attack call-buffer-of-nobody "status 3 length 0" "$(provoke "call $(number info) 0x8000000000000")"

step calls
attack user-call "usercall: unknown instruction" "$(usercall "$(number info)")"
attack leave "status 15 detail 1" "$(provoke "leave $(number leave)")"
attack start-running "status 6 length 0" "$(request start-running)"
attack nmi-to-the-root "status 5 length 0" "$(request nmi-to-the-root)"
attack bell-of-a-cell "status 6 length 0" "$(request bell-of-a-cell)"
# A CPU that the root does not miss, for cells that would be made.
echo 0 > /sys/devices/system/cpu/cpu2/online
for frame in foreign-cpu no-cpu device-memory beyond-memory taken-name short-bar loose-ports; do
    said=$(request $frame)
    echo "root: create $frame: $said"
    [ "${said%% length*}" != "status 0" ] || wrong "create $frame: done"
done
echo 1 > /sys/devices/system/cpu/cpu2/online

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
config_write $vf 0x104 '\0'
kept sriov-control $pf 0x168 '\0\0'
device=$(basename "${bridge%/config}" | cut -c 9-10)
buses=$((0xb0000018 + 0x$device * 0x8000))
attack bridge-by-memory "kept" "$(provoke "config $buses 0")"
kept bridge-buses "$bridge" 0x18 '\0\0\0\0'
kept bridge-window "$bridge" 0x20 '\0\0\0\0'
kept bridge-reset "$bridge" 0x3e '\102'
# The window to configuration space, to where memory is.
kept ecam-base $host 0x60 '\001\000\000\120'

step dma
canary hold 4 /run/canary > /run/canary-said &
canary=$!
within "the canary is there" 10 test -s /run/canary
export ATTACK_EDU=/sys/bus/pci/devices/0000:03:00.0
# The engine reaches what is the root's, or the next line would show nothing.
attack dma-own "BROKE OUT" "$(attack-pci dma-read "$(head -n 1 /run/canary)" | sed 's/^attack: dma-read \(.*\): .*/\1/')"
before=$(config $pf 0x168)
# The last is the physical function's configuration space.
attack-pci dma-write "$first" "$(printf '%#x' $((first + 0x1000)))" 0xb0100000
attack dma-configuration "$before" "$(config $pf 0x168)"
kill $canary
wait $canary

step victim
tell victim 30 'echo "cell: sum=$(seq 1 20000 | sha256sum | cut -c 1-8) NMIs=$(sed -n "s/ *NMI: *\([0-9]*\).*/\1/p" /proc/interrupts) functions=$(ls /sys/bus/pci/devices | wc -l)"'

step again
# Between scrubbing and start its memory is in sight; a CPU of the root that has
# seen it must forget where it is.
provoke "watch $first 2" > /dev/null
run cellctl restart victim --timeout 0
follow victim
cell_says victim 90 "cell: ready"
attack watch "seen, then out of sight" "$(provoke watched)"

step scrubbed
quiet victim
run cellctl kill victim
attack stopped-memory "hidden 128" "$(provoke sweep | sed 's/ first.*//')"
run cellctl destroy victim
zeros=$(provoke zeros)
echo "root: scrubbed memory: $zeros"
dirty=$(echo "$zeros" | sed 's/dirty \([0-9]*\) .*/\1/')
[ "$dirty" -le 24 ] || wrong "scrubbing: $zeros"
attack memory-back "0" "${zeros##* }"
# What the root touched meanwhile took pages as well: a cell that never ran.
free=$(pool_free)
[ "$free" -gt 0 ] || fail "cellctl does not tell how many pages the monitor has"
run cellctl create slices.toml
run cellctl destroy victim
attack pool "$free" "$(pool_free)"

step off
run rmmod provoke
all_off
pass
