. /lib.sh

ids='sed -n "s/^apicid.*: //p" /proc/cpuinfo | sort -n | xargs echo'

step root
resources
echo "root: apic ids $(eval "$ids") end"
within "the root has a disk" 20 sh -c "ls /dev/nvme*n*"
disk=$(ls /dev/nvme*n* | head -n 1)

step on
monitor_on
# Its queues, fewer than CPUs, interrupt a CPU each of those that share them.
for cpu in $(seq 0 6); do
    run taskset -c "$cpu" dd if="$disk" of=/dev/null bs=4k count=20 iflag=direct 2> /dev/null
done
echo "root: its disk interrupts CPUs $(sh /scenario/interrupted nvme)"
echo "root: CPUs called by others: $(sh /scenario/interrupted CAL:)"

step cell
cell_up far /scenario/far.toml
run cellctl list
tell far 20 "echo \"cell: apic ids \$($ids) end\""

step compute
tell far 60 'for cpu in 0 1 2 3; do taskset -c $cpu sh -c "seq 1 20000 | sha256sum" & done | sort | uniq -c | sed "s/^ */cell: sums /"'

step disk
tell far 60 'for cpu in 0 1 2 3; do taskset -c $cpu dd if=/dev/nvme0n1 of=/dev/null bs=4k count=20 iflag=direct 2> /dev/null || exit 1; done'
tell far 20 'echo "cell: its disk interrupts CPUs $(interrupted nvme)"'
tell far 20 'echo "cell: CPUs called by others: $(interrupted CAL:)"'

step off
all_off far
pass
