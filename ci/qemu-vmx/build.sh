#!/bin/sh
# Builds QEMU with VMX emulation for TCG and puts the binary where it is asked.
#
#   build.sh DEST [WORKDIR]
#
# DEST     path of the resulting binary
# WORKDIR  scratch folder, about 900 MiB, kept for later runs
#          (default: $TMPDIR/qemu-vmx-build)
#
# Needs Debian 12 or 13; root only if build packages are missing. Nothing
# happens while DEST is up to date with the files here.

set -e
here=$(cd "$(dirname "$0")" && pwd)
dest=$1
work=${2:-${TMPDIR:-/tmp}/qemu-vmx-build}

# The source package, and SHA-256 of its two archives. There is no other way to a
# source: another version is another emulator, with which nothing was tested.
version='1:10.0.13+ds-0+deb13u1'
checksums='6a0888e806c2ffc0c5f0733e974f9aea55491950d3c47c98669c8b236dde59ae  qemu_10.0.13+ds.orig.tar.xz
da73c092f5684c551b0334d675eb16a3dec91e1edea94759cfb1102fa4a0364e  qemu_10.0.13+ds-0+deb13u1.debian.tar.xz'
description='qemu_10.0.13+ds-0+deb13u1.dsc'

if [ -z "$dest" ]; then
    echo "usage: $0 DEST [WORKDIR]" >&2
    exit 2
fi

# One build at a time in a scratch folder; whoever waited finds it done.
mkdir -p "$work"
exec 9> "$work/lock"
flock 9

stamp=$(cd "$here" && find build.sh meson.txt vmx.patch vtd.patch ignne.patch svm.patch rdt.patch source -type f | LC_ALL=C sort | xargs cat | sha256sum | cut -d' ' -f1)
if [ -x "$dest" ] && [ "$(cat "$dest.stamp" 2>/dev/null)" = "$stamp" ]; then
    echo "$dest is up to date"
    exit 0
fi

# Packages to build with
packages="build-essential git bison flex ninja-build pkg-config bzip2 xz-utils
      dpkg-dev python3-venv libglib2.0-dev libpixman-1-dev libslirp-dev
      libfdt-dev libaio-dev zlib1g-dev"
missing=
for package in $packages; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
        missing="$missing $package"
done
if [ -n "$missing" ]; then
    if [ "$(id -u)" != 0 ]; then
        echo "packages are missing; run as root, then again what you ran:" >&2
        echo "  apt-get install -y --no-install-recommends$missing" >&2
        exit 1
    fi
    echo "installs packages"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update
    # shellcheck disable=SC2086
    apt-get install -y --no-install-recommends $missing
fi

# The source package, from the mirror that this system uses anyway. Its index
# is kept in the work folder: the system's own sources stay as they are.
cd "$work"
genuine() {
    echo "$checksums" | sha256sum --check --status 2> /dev/null && [ -e "$description" ]
}
if ! genuine; then
    echo "fetches the source"
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' |
             sed 's,/*$,,' | grep '/debian$' | head -n 1)
    if [ -z "$mirror" ]; then
        echo "apt has no Debian mirror among its sources" >&2
        exit 1
    fi
    mkdir -p apt/lists
    echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" \
        > apt/source.list
    private() {
        apt-get -o APT::Sandbox::User="$(id -un)" -o Dir::Etc::sourcelist="$work/apt/source.list" \
            -o Dir::Etc::sourceparts=- -o Dir::State::lists="$work/apt/lists" \
            -o Dir::Cache::srcpkgcache= -o Dir::Cache::pkgcache= "$@"
    }
    private update
    private source --download-only "qemu=$version" || {
        echo "the mirror $mirror has no qemu $version any more: test with another one," >&2
        echo "then write its version and its archives' checksums into ci/qemu-vmx/build.sh" >&2
        exit 1
    }
    genuine || {
        echo "the archives of qemu $version are not those that were tested with:" >&2
        echo "$checksums" | sha256sum --check >&2 || true
        exit 1
    }
fi
# A tree that other archives were unpacked to is not taken.
source=$work/source
if [ "$(cat "$source.checksums" 2> /dev/null)" != "$checksums" ]; then
    rm -rf "$source"
    dpkg-source --skip-patches -x "$description" "$source"
    echo "$checksums" > "$source.checksums"
fi
cd "$source"

# Every build starts from pristine files, so that a changed patch applies.
if [ ! -d .git ]; then
    git init -q .
    git config core.autocrlf false
    echo /build/ >> .git/info/exclude
    # Debian's tree lacks the firmware blobs, which the build file then misses.
    grep -q '^unused = \[\]' pc-bios/meson.build ||
        sed -i '1a unused = []' pc-bios/meson.build
    for blob in $(sed -n "s/^ *'\(edk2-[a-z0-9_-]*\.fd\)'.*/\1/p" pc-bios/meson.build); do
        [ -e "pc-bios/$blob.bz2" ] || bzip2 < /dev/null > "pc-bios/$blob.bz2"
    done
    git add -A -f . ':!build'
    git -c user.name=build -c user.email=build@localhost commit -q -m pristine
fi
git checkout -q -f .
git clean -q -f -d -e build
git apply --whitespace=nowarn "$here/vmx.patch" "$here/vtd.patch" "$here/ignne.patch" \
    "$here/svm.patch" "$here/rdt.patch"
cp -r "$here/source/." .

# meson and pycotap in the versions that QEMU 10.0 wants, pinned as well
venv=$work/venv
if ! cmp -s "$here/meson.txt" "$venv/meson.txt"; then
    echo "fetches meson"
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install -q --no-deps --require-hashes -r "$here/meson.txt"
    cp "$here/meson.txt" "$venv/meson.txt"
fi
mkdir -p build
cd build
options="--target-list=x86_64-softmmu --without-default-features --enable-tcg
    --enable-slirp --enable-system --disable-docs --disable-werror
    --enable-fdt=system --enable-linux-aio --disable-install-blobs --enable-plugins"
if [ "$(cat configured 2>/dev/null)" != "$options" ]; then
    echo "configures"
    # shellcheck disable=SC2086
    ../configure --python="$venv/bin/python3" $options
    echo "$options" > configured
fi
ninja qemu-system-x86_64

mkdir -p "$(dirname "$dest")"
strip -o "$dest.new" qemu-system-x86_64
mv -f "$dest.new" "$dest"
echo "$stamp" > "$dest.stamp"
"$dest" --version | head -n 1
echo "installed $dest"
