. /lib.sh
cd / || exit 1
export PATH="$PATH:/usr/bin:/usr/sbin"
units=/lib/systemd/system
user=cellvisor-redfish
redfish=https://localhost/redfish/v1
cell=$redfish/Systems/cell1

more_to_tell() {
    for file in /run/server /run/power /run/stream /tmp/body /tmp/curl; do
        echo "root: end of $file:"
        tail -n 20 "$file"
    done
    cellctl list
}

# What the unit $1 says of $2.
unit() {
    sed -n "s/^$2=//p" "$units/cellvisor-redfish$1"
}

# What installing the packages makes: a user and groups, who may look, an account of each
# role with its name as password.
configure() {
    printf 'root:x:0:0::/:/bin/sh\n%s:x:990:990::/:/bin/sh\nbob:x:992:992::/:/bin/sh\n' "$user" > /etc/passwd
    printf 'root:x:0:\n%s:x:990:\ncellvisor:x:991:%s\nbob:x:992:\n' "$user" "$user" > /etc/group
    echo 127.0.0.1 localhost > /etc/hosts
    ln -s /bin/cellctl /usr/bin/cellctl
    mkdir -p /var/lib/cellvisor-redfish /run/cellvisor /etc/cellvisor/slices
    chown "$user:$user" /var/lib/cellvisor-redfish
    chmod 700 /var/lib/cellvisor-redfish
    chgrp cellvisor /run/cellvisor
    chmod 2750 /run/cellvisor
    cp /scenario/cell1.toml /etc/cellvisor/slices/
    {
        cat /scenario/redfish.toml
        account reader ReadOnly
        account operator Operator
        account admin Administrator
    } > /etc/cellvisor/redfish.toml
    chgrp "$user" /etc/cellvisor/redfish.toml
    chmod 640 /etc/cellvisor/redfish.toml
}

account() {
    printf '\n[[account]]\nname = "%s"\nrole = "%s"\npassword = "%s"\n' "$1" "$2" "$(echo "$1" | cellvisor-redfish hash)"
}

# Starts what the units say, as they say it: the socket with its owner and mode, behind it
# a program for each connection, and the server with a user's rights. The shell's own
# setpriv has no users.
# shellcheck disable=SC2046
serve() {
    socat "UNIX-LISTEN:$(unit -power.socket ListenStream),user=$(unit -power.socket SocketUser),mode=$(unit \
        -power.socket SocketMode),fork" "EXEC:$(unit -power@.service ExecStart)" 2> /run/power &
    /bin/setpriv --reuid "$user" --regid "$user" --init-groups --no-new-privs --inh-caps -all,+net_bind_service \
        --ambient-caps -all,+net_bind_service --bounding-set -all,+net_bind_service \
        $(unit .service ExecStart) 2> /run/server &
    server=$!
}

# curl, which trusts the certificate that the server made.
ask() {
    curl -sS --max-time 60 --cacert /var/lib/cellvisor-redfish/certificate.pem "$@" 2> /tmp/curl
}

# The status of an answer, whose body is in /tmp/body.
status() {
    : > /tmp/body
    ask -o /tmp/body -w '%{http_code}' "$@"
    echo >> /tmp/body
}

