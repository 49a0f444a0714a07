# What both machines are made of.
export PATH="$PATH:/usr/bin:/usr/sbin" HOME=/root

# Files that installing packages makes, and the names of both.
configure() {
    echo "root:x:0:0::/root:/bin/sh" > /etc/passwd
    echo "sshd:x:100:65534::/run/sshd:/bin/false" >> /etc/passwd
    printf 'root:x:0:\nnogroup:x:65534:\n' > /etc/group
    printf '127.0.0.1 localhost\n10.9.0.1 ctl m1\n10.9.0.2 m2\n' > /etc/hosts
    hostname "$1"
    mkdir -p /etc/slurm /etc/munge /run/munge /var/log/munge /var/lib/munge /var/log/slurm /var/spool/slurmctld
    mkdir -p /root/.ssh /run/sshd
    chmod 700 /root/.ssh /run/sshd
    cp /scenario/slurm.toml /etc/cellvisor/
}

# What nodes boot: the cells' initramfs, and behind it the key.
node_image() {
    chmod 700 /etc/munge
    chmod 400 /etc/munge/munge.key
    (cd / && echo etc/munge/munge.key | cpio -o -H newc) > /run/key.cpio
    cat /etc/cellvisor/initrd.img /run/key.cpio > /run/node.img
}

# Has the root in the network of its cells whenever it is there, as cellnet@net.service
# does, and carries packets from there to the other machine's: $1 by $2.
network() {
    echo 1 > /proc/sys/net/ipv4/ip_forward
    ip route add "$1" via "$2"
    while :; do
        cellnet net >> /run/cellnet 2>&1
        sleep 1
    done &
}
