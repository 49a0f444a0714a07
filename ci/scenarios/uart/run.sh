. /lib.sh

step on
resources
monitor_on

step cell
# The root's end of the pair, read line by line as it comes.
stty -F /dev/ttyS3 115200 raw -echo
return=$(printf '\r')
while IFS= read -r line; do
    echo "uart: ${line%"$return"}"
    echo "$line" >> /run/uart
done < /dev/ttyS3 &
reader=$!
: > /run/uart
run cellctl create /scenario/uart.toml
run cellctl start uart
within "the cell is up" 90 grep -q "cell: ready" /run/uart

step away
echo "root: line status at 3ed: $(dd if=/dev/port bs=1 skip=$((0x3ed)) count=1 2> /dev/null | xxd -p)"

step off
kill $reader
all_off uart
pass
