//! What went wrong, and the way out.

use std::fmt;
use std::path::Path;

/// One failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Error {
    /// What could not be done, and where.
    pub(crate) what: String,
    /// Why.
    pub(crate) why: String,
    /// What to do about it.
    pub(crate) help: String,
}

/// Result of everything here.
pub(crate) type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn new(
        what: impl Into<String>,
        why: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self {
            what: what.into(),
            why: why.into(),
            help: help.into(),
        }
    }

    /// The same about a file.
    pub(crate) fn of(mut self, file: &Path) -> Self {
        self.what = format!("{}: {}", file.display(), self.what);
        self
    }

    /// What failed and why, without the way out.
    pub(crate) fn cause(&self) -> String {
        format!("{}: {}", self.what, self.why)
    }

    /// In one line, as a node's reason in Slurm: without what would end it early.
    pub(crate) fn reason(&self) -> String {
        let text = format!("cellvisor: {}", self.cause());
        let plain = text.chars().map(|c| match c {
            '"' => '\'',
            c if c.is_control() => ' ',
            c => c,
        });
        plain.take(250).collect()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause())?;
        for line in self.help.lines() {
            write!(f, "\n  help: {line}")?;
        }
        Ok(())
    }
}
