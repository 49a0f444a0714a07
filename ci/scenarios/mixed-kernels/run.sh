. /lib.sh

step on
echo "root: uname=$(uname -r)"
resources
monitor_on

step cell
cell_up cell0 qemu.toml

step off
all_off cell0
pass
