//! Builds the parts that run on a machine: monitor, driver, tools.

pub(crate) mod bare;
pub(crate) mod cellctl;
pub(crate) mod crs_check;
pub(crate) mod driver;
pub(crate) mod module;
pub(crate) mod monitor;
pub(crate) mod program;

use crate::paths::Paths;
use crate::setup::kernels::{self, Kernel};
use crate::sh::Cmd;
use crate::ui::Ui;
use anyhow::Result;
use monitor::Image;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The one target that is installed everywhere.
pub(crate) const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Held while files of `target/` that more than one scenario reads are written.
static BUILDING: Mutex<()> = Mutex::new(());

/// Waits until nobody else builds a part or puts an image together, and keeps
/// others away as long as the guard lives.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    BUILDING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What was built; nothing for scenarios that boot a bare Linux.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parts {
    /// The monitor's flat image.
    pub(crate) monitor: Option<PathBuf>,
    /// `cellctl`, linked statically.
    pub(crate) cellctl: Option<PathBuf>,
    /// `cellnet` and the like, linked statically.
    pub(crate) link_tools: Vec<PathBuf>,
    /// `cellvisor.ko` for each kernel release.
    pub(crate) drivers: BTreeMap<String, PathBuf>,
}

/// Builds everything, the driver for `kernels`, the monitor with all parts.
///
/// # Errors
///
/// The first part that does not build, with the end of its compiler's output.
pub(crate) fn all(paths: &Paths, ui: &Ui, kernels: &[Kernel]) -> Result<Parts> {
    with(paths, ui, kernels, Image::Full)
}

/// The same with another monitor.
///
/// # Errors
///
/// As of [`all`].
pub(crate) fn with(paths: &Paths, ui: &Ui, kernels: &[Kernel], image: Image) -> Result<Parts> {
    let monitor = ui.step("Builds the monitor", |_| image.build(paths))?;
    let (cellctl, link_tools) = ui.step("Builds cellctl", |_| cellctl::build(paths))?;
    let mut drivers = BTreeMap::new();
    for kernel in kernels {
        let files = kernels::files(paths, *kernel)?;
        let title = format!("Builds the driver for {}", files.release);
        let module = ui.step(title, |_| driver::build(paths, &files))?;
        drivers.insert(files.release, module);
    }
    Ok(Parts {
        monitor: Some(monitor),
        cellctl: Some(cellctl),
        link_tools,
        drivers,
    })
}

/// Cargo, as it was called to run this, with its own target folder.
pub(crate) fn cargo(paths: &Paths) -> Cmd {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    Cmd::new(program)
        .dir(&paths.root)
        .env("CARGO_TARGET_DIR", &paths.target)
}
