//! Programs of others that make and read images.

use crate::error::{Error, Result};
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Folders that users have not in their PATH, and some of the programs are in.
const MORE: &str = "/usr/sbin:/sbin";

/// Debian's packages of the programs.
const PACKAGES: [(&str, &str); 4] = [
    ("mmdebstrap", "mmdebstrap"),
    ("mke2fs", "e2fsprogs"),
    ("debugfs", "e2fsprogs"),
    ("qemu-img", "qemu-utils"),
];

/// Where programs are looked for, and for what.
pub(super) struct Tools {
    /// What fails when one of them does.
    pub(super) what: &'static str,
    /// Folders.
    pub(super) path: OsString,
    /// Nobody reads what they say while they run.
    pub(super) quiet: bool,
}

impl Tools {
    /// Those of this machine, for something that fails as `what`.
    pub(super) fn new(what: &'static str, quiet: bool) -> Self {
        let mut path = env::var_os("PATH").unwrap_or_default();
        path.push(":");
        path.push(MORE);
        Self { what, path, quiet }
    }

    /// Fails unless all these programs are there.
    pub(super) fn need(&self, names: &[&str]) -> Result<()> {
        names.iter().try_for_each(|name| self.find(name).map(drop))
    }

    fn find(&self, name: &str) -> Result<PathBuf> {
        let runs = |path: &PathBuf| {
            fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
        };
        let paths = env::split_paths(&self.path).map(|dir| dir.join(name));
        paths.into_iter().find(runs).ok_or_else(|| {
            let package = PACKAGES.iter().find(|(program, _)| *program == name);
            let help = format!(
                "install it: apt install {}",
                package.map_or(name, |(_, package)| package)
            );
            Error::new(self.what, format!("the program {name} is not here"), help)
        })
    }

    /// The program `name`, with arguments.
    pub(super) fn command<S: AsRef<OsStr>>(
        &self,
        name: &str,
        arguments: impl IntoIterator<Item = S>,
    ) -> Result<Command> {
        let mut command = Command::new(self.find(name)?);
        command.args(arguments).env("PATH", &self.path);
        Ok(command)
    }

    /// Runs a program; people see what it says.
    ///
    /// # Errors
    ///
    /// It cannot be run, or ends with a failure.
    pub(super) fn run(&self, mut command: Command) -> Result<()> {
        command.stdin(Stdio::null());
        if self.quiet {
            return self.read(command).map(drop);
        }
        let out = io::stderr().as_fd().try_clone_to_owned();
        let out = out.map_err(|e| self.failed(&command, &e.to_string()))?;
        let status = command.stdout(out).status();
        let status = status.map_err(|e| self.failed(&command, &e.to_string()))?;
        if status.success() {
            return Ok(());
        }
        Err(self.failed(
            &command,
            &format!("it ended with {status}, and said why above"),
        ))
    }

    /// Runs a program; returns what it says.
    ///
    /// # Errors
    ///
    /// As [`Tools::run`]; what it said last is in the error.
    pub(super) fn read(&self, mut command: Command) -> Result<Vec<u8>> {
        let output = command.stdin(Stdio::null()).output();
        let output = output.map_err(|e| self.failed(&command, &e.to_string()))?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().rev().find(|line| !line.trim().is_empty());
        let why = format!(
            "it ended with {}: {}",
            output.status,
            last.unwrap_or("it said nothing")
        );
        Err(self.failed(&command, &why))
    }

    fn failed(&self, command: &Command, why: &str) -> Error {
        let name = PathBuf::from(command.get_program());
        let name = name.file_name().unwrap_or_default().display().to_string();
        let help = format!("nothing is kept of it; {name}(1) tells more");
        Error::new(self.what, format!("{name}: {why}"), help)
    }
}

/// A folder that is gone afterwards, also with a whole system in it.
pub(super) struct Scratch(pub(super) PathBuf);

impl Scratch {
    /// Makes one in `folder`, whose files others may not list.
    pub(super) fn new(folder: &Path) -> Result<Self> {
        let path = folder.join(format!(".cellctl-image-{}", std::process::id()));
        let help = "name a folder that can be written to";
        match DirBuilder::new().mode(0o711).create(&path) {
            Ok(()) => Ok(Self(path)),
            Err(e) => Err(Error::file("cannot make the folder", &path, &e, help)),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Should something still be mounted in it, that stays.
        let _ = Command::new("rm")
            .args(["-rf", "--one-file-system", "--"])
            .arg(&self.0)
            .status();
    }
}
