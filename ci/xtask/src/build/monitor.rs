//! The monitor's flat image.
//!
//! It is a freestanding program for the host's own target, since no other
//! target is sure to be installed: no SSE, no red zone, position-independent
//! code without a loader.

use super::{TARGET, cargo};
use crate::paths::Paths;
use crate::sh::Cmd;
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};

/// Functions with large frames stay functions: put into their callers, they made
/// frames in which most accesses need long instructions. Tables of where to go on pay
/// from eight ways on.
const FLAGS: &str = "-C panic=abort -C no-redzone=yes \
    -C target-feature=-mmx,-sse,-sse2,-sse3,-ssse3,-sse4.1,-sse4.2,-avx,-avx2,+soft-float \
    -C llvm-args=-inline-max-stacksize=600 -C llvm-args=-min-jump-table-entries=8 \
    -C link-arg=-nostartfiles -C link-arg=-nostdlib -C link-arg=-static -C link-arg=-no-pie \
    -C link-arg=-Wl,--build-id=none,-z,max-page-size=4096";

/// Where it is built, below `target`.
const FOLDER: &str = "monitor";

/// What is built, and how.
const PROFILE: &str = "--package cellvisor --profile monitor --target x86_64-unknown-linux-gnu";

/// Where the linked image with all parts is, with symbols.
pub(crate) fn elf(paths: &Paths) -> PathBuf {
    Image::Full.elf(paths)
}

fn elf_in(folder: &Path) -> PathBuf {
    folder.join(TARGET).join("monitor/cellvisor")
}

/// Builds the image with all parts and returns its path.
///
/// # Errors
///
/// It does not compile or link.
pub(crate) fn build(paths: &Paths) -> Result<PathBuf> {
    Image::Full.build(paths)
}

/// Images that there are. Each has a folder of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Image {
    /// With all parts.
    Full,
    /// Without the parts that a monitor can be built without.
    Small,
    /// For tests: it checks the order in which its CPUs ask for locks: larger, and slower where
    /// locks are taken.
    Checked,
    /// For tests: its steps fail when a scenario asks for it.
    Provoked,
}

impl Image {
    /// The one for use, as an administrator wants it.
    pub(crate) const fn for_use(small: bool) -> Self {
        if small { Self::Small } else { Self::Full }
    }

    /// What of the monitor's features is in it.
    const fn features(self) -> &'static str {
        match self {
            Self::Full => "",
            Self::Small => "--no-default-features",
            Self::Checked => "--features checked",
            Self::Provoked => "--features provoke",
        }
    }

    fn folder(self, paths: &Paths) -> PathBuf {
        paths.target.join(match self {
            Self::Full => FOLDER,
            Self::Small => "monitor-small",
            Self::Checked => "monitor-checked",
            Self::Provoked => "monitor-provoke",
        })
    }

    /// Where it is linked, with symbols.
    pub(crate) fn elf(self, paths: &Paths) -> PathBuf {
        elf_in(&self.folder(paths))
    }

    /// The image.
    pub(crate) fn file(self, paths: &Paths) -> PathBuf {
        self.folder(paths).join("cellvisor.bin")
    }

    /// Builds it and returns its path.
    ///
    /// # Errors
    ///
    /// As of [`build`].
    pub(crate) fn build(self, paths: &Paths) -> Result<PathBuf> {
        let folder = self.folder(paths);
        monitor(paths)
            .env("CARGO_TARGET_DIR", &folder)
            .words("build")
            .words(PROFILE)
            .words(self.features())
            .run(paths, "build-monitor")?;
        let image = self.file(paths);
        Cmd::new("objcopy")
            .words("-O binary")
            .arg(elf_in(&folder))
            .arg(&image)
            .run(paths, "objcopy")?;
        Ok(image)
    }
}

