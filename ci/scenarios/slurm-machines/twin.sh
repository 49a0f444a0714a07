. /lib.sh
. /scenario/both.sh
cd / || exit 1

more_to_tell() {
    tail -n 20 /run/cellnet /run/sshd.log
    cellctl list
    ls -l /run/cellvisor-slurm
}

# From the first machine.
keys() {
    hear_from 10 | tar -x -C /
    node_image
}

on() {
    monitor_on
    resources
}

# Lets Slurm in by SSH.
serve() {
    network 10.1.1.0/24 10.9.0.1
    run cellvisor-slurm check
    run cellvisor-slurm nodes m2 | grep NodeName=n2
    printf 'HostKey /etc/ssh/ssh_host_ed25519_key\nPasswordAuthentication no\n' > /run/sshd_config
    chmod 600 /etc/ssh/ssh_host_ed25519_key
    run /usr/sbin/sshd -f /run/sshd_config -E /run/sshd.log -o PidFile=/run/sshd.pid
}

# Shows the console of n2 when it comes.
meet() {
    {
        within "the cell of n2 runs" 240 runs n2
        follow n2
    } &
}

cells() {
    run cellctl list
}

gone() {
    within "the cell of n2 is gone" 180 is_gone n2
    cells
    resources
}

has_failed() {
    cellctl list | grep -q " n3 .*failed"
}

failing() {
    within "the cell of n3 has failed" 240 has_failed
    cellvisor-slurm machine m2 list
}

cleared() {
    within "the cell of n3 is gone" 60 is_gone n3
    cells
}

# Nobody answers any more.
deaf() {
    kill "$(cat /run/sshd.pid)"
}

end() {
    run cellctl disable
    unload
    resources
    dmesg | grep -E -f /trouble
    off
}

configure m2
cable 2
obey
