//! Debian as the system of a cell: what `cellctl image build` makes, in the cache until
//! what it is made by changes.

use super::archive::{Archive, Mode};
use super::{CELLS, debian};
use crate::paths::{Paths, make_dir, read, read_text};
use crate::setup::apt;
use crate::sh::Cmd;
use anyhow::{Context, Result, bail};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// What decides what is in it.
const FILES: &[&str] = &[
    "tools/cellctl/src/cmd/image/build.rs",
    "tools/cellctl/src/cmd/image/configure.sh",
    "tools/cellctl/src/cmd/image/files.rs",
    "tools/cellctl/src/cmd/image/settings.rs",
    FIRST_BOOT,
];

/// What it does when it boots first.
const FIRST_BOOT: &str = "ci/scenarios/debian-cell/first-boot.sh";

/// Files of the root: what its slice boots, `cellctl`'s words about it, and the way in.
const ROOTS: &[&str] = &["debian.vmlinuz", "debian.initrd", "debian.json", "key"];

/// A Debian system for a cell.
pub(super) struct System {
    dir: PathBuf,
    /// Its disk; not to be changed.
    pub(super) disk: PathBuf,
}

/// The system, made by `cellctl` unless it is there and what would be made today.
///
/// # Errors
///
/// This machine cannot make it, or `cellctl` fails.
pub(super) fn ensure(paths: &Paths, cellctl: &Path) -> Result<System> {
    let dir = paths.cache.join("debian-cell");
    make_dir(&paths.cache)?;
    let lock = std::fs::File::create(paths.cache.join("debian-cell.lock"))
        .context("cannot write into the cache")?;
    lock.lock().context("cannot lock the cache")?;
    let mut recipe = apt::CODENAME.to_owned();
    for file in FILES {
        recipe.push_str(&read_text(&paths.repo(file))?);
    }
    if std::fs::read_to_string(dir.join("recipe")).unwrap_or_default() != recipe {
        make(paths, cellctl, &dir, &recipe)?;
    }
    let disk = dir.join("debian.img");
    Ok(System { dir, disk })
}

fn make(paths: &Paths, cellctl: &Path, dir: &Path, recipe: &str) -> Result<()> {
    if let Some(why) = debian::lacking()? {
        bail!(why);
    }
    if dir.exists() {
        std::fs::remove_dir_all(dir).context("cannot remove the old system for cells")?;
    }
    make_dir(dir)?;
    Cmd::new("ssh-keygen")
        .words("-q -t ed25519 -C scenario -N")
        .args(["", "-f"])
        .arg(dir.join("key"))
        .run(paths, "ssh-keygen")?;
    let secret = dir.join("munge.key");
    Cmd::new("dd")
        .words("if=/dev/urandom bs=128 count=1 status=none")
        .arg(format!("of={}", secret.display()))
        .run(paths, "dd")?;
    std::fs::set_permissions(&secret, Permissions::from_mode(0o400))
        .context("cannot write into the cache")?;
    let told = Cmd::new(cellctl)
        .words("--json image build --hostname web0 --include munge --copy")
        .arg(format!("{}:/etc/munge/munge.key:munge", secret.display()))
        .arg("--first-boot")
        .arg(paths.repo(FIRST_BOOT))
        .arg("--suite")
        .arg(apt::CODENAME)
        .args(["--mirror", &apt::mirror()?, "--ssh-key"])
        .arg(dir.join("key.pub"))
        .arg("--out")
        .arg(dir.join("debian.img"))
        .read()?;
    std::fs::write(dir.join("debian.json"), told)
        .and_then(|()| std::fs::write(dir.join("recipe"), recipe))
        .context("cannot write into the cache")
}

/// Puts what the root needs to boot it, and to come in, into the root's image.
///
/// # Errors
///
/// A file is missing.
pub(super) fn add(image: &mut Archive, system: &System) -> Result<()> {
    for name in ROOTS {
        let content = read(&system.dir.join(name))?;
        image.file(&format!("{CELLS}/{name}"), &content, Mode::Plain)?;
    }
    Ok(())
}
