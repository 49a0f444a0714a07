. /lib.sh
. /scenario/both.sh
cd / || exit 1

more_to_tell() {
    for file in /var/log/slurm/slurmctld.log /var/log/slurm/cellvisor.log /run/cellnet; do
        echo "root: end of $file:"
        tail -n 60 "$file"
    done
    sinfo
    squeue
    cellctl list
}

# Keys: of munge for all; of Slurm's user, good for one thing on the second machine; and
# that by which the second is known. The second gets its own by the cable.
keys() {
    dd if=/dev/urandom of=/etc/munge/munge.key bs=128 count=1 2> /dev/null
    mkdir -p /run/twin/etc/munge /run/twin/etc/ssh /run/twin/root/.ssh
    ssh-keygen -q -t ed25519 -N "" -f /root/.ssh/id_ed25519
    ssh-keygen -q -t ed25519 -N "" -f /run/twin/etc/ssh/ssh_host_ed25519_key
    echo "m2 $(cut -d' ' -f1,2 /run/twin/etc/ssh/ssh_host_ed25519_key.pub)" > /root/.ssh/known_hosts
    echo "restrict,command=\"/usr/bin/cellvisor-slurm machine m2\" $(cat /root/.ssh/id_ed25519.pub)" \
        > /run/twin/root/.ssh/authorized_keys
    cp /etc/munge/munge.key /run/twin/etc/munge/
    twin keys
    within "the second machine takes its keys" 60 send_keys
    twin true
}

send_keys() {
    tar -c -C /run/twin . | nc -w 10 10.9.0.2 10
}

# Runs a command that must be refused, and shows with what words.
refused() {
    echo "\$ $*"
    "$@" > /run/refused 2>&1 < /dev/null && fail "\`$*\` was not refused"
    sed 's/^/refused: /' /run/refused
}

# Whether the reason of the node $1 is ours.
has_reason() {
    scontrol show node "$1" | grep -q Reason=cellvisor:
}

step root
resources
cable 1
within "the second machine answers" 60 ping -c 1 -W 1 10.9.0.2
twin resources
echo "root: m2 answers"
configure ctl
keys
node_image

step on
twin on
monitor_on
resources
twin true

step slurm
patience=$(cat /patience)
sed "s/RESUME_SECONDS/$((90 * patience))/; s/SUSPEND_SECONDS/$((20 * patience))/" /scenario/slurm.conf \
    > /etc/slurm/slurm.conf
cp /scenario/cgroup.conf /etc/slurm/
ln -s slurmctld-wlm /usr/sbin/slurmctld
network 10.1.2.0/24 10.9.0.2
run cellvisor-slurm check
twin serve
within "the second machine lets Slurm in" 60 ssh -o BatchMode=yes root@m2 list
refused ssh root@m2 id
refused ssh root@m2 suspend n1
refused ssh -o IdentityFile=none root@m2 list
run munged --force
run slurmctld
within "slurmctld answers" 30 scontrol ping
run sinfo

step job
twin meet
echo "\$ srun -N2 -l hostname"
srun -N2 -l hostname > /run/srun 2>&1 &
job=$!
within "the cell of n1 runs" 120 runs n1
follow n1
within "the job is over" 240 is_over
wait "$job" || fail "srun ended with status $?: $(cat /run/srun)"
sort /run/srun
run cellctl list
run ssh root@m2 list
twin cells
run sinfo

step idle
within "the cell of n1 is gone" 180 is_gone n1
within "n1 is off" 180 is n1 idle~
within "n2 is off" 180 is n2 idle~
twin gone
run sinfo
run cellctl list
resources
twin true

step sync
run ssh root@m2 resume n2 99 cells
run ssh root@m2 list
run cellvisor-slurm sync
run ssh root@m2 list
twin cells
twin true

step broken
batch broken
twin failing
within "n3 is down" 400 is n3 down~
within "n3 has its reason" 60 has_reason n3
twin cleared
twin true
queue
node n3
run scancel --partition broken
run squeue
run scontrol update nodename=n3 state=resume
within "n3 is off" 60 is n3 idle~

step away
twin deaf
twin true
batch broken
within "n3 is down" 60 is n3 'down#'
queue
node n3
run scancel --partition broken

step off
twin end
resources
run cellctl disable
unload
resources
pass
