. /lib.sh

on() {
    monitor_on
    within "the first machine answers" 20 ping -c 1 -W 1 10.9.0.1
    echo "root: 10.9.0.1 answers"
}

create() {
    cell_up there /scenario/there.toml
}

end() {
    all_off there
    dmesg | grep -E -f /trouble
    off
}

cable 2
obey
