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

    /// Something with a file failed: `what` is "cannot read" or the like.
    pub(crate) fn file(what: &str, path: &Path, why: impl fmt::Display, help: &str) -> Self {
        Self::new(format!("{what} {}", path.display()), why.to_string(), help)
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
