//! What went wrong, and the way out.

use std::fmt;

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

    /// In one line, as a node's reason in Slurm: without what would end it early.
    pub(crate) fn reason(&self) -> String {
        let text = format!("cellvisor: {}: {}", self.what, self.why);
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
        write!(f, "{}: {}", self.what, self.why)?;
        for line in self.help.lines() {
            write!(f, "\n  help: {line}")?;
        }
        Ok(())
    }
}
