. /lib.sh

sum='seq 1 200000 | sha256sum | sed "s/ .*//; s/^/sum=/"'

step on
resources
monitor_on

step first
cell_up cell0 qemu.toml

step second
cell_up cell1 qemu-cell1.toml
run cellctl list

step both
tell cell0 90 "$sum" &
other=$!
tell cell1 90 "$sum"
wait $other
echo "root: both computed"

step one-stops
tell cell1 90 "$sum" &
other=$!
run cellctl kill cell0
run cellctl destroy cell0
wait $other
run cellctl list

step back
cell_up cell0 qemu.toml

step off
all_off cell0 cell1
pass
