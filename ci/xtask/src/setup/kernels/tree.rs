//! Unpacked packages, made usable where they are: without root's rights, without
//! a chroot, without a mount.

use super::source::Source;
use crate::paths::{Paths, make_dir, read_text};
use crate::sh::{Cmd, find_program};
use anyhow::{Context, Result, bail};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// The C library's loader in a tree of packages.
const LOADER: &str = "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2";

/// Libraries in a tree of packages.
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// Gives an unpacked kernel the layout that older packages have: since 7.x the
/// image lies by the modules, and modules below `usr`.
pub(super) fn settle(dir: &Path, release: &str) -> Result<()> {
    if !dir.join("lib").exists() && dir.join("usr/lib/modules").exists() {
        symlink("usr/lib", dir.join("lib")).context("cannot link the modules' folder")?;
    }
    let image = dir.join(format!("boot/vmlinuz-{release}"));
    if !image.exists() {
        make_dir(&dir.join("boot"))?;
        symlink(format!("../lib/modules/{release}/vmlinuz"), &image)
            .context("cannot link the kernel's image")?;
    }
    if !image.is_file() {
        bail!("the packages of the kernel {release} hold no image: their form has changed");
    }
    Ok(())
}

/// Makes the headers' paths relative: Debian's file names the common headers, and
/// since 7.x its own folder, by the paths of installed packages.
pub(super) fn free_headers(dir: &Path, release: &str) -> Result<()> {
    let makefile = dir.join(format!("usr/src/linux-headers-{release}/Makefile"));
    let text = read_text(&makefile)?;
    let fixed = relative(&text).with_context(|| {
        format!(
            "{} has changed its form: no path of the common headers in it",
            makefile.display()
        )
    })?;
    std::fs::write(&makefile, fixed).context("cannot write the headers' Makefile")
}

fn relative(makefile: &str) -> Option<String> {
    let here = "$(dir $(lastword $(MAKEFILE_LIST)))..";
    let fixed = makefile
        .replace("include /usr/src/", &format!("include {here}/"))
        .replace(
            "KBUILD_OUTPUT=/usr/src/",
            &format!("KBUILD_OUTPUT:=$(abspath {here})/"),
        );
    (fixed != makefile && !fixed.contains("/usr/src/")).then_some(fixed)
}

/// Writes the modules' index.
pub(super) fn index_modules(paths: &Paths, dir: &Path, release: &str) -> Result<()> {
    Cmd::new(find_program("depmod").unwrap_or_else(|| "depmod".into()))
        .arg("-b")
        .arg(dir)
        .arg(release)
        .run(paths, "depmod")
        .map(drop)
}

/// Makes the programs of a tree of packages run from where it is, whatever C
/// library this system has: each names the tree's loader and libraries. `home`
/// is the tree's place when it is done.
pub(super) fn free_programs(paths: &Paths, dir: &Path, home: &Path) -> Result<()> {
    let patchelf = patchelf(paths)?;
    let mut programs = Vec::new();
    for folder in ["usr/bin", "usr/lib", "usr/libexec"] {
        find_programs(&dir.join(folder), &mut programs)?;
    }
    Cmd::new(patchelf)
        .arg("--set-interpreter")
        .arg(home.join(LOADER))
        .args(["--force-rpath", "--set-rpath"])
        .arg(home.join(LIBRARIES))
        .args(programs)
        .run(paths, "patchelf")
        .map(drop)
}

/// `patchelf` of this system's release, unpacked, not installed.
fn patchelf(paths: &Paths) -> Result<PathBuf> {
    let dir = paths.cache.join("patchelf");
    let program = dir.join("usr/bin/patchelf");
    if !program.is_file() {
        let source = Source::open(paths, super::super::apt::CODENAME)?;
        let deb = source.download(paths, &paths.cache.join("debs"), "patchelf")?;
        unpack(paths, &deb, &dir)?;
    }
    Ok(program)
}

/// Unpacks a package.
pub(super) fn unpack(paths: &Paths, deb: &Path, dir: &Path) -> Result<()> {
    make_dir(dir)?;
    Cmd::new("dpkg")
        .arg("-x")
        .args([deb, dir])
        .run(paths, "dpkg-x")
        .map(drop)
}

/// Collects the dynamically linked programs below a folder. Links are left out:
/// they lead to other names of the same files, or out of the tree.
fn find_programs(dir: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let entries =
        std::fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))?;
    for entry in entries.flatten() {
        let path = entry.path();
        let kind = entry
            .metadata()
            .with_context(|| format!("cannot look at {}", path.display()))?;
        if kind.is_dir() {
            find_programs(&path, found)?;
        } else if kind.is_file() && kind.permissions().mode() & 0o111 != 0 && is_program(&path)? {
            found.push(path);
        }
    }
    Ok(())
}

/// True for an ELF file with a loader's name, which stands near its begin.
fn is_program(path: &Path) -> Result<bool> {
    const LOADER_NAME: &[u8] = b"/lib64/ld-linux-x86-64.so.2\0";
    let mut begin = Vec::new();
    File::open(path)
        .and_then(|file| file.take(4096).read_to_end(&mut begin))
        .with_context(|| format!("cannot read {}", path.display()))?;
    let named = |begin: &[u8]| {
        begin
            .windows(LOADER_NAME.len())
            .any(|part| part == LOADER_NAME)
    };
    Ok(begin.starts_with(b"\x7fELF") && named(&begin) && !path.ends_with("libc.so.6"))
}

#[cfg(test)]
mod tests {
    use super::relative;

    #[test]
    fn makefiles_of_both_forms_lose_their_absolute_paths() {
        let old = "include /usr/src/linux-headers-6.1.0-56-common/Makefile\n";
        assert_eq!(
            relative(old).as_deref(),
            Some(
                "include $(dir $(lastword $(MAKEFILE_LIST)))../linux-headers-6.1.0-56-common/Makefile\n"
            )
        );
        let new = "KBUILD_OUTPUT=/usr/src/linux-headers-7.3.4-amd64\n\
                   include /usr/src/linux-headers-7.3.4-common/Makefile\n";
        let fixed = relative(new).unwrap_or_default();
        assert!(fixed.starts_with(
            "KBUILD_OUTPUT:=$(abspath $(dir $(lastword $(MAKEFILE_LIST)))..)/linux-headers-7.3.4-amd64\n"
        ));
        assert_eq!(relative("include ../Makefile\n"), None, "an unknown form");
    }
}
