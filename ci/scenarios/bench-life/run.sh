. /lib.sh

# How often: cells made and destroyed, the monitor turned on and off. Words of the
# kernel's command line (cargo xtask bench life) are variables of the first process.
cells=${life_cells:-1000}
switches=${life_times:-50}

# What must be the same afterwards: pages of the monitor's pool, huge pages, CPUs.
kept() {
    pages=/sys/kernel/mm/hugepages/hugepages-2048kB
    echo "$(cellctl status 2> /dev/null | grep -i pool) huge=$(cat $pages/nr_hugepages) free=$(cat $pages/free_hugepages) cpus=$(nproc)"
}

# Open files, as far as Linux tells: each CPU keeps up to 32 of them to itself.
files() {
    cut -f 1 /proc/sys/fs/file-nr
}

# MiB that Linux has free, when caches are dropped.
free_mib() {
    sync
    echo 3 > /proc/sys/vm/drop_caches
    awk '/^MemFree/ { print int($2 / 1024) }' /proc/meminfo
}

now_ms() {
    awk '{ print int($1 * 1000) }' /proc/uptime
}

# Makes, starts and destroys the cell $1, $2 times; prints the cost of one.
cycle() {
    begin=$(now_ms)
    for n in $(seq "$2"); do
        { cellctl create "$1.toml" && cellctl start "$1" && cellctl destroy "$1"; } \
            > /run/said 2>&1 || fail "cycle $n of $1: $(cat /run/said)"
    done
    echo "life: $1 cycles=$2 ms=$((($(now_ms) - begin) / $2))"
}

step on
monitor_on
cycle small 3
before=$(kept)
open=$(files)
memory=$(free_mib)

step cells
cycle small "$cells"
cycle medium 20
cycle large 20
after=$(kept)
echo "life: before $before"
echo "life: after $after"
[ "$before" = "$after" ] || fail "something is lost: $before, then $after"
echo "life: files before=$open after=$(files)"
[ "$(files)" -le $((open + 32 * $(nproc))) ] || fail "files stay open: $open, then $(files)"
echo "life: free-mib before=$memory after=$(free_mib)"

step switches
run cellctl disable
begin=$(now_ms)
for n in $(seq "$switches"); do
    { cellctl enable --log-port 0x2f8 && cellctl disable; } > /run/said 2>&1 ||
        fail "switch $n: $(cat /run/said)"
done
echo "life: on-off cycles=$switches ms=$((($(now_ms) - begin) / switches))"
unload
resources
left=$(free_mib)
echo "life: free-mib before=$memory after=$left"
[ "$left" -ge "$((memory - 16))" ] || fail "Linux has lost memory: $memory MiB, then $left"
pass
