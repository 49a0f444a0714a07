. /lib.sh
. /attacks.sh

step on
canary_up

step loops
for endless in halt mwait wbinvd split-locks debug-loop alignment-loop; do
    fresh
    attack "$endless"
    echo "root: exits of $endless: $(exits mallory | tr '\n' ' ')"
done

step ram
for at in 0x4000000 0x8000000 0x40000000 0xfee00000 0x100000000 0x400000000; do
    fatal "read $at"
done
fatal "write 0x4000000"
fatal "straddle 0x4000000"
fatal "fetch 0x4000000"
fatal "walk 0x40000000"
fatal "triple"

step residue
fresh
attack "pattern"
run cellctl kill mallory
run cellctl start mallory
follow mallory
cell_says mallory 20 "cell: ready"
attack "residue"

step outside
# CPUs that wait in the monitor meet uncorrected errors after which they can go on,
# the second while nobody has looked at the first.
run cellctl kill mallory
for check in 1 2; do
    echo "machine: mce 1 9 0xb000000000000000 5 0 0"
    sleep 1
done
fresh
attack "registers"
# NMIs of the machine are the root's, which knows of no reason for them.
for nmi in $(seq 20); do
    echo "machine: nmi"
done
attack "instructions"
dmesg -c > /dev/null

step pending
fresh
attack "pending-low"
run cellctl kill mallory
run cellctl destroy mallory
canary_lives "destroy"
root_lives "destroy"
echo "root: reclaimed"

step off
reclaim canary
all_off
pass
