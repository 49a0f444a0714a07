//! Debian packages: which are needed, which are missing, how they get here.

use crate::paths::Paths;
use crate::sh::Cmd;
use crate::ui::Ui;
use anyhow::{Context, Result, bail};
use std::path::Path;

/// The release that the packages' names are those of.
pub(crate) const CODENAME: &str = "bookworm";

/// Where newer versions of a release's packages are.
pub(crate) const BACKPORTS: &str = "bookworm-backports";

/// Packages of the release itself, with what needs them.
const RELEASE_PACKAGES: &[&str] = &[
    "gcc",
    "libc6-dev", // small programs of root and cells, linked statically
    "make",
    "binutils",
    "libelf1",
    "libssl3",
    "pahole", // driver
    "kmod",
    "xz-utils",
    "busybox-static", // root and cell file systems
    "e2fsprogs",      // cells' disks
    "acpica-tools",   // checks of ACPI tables
    "makedumpfile",   // reads dumps of cells
    "nftables",
    "iproute2",
    "dropbear-bin", // links: the root forwards, cells are logged in to
    "criu",         // moves a process
    "numactl",      // what a cell of many nodes sees of them
    "lintian",
    "mmdebstrap",     // packages, and the Debian that they are tried in
    "openssh-client", // the way into a cell that is a Debian
    "shellcheck",     // scripts
    "bochs",
    "bochs-term",
    "bochsbios",
    "vgabios",
    "grub-pc-bin",
    "grub-common",
    "xorriso",
    "mtools", // bochs
];

/// Packages that are too old in the release.
const BACKPORT_PACKAGES: &[&str] = &[
    "qemu-system-x86",
    "qemu-system-data",
    "seabios",
    "ipxe-qemu",
];

/// Our own file among apt's sources, written where backports are missing.
const SOURCES: &str = "/etc/apt/sources.list.d/cellvisor-backports.sources";

/// Installs missing packages if this is root.
///
/// # Errors
///
/// The system is no Debian 12; packages are missing and this is not root (the
/// line to run is in the error); apt fails.
pub(crate) fn ensure(paths: &Paths, ui: &Ui) -> Result<()> {
    let release = missing(RELEASE_PACKAGES)?;
    let newer = missing(BACKPORT_PACKAGES)?;
    if release.is_empty() && newer.is_empty() && knows_backports()? {
        return Ok(());
    }
    check_release()?;
    let script = install_script(&release, &newer)?;
    if !is_root()? {
        bail!(
            "packages are missing: {}\nrun this as root, then again what you ran:\n\n  {}\n",
            release
                .iter()
                .chain(&newer)
                .copied()
                .collect::<Vec<_>>()
                .join(" "),
            script.join(" && ")
        );
    }
    ui.step("Installs Debian packages", |step| {
        for (number, line) in script.iter().enumerate() {
            step.note(&format!("{} of {}", number + 1, script.len()));
            Cmd::new("sh")
                .args(["-c", line])
                .env("DEBIAN_FRONTEND", "noninteractive")
                .run(paths, &format!("apt-{number}"))?;
        }
        Ok(())
    })
}

/// True for the super-user.
///
/// # Errors
///
/// `id` cannot be run.
pub(crate) fn is_root() -> Result<bool> {
    Ok(Cmd::new("id").arg("-u").read()?.trim() == "0")
}

fn check_release() -> Result<()> {
    let path = Path::new("/etc/os-release");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let is = |line: &str| line.trim() == format!("VERSION_CODENAME={CODENAME}");
    if text.lines().any(is) {
        return Ok(());
    }
    bail!(
        "this is no Debian 12 ({CODENAME}): its packages' names are not known here; \
         install by hand: {} {} and the kernel packages, or run in a Debian 12 container",
        RELEASE_PACKAGES.join(" "),
        BACKPORT_PACKAGES.join(" ")
    )
}

fn missing(packages: &[&'static str]) -> Result<Vec<&'static str>> {
    let known = Cmd::new("dpkg-query")
        .args(["-W", "-f", "${binary:Package} ${db:Status-Status}\\n"])
        .read()
        .context("this needs a Debian system")?;
    let installed = |package: &str| {
        known
            .lines()
            .filter_map(|line| line.split_once(' '))
            .any(|(name, status)| name.split(':').next() == Some(package) && status == "installed")
    };
    Ok(packages
        .iter()
        .copied()
        .filter(|package| !installed(package))
        .collect())
}

fn knows_backports() -> Result<bool> {
    Ok(Cmd::new("apt-cache")
        .arg("policy")
        .read()?
        .contains(&format!("n={BACKPORTS}")))
}

/// Shell lines that install everything; each is run on its own.
fn install_script(release: &[&str], newer: &[&str]) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    if !knows_backports()? {
        let mirror = mirror()?;
        lines.push(format!(
            "printf 'Types: deb\\nURIs: {mirror}\\nSuites: {BACKPORTS}\\nComponents: main\\n\
             Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\\n' > {SOURCES}"
        ));
    }
    lines.push("apt-get update".to_owned());
    let install = "apt-get install -y --no-install-recommends";
    if !release.is_empty() {
        lines.push(format!("{install} {}", release.join(" ")));
    }
    if !newer.is_empty() {
        lines.push(format!("{install} -t {BACKPORTS} {}", newer.join(" ")));
    }
    Ok(lines)
}

/// The Debian mirror that this system uses.
pub(crate) fn mirror() -> Result<String> {
    let targets = Cmd::new("apt-get")
        .args([
            "indextargets",
            "--format",
            "$(REPO_URI)",
            "Created-By: Packages",
        ])
        .read()?;
    targets
        .lines()
        .map(|uri| uri.trim_end_matches('/'))
        .find(|uri| uri.ends_with("/debian"))
        .map(str::to_owned)
        .context("apt has no Debian mirror among its sources: add one and run `apt-get update`")
}
