. /lib.sh

is_off() {
    ! ping -c 1 -W 1 10.9.0.2
}

step root
resources
cable 1
within "the twin answers" 60 ping -c 1 -W 1 10.9.0.2
twin resources
twin true

step ping
ping -c 2 10.9.0.2

step on
twin on
monitor_on
twin true
ping -c 20 -i 0.1 10.9.0.2

step cells
twin create
cell_up here /scenario/here.toml
twin true
ping -c 20 -i 0.1 10.9.0.2

step off
twin end
all_off here
within "the twin is off" 60 is_off
echo "root: the twin is off"
pass
