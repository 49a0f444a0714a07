. /lib.sh

of_gib=/sys/kernel/mm/hugepages/hugepages-1048576kB
of_2mib=/sys/kernel/mm/hugepages/hugepages-2048kB

# Promised pages are those that programs have mapped and not touched: none here.
large_pages() {
    echo "root: pages of 1 GiB: $(cat $of_gib/free_hugepages) of $(cat $of_gib/nr_hugepages) free, $(cat $of_gib/resv_hugepages) promised"
}

# Linux leaves la57 out of a CPU's features where it does not use the fifth level.
five_levels='echo "five levels: $(grep -c -w la57 /proc/cpuinfo)"'

step on
echo "root: $(eval "$five_levels")"
large_pages
resources
monitor_on

step cell
before=$(cat $of_2mib/nr_hugepages)
cell_up wide wide.toml
large_pages
echo "root: huge pages of 2 MiB for the cell: $(($(cat $of_2mib/nr_hugepages) - before)), $(cat $of_2mib/resv_hugepages) promised"
tell wide 20 "echo \"cell: \$($five_levels)\""
# Linux takes what is high first: the second page, where the first has the kernel.
tell wide 120 "mkdir -p /mnt && mount -t tmpfs -o size=100% all /mnt && yes across-pages | head -c 2097152 > /mnt/part && for i in \$(seq 100); do cat /mnt/part; done > /mnt/all && md5sum < /mnt/all"

step second
sed 's/"wide"/"second"/; s/2GiB/1GiB/' wide.toml > second.toml
cell_up second second.toml
large_pages

step off
all_off wide second
large_pages
pass
