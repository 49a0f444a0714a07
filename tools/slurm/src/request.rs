//! What the controller may ask of a machine: four words, and names in them.
//!
//! A request is one line, so that it goes through a forced command of SSH as it is. Words
//! that are no names are refused before anything looks at them.

use crate::error::{Error, Result};
use cellvisor_planner::config::name;
use std::fmt;

/// Whose cell it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Job {
    /// Slurm's number of the job.
    pub(crate) id: Option<u32>,
    /// The partition that it was sent to.
    pub(crate) partition: Option<String>,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Make and start the node's cell.
    Resume(String, Job),
    /// Stop and destroy it.
    Suspend(String),
    /// Tell in a line what became of it.
    Why(String),
    /// Name the nodes whose cells are there.
    List,
}

impl Request {
    /// Reads what [`fmt::Display`] writes.
    ///
    /// # Errors
    ///
    /// The line is no request.
    pub(crate) fn parse(line: &str) -> Result<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let node = |text: &str| name::check(text).is_ok().then(|| text.to_owned());
        let request = match *words {
            ["resume", text, id, partition] => node(text)
                .zip(job(id, partition))
                .map(|(name, job)| Self::Resume(name, job)),
            ["suspend", text] => node(text).map(Self::Suspend),
            ["why", text] => node(text).map(Self::Why),
            ["list"] => Some(Self::List),
            _ => None,
        };
        request.ok_or_else(|| {
            Error::new(
                "cannot do what was asked for",
                format!("`{}` is no request", line.escape_debug()),
                "this key is for cellvisor-slurm of the same version alone: resume, suspend, why, list",
            )
        })
    }
}

/// A job as two words; `-` is what is not known.
fn job(id: &str, partition: &str) -> Option<Job> {
    let fits = |c: u8| c.is_ascii_alphanumeric() || b"_.-".contains(&c);
    let known = |text: &str| (text != "-").then(|| text.to_owned());
    if partition.len() > 64 || !partition.bytes().all(fits) {
        return None;
    }
    let id = match known(id) {
        Some(digits) => Some(digits.parse().ok()?),
        None => None,
    };
    Some(Job {
        id,
        partition: known(partition),
    })
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resume(node, job) => {
                let id = job.id.map_or("-".to_owned(), |id| id.to_string());
                let partition = job.partition.as_deref().unwrap_or("-");
                write!(f, "resume {node} {id} {partition}")
            }
            Self::Suspend(node) => write!(f, "suspend {node}"),
            Self::Why(node) => write!(f, "why {node}"),
            Self::List => write!(f, "list"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn requests_are_read_as_they_are_written() {
        let job = Job {
            id: Some(7),
            partition: Some("big.1".into()),
        };
        for request in [
            Request::Resume("n1".into(), job),
            Request::Resume("n1".into(), Job::default()),
            Request::Suspend("n1".into()),
            Request::Why("n1".into()),
            Request::List,
        ] {
            assert_eq!(Request::parse(&request.to_string()), Ok(request));
        }
    }

    #[test]
    fn nothing_else_is_a_request() {
        for line in [
            "",
            "sh",
            "list; sh",
            "list n1",
            "suspend",
            "suspend ../x",
            "suspend n1 n2",
            "suspend -f",
            "resume n1",
            "resume n1 x all",
            "resume n1 -1 all",
            "resume n1 1 $(id)",
            "resume n1 1 a/b",
        ] {
            assert!(Request::parse(line).is_err(), "{line}");
        }
    }

    proptest! {
        #[test]
        fn what_is_taken_says_the_same_again(line in "(resume|suspend|why|list)[ a-z0-9$;/.-]{0,20}") {
            if let Ok(request) = Request::parse(&line) {
                prop_assert_eq!(Request::parse(&request.to_string()), Ok(request));
            }
        }
    }
}
