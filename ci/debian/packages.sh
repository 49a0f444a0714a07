# Installs, upgrades, uses, removes and purges the packages in a Debian tree. The first
# argument is the kernel that the tree has, each other one `RELEASE HEADERS PROGRAMS` of
# a kernel that DKMS is to build the driver for. FROM and TO are the versions.
set -eu
export LC_ALL=C DEBIAN_FRONTEND=noninteractive

fail() {
    echo "packages: failed: $*"
    exit 1
}

# Fails unless the rest, a command, prints $1.
prints() {
    want=$1
    shift
    got=$("$@") || fail "\`$*\` fails"
    [ "$got" = "$want" ] || fail "\`$*\` prints '$got', not '$want'"
}

installed() {
    for package in $all; do
        prints "$1 install ok installed" dpkg-query -W -f '${Version} ${Status}' "$package"
    done
    prints "cellvisor/$1, $kernel, x86_64: installed" dkms status
    prints "/lib/modules/$kernel/updates/dkms/cellvisor.ko" modinfo -k "$kernel" -F filename cellvisor
}

kernel=$1
shift
all="cellvisor cellvisor-dkms cellvisor-slurm cellvisor-redfish"

# It installs and purges: only in the system that `customize` made.
[ -e /etc/systemd/system/scenario.service ] || fail "this is no tree to try packages in"

apt-get install -y /job/from/*.deb
installed "$FROM"
echo 'version = 1' > /etc/cellvisor/slices/mine.toml

apt-get install -y /job/to/*.deb
installed "$TO"
prints "" find /usr/src -maxdepth 1 -name "cellvisor-$FROM"
echo "packages: upgraded from $FROM to $TO"

prints "cellctl $TO" cellctl --version
prints "2750 root cellvisor" stat -c '%a %U %G' /run/cellvisor
for page in man1/cellctl.1 man1/cellctl-create.1 man1/cellnet.1 man1/cellmsg.1 man5/slice.5 \
    man8/cellvisor-slurm.8 man8/cellvisor-redfish.8; do
    gzip -t "/usr/share/man/$page.gz" || fail "no page $page"
done
status=0
cellctl list > /tmp/out 2>&1 || status=$?
[ "$status" = 3 ] || fail "cellctl list ends with $status without a driver"
# As bash asks at a Tab, with the line that the package's file has.
bash -c '. /usr/share/bash-completion/completions/cellctl; complete -p cellctl' ||
    fail "bash is not told of cellctl"
systemd-analyze verify --man=no --recursive-errors=no cell@web.service cellnet@net.service \
    cellvisor.service cellvisor-exporter.socket cellvisor-redfish.service cellvisor-redfish-power.socket \
    cellvisor-redfish-power@1.service || fail "systemd does not like the units"
prints "" dpkg --verify cellvisor-slurm cellvisor-redfish

printf 'version = 1\n[[machine]]\nname = "m1"\nlocal = true\nnodes = "n1"\n[[template]]\nslice = "n.toml"\n' \
    > /tmp/slurm.toml
prints "1 machines, no mistakes" env CELLVISOR_SLURM_CONFIG=/tmp/slurm.toml cellvisor-slurm check
# Slurm starts it by this name; without a list of nodes it ends with what is wrong.
status=0
/usr/lib/cellvisor/slurm/resume > /tmp/out 2>&1 || status=$?
[ "$status" = 1 ] || fail "resume without nodes ends with $status"
id -nG cellvisor-redfish | grep -q -w cellvisor || fail "who serves Redfish may not look at cells"
printf 'version = 1\n[[account]]\nname = "op"\nrole = "Operator"\npassword = "%s"\n' \
    "$(echo op | cellvisor-redfish hash)" > /tmp/redfish.toml
chmod 640 /tmp/redfish.toml
prints "1 accounts, no mistakes" cellvisor-redfish check --config /tmp/redfish.toml
echo "packages: used"

while [ $# -gt 0 ]; do
    release=$1 headers=$2 programs=$3
    shift 3
    PATH="$programs:$PATH" dkms build -m cellvisor -v "$TO" -k "$release" --kernelsourcedir "$headers" ||
        { cat "/var/lib/dkms/cellvisor/$TO/build/make.log"; fail "DKMS does not build for $release"; }
    echo "packages: DKMS builds for $release"
done

apt-get remove -y cellvisor-dkms
prints "" dkms status
[ ! -e "/lib/modules/$kernel/updates/dkms/cellvisor.ko" ] || fail "the module stays"
# shellcheck disable=SC2086
apt-get purge -y $all
prints "/etc/cellvisor
/etc/cellvisor/slices
/etc/cellvisor/slices/mine.toml" find / -xdev \( -path /job -o -path /proc -o -path /dev -o -path "$CACHE" \
    -o -path /var/log -o -path /tmp \) -prune -o -path '*cellvisor*' -print
echo "packages: purged"
