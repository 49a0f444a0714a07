//! `image build`: a Debian system, made by Debian's own tools.

use super::files;
use super::place::{Place, Target};
use super::settings::Settings;
use super::tools::{Scratch, Tools};
use super::{Made, finish};
use crate::cli;
use crate::error::{Error, Result};
use crate::sysfs::Sysfs;
use rustix::process::geteuid;
use std::fs;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// What fails.
pub(super) const WHAT: &str = "cannot make a Debian image";

/// The script that configures the new tree.
const CONFIGURE: &str = include_str!("configure.sh");

/// Tells initramfs-tools before it comes what the root file system will be. Otherwise it
/// looks for the device, which is not there yet, and leaves `fsck` out.
const FSTYPE: &str =
    r#"d=$1/etc/initramfs-tools/conf.d; mkdir -p "$d" && echo FSTYPE=ext4 > "$d/fstype""#;

/// Packages beside the essential ones: systemd with its network, a way in, and the
/// stock kernel with what makes its initial RAM disk.
const PACKAGES: &[&str] = &[
    "systemd-sysv",
    "systemd-resolved",
    "udev",
    "dbus",
    "kmod",
    "iproute2",
    "openssh-server",
    "sudo",
    "ca-certificates",
    "linux-image-amd64",
    "initramfs-tools",
    "zstd",
    "e2fsprogs",
];

/// Makes the image.
///
/// # Errors
///
/// What is wrong with the command line or missing here, before anything is done; what
/// failed, after which no file is left, and a namespace holds nothing of use.
pub(super) fn build(options: &cli::ImageBuild, linux: &Sysfs, tools: &Tools) -> Result<Made> {
    let place = Place::of(&options.place, linux, WHAT)?;
    let settings = Settings::of(options, WHAT)?;
    tools.need(&["mmdebstrap", "mke2fs", "debugfs"])?;
    if !geteuid().is_root() {
        let why = "files of a system belong to users that only root can give them to";
        return Err(Error::new(WHAT, why, "run this as root"));
    }
    make(options, &place, &settings, tools)
}

fn make(
    options: &cli::ImageBuild,
    place: &Place,
    settings: &Settings,
    tools: &Tools,
) -> Result<Made> {
    let scratch = Scratch::new(&place.folder)?;
    let uuid = uuid()?;
    let tree = scratch.0.join("tree");
    let stage = scratch.0.join("files");
    let list = files::stage(&settings.files, &stage)?;
    let packages = PACKAGES.iter().copied();
    let packages: Vec<_> = packages
        .chain(options.include.iter().map(String::as_str))
        .collect();
    let mut debootstrap = tools.command("mmdebstrap", ["--mode=root", "--variant=minbase"])?;
    debootstrap
        .arg("--aptopt=APT::Install-Recommends \"0\"")
        .arg(format!("--include={}", packages.join(",")))
        .arg(format!("--essential-hook={FSTYPE}"))
        .arg(format!("--customize-hook={CONFIGURE}"))
        .arg(&options.suite)
        .arg(&tree)
        .args(&options.mirror)
        .env("IMAGE_HOSTNAME", &settings.hostname)
        .env("IMAGE_USER", &settings.user)
        .env("IMAGE_KEYS", &settings.keys)
        .env("IMAGE_NETWORK", &settings.network)
        .env("IMAGE_STAGE", &stage)
        .env("IMAGE_FILES", &list)
        .env("IMAGE_UUID", &uuid);
    tools.run(debootstrap)?;
    file_system(
        &tree,
        &place.disk(&scratch),
        (&uuid, options.size),
        place,
        tools,
    )?;
    finish(place, &scratch, tools)
}

/// Makes an ext4 file system of a tree, in a sparse file of `size` bytes or in all of
/// a device.
fn file_system(
    tree: &Path,
    disk: &Path,
    (uuid, size): (&str, u64),
    place: &Place,
    tools: &Tools,
) -> Result<()> {
    if let Target::File(_) = place.target {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(disk);
        file.and_then(|file| file.set_len(size))
            .map_err(|e| Error::file("cannot make", disk, &e, "make room there"))?;
    }
    let words = [
        "-q",
        "-F",
        "-t",
        "ext4",
        "-m",
        "1",
        "-E",
        "root_owner=0:0",
        "-U",
        uuid,
    ];
    let mut mke2fs = tools.command("mke2fs", words)?;
    mke2fs.args(["-L", "cell", "-d"]).args([tree, disk]);
    tools.run(mke2fs).map_err(|error| {
        error.note("if the system does not fit, name a larger --size, or a larger namespace")
    })
}

/// A new random UUID.
fn uuid() -> Result<String> {
    let path = Path::new("/proc/sys/kernel/random/uuid");
    let text = fs::read_to_string(path);
    let text = text.map_err(|e| Error::file("cannot read", path, &e, "mount /proc"))?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn script_uses_just_the_settings_that_it_gets() {
        let names = [
            "HOSTNAME", "USER", "KEYS", "NETWORK", "STAGE", "FILES", "UUID",
        ];
        let used = CONFIGURE.matches("$IMAGE_").count();
        let known = names.map(|name| CONFIGURE.matches(&format!("$IMAGE_{name}")).count());
        assert!(known.iter().all(|count| *count > 0));
        assert_eq!(used, known.iter().sum::<usize>());
    }
}
