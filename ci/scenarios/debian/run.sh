. /lib.sh
packages=$(echo /job/*.deb)

more_to_tell() {
    for unit in cell@web0 cellvisor cellvisor-redfish 'cellvisor-redfish-power@*'; do
        echo "root: the journal of $unit:"
        journalctl -b -u "$unit" -o short-monotonic 2>&1 | tail -n 40
    done
}

# Runs a command as a user who is in the group `cellvisor` (alice) or not (bob).
as() {
    user=$1
    shift
    setpriv --reuid "$user" --regid "$user" --init-groups "$@"
}

# Runs a command that must be refused, and shows with what words.
refused() {
    echo "\$ $*"
    if "$@" > /tmp/refused 2>&1; then
        fail "\`$*\` was not refused"
    fi
    sed 's/^/refused: /' /tmp/refused
}

# The cell's console as the journal has it, since the boot.
journal() {
    journalctl -b -u cell@web0 -o cat | tr -d '\r' > /tmp/journal
}

journal_says() {
    journal
    grep -q -e "$1" /tmp/journal
}

# True when the cell has come up twice since the boot.
started_twice() {
    journal
    [ "$(grep -c "cell: ready" /tmp/journal)" -ge 2 ]
}

# The console of the cell for the judge.
show_journal() {
    journal
    sed 's/^/[cell web0] /' /tmp/journal
}

systems=https://127.0.0.1/redfish/v1/Systems

# Whether the server answers.
redfish() {
    curl -sk --max-time 10 https://127.0.0.1/redfish
}

# Prints the status of an answer of the server.
shows() {
    what=$1
    shift
    echo "root: $what: $(curl -sk --max-time 120 -o /tmp/body -w '%{http_code}' "$@")"
}

# Whether the cell node0 is in the state $1.
node0() {
    cellctl list | grep -q " node0 *$1 "
}

# Asks for a change of node0's power, as $1.
power() {
    shows "$2 by $1" -u "$1:$1" -H 'Content-Type: application/json' -d "{\"ResetType\": \"$2\"}" \
        "$systems/node0/Actions/ComputerSystem.Reset"
}

first_boot() {
    step root
    echo "root: uname=$(uname -r) init=$(cat /proc/1/comm)"
    echo "root: system=$(systemctl is-system-running --wait)"
    systemctl --failed --no-legend --plain | sed 's/^/root: failed unit: /'

    step install
    # shellcheck disable=SC2086
    run apt-get install -y $packages > /tmp/apt 2>&1
    grep -e '^Setting up cellvisor' /tmp/apt
    dkms status
    echo "root: module $(modinfo -F filename cellvisor) $(modinfo -F version cellvisor)"
    getent group cellvisor
    stat -c 'root: state %A %U %G' /run/cellvisor
    # So that the monitor's log can be judged.
    mkdir -p /etc/systemd/system/cellvisor.service.d
    printf '[Service]\nExecStart=\nExecStart=/usr/bin/cellctl enable --log-port 0x2f8\n' \
        > /etc/systemd/system/cellvisor.service.d/log.conf
    systemctl daemon-reload

    step service
    # The scenario's disk is not there yet when services begin.
    mkdir /var/lib/web0
    cp /job/vmlinuz /job/initrd.img /var/lib/web0/
    cp /job/web0.toml /etc/cellvisor/slices/
    run systemctl enable --now cell@web0
    within "the journal has the console" 60 journal_says "cell: ready"
    show_journal
    systemctl is-active cell@web0 cellvisor
    run cellctl list

    step group
    useradd --groups cellvisor alice
    useradd bob
    run as alice cellctl list
    run as alice cellctl status web0
    run as alice cellctl stats web0
    (timeout 10 setpriv --reuid alice --regid alice --init-groups cellctl events --json || true) | head -n 1
    run as alice cellctl top --interval 1 --count 1 | cat
    refused as alice cellctl stop web0
    refused as alice cellctl console web0 --no-follow
    refused as alice cellctl log
    refused as alice cellctl create /etc/cellvisor/slices/web0.toml
    refused as bob cellctl list
    refused as alice systemctl restart cell@web0
    cp /usr/share/doc/cellvisor/examples/50-cellvisor.rules /etc/polkit-1/rules.d/
    sleep 2
    refused as bob systemctl restart cell@web0
    run as alice systemctl restart cell@web0
    within "the cell is up again" 60 started_twice
    echo "root: alice restarted web0"

    step exporter
    run systemctl enable --now cellvisor-exporter.socket
    run curl -sS --max-time 60 http://127.0.0.1:9914/metrics > /tmp/metrics
    grep -e '^cellvisor_up' -e 'cellvisor_exits_total{.*web0' /tmp/metrics | head -n 8

    step redfish
    cp /job/node0.toml /etc/cellvisor/slices/
    {
        echo 'version = 1'
        for role in ReadOnly Operator; do
            printf '[[account]]\nname = "%s"\nrole = "%s"\npassword = "%s"\n' "$role" "$role" \
                "$(echo "$role" | cellvisor-redfish hash)"
        done
    } > /tmp/redfish.toml
    run install -o root -g cellvisor-redfish -m 0640 /tmp/redfish.toml /etc/cellvisor/redfish.toml
    run systemctl enable --now cellvisor-redfish
    within "the server answers" 30 redfish
    ps -o user:20= -p "$(systemctl show -P MainPID cellvisor-redfish)" | sed 's/^/root: server: /'
    shows "nobody" -u x:x "$systems/node0"
    shows "ReadOnly" -u ReadOnly:ReadOnly "$systems/node0"
    power ReadOnly On
    # The answer comes after five seconds at the latest, whatever is under way.
    power Operator On
    within "node0 runs" 60 node0 running
    run cellctl list
    power Operator ForceOff
    within "node0 is off" 60 node0 stopped
    run cellctl list
    run cellctl destroy node0
    systemctl --failed --no-legend --plain | sed 's/^/root: failed unit: /'

    step reboot
    touch /var/lib/scenario-rebooted
    run systemctl reboot
}

second_boot() {
    step again
    echo "root: uptime=$(cut -d. -f1 /proc/uptime)"
    within "the cell is up again" 90 journal_says "cell: ready"
    run cellctl list
    systemctl is-active cell@web0 cellvisor-exporter.socket cellvisor-redfish
    within "the server answers" 30 redfish
    shows "after the restart" -u ReadOnly:ReadOnly "$systems/web0"
    grep -o '"PowerState":"[a-zA-Z]*"' /tmp/body

    step stop
    run systemctl stop cell@web0
    show_journal
    systemctl show -p Result -p ActiveState cell@web0
    echo "root: cells: $(cellctl list)"
    echo "root: cpus=$(nproc)"

    step purge
    run systemctl start cell@web0
    run apt-get purge -y cellvisor cellvisor-dkms cellvisor-slurm cellvisor-redfish > /tmp/apt 2>&1
    # What this script put there, and the slices and accounts, which are to stay.
    rm -r /etc/systemd/system/cellvisor.service.d /etc/polkit-1/rules.d/50-cellvisor.rules
    echo "root: left: $(find / -xdev -path /etc/cellvisor -prune -o -name '*cellvisor*' -print | tr '\n' ' ')"
    echo "root: cpus=$(nproc) slices=$(ls /etc/cellvisor/slices | tr "\n" " ")"
    pass
}

if [ -e /var/lib/scenario-rebooted ]; then
    second_boot
else
    first_boot
fi
