//! What went wrong, told so that the reader knows what to do next.

use cellvisor_planner::report::Report;
use std::fmt;
use std::path::Path;

/// What helps where Linux could not calibrate the TSC.
pub(crate) const TSC_REMEDY: &str =
    "tell Linux: boot with tsc_early_khz=KHZ; in a virtual machine on KVM, let it have kvmclock";

/// Result of everything here.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// What a failure means to a script: the exit code of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Refused, or failed while it was done; nothing is changed (exit code 1).
    Failed = 1,
    /// The thing asked for is not there: driver, monitor or cell (exit code 3).
    Absent = 3,
    /// Time ran out before what was waited for came (exit code 4).
    TimedOut = 4,
    /// A cell ended, and is to be started again (exit code 133, which is neither a
    /// shell's nor a signal's).
    Restart = 133,
}

/// One failure: what could not be done, why, and the way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Decides the exit code.
    pub(crate) kind: Kind,
    /// What could not be done, and where.
    pub(crate) what: String,
    /// Why.
    pub(crate) why: String,
    /// What to do about it.
    pub(crate) help: String,
}

/// Why a command ends without success.
#[derive(Debug)]
pub(crate) enum Error {
    /// One thing went wrong.
    One(Box<Failure>),
    /// A configuration is wrong in the places that the report lists.
    Report(Box<Report>),
}

impl Error {
    /// A refusal or failure, [`Kind::Failed`].
    pub(crate) fn new(
        what: impl Into<String>,
        why: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self::One(Box::new(Failure {
            kind: Kind::Failed,
            what: what.into(),
            why: why.into(),
            help: help.into(),
        }))
    }

    /// The same failure with another meaning to scripts.
    pub(crate) fn kind(mut self, kind: Kind) -> Self {
        if let Self::One(failure) = &mut self {
            failure.kind = kind;
        }
        self
    }

    /// A file could not be read or written.
    pub(crate) fn file(what: &str, path: &Path, error: &std::io::Error, help: &str) -> Self {
        Self::new(
            format!("{what} {}", path.display()),
            error.to_string(),
            help,
        )
    }

    /// Something that cannot happen while all parts have the same version.
    pub(crate) fn internal(what: &str, why: impl fmt::Display) -> Self {
        Self::new(
            what,
            why.to_string(),
            "install cellctl, driver and monitor of the same version",
        )
    }

    /// Adds what was done about it, or what is left behind, to the remedy.
    pub(crate) fn note(mut self, note: &str) -> Self {
        if let Self::One(failure) = &mut self {
            failure.help = format!("{}\n{note}", failure.help);
        }
        self
    }

    /// Why, for an error that tells it in other words.
    pub(crate) fn cause(&self) -> String {
        match self {
            Self::One(failure) => failure.why.clone(),
            Self::Report(report) => report.to_string(),
        }
    }

    /// The failure for programs: what, why and help, or the findings.
    pub(crate) fn json(&self) -> serde_json::Value {
        let mut error = match self {
            Self::One(failure) => serde_json::json!({
                "what": failure.what,
                "why": failure.why,
                "help": failure.help.lines().collect::<Vec<_>>(),
            }),
            Self::Report(report) => serde_json::json!({ "findings": report }),
        };
        if let Some(fields) = error.as_object_mut() {
            let kind = match self.code() {
                3 => "absent",
                4 => "timed-out",
                _ => "failed",
            };
            fields.insert("kind".into(), kind.into());
            fields.insert("exit-code".into(), self.code().into());
        }
        serde_json::json!({ "error": error })
    }

    /// The exit code of the process.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::One(failure) => failure.kind as u8,
            Self::Report(_) => Kind::Failed as u8,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(failure) => {
                write!(f, "{}: {}", failure.what, failure.why)?;
                for line in failure.help.lines() {
                    write!(f, "\n  help: {line}")?;
                }
                Ok(())
            }
            Self::Report(report) => write!(f, "{report}"),
        }
    }
}

impl From<Report> for Error {
    fn from(report: Report) -> Self {
        Self::Report(Box::new(report))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cellvisor_planner::report::Finding;

    #[test]
    fn programs_get_what_why_help_and_the_exit_code() {
        let error = Error::new("cannot a", "b is not there", "do c\nor d").kind(Kind::Absent);
        let expected = serde_json::json!({ "error": {
            "what": "cannot a",
            "why": "b is not there",
            "help": ["do c", "or d"],
            "kind": "absent",
            "exit-code": 3,
        }});
        assert_eq!(error.json(), expected);
        let report = Error::from(Report::from(Finding::error("no").help("yes")));
        let told = report.json();
        assert_eq!(told["error"]["findings"][0]["message"], "no");
        assert_eq!(told["error"]["exit-code"], 1);
    }
}
