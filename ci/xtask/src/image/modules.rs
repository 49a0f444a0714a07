//! Kernel modules for a root image: those that a scenario names and what they
//! need, in the order in which they load.

use crate::paths::read_text;
use crate::setup::kernels::Files;
use anyhow::{Context, Result};
use std::path::Path;
use std::process::Command;

/// Paths below the modules' folder, dependencies first.
fn ordered(kernel: &Files, names: &[String]) -> Result<Vec<String>> {
    let index = read_text(&kernel.modules.join("modules.dep"))?;
    let builtin = read_text(&kernel.modules.join("modules.builtin"))?;
    let mut all: Vec<String> = Vec::new();
    for name in names {
        let is = |path: &str| stem(path) == name.replace('-', "_");
        if builtin.lines().any(is) {
            continue;
        }
        let line = index
            .lines()
            .find(|line| line.split_once(':').is_some_and(|(path, _)| is(path)))
            .with_context(|| format!("the kernel {} has no module {name}", kernel.release))?;
        // A line names a module, then what it needs, nearest first.
        for path in line.replace(':', " ").split_whitespace().rev() {
            if !all.iter().any(|known| known == path) {
                all.push(path.to_owned());
            }
        }
    }
    Ok(all)
}

/// A module's name as the kernel knows it.
fn stem(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split(".ko").next().unwrap_or(file).replace('-', "_")
}

/// The list that the root's init loads from, one file per line.
pub(super) fn order(kernel: &Files, names: &[String]) -> Result<String> {
    let files = ordered(kernel, names)?;
    Ok(files
        .iter()
        .map(|path| format!("{}.ko\n", stem(path)))
        .collect())
}

/// Name and uncompressed content of each module.
pub(super) fn closure(kernel: &Files, names: &[String]) -> Result<Vec<(String, Vec<u8>)>> {
    let mut modules = Vec::new();
    for path in ordered(kernel, names)? {
        let content = uncompressed(&kernel.modules.join(&path))?;
        modules.push((format!("{}.ko", stem(&path)), content));
    }
    Ok(modules)
}

fn uncompressed(file: &Path) -> Result<Vec<u8>> {
    if file.extension().is_none_or(|extension| extension != "xz") {
        return crate::paths::read(file);
    }
    let output = Command::new("xz").arg("-dc").arg(file).output();
    let output = output.context("cannot start `xz`: run `cargo xtask setup`")?;
    anyhow::ensure!(output.status.success(), "{} is no xz file", file.display());
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::stem;

    #[test]
    fn stem_is_the_name_that_the_kernel_uses() {
        assert_eq!(stem("kernel/arch/x86/kvm/kvm-intel.ko.xz"), "kvm_intel");
        assert_eq!(stem("kernel/drivers/nvme/host/nvme.ko"), "nvme");
    }
}
