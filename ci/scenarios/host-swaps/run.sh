. /lib.sh

# Interrupts by which KVM tells that a page is there. Nothing else in this root
# calls itself a hypervisor's callback.
faults() {
    awk '/^ *HYP:/ { for (i = 2; $i ~ /^[0-9]+$/; i++) n += $i } END { print n + 0 }' /proc/interrupts
}

more_faults() {
    [ "$(faults)" -gt "$1" ]
}

step before
resources
# A limit of the program's own, as patient as those of the words.
churn $((30 * $(cat /patience))) > /run/churn 2>&1 &
churn=$!
within "the host swaps" 60 more_faults 0
echo "root: asynchronous page faults: $(faults)"

step on
monitor_on
cell_up cell0 qemu.toml
tell cell0 60 'seq 1 200000 | sha256sum | sed "s/ .*//; s/^/sum=/"'

step off
quiet cell0
run cellctl destroy cell0
run cellctl disable
since=$(faults)
within "the host swaps" 60 more_faults "$since"
echo "root: more of them: $(($(faults) - since))"

step end
kill -TERM $churn
wait $churn || fail "$(cat /run/churn)"
cat /run/churn
unload
resources
pass
