. /lib.sh

# Writes the slice $1 of $2 CPUs with the image $3 and the rest of its [kernel].
slice() {
    cat > "$1.toml" << END
version = 1
cell.name = "$1"
cpus.count = $2
memory.size = "256MiB"
[kernel]
image = "$3"
$4
END
}

# Copies what the cell $1 says from its start on, until it says $2, one line for
# each piece of its screen; fails after $3 seconds.
screen_says() {
    limit=$(($3 * $(cat /patience)))
    cellctl console "$1" --expect "$2" --for $limit < /dev/null > "/run/screen-$1" ||
        fail "cell $1 does not say '$2' within $limit s"
}

more_to_tell() {
    for screen in /run/screen-*; do
        echo "root: $screen:"
        tail -c 2000 "$screen" | cat -v
    done
    cellctl stats
}

stopped() {
    cellctl list | grep -q "$1 .*stopped"
}

step on
resources
monitor_on

step refused
printf '\3757zXZ\0 and so on' > packed
cp /lib/modules/cellvisor.ko module
for wrong in packed module xen-4.17-amd64.efi; do
    slice no 1 $wrong
    ! cellctl create no.toml || fail "$wrong is no kernel"
done
[ "$(nproc)" = 4 ] && echo "root: nothing was created"

step vmlinux
echo "root: vmlinux has 0x$(od -A n -t x8 -j 24 -N 8 vmlinux | tr -d ' ')"
# As of microcode, not packed and of an odd length; one that is not packed either; and
# the initrd proper.
mkdir -p kernel/x86/microcode other
: > kernel/x86/microcode/first
: > other/second
find kernel | cpio -o -H newc | head -c -3 > microcode.cpio
find other | cpio -o -H newc > other.cpio
gzip -1 < initrd.img > initrd.gz
slice elf 2 vmlinux 'initrd = ["microcode.cpio", "other.cpio", "initrd.gz"]
cmdline = "console=ttyS0"'
cell_up elf elf.toml
tell elf 20 'ls /kernel/x86/microcode /other'
run cellctl destroy elf

step parts
slice no 1 vmlinux 'initrd = ["microcode.cpio", "module", "none"]'
! cellctl create no.toml || fail "a part is no initrd"
! cellctl check no.toml || fail "a part is no initrd"

step memtest
slice memtest 1 memtest86+x64.bin 'cmdline = "console=ttyS0,115200"'
run cellctl create memtest.toml
run cellctl start memtest
screen_says memtest "Memtest86+ v" 60
echo "root: memtest says: $(grep -o 'Memtest86+ v[0-9.]*' /run/screen-memtest | head -n 1)"
screen_says memtest "Test #" 60
echo "root: memtest tests"
run cellctl destroy memtest

step pvh
printf 'the first module\n' > first
printf 'the second module\n' > second
slice pvh 1 pvh 'initrd = ["first", "second"]
cmdline = "console=ttyS0 words for it"'
run cellctl create pvh.toml
run cellctl start pvh
follow pvh
cell_says pvh 60 "cell: done status=0"
within "pvh is stopped" 20 stopped pvh
run cellctl destroy pvh

# Xen looks for clocks that cells do not have, and for the first kernel that it is to
# boot: how far it comes is not ours to say, but it says who it is and what it was told.
step multiboot
gunzip -c xen-4.17-amd64.gz > xen
slice xen 1 xen 'cmdline = "console=com1 com1=115200 no-real-mode noreboot"'
run cellctl create xen.toml
run cellctl start xen
screen_says xen "Xen version" 60
screen_says xen "Command line" 60
echo "root: xen says: $(grep -o 'Xen version [0-9.]*' /run/screen-xen | head -n 1)"
echo "root: xen says: $(grep -o 'Command line: .*' /run/screen-xen | head -n 1)"
run cellctl destroy xen

step bare
for program in hello latency; do
    slice $program 2 cell-$program "cmdline = \"console=ttyS0 $program\""
    run cellctl create $program.toml
    run cellctl start $program
    follow $program
    cell_says $program 60 "cell: done status=0"
    within "$program is stopped" 20 stopped $program
    run cellctl destroy $program
done

step tester
for planted in none random; do
    slice tester 2 cell-memtest "cmdline = \"console=ttyS0 plant=$planted\""
    # Writing and checking all of it takes its time in an emulator.
    sed -i 's/256MiB/64MiB/' tester.toml
    run cellctl create tester.toml
    run cellctl start tester
    follow tester
    cell_says tester 120 "cell: done status="
    within "the tester is stopped" 20 stopped tester
    run cellctl destroy tester
done

step off
run cellctl disable
unload
resources
pass
