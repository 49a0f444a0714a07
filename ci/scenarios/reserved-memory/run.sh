. /lib.sh

pages=/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages

step on
echo "root: $(grep -m 1 -o "40000000-4fffffff : Reserved" /proc/iomem)"
resources
monitor_on
before=$(cat $pages)

step cell
cell_up reserved /scenario/reserved.toml
echo "root: huge pages for the cell: $(($(cat $pages) - before))"

step off
all_off reserved
pass
