. /lib.sh
. /scenario/exits.sh

peer=10.0.2.15
disk=0000:02:00.0
nic=0000:01:00.0

step root
echo "root: uname=$(uname -r)"
resources
ip addr add $peer/24 dev eth0
ip link set eth0 up
mkdir /srv
dd if=/dev/urandom of=/srv/data bs=1M count=64 2> /dev/null
echo "root: sum=$(sha256sum < /srv/data | sed 's/ .*//')"
httpd -p 80 -h /srv

step enable
run insmod /lib/modules/cellvisor.ko
cellctl check
run cellctl enable --log-port 0x2f8

step create
run cellctl create qemu-sriov.toml
vfs

step start
for cell in net0 net1; do
    run cellctl start $cell
    follow $cell
done
for cell in net0 net1; do
    cell_says $cell 60 "cell: ready"
done

step functions
tell net0 20 'io functions'
tell net1 20 'io functions'

step transfer
tell net0 30 'io up 10.0.2.20'
tell net1 30 'io up 10.0.2.21'
port=7000
for cell in net0 net1; do
    port=$((port + 1))
    nc -l -p $port < /dev/null > /dev/null &
    eval "end_$cell=$!"
    tell $cell 10 "io both $peer $port > /dev/null 2>&1 &"
done
sleep 0.5
for cell in net0 net1; do
    exits_at $cell before
done
pf_traffic &
traffic=$!
for cell in net0 net1; do
    eval "end=\$end_$cell"
    within "$cell ends its transfers" 150 ended "$end"
    exits_at $cell after
done
touch /run/enough
wait $traffic
tell net0 10 'cat /io.log'
tell net1 10 'cat /io.log'

step exits
# Half of the data is packets of 1,448 bytes, each of which wakes the other CPU once at
# most: 362 for each of all MiB. Commands of the disk are few.
for cell in net0 net1; do
    only_quiet_between $cell 370 128 30
done

step interrupts
tell net0 10 'io interrupts'
tell net1 10 'io interrupts'
grep -e eth0 -e nvme0 /proc/interrupts
echo "root: interrupts of the cells' functions here: $(grep -c -e 0000:01:1 -e 0000:02:00.[1-9] /proc/interrupts)"

step status
run cellctl list
run cellctl status net0

step destroy
quiet net0
quiet net1
run cellctl kill net0
run cellctl destroy net0
run cellctl kill net1
run cellctl destroy net1
vfs

step disable
run cellctl disable
unload
ping -c 2 10.0.2.2 | sed -n 's/.*, \(.*loss\)/root: PF pings: \1/p'
dd if=/dev/nvme0n1 of=/dev/null bs=1M count=16 iflag=direct 2> /dev/null && echo "root: PF reads"
resources
pass
