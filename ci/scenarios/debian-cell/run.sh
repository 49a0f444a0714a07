. /lib.sh

# What QEMU's network gives to the first who asks: the cell.
cell=10.0.2.15

# A command in the cell, as its user.
inside() {
    ssh -i /root/key -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
        -o LogLevel=ERROR -o ConnectTimeout=60 "debian@$cell" "$@"
}

# Whether the cell's console asks who comes: that is no whole line.
asks() {
    cellctl console web0 --no-follow < /dev/null | grep -q "web0 login:"
}

step root
echo "root: uname=$(uname -r)"
resources
ip addr add 10.0.2.40/24 dev eth0
ip link set eth0 up
mkdir /root
echo "root:x:0:0:root:/root:/bin/sh" > /etc/passwd
cp key /root/key
chmod -R go= /root

step start
monitor_on
words=$(sed -n 's/.*"cmdline": *"\([^"]*\)".*/\1/p' debian.json)
echo "root: words=$words"
sed "s|CMDLINE|$words cell.node=n7|" /scenario/web0.toml > web0.toml
run cellctl create web0.toml
run cellctl start web0
follow web0
cell_says web0 60 "Linux version"

step login
within "the cell asks who comes" 400 asks
cellctl console web0 --new --for 0 --send "\r" < /dev/null > /dev/null
cell_says web0 30 "web0 login:"

step system
within "the cell is reached by ssh" 120 inside true
echo "root: ssh=$(inside 'echo "$(whoami) on $(hostname), Linux $(uname -r), $(nproc) CPUs"')"
echo "root: system=$(inside systemctl is-system-running --wait)"
inside systemctl --failed --no-legend --plain < /dev/null | sed 's/^/root: failed unit: /'
echo "root: mounted=$(inside findmnt -n -o SOURCE,FSTYPE / | tr -s ' ')"
echo "root: it said: $(inside sudo journalctl -u first-boot -o cat | grep '^cell:')"
echo "root: node=$(inside cat /etc/node), key: $(inside 'munge -n | unmunge' | sed -n 's/^STATUS: *//p')"
inside test ! -e /usr/local/sbin/first-boot && echo "root: its first boot is over"
echo "root: network=$(inside ip -4 -br addr show scope global | tr -s ' ')"

step look
# A serial line has no size, and would get lines: with one it is a screen.
stty rows 24 cols 80 < /dev/console
run cellctl top --interval 1 --count 1
echo
run cellctl top --interval 1 --count 1 | cat
cellctl console web0 --pty < /dev/null > /run/pty &
within "there is a pseudo-terminal" 10 grep -q /dev/pts/ /run/pty
tty=$(sed -n 's|.*\(/dev/pts/[0-9]*\).*|\1|p' /run/pty | head -n 1)
stty -F "$tty" raw -echo
cat "$tty" > /run/typed &
printf '\r' > "$tty"
within "the console answers at $tty" 30 grep -q "web0 login:" /run/typed
echo "root: at $tty: $(grep -o 'web0 login:' /run/typed | head -n 1)"

step stop
run cellctl stop web0
run cellctl list

step end
run cellctl destroy web0
run cellctl disable
unload
resources
pass
