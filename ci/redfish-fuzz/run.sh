#!/bin/sh
# Has schemathesis (PyPI, in PATH) ask a server whatever fits openapi.json, and what does not:
# as each role, and without credentials. The server is one of its own, on a machine whose
# cellctl is a stand-in. Fails if an answer is a fault of the server, if the server ends, or
# if who may only look gets something changed.
#
#   ci/redfish-fuzz/run.sh [REQUESTS OF EACH OPERATION]
set -eu

here=$(dirname "$(realpath "$0")")
tree=$(realpath "$here/../..")
many=${1:-40}
base=https://127.0.0.1:8443

cargo build --quiet --release --manifest-path "$tree/Cargo.toml" -p cellvisor-redfish
program=${CARGO_TARGET_DIR:-$tree/target}/release/cellvisor-redfish

machine=$(mktemp -d)
mkdir "$machine/cells" "$machine/images" "$machine/slices" "$machine/state" "$machine/boot"
ln -s "$tree/tools/redfish/tests/cellctl" "$machine/cellctl"
echo running > "$machine/cells/web"
echo stopped > "$machine/cells/db"
: > "$machine/slices/spare.toml"
: > "$machine/asked"

account() {
    printf '[[account]]\nname = "%s"\nrole = "%s"\npassword = "%s"\n' "$1" "$2" "$(echo "$1" | "$program" hash)"
}

{
    printf 'version = 1\nlisten = "127.0.0.1:8443"\nnames = ["localhost"]\n'
    printf '[media]\nfrom = ["file://%s/images/"]\n' "$machine"
    account admin Administrator
    account operator Operator
    account reader ReadOnly
} > "$machine/redfish.toml"
chmod 640 "$machine/redfish.toml"

set -- --state "$machine/state" --slices "$machine/slices" --cellctl "$machine/cellctl" --boot "$machine/boot"
systemd-socket-activate --accept --inetd --listen="$machine/power" "$program" power "$@" 2> "$machine/power.log" &
root=$!
"$program" serve --config "$machine/redfish.toml" --power "$machine/power" "$@" 2> "$machine/server.log" &
server=$!
trap 'kill $root $server; rm -r "$machine"' EXIT
trap 'exit 1' INT TERM
for _ in 1 2 3 4 5 6 7 8 9 10; do
    curl -sk $base/redfish > /dev/null && break
    sleep 1
done
kill -0 $server || { cat "$machine/server.log"; exit 1; }

cd "$machine"
bad=0
wrong() {
    echo "wrong: $*"
    bad=1
}

for who in admin operator reader nobody; do
    : > "$machine/asked"
    auth="--auth $who:$who"
    [ $who != nobody ] || auth=
    echo "$who:"
    # Of a query that is not known Redfish wants 501: schemathesis.toml.
    # shellcheck disable=SC2086
    schemathesis --config-file "$here/schemathesis.toml" run "$here/openapi.json" --url $base --tls-verify false $auth \
        --checks not_a_server_error,ignored_auth --phases coverage,fuzzing --max-examples "$many" \
        --continue-on-failure --request-timeout 30 --suppress-health-check all --no-color > "$machine/$who.log" 2>&1 ||
        { cat "$machine/$who.log"; wrong "see above"; }
    grep -E '(Selected|Tested|generated|passed|failures).*' "$machine/$who.log" || wrong "nothing was tested"
    echo "asked of root: $(wc -l < "$machine/asked")"
    kill -0 $server 2> /dev/null || wrong "the server ended"
    case $who in
    reader | nobody) [ ! -s "$machine/asked" ] || wrong "$who has changed something" ;;
    *) [ -s "$machine/asked" ] || wrong "$who has changed nothing" ;;
    esac
done
! grep -a panicked "$machine/server.log" || wrong "a panic"
exit $bad
