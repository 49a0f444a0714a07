# What the next kernel finds; `run.sh` has started it with a cell alive.

step next
echo "next: cpus=$(nproc)"
monitor_on
run cellctl disable
unload
pass
