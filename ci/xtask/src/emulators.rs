//! The QEMUs that lanes are made of: Debian's, and the patched one.

use crate::paths::Paths;
use crate::sh::{Cmd, find_program};
use anyhow::{Context, Result, bail};
use std::path::PathBuf;

/// Oldest QEMU with SR-IOV devices that work.
const QEMU_MAJOR: u32 = 10;

/// Stock QEMU's binary.
const STOCK: &str = "qemu-system-x86_64";

/// Folders with firmware, named for a QEMU that is not installed.
pub(crate) const FIRMWARE: &[&str] = &[
    "/usr/share/qemu",
    "/usr/share/seabios",
    "/usr/lib/ipxe/qemu",
];

/// Stock QEMU.
///
/// # Errors
///
/// It is missing or too old.
pub(crate) fn stock() -> Result<PathBuf> {
    let binary = find_program(STOCK)
        .with_context(|| format!("{STOCK} is not installed: run `cargo xtask setup`"))?;
    let version = Cmd::new(&binary).arg("--version").read()?;
    let major = version
        .split_whitespace()
        .find_map(|word| word.split('.').next()?.parse::<u32>().ok())
        .with_context(|| format!("{STOCK} --version tells no version"))?;
    if major < QEMU_MAJOR {
        bail!("{STOCK} is version {major}, {QEMU_MAJOR} is needed: run `cargo xtask setup`");
    }
    Ok(binary)
}

/// Where the patched QEMU is kept once it is built.
pub(crate) fn patched_path(paths: &Paths) -> PathBuf {
    paths.cache.join("qemu-vmx/bin").join(STOCK)
}

/// The patched QEMU, or what `CELLVISOR_QEMU` names.
///
/// # Errors
///
/// It is not built, or the name is wrong.
pub(crate) fn patched(paths: &Paths) -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("CELLVISOR_QEMU").filter(|name| !name.is_empty()) {
        let named = PathBuf::from(named);
        if !named.is_file() {
            bail!("CELLVISOR_QEMU names {}, which is no file", named.display());
        }
        return Ok(named);
    }
    let built = patched_path(paths);
    if !built.is_file() {
        bail!(
            "the patched QEMU is not built: `cargo xtask setup` builds it, or tells why it cannot"
        );
    }
    Ok(built)
}