# Prints the status of an answer with what was asked for.
shows() {
    what=$1
    shift
    echo "root: $what: $(status "$@") $(sed -n 's/.*"code":"\([^"]*\)".*/\1/p' /tmp/body)"
}

# Logs the account $1 in: a session, so that no later request has to hash a password.
login() {
    body="{\"UserName\": \"$1\", \"Password\": \"$1\"}"
    ask -D /tmp/head -o /tmp/body -H 'Content-Type: application/json' -d "$body" $redfish/SessionService/Sessions ||
        fail "$1 cannot log in: $(cat /tmp/curl)"
    tr -d '\r' < /tmp/head | sed -n 's/^x-auth-token: /X-Auth-Token: /ip'
}

# Asks for a change of power, with the session $1.
reset() {
    shows "$2" -H "$1" -H 'Content-Type: application/json' -d "{\"ResetType\": \"$2\"}" \
        "$cell/Actions/ComputerSystem.Reset"
}

# A property of the cell's resource.
says() {
    status -H "$reader" "$cell" > /dev/null
    sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p" /tmp/body
}

is_power() {
    [ "$(says PowerState)" = "$1" ]
}

# Waits until the cell's power is $1, and shows it beside what cellctl tells.
power() {
    within "the power of cell1 is $1" 60 is_power "$1"
    echo "root: PowerState=$1"
    run cellctl list
}

# Makes an image as deploying makes it: a menu, a kernel, an initial RAM disk. So that it
# is told from the slice's, it has a file more and another command line.
image() {
    mkdir -p /run/iso/isolinux /run/more /run/www
    cp /etc/cellvisor/vmlinuz /run/iso/vmlinuz
    echo "from the image" > /run/more/from-image
    (cd /run/more && echo from-image | cpio -o -H newc) > /run/iso/more
    cp /etc/cellvisor/initrd.img /run/iso/initrd
    printf 'default boot\n\nlabel boot\nkernel /vmlinuz\nappend initrd=/initrd,/more text by=image --\n' \
        > /run/iso/isolinux/isolinux.cfg
    xorriso -as mkisofs -quiet -V boot -J -r -o /run/www/boot.iso /run/iso || fail "no image"
    rm -r /run/iso
    httpd -p 127.0.0.1:8080 -h /run/www
}

# Asks for an action of the drive, with the session $1.
drive() {
    shows "$2" -H "$1" -H 'Content-Type: application/json' -d "$3" \
        "$cell/VirtualMedia/Cd/Actions/VirtualMedia.$2Media"
}

# Says what is booted next.
boot_next() {
    shows "Boot $1 $2" -X PATCH -H "$operator" -H 'Content-Type: application/json' \
        -d "{\"Boot\": {\"BootSourceOverrideTarget\": \"$1\", \"BootSourceOverrideEnabled\": \"$2\"}}" "$cell"
}

# Starts the cell anew, and shows what it has booted.
boots() {
    before=$(starts)
    reset "$operator" ForceRestart
    booted
}

booted() {
    within "cell1 is started again" 60 is_started_again
    up
    tell cell1 20 'sed "s/^/words: /" /proc/cmdline; cat /from-image 2> /dev/null || echo "from the slice"'
}

answers() {
    [ "$(status $redfish)" = 200 ]
}

# Whether somebody reads the stream.
is_read() {
    status -H "$reader" $redfish/EventService/Subscriptions > /dev/null
    grep -q '"Members@odata.count":1' /tmp/body
}

# How often the cell has been started.
starts() {
    cellctl list | awk '$2 == "cell1" { print $7 }'
}

is_started_again() {
    [ "$(starts)" -gt "$before" ]
}

up() {
    follow cell1
    cell_says cell1 60 "cell: ready"
}

step root
resources
configure

step on
monitor_on
chgrp cellvisor /dev/cellvisor
chmod 640 /dev/cellvisor
ip link set lo up
run cellvisor-redfish check
serve
within "the server answers" 60 answers
grep -E -e '^(Uid|Groups|CapEff|NoNewPrivs)' "/proc/$server/status" | tr -s '\t ' ' ' | sed 's/^/root: /'
stat -c 'root: socket %A %U' "$(unit -power.socket ListenStream)"

step trust
json='Content-Type: application/json'
on='{"ResetType": "On"}'
action=$cell/Actions/ComputerSystem.Reset
shows "nobody looks" "$cell"
shows "nobody resets" -H "$json" -d "$on" "$action"
shows "wrong password" -u operator:reader -H "$json" -d "$on" "$action"
shows "reader looks" -u reader:reader "$cell"
shows "reader resets" -u reader:reader -H "$json" -d "$on" "$action"
shows "operator has a wish" -u operator:operator -H "$json" -d '{"ResetType": "PowerCycle"}' "$action"
echo "on cell1" | su bob -c "socat - UNIX-CONNECT:$(unit -power.socket ListenStream)" 2>&1 |
    sed -n 's/.*connect.*: \(.*\)/root: bob at the socket: \1/p'
ask http://localhost:443/redfish/v1 > /dev/null || echo "root: without TLS there is no answer"
run cellctl list

step turn-on
reader=$(login reader)
operator=$(login operator)
ask -N -H "$reader" --max-time 3000 $redfish/EventService/SSE > /run/stream &
stream=$!
within "the stream is read" 20 is_read
echo "root: PowerState=$(says PowerState)"
reset "$operator" On
power On
up
says MemorySummary > /dev/null
sed -n 's/.*"TotalSystemMemoryGiB":\([0-9.]*\).*"LogicalProcessorCount":\([0-9]*\).*/root: \1 GiB, \2 CPUs/p' /tmp/body
reset "$operator" On

step shutdown
reset "$operator" GracefulShutdown
power Off

step force-off
reset "$operator" On
up
power On
reset "$operator" ForceOff
power Off

step restart
reset "$operator" GracefulRestart
reset "$operator" On
up
before=$(starts)
reset "$operator" GracefulRestart
within "cell1 is started again" 60 is_started_again
up
power On

step force-restart
before=$(starts)
reset "$operator" ForceRestart
within "cell1 is started again" 60 is_started_again
up
power On

step nmi
reset "$reader" Nmi
reset "$operator" Nmi
cell_says cell1 20 "Dazed and confused"

step insert
image
drive "$reader" Insert '{"Image": "http://localhost:8080/boot.iso"}'
drive "$operator" Insert '{"Image": "http://localhost:8081/boot.iso"}'
drive "$operator" Insert '{"Image": "http://localhost:8080/none.iso"}'
drive "$operator" Insert '{"Image": "http://localhost:8080/boot.iso", "Inserted": true, "WriteProtected": true}'
status -H "$reader" "$cell/VirtualMedia/Cd" > /dev/null
sed -n 's/.*"ImageName":"\([^"]*\)","Inserted":\([a-z]*\).*/root: \1 inserted=\2/p' /tmp/body

step boot-once
boot_next Cd Once
boots
echo "root: then $(says BootSourceOverrideEnabled)"
boots

step boot-always
boot_next Cd Continuous
boots
before=$(starts)
cellctl console cell1 --new --for 0 --send "reboot\n" < /dev/null > /dev/null
booted
drive "$operator" Eject '{}'
boots
boot_next None Disabled

step away
run cellctl destroy cell1
power Off
shows "a cell that went has no CPUs" -H "$reader" "$cell/Processors"

step events
kill $stream
sed -n 's/.*"MessageId":"ResourceEvent\.1\.4\.\([A-Za-z]*\)".*Systems\/\([a-z0-9]*\)".*/root: event \1 \2/p' /run/stream
sed -n 's/^/root: server: /p' /run/server

step off
kill $server
run cellctl disable
unload
resources
pass
