//! The patched QEMU of the lane `qemu-vmx`: built once, kept in the cache.

use crate::emulators::patched_path;
use crate::paths::{Paths, make_dir};
use crate::sh::Cmd;
use crate::ui::Ui;
use anyhow::{Context, Result};

/// Builds it if it is not there or its patch has changed. An emulator that
/// `CELLVISOR_QEMU` names is taken as it is.
///
/// # Errors
///
/// Its source or a build package cannot be fetched, or it does not build.
pub(crate) fn ensure(paths: &Paths, ui: &Ui) -> Result<()> {
    if std::env::var_os("CELLVISOR_QEMU").is_some_and(|name| !name.is_empty()) {
        return Ok(());
    }
    let work = paths.cache.join("qemu-vmx/work");
    make_dir(&work)?;
    let build = Cmd::new(paths.repo("ci/qemu-vmx/build.sh"))
        .arg(patched_path(paths))
        .arg(&work);
    ui.step(
        "Prepares the QEMU with VT-x (some 4 minutes the first time)",
        |step| {
            build.watch(paths, "qemu-vmx", |line| {
                if let Some(progress) = progress(line) {
                    step.note(progress);
                }
            })
        },
    )
    .context("the patched QEMU cannot be built")
}

/// What a line of the build tells about how far it is.
fn progress(line: &str) -> Option<&str> {
    const PHASES: &[&str] = &[
        "installs packages",
        "fetches the source",
        "fetches meson",
        "configures",
    ];
    if PHASES.contains(&line) {
        return Some(line);
    }
    // ninja: `[12/1500] Compiling C object …`; every hundredth is enough.
    let (done, _) = line.strip_prefix('[')?.split_once(']')?;
    let (count, _) = done.split_once('/')?;
    count.ends_with("00").then_some(done)
}

#[cfg(test)]
mod tests {
    use super::progress;

    #[test]
    fn progress_tells_phases_and_hundreds() {
        assert_eq!(progress("configures"), Some("configures"));
        assert_eq!(
            progress("[300/1534] Compiling C object x.o"),
            Some("300/1534")
        );
        assert_eq!(progress("[301/1534] Compiling C object x.o"), None);
        assert_eq!(progress("Reading package lists..."), None);
    }
}
