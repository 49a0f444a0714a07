. /lib.sh
. /net.sh

# Says what state a cell is in, once it is this one.
becomes() {
    within "$1 is $2" 30 state_is "$1" "$2"
    cellctl list | grep "$1"
}

state_is() {
    cellctl list | grep -q "$1 .*$2"
}

# Types a command that the cell does not survive.
send() {
    cellctl console "$1" --new --for 0 --send "$2\n" < /dev/null > /dev/null
}

# True when the actor has come up twice since it is followed.
twice_ready() {
    [ "$(grep -c '^cell: ready' /run/cell-actor)" -ge 2 ]
}

step on
# A port of the log's UART, which nobody else has.
monitor_on --inject fault-at-port=767
cell_up cell1 cell1.toml
tell cell1 20 "ip link set eth0 up"
tell cell1 20 'n=0; while :; do n=$((n + 1)); echo "beat $n"; sleep 1; done & true'
cell_says cell1 20 "beat 1"

step poweroff
cell_up actor /scenario/actor.toml
send actor poweroff
becomes actor stopped

step reboot
run cellctl start actor
follow actor
cell_says actor 60 "cell: ready"
send actor reboot
cell_says actor 30 "Restarting system"
within "the cell is up again" 90 twice_ready
becomes actor running

step panic
follow actor
cell_says actor 60 "cell: ready"
send actor panic
# To the hundredth of a second, from the key to the state.
begin=$(cut -d ' ' -f 1 /proc/uptime)
becomes actor panicked
cut -d ' ' -f 1 /proc/uptime | awk -v begin="$begin" '{ printf "root: known after %.2f s\n", $1 - begin }'

run cellctl dump actor --out /run/core
run makedumpfile --dump-dmesg /run/core /run/dmesg
grep -e "Kernel panic" /run/dmesg | sed 's/^/root: in the core: /'
rm /run/core /run/dmesg

step memory
run cellctl start actor
follow actor
cell_says actor 60 "cell: ready"
send actor "devmem 0x40000000"
becomes actor failed
run cellctl status actor
run cellctl destroy actor

# Meets a fault of the monitor.
touch='dd if=/dev/port of=/dev/null bs=1 skip=767 count=1'

step fault
cell_up actor /scenario/actor.toml
send actor "taskset 2 $touch"
becomes actor failed
run cellctl status actor
run cellctl destroy actor
$touch 2> /dev/null && fail "the root was not told of a fault of the monitor"
echo "root: a program met a fault of the monitor, and ended"
# Its end is no trouble when all is looked at once more.
dmesg -c > /dev/null
run cellctl list

step policy
cell_up actor /scenario/triple.toml
# Its file does not allow it, and it runs.
cellctl dump actor --out /run/core && fail "a dump that is not allowed"
send actor panic
within "the cell is up again" 90 twice_ready

step triple-fault
follow actor
cell_says actor 60 "cell: ready"
send actor reboot
within "the cell is up again" 90 twice_ready
becomes actor running

step cut
# Its kernel hears the button, and nobody in it listens.
cellctl stop actor > /run/stop 2>&1 &
stop=$!
within "the actor is being stopped" 20 grep -q '"stopping": *true' /run/cellvisor/cells/actor.json
run cellctl kill actor
wait "$stop" || fail "stop: $(cat /run/stop)"
cat /run/stop
becomes actor stopped
run cellctl destroy actor

step link
link_is cell1 0
cell_up leaver leaver.toml
link_is cell1 1
send leaver reboot
becomes leaver failed
link_is cell1 0
run cellctl start leaver
follow leaver
cell_says leaver 60 "cell: ready"
link_is cell1 1
quiet leaver
run cellctl destroy leaver
link_is cell1 0

step nmi
cell_up actor /scenario/actor.toml
tell actor 20 'echo l > /proc/sysrq-trigger'
echo l > /proc/sysrq-trigger
dmesg | grep -c "NMI backtrace for cpu" | sed 's/^/root: NMI backtraces: /'

step diagnosis
run cellctl nmi actor
cell_says actor 20 "Dazed and confused"
tell actor 20 'echo 1 > /proc/sys/kernel/unknown_nmi_panic'
run cellctl nmi actor
becomes actor panicked
# What a kernel says while it takes an NMI comes later, and is in its memory already.
run cellctl dump actor --out /run/core
run makedumpfile --dump-dmesg /run/core /run/dmesg
grep -e "Kernel panic" /run/dmesg | sed 's/^/root: in the core: /'
rm /run/core /run/dmesg
cellctl nmi actor && fail "an NMI for a cell that does not run"
cellctl nmi cell && fail "an NMI for a cell that is not there"

step witness
tell cell1 20 'grep NMI: /proc/interrupts | sed "s/^/cell: /"'
beats=$(grep -c beat /run/cell-cell1)
within "the witness has a pulse" 10 sh -c "[ \$(grep -c beat /run/cell-cell1) -gt $beats ]"
run cellctl list

step off
all_off actor cell1
pass
