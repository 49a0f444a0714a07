. /lib.sh

step on
resources
monitor_on

step cell
# The root's end of the pair.
hear /dev/ttyS3
run cellctl create /scenario/uart.toml
run cellctl start uart
within "the cell is up" 90 grep -q "cell: ready" /run/uart

step away
echo "root: line status at 3ed: $(dd if=/dev/port bs=1 skip=$((0x3ed)) count=1 2> /dev/null | xxd -p)"

step off
kill $reader
all_off uart
pass
