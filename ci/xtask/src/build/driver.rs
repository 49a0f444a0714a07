//! The Linux module, built out of tree for each kernel.

use crate::paths::{Paths, lock_file, make_dir, read, write_if_changed};
use crate::setup::kernels::Files;
use crate::sh::Cmd;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

/// Builds the module for a kernel and returns its path.
///
/// # Errors
///
/// There are no headers; it does not compile, or a compiler or the kernel's checks warned.
pub(crate) fn build(paths: &Paths, kernel: &Files) -> Result<PathBuf> {
    if !kernel.headers.exists() {
        bail!("no headers of {}: it boots in cells only", kernel.release);
    }
    let drivers = paths.target.join("driver");
    let dir = drivers.join(&kernel.release);
    make_dir(&drivers)?;
    // Two runs of `make` in one folder break each other's files.
    let _lock = lock_file(&drivers.join(format!("{}.lock", kernel.release)))?;
    copy_sources(&paths.repo("driver"), &dir)?;
    let mut kdir = std::ffi::OsString::from("KDIR=");
    kdir.push(&kernel.headers);
    let mut make = Cmd::new("make").arg("-C").arg(&dir).arg(kdir);
    if let Some(programs) = &kernel.programs {
        make = make.first_in_path(programs)?;
    }
    let output = make.run(paths, &format!("driver-{}", kernel.release))?;
    let warnings: Vec<&str> = output.lines().filter(|line| is_warning(line)).collect();
    if !warnings.is_empty() {
        bail!(
            "the driver builds with warnings on {}:\n{}",
            kernel.release,
            warnings.join("\n")
        );
    }
    Ok(dir.join("cellvisor.ko"))
}

/// A warning about our code, not about the machine that builds it.
fn is_warning(line: &str) -> bool {
    let about_machine = ["the compiler differs", "Clock skew", "modification time"];
    line.to_ascii_lowercase().contains("warning")
        && !about_machine.iter().any(|words| line.contains(words))
}

/// Copies what changed: two kernels' objects must not meet in one folder.
fn copy_sources(from: &Path, to: &Path) -> Result<()> {
    make_dir(to)?;
    let entries =
        std::fs::read_dir(from).with_context(|| format!("cannot list {}", from.display()))?;
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name();
        let wanted = name == "Makefile"
            || name == "Kbuild"
            || path
                .extension()
                .is_some_and(|kind| kind == "c" || kind == "h" || kind == "S");
        if wanted && path.is_file() {
            write_if_changed(&to.join(&name), &read(&path)?)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::is_warning;

    #[test]
    fn warnings_about_the_machine_do_not_count() {
        assert!(is_warning("main.c:3:5: warning: unused variable"));
        assert!(is_warning("WARNING: modpost: missing MODULE_LICENSE()"));
        assert!(!is_warning(
            "warning: the compiler differs from the one used to build the kernel"
        ));
    }
}
