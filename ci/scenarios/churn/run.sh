. /lib.sh

step root
resources
run insmod /lib/modules/cellvisor.ko
cellctl check | grep -e hypervisor

step churn
# A limit of the program's own, as patient as those of the words.
churn $((20 * $(cat /patience))) > /run/churn 2>&1 &
churn=$!
round=0
while [ $round -lt 20 ]; do
    cellctl enable --log-port 0x2f8 > /run/out 2>&1 || fail "round $round: $(cat /run/out)"
    sleep 0.5
    cellctl disable > /run/out 2>&1 || fail "round $round: $(cat /run/out)"
    round=$((round + 1))
    kill -0 $churn 2> /dev/null || fail "$(cat /run/churn)"
    echo "root: on and off $round"
done

step end
kill -TERM $churn
wait $churn || fail "$(cat /run/churn)"
cat /run/churn
unload
resources
pass
