//! Kernel modules of one C file that roots of scenarios load.

use crate::paths::{Paths, make_dir, read, write_if_changed};
use crate::setup::kernels::Files;
use crate::sh::Cmd;
use anyhow::{Context, Result};
use std::path::Path;

/// Builds the module whose source is at `source` in the repository, for a kernel;
/// its name and content.
///
/// # Errors
///
/// It does not compile.
pub(crate) fn build(paths: &Paths, source: &str, kernel: &Files) -> Result<(String, Vec<u8>)> {
    let stem = Path::new(source).file_stem().and_then(|stem| stem.to_str());
    let name = stem.with_context(|| format!("{source} is no C source"))?;
    let dir = paths
        .target
        .join("modules")
        .join(&kernel.release)
        .join(name);
    make_dir(&dir)?;
    write_if_changed(&dir.join(format!("{name}.c")), &read(&paths.repo(source))?)?;
    write_if_changed(
        &dir.join("Kbuild"),
        format!("obj-m := {name}.o\n").as_bytes(),
    )?;
    let mut folder = std::ffi::OsString::from("M=");
    folder.push(&dir);
    Cmd::new("make")
        .arg("-C")
        .arg(&kernel.headers)
        .arg(folder)
        .arg("modules")
        .run(paths, &format!("module-{name}"))?;
    let file = format!("{name}.ko");
    Ok((file.clone(), read(&dir.join(file))?))
}
