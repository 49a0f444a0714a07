. /lib.sh
cd / || exit 1
export PATH="$PATH:/usr/bin:/usr/sbin"

more_to_tell() {
    for file in /var/log/slurm/slurmctld.log /var/log/slurm/cellvisor.log /run/cellnet; do
        echo "root: end of $file:"
        tail -n 60 "$file"
    done
    sinfo
    squeue
    cellctl list
}

# Files that installing packages makes, a key for munge, and a host's name.
configure() {
    echo root:x:0:0::/:/bin/sh > /etc/passwd
    echo root:x:0: > /etc/group
    echo 127.0.0.1 localhost > /etc/hosts
    echo 10.1.2.4 ctl >> /etc/hosts
    hostname ctl
    ln -s slurmctld-wlm /usr/sbin/slurmctld
    mkdir -p /etc/slurm /etc/munge /run/munge /var/log/munge /var/lib/munge /var/log/slurm /var/spool/slurmctld
    dd if=/dev/urandom of=/etc/munge/munge.key bs=128 count=1 2> /dev/null
    chmod 700 /etc/munge
    chmod 400 /etc/munge/munge.key
    patience=$(cat /patience)
    sed "s/RESUME_SECONDS/$((90 * patience))/; s/SUSPEND_SECONDS/$((20 * patience))/" /scenario/slurm.conf \
        > /etc/slurm/slurm.conf
    cp /scenario/cgroup.conf /etc/slurm/
    cp /scenario/slurm.toml /etc/cellvisor/
}

# What nodes boot: the cells' initramfs, and behind it the key.
node_image() {
    (cd / && echo etc/munge/munge.key | cpio -o -H newc) > /run/key.cpio
    cat /etc/cellvisor/initrd.img /run/key.cpio > /run/node.img
}

# Has the root in the network whenever it is there, as cellnet@net.service does.
network() {
    ip addr add 10.1.2.4/32 dev lo
    ip link set lo up
    while :; do
        cellnet net >> /run/cellnet 2>&1
        sleep 1
    done
}

# Whether no job is for the partition $1.
has_no_jobs() {
    [ -z "$(squeue -h -p "$1")" ]
}

step root
resources
configure
node_image

step on
monitor_on
resources

step slurm
network &
run cellvisor-slurm check
echo "\$ cellvisor-slurm nodes m1"
cellvisor-slurm nodes m1 && fail "a node that cannot be is named"
# Without n4, which slurm.conf has by hand.
sed 's/n\[1-4\]/n[1-3]/' /etc/cellvisor/slurm.toml > /run/slurm.toml
run env CELLVISOR_SLURM_CONFIG=/run/slurm.toml cellvisor-slurm nodes m1 > /run/nodes
tee -a /etc/slurm/slurm.conf < /run/nodes
run munged --force
run slurmctld
within "slurmctld answers" 30 scontrol ping
run sinfo

step job
echo "\$ srun -N2 -C m1 -l hostname"
srun -N2 -C m1 -l hostname > /run/srun 2>&1 &
job=$!
for node in n1 n2; do
    within "the cell of $node runs" 90 runs "$node"
    follow "$node"
done
within "the job is over" 180 is_over
wait "$job" || fail "srun ended with status $?: $(cat /run/srun)"
sort /run/srun
run cellctl list
run cellvisor-slurm machine m1 list
run sinfo

step idle
for node in n1 n2; do
    within "the cell of $node is gone" 180 is_gone "$node"
done
within "n1 is off" 180 is n1 idle~
within "n2 is off" 180 is n2 idle~
run sinfo
run cellctl list
resources

step huge
batch huge
within "n4 is down" 60 is n4 'down#'
queue
node n4
run scancel --partition huge

step mute
batch mute
within "the cell of n3 runs" 90 runs n3
run cellctl list
within "n3 is down" 300 is n3 down~
within "the cell of n3 is gone" 60 is_gone n3
queue
node n3
run cellctl list

step mended
run sed -i s/10.1.2.44/10.1.2.4/ /scenario/mute.toml
run scontrol update nodename=n3 state=resume
# Slurm lets a job that it has requeued wait for two minutes.
run scontrol update "jobid=$(squeue -h -p mute -o %i)" starttime=now
within "the cell of n3 runs" 90 runs n3
follow n3
cell_says n3 180 "restarts: 1"
within "the job is over" 60 has_no_jobs mute
within "the cell of n3 is gone" 180 is_gone n3
within "n3 is off" 180 is n3 idle~
run sinfo
run cellctl list

step kept
within "the time of n4 is over as well" 180 is n4 down~
node n4
run sinfo -R
run scontrol update nodename=n4 state=resume
within "n4 is off" 60 is n4 idle~

step off
resources
run cellctl disable
unload
resources
pass