/// Lints the monitor's source, as it is for both images for use, warnings being errors.
///
/// # Errors
///
/// The first lints, as clippy tells them.
pub(crate) fn clippy(paths: &Paths) -> Result<()> {
    for image in [Image::Full, Image::Small] {
        let command = monitor(paths)
            .words("clippy")
            .words(PROFILE)
            .words(image.features())
            .words("-- -D warnings");
        command.run(paths, "clippy-monitor")?;
    }
    Ok(())
}

/// Builds the documentation of the monitor's source, private items as well,
/// warnings being errors.
///
/// # Errors
///
/// The first broken link or other mistake, as rustdoc tells it.
pub(crate) fn doc(paths: &Paths) -> Result<()> {
    monitor(paths)
        .env("RUSTDOCFLAGS", "-D warnings")
        .words("doc --no-deps --document-private-items")
        .words(PROFILE)
        .run(paths, "doc-monitor")
        .map(drop)
}

fn monitor(paths: &Paths) -> Cmd {
    let script = paths.repo("hypervisor/monitor/linker.ld");
    freestanding(paths, &script, "pic", &paths.target.join(FOLDER))
}

/// Cargo with the flags of a freestanding program, in a folder of its own:
/// other flags would build all dependencies again.
pub(super) fn freestanding(paths: &Paths, script: &Path, model: &str, dir: &Path) -> Cmd {
    let more = [
        format!("relocation-model={model}"),
        format!("link-arg=-T{}", script.display()),
    ];
    // Encoded, so that a path with blanks stays one argument.
    let flags: Vec<String> = FLAGS
        .split_whitespace()
        .map(str::to_owned)
        .chain(more.into_iter().flat_map(|flag| ["-C".to_owned(), flag]))
        .collect();
    cargo(paths)
        .env("CARGO_TARGET_DIR", dir)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
}

/// Looks at the linked image for what must not be in it.
///
/// # Errors
///
/// An instruction uses a vector or x87 register, whose content is the guest's, or
/// calls what panics.
pub(crate) fn check(paths: &Paths, image: Image) -> Result<()> {
    let listing = Cmd::new("objdump")
        .words("-d --no-show-raw-insn")
        .arg(image.elf(paths))
        .read()?;
    let registers = ["%xmm", "%ymm", "%zmm", "%st", "%mm"];
    let bad: Vec<&str> = listing
        .lines()
        .filter(|line| registers.iter().any(|register| line.contains(register)))
        .collect();
    if bad.is_empty() {
        return check_panics(&listing);
    }
    bail!(
        "{} instructions of the monitor use vector or x87 registers, which belong to the guest; \
         the first: {}",
        bad.len(),
        bad.first().unwrap_or(&"")
    )
}

/// Refuses a listing in which something can panic: the compiler has proven each check
/// of the source, or the check has another way out.
fn check_panics(listing: &str) -> Result<()> {
    let panics = |line: &str| line.contains("panicking") || line.contains("begin_unwind");
    let mut function = "";
    for line in listing.lines() {
        match line.strip_suffix(">:") {
            Some(name) => function = name.rsplit('<').next().unwrap_or(name),
            None if panics(line) && !panics(function) => bail!(
                "the monitor's image can panic in {function}: let the source say what is done \
                 instead (`get`, checked arithmetic, a check that the compiler sees)"
            ),
            None => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_of_what_panics_are_named() {
        let call = "  20a3:\tcall   2053 <_ZN4core9panicking5panic17h0E>\n";
        let good = "0020 <_ZN9cellvisor4mainE>:\n  2000:\tret\n";
        let bad = format!("{good}0030 <_ZN9cellvisor4find>:\n{call}");
        let inside = format!("{good}0040 <_ZN4core9panicking9panic_fmtE>:\n{call}");
        assert!(check_panics(good).is_ok() && check_panics(&inside).is_ok());
        let why = check_panics(&bad).expect_err("a panic").to_string();
        assert!(why.contains("9cellvisor4find"), "{why}");
    }
}
