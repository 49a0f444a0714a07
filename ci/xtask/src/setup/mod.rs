//! `cargo xtask setup`: everything that a bare Debian 12 machine with Rust
//! lacks.

pub(crate) mod apt;
pub(crate) mod kernels;
pub(crate) mod patched;
pub(crate) mod payload;
pub(crate) mod space;
pub(crate) mod unpacked;

use crate::paths::Paths;
use crate::ui::Ui;
use anyhow::Result;
use kernels::{Kernel, Need};

/// Installs and fetches what is missing, and nothing if nothing is.
///
/// # Errors
///
/// Packages are missing and this is not root (with the line to run), or a
/// fetch failed.
pub(crate) fn ensure(paths: &Paths, ui: &Ui, refresh: bool) -> Result<()> {
    apt::ensure(paths, ui)?;
    for kernel in Kernel::all().filter(|kernel| kernel.need() == Need::Always) {
        kernels::ensure(paths, ui, kernel, refresh)?;
    }
    Ok(())
}

/// Fetches the kernels that an ordinary test plays if the mirror has them, or
/// `all` of the table; one that it does not have is named.
pub(crate) fn offered(paths: &Paths, ui: &Ui, refresh: bool, all: bool) {
    let wanted = |kernel: &Kernel| all || kernel.need() != Need::Asked;
    for kernel in Kernel::all().filter(wanted) {
        if let Err(why) = kernels::ensure(paths, ui, kernel, refresh) {
            eprintln!("left out: {why:#}");
        }
    }
}
