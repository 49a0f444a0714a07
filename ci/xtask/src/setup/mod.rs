//! `cargo xtask setup`: everything that a bare Debian 12 machine with Rust
//! lacks.

pub(crate) mod apt;
pub(crate) mod kernels;
pub(crate) mod patched;

use crate::paths::Paths;
use crate::ui::Ui;
use anyhow::Result;

/// Installs and fetches what is missing, and nothing if nothing is.
///
/// # Errors
///
/// Packages are missing and this is not root (with the line to run), or a
/// fetch failed.
pub(crate) fn ensure(paths: &Paths, ui: &Ui, refresh: bool) -> Result<()> {
    apt::ensure(paths, ui)?;
    for kernel in kernels::Kernel::ALL {
        kernels::ensure(paths, ui, *kernel, refresh)?;
    }
    Ok(())
}
