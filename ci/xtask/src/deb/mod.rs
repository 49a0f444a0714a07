//! `cargo xtask deb`: Debian packages of what was built, in `target/deb/`.
//!
//! `cellvisor` has the monitor's image and the tools, `cellvisor-dkms` the driver's
//! source, `cellvisor-slurm` what Slurm starts, `cellvisor-redfish` a server of Redfish.
//! What goes where is in [`contents`]; scripts, control files and what only packages have
//! are in `configs/packaging/`.

mod contents;

use crate::build::{cellctl, monitor::Image};
use crate::paths::{Paths, make_dir, read_text};
use crate::sh::Cmd;
use crate::ui::Ui;
use anyhow::{Context, Result};
use contents::{Content, Item};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Scripts and other files that tell dpkg what to do, as far as a package has them.
const CONTROL: &[(&str, u32)] = &[
    ("control", 0o644),
    ("postinst", 0o755),
    ("prerm", 0o755),
    ("postrm", 0o755),
];

/// The version of all that is built here.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The packages, as files.
#[derive(Clone, Debug)]
pub(crate) struct Packages {
    /// Image, tools, units.
    pub(crate) cellvisor: PathBuf,
    /// The driver's source.
    pub(crate) dkms: PathBuf,
    /// What makes cells nodes of Slurm.
    pub(crate) slurm: PathBuf,
    /// What makes cells systems of Redfish.
    pub(crate) redfish: PathBuf,
}

impl Packages {
    /// All of them.
    pub(crate) fn all(&self) -> [&Path; 4] {
        [&self.cellvisor, &self.dkms, &self.slurm, &self.redfish]
    }
}

/// Builds all and tells where they are.
///
/// # Errors
///
/// As [`build`].
pub(crate) fn main(paths: &Paths, ui: &Ui, image: Image) -> Result<()> {
    let packages = ui.step("Builds Debian packages", |_| build(paths, VERSION, image))?;
    for package in packages.all() {
        println!("{}", package.display());
    }
    Ok(())
}

/// Builds all packages, with this version and this monitor.
///
/// # Errors
///
/// A part does not build, a file cannot be written, or `dpkg-deb` fails.
pub(crate) fn build(paths: &Paths, version: &str, image: Image) -> Result<Packages> {
    let (cellctl, link_tools) = cellctl::build(paths)?;
    let slurm = cellctl::build_slurm(paths)?;
    let redfish = cellctl::build_redfish(paths)?;
    let parts = Parts {
        monitor: image.build(paths)?,
        cellctl,
        link_tools,
    };
    let made = |name: &str, items: Vec<Item>| package(paths, name, version, &items);
    Ok(Packages {
        cellvisor: made("cellvisor", contents::cellvisor(paths, &parts)?)?,
        dkms: made("cellvisor-dkms", contents::dkms(paths, version)?)?,
        slurm: made("cellvisor-slurm", contents::slurm(paths, &slurm)?)?,
        redfish: made("cellvisor-redfish", contents::redfish(paths, &redfish)?)?,
    })
}

/// What packages are made of.
struct Parts {
    monitor: PathBuf,
    cellctl: PathBuf,
    /// What members of links run.
    link_tools: Vec<PathBuf>,
}

fn package(paths: &Paths, name: &str, version: &str, items: &[Item]) -> Result<PathBuf> {
    let dir = paths.target.join("deb");
    let tree = dir.join(name);
    if tree.exists() {
        std::fs::remove_dir_all(&tree)
            .with_context(|| format!("cannot empty {}", tree.display()))?;
    }
    let time = last_change(paths)?;
    for item in items {
        install(paths, &tree, item)?;
    }
    for item in contents::documents(paths, name, version, &time)? {
        install(paths, &tree, &item)?;
    }
    let control = tree.join("DEBIAN");
    make_dir(&control)?;
    let size = Cmd::new("du").args(["-sk"]).arg(&tree).read()?;
    let fill = |text: String| {
        text.replace("@VERSION@", version)
            .replace("@MAINTAINER@", contents::MAINTAINER)
            .replace("@SIZE@", size.split_whitespace().next().unwrap_or("0"))
    };
    for (file, mode) in CONTROL {
        let source = paths.repo(&format!("configs/packaging/deb/{name}/{file}"));
        if source.exists() {
            write(
                &control.join(file),
                fill(read_text(&source)?).as_bytes(),
                *mode,
            )?;
        }
    }
    Cmd::new("sh")
        .args(["-c", CHECKSUMS])
        .dir(&tree)
        .run(paths, "deb-md5sums")?;
    let file = dir.join(format!("{name}_{version}.deb"));
    Cmd::new("dpkg-deb")
        .args(["--root-owner-group", "-Zxz", "--build"])
        .args([&tree, &file])
        .env("SOURCE_DATE_EPOCH", &time)
        .run(paths, &format!("deb-{name}"))?;
    Ok(file)
}

/// Writes the checksums of all files of a package, whose folder it is run in.
const CHECKSUMS: &str = "find . -path ./DEBIAN -prune -o -type f -printf '%P\\0' \
    | LC_ALL=C sort -z | xargs -0 md5sum > DEBIAN/md5sums && chmod 644 DEBIAN/md5sums";

/// When the tree was changed last, in seconds: packages of the same tree are the same.
fn last_change(paths: &Paths) -> Result<String> {
    let time = Cmd::new("git")
        .dir(&paths.root)
        .words("log -1 --format=%ct")
        .read()?;
    Ok(time.trim().to_owned())
}

/// Puts one item into a package's tree.
fn install(paths: &Paths, tree: &Path, item: &Item) -> Result<()> {
    let to = tree.join(&item.to);
    match &item.content {
        Content::Folder => make_dir(&to),
        Content::Bytes(bytes) => write(&to, bytes, item.mode),
        Content::Packed(bytes) => {
            write(&to, bytes, item.mode)?;
            // Without name and time, so that it is the same each time.
            Cmd::new("gzip")
                .arg("-9nf")
                .arg(&to)
                .run(paths, "gzip")
                .map(drop)
        }
        Content::Program(source) => {
            write(&to, &crate::paths::read(source)?, item.mode)?;
            Cmd::new("strip")
                .args(["--strip-unneeded", "-R", ".comment"])
                .arg(&to)
                .run(paths, "strip")
                .map(drop)
        }
    }
}

/// Writes a file with its mode, and the folders that it is in.
fn write(to: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    if let Some(parent) = to.parent() {
        make_dir(parent)?;
    }
    std::fs::write(to, bytes)
        .and_then(|()| std::fs::set_permissions(to, std::fs::Permissions::from_mode(mode)))
        .with_context(|| format!("cannot write {}", to.display()))
}
