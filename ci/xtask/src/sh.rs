//! Running other programs: output to a log file, errors with its last lines.

use crate::paths::{Paths, make_dir};
use anyhow::{Context, Result, anyhow};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};

/// Lines of a failing command's output that its error repeats.
const TAIL: usize = 25;

/// A command whose output goes to a log file.
#[derive(Debug)]
pub(crate) struct Cmd {
    inner: Command,
}

impl Cmd {
    /// A program without arguments and without input.
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        let mut inner = Command::new(program);
        inner.stdin(Stdio::null());
        Self { inner }
    }

    /// Adds arguments that a string holds, separated by blanks.
    pub(crate) fn words(mut self, words: &str) -> Self {
        self.inner.args(words.split_whitespace());
        self
    }

    /// Adds one argument.
    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.inner.arg(arg);
        self
    }

    /// Adds arguments.
    pub(crate) fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.inner.args(args);
        self
    }

    /// Sets an environment variable.
    pub(crate) fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.inner.env(key, value);
        self
    }

    /// Looks for programs in this folder first, and so do its children.
    ///
    /// # Errors
    ///
    /// The folder's name has a colon in it.
    pub(crate) fn first_in_path(self, dir: &Path) -> Result<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let dirs = std::iter::once(dir.to_owned()).chain(std::env::split_paths(&path));
        let joined = std::env::join_paths(dirs).context("no folder to look for programs in")?;
        Ok(self.env("PATH", joined))
    }

    /// Runs in this folder.
    pub(crate) fn dir(mut self, dir: &Path) -> Self {
        self.inner.current_dir(dir);
        self
    }

    /// The command as one would type it.
    pub(crate) fn line(&self) -> String {
        line(&self.inner)
    }

    /// Runs to the end with all output in `logs/NAME.log`, which is returned
    /// as text.
    ///
    /// # Errors
    ///
    /// The program is missing or fails: the command, its status, the last
    /// lines of its output and where the rest is.
    pub(crate) fn run(mut self, paths: &Paths, name: &str) -> Result<String> {
        make_dir(&paths.logs())?;
        let log = paths.logs().join(format!("{name}.log"));
        let out = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let err = out.try_clone().context("cannot share a log file")?;
        let status = self
            .inner
            .stdout(out)
            .stderr(err)
            .status()
            .with_context(|| format!("cannot start `{}`: is it installed?", self.line()))?;
        let text = String::from_utf8_lossy(&crate::paths::read(&log)?).into_owned();
        if !status.success() {
            return Err(self.failed(status, &text, Some(&log)));
        }
        Ok(text)
    }

    /// Like [`Cmd::run`], and hands over each line of standard output as it
    /// comes. Standard error goes to the log alone.
    ///
    /// # Errors
    ///
    /// As [`Cmd::run`].
    pub(crate) fn watch(
        mut self,
        paths: &Paths,
        name: &str,
        mut see: impl FnMut(&str),
    ) -> Result<()> {
        make_dir(&paths.logs())?;
        let log = paths.logs().join(format!("{name}.log"));
        let mut out =
            File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let err = out.try_clone().context("cannot share a log file")?;
        let mut child = self
            .inner
            .stdout(Stdio::piped())
            .stderr(err)
            .spawn()
            .with_context(|| format!("cannot start `{}`: is it installed?", self.line()))?;
        let pipe = child.stdout.take().context("a child without output")?;
        for line in BufReader::new(pipe).lines() {
            let line = line.with_context(|| format!("`{}` prints no text", self.line()))?;
            writeln!(out, "{line}").with_context(|| format!("cannot write {}", log.display()))?;
            see(&line);
        }
        let status = child.wait().context("cannot wait for a child")?;
        if status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&crate::paths::read(&log)?).into_owned();
        Err(self.failed(status, &text, Some(&log)))
    }

    fn failed(&self, status: ExitStatus, text: &str, log: Option<&Path>) -> anyhow::Error {
        let rest = log
            .map(|log| format!("\n(all of it: {})", log.display()))
            .unwrap_or_default();
        anyhow!(
            "`{}` failed with {status}\n{}{rest}",
            self.line(),
            tail(text, TAIL)
        )
    }

    /// Runs to the end and returns what it printed.
    ///
    /// # Errors
    ///
    /// The program is missing or fails: the command, its status and its last
    /// lines.
    pub(crate) fn read(mut self) -> Result<String> {
        let Output {
            status,
            stdout,
            stderr,
        } = self
            .inner
            .output()
            .with_context(|| format!("cannot start `{}`: is it installed?", self.line()))?;
        if !status.success() {
            return Err(self.failed(status, &String::from_utf8_lossy(&stderr), None));
        }
        Ok(String::from_utf8_lossy(&stdout).into_owned())
    }
}

/// A command as one would type it.
pub(crate) fn line(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| quote(&word.to_string_lossy()))
        .collect::<Vec<_>>()
        .join(" ")
}

fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// The last `count` lines of a text.
pub(crate) fn tail(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// The libraries that a program needs, the loader among them.
///
/// # Errors
///
/// `ldd` fails: the file is no program, or linked statically.
pub(crate) fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let needs = Cmd::new("ldd").arg(program).read()?;
    let paths = needs
        .split_whitespace()
        .filter(|word| word.starts_with('/'));
    Ok(paths.map(PathBuf::from).collect())
}

/// The path of a program in `PATH`.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")])
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_quotes_what_a_shell_would_split() {
        let cmd = Cmd::new("qemu").args(["-append", "console=ttyS0 quiet", "it's"]);
        assert_eq!(cmd.line(), r"qemu -append 'console=ttyS0 quiet' 'it'\''s'");
    }

    #[test]
    fn tail_of_a_short_text_is_all_of_it() {
        assert_eq!(tail("a\nb", 5), "a\nb");
        assert_eq!(tail("a\nb\nc", 2), "b\nc");
    }
}
