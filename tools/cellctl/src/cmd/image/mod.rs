//! `image`: what a cell boots from. A disk, as a file or in a namespace, and beside it
//! the kernel and the initial RAM disk that are in it, where a slice file can name
//! them.

mod boot;
mod build;
mod files;
mod import;
mod partitions;
mod place;
mod settings;
mod tools;

use super::Context;
use crate::cli;
use crate::error::{Error, Result};
use crate::output::{self, say, size, warn};
use crate::signals;
use boot::Disk;
use place::{Place, Target};
use serde::Serialize;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tools::{Scratch, Tools};

/// `image`.
pub(super) fn image(context: &Context<'_>, verb: &cli::Image) -> Result<()> {
    // Programs of the same terminal end by Ctrl-C, and what they left is cleared away.
    signals::catch()?;
    let quiet = context.cli.json;
    let made = match verb {
        cli::Image::Build(options) => {
            build::build(options, &context.linux, &Tools::new(build::WHAT, quiet))
        }
        cli::Image::Import(options) => {
            import::import(options, &context.linux, &Tools::new(import::WHAT, quiet))
        }
    }?;
    match context.cli.json {
        true => output::json(&made),
        false => {
            tell(&made);
            Ok(())
        }
    }
}

/// What was made, for a slice file.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Made {
    /// The file or the device.
    disk: PathBuf,
    /// Bytes.
    size: u64,
    kernel: PathBuf,
    /// The kernel's version.
    version: String,
    initrd: Option<PathBuf>,
    cmdline: String,
}

/// Takes kernel and initial RAM disk from a disk that is ready in `scratch` (or is a
/// device), and gives all of them their names. The disk is last: where it is, all is.
fn finish(place: &Place, scratch: &Scratch, tools: &Tools) -> Result<Made> {
    let ready = place.disk(scratch);
    let disk = Disk {
        tools,
        path: &ready,
    };
    let boot = disk.boot()?;
    let (kernel, initrd) = (scratch.0.join("vmlinuz"), scratch.0.join("initrd"));
    disk.extract(&boot, &kernel, &initrd)?;
    let made = Made {
        disk: place.path().to_owned(),
        size: place::size_of(&ready)?,
        kernel: place.beside("vmlinuz"),
        version: boot.version().to_owned(),
        initrd: initrd.exists().then(|| place.beside("initrd")),
        cmdline: match &boot.root {
            Some(uuid) => format!("console=ttyS0 root=UUID={uuid} ro"),
            None => "console=ttyS0 ro".to_owned(),
        },
    };
    if boot.root.is_none() {
        warn(
            "the root file system is no ext4: add root= to the command line, as the image's boot loader has it",
        );
    }
    rename(&kernel, &made.kernel)?;
    if let Some(to) = &made.initrd {
        rename(&initrd, to)?;
    }
    if let Target::File(file) = &place.target {
        // Passwords of users are in it, in some form.
        let private = Permissions::from_mode(0o600);
        fs::set_permissions(&ready, private)
            .map_err(|e| Error::file("cannot change", &ready, &e, "look at the folder"))?;
        rename(&ready, file)?;
    }
    Ok(made)
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(|e| Error::file("cannot make", to, &e, "look at the folder"))
}

/// The part of a slice file that boots it.
fn tell(made: &Made) {
    say(format!(
        "{} ({}), Linux {}",
        made.disk.display(),
        size(made.size),
        made.version
    ));
    say("[kernel]");
    say(format!("image = {:?}", made.kernel));
    if let Some(initrd) = &made.initrd {
        say(format!("initrd = {initrd:?}"));
    }
    say(format!("cmdline = {:?}", made.cmdline));
}

#[cfg(test)]
mod tests;
