. /lib.sh
packages=$(echo /job/*.deb)

more_to_tell() {
    for unit in cell@web0 cellvisor; do
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

    step reboot
    touch /var/lib/scenario-rebooted
    run systemctl reboot
}

second_boot() {
    step again
    echo "root: uptime=$(cut -d. -f1 /proc/uptime)"
    within "the cell is up again" 90 journal_says "cell: ready"
    run cellctl list
    systemctl is-active cell@web0 cellvisor-exporter.socket

    step stop
    run systemctl stop cell@web0
    show_journal
    systemctl show -p Result -p ActiveState cell@web0
    echo "root: cells: $(cellctl list)"
    echo "root: cpus=$(nproc)"

    step purge
    run systemctl start cell@web0
    run apt-get purge -y cellvisor cellvisor-dkms > /tmp/apt 2>&1
    # What this script put there, and the slices, which are to stay.
    rm -r /etc/systemd/system/cellvisor.service.d /etc/polkit-1/rules.d/50-cellvisor.rules
    echo "root: left: $(find / -xdev -path /etc/cellvisor -prune -o -name '*cellvisor*' -print | tr '\n' ' ')"
    echo "root: cpus=$(nproc) slices=$(ls /etc/cellvisor/slices)"
    pass
}

if [ -e /var/lib/scenario-rebooted ]; then
    second_boot
else
    first_boot
fi
