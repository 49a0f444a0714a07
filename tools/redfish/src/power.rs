//! Managing: six verbs on a cell, done by root ([`boot`]: of what it boots).
//!
//! The server itself may look and no more. For each change it connects to a socket that it
//! alone may open, behind which systemd starts this program as root with the connection as
//! its standard input: a request is one line, so is the answer. What a cell is made from
//! comes from this machine's own slice files; what it boots may come from an image that the
//! server has fetched and read.

mod boot;

use crate::boots::Boots;
use crate::cells::is_name;
use crate::error::Error;
use crate::places::Places;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// No request is longer.
const LONGEST: u64 = 128;

/// What can be done to a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    /// Start it; make it first, if it is a slice without a cell.
    On,
    /// Cut its power.
    Off,
    /// Press its power button, and cut its power after its slice's time.
    Shutdown,
    /// The same, and start it again.
    Restart,
    /// Cut its power, and start it again.
    Reset,
    /// Send it an NMI.
    Nmi,
}

impl Verb {
    const ALL: [(Self, &'static str); 6] = [
        (Self::On, "on"),
        (Self::Off, "off"),
        (Self::Shutdown, "shutdown"),
        (Self::Restart, "restart"),
        (Self::Reset, "reset"),
        (Self::Nmi, "nmi"),
    ];
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = Self::ALL.iter().find(|(verb, _)| verb == self);
        f.write_str(word.map_or("", |(_, word)| word))
    }
}

/// What the server asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) verb: Verb,
    /// The cell's, or its slice's.
    pub(crate) name: String,
    /// What a start boots.
    pub(crate) boots: Boots,
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.name)?;
        let word = Boots::ALL.iter().find(|(boots, _)| *boots == self.boots);
        match word {
            Some((boots, word)) if *boots != Boots::Slice => write!(f, " {word}"),
            _ => Ok(()),
        }
    }
}

/// Reads a request as the server writes it.
pub(crate) fn parse(line: &str) -> Option<Request> {
    let mut words = line.trim_end_matches('\n').split(' ');
    let (word, name) = (words.next()?, words.next()?);
    let (verb, _) = Verb::ALL.into_iter().find(|(_, known)| *known == word)?;
    let boots = match words.next() {
        Some(word) => Boots::ALL.into_iter().find(|(_, known)| *known == word)?.0,
        None => Boots::Slice,
    };
    (is_name(name) && words.next().is_none()).then(|| Request {
        verb,
        name: name.to_owned(),
        boots,
    })
}

/// What came of a request: nothing, or why it failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) failed: Option<Failure>,
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) what: String,
    pub(crate) why: String,
    pub(crate) help: String,
}

impl From<Error> for Failure {
    fn from(e: Error) -> Self {
        Self {
            what: e.what,
            why: e.why,
            help: e.help,
        }
    }
}

/// Where things are on this machine.
#[derive(Clone, Debug)]
pub(crate) struct Root {
    pub(crate) cellctl: PathBuf,
    pub(crate) slices: PathBuf,
    /// The server's folder.
    pub(crate) state: PathBuf,
    /// Root's own, for what cells boot of images.
    pub(crate) boot: PathBuf,
}

impl Root {
    pub(crate) fn new(places: Places) -> Self {
        Self {
            cellctl: places.cellctl,
            slices: places.slices,
            state: places.state,
            boot: places.boot,
        }
    }

    /// Answers the request on standard input.
    pub(crate) fn serve(&self, input: impl BufRead) -> Answer {
        let mut line = String::new();
        let read = input.take(LONGEST).read_line(&mut line);
        let request = read.ok().and_then(|_| parse(&line));
        let done = match request {
            Some(request) => self.run(&request),
            None => Err(Failure::from(Error::new(
                "cannot do what was asked for",
                format!("`{}` is no request", line.escape_debug()),
                "this socket is for cellvisor-redfish of the same version alone",
            ))),
        };
        Answer { failed: done.err() }
    }

    /// # Errors
    ///
    /// `cellctl` refuses it. A cell that was made and does not start is destroyed again.
    fn run(&self, request: &Request) -> Result<(), Failure> {
        let name = &*request.name;
        match (request.verb, request.boots) {
            (Verb::On, boots) => self.on(name, boots),
            (Verb::Off, _) => self.cellctl(&["kill", name]),
            (Verb::Nmi, _) => self.cellctl(&["nmi", name]),
            (Verb::Shutdown, _) => self.cellctl(&["stop", name]),
            (Verb::Restart, Boots::Slice) => self.cellctl(&["restart", name]),
            (Verb::Reset, Boots::Slice) => self.cellctl(&["restart", name, "--timeout", "0"]),
            (Verb::Restart, boots) => self
                .cellctl(&["stop", name])
                .and_then(|()| self.start(name, boots)),
            (Verb::Reset, boots) => self
                .cellctl(&["kill", name])
                .and_then(|()| self.start(name, boots)),
        }
    }

    fn on(&self, name: &str, boots: Boots) -> Result<(), Failure> {
        let file = self.slices.join(format!("{name}.toml"));
        let made = file.exists() && !self.has(name);
        if made {
            self.cellctl(&["create", &file.to_string_lossy()])?;
        }
        self.start(name, boots).inspect_err(|_| {
            if made {
                // Why it did not start is what is told.
                let _ = self.cellctl(&["destroy", name]);
            }
        })
    }

    /// Starts a cell that does not run.
    fn start(&self, name: &str, boots: Boots) -> Result<(), Failure> {
        if boots == Boots::Slice {
            return self.cellctl(&["start", name]);
        }
        let folder = self.boot.join(name);
        let words = boot::take(&self.state, &folder, name)?;
        let words: Vec<&str> = words.iter().map(|word| &**word).collect();
        let again = ["--again"];
        let again = match boots {
            Boots::MediaAgain => &again[..],
            _ => &[],
        };
        let started = self.cellctl(&[&["start", name], &*words, again].concat());
        if boots != Boots::MediaAgain {
            // It is in the cell's memory now.
            let _ = std::fs::remove_dir_all(&folder);
        }
        started
    }

    /// True if there is such a cell, whatever its state.
    fn has(&self, name: &str) -> bool {
        self.cellctl(&["status", name]).is_ok()
    }

    fn cellctl(&self, words: &[&str]) -> Result<(), Failure> {
        let help = "run it on the machine by hand";
        let what = || format!("cellctl {}", words.join(" "));
        let out = Command::new(&self.cellctl)
            .arg("--json")
            .args(words)
            .current_dir(Path::new("/"))
            .stdin(Stdio::null())
            // It may leave a supervisor behind, which must not hold the connection.
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .output()
            .map_err(|e| Failure::from(Error::new(what(), e.to_string(), help)))?;
        match out.status.success() {
            true => Ok(()),
            false => Err(complaint(&what(), &String::from_utf8_lossy(&out.stderr))),
        }
    }
}

/// What `cellctl` complained of, from its lines of JSON.
fn complaint(command: &str, err: &str) -> Failure {
    let lines = err
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let error = lines
        .filter_map(|mut line| line.get_mut("error").map(Value::take))
        .next();
    // A slice's mistakes are a list, in the order of its file: the first is told.
    let findings = error.as_ref().and_then(|error| error.get("findings"));
    let mut findings = findings.and_then(Value::as_array).into_iter().flatten();
    let finding = findings.find(|finding| finding["severity"] == "error");
    let error = finding.or(error.as_ref());
    let text = |keys: &[&str]| {
        let mut texts = keys.iter().filter_map(|key| error?.get(key)?.as_str());
        texts.next().map(str::to_owned)
    };
    let help: Vec<_> = match error.and_then(|error| error.get("help")) {
        Some(Value::Array(lines)) => lines.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(line)) => vec![line],
        _ => Vec::new(),
    };
    Failure {
        what: text(&["what"]).unwrap_or_else(|| command.to_owned()),
        why: text(&["why", "message"]).unwrap_or_else(|| err.trim().chars().take(500).collect()),
        help: help.join("\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn requests_are_read_as_they_are_written() {
        for (verb, word) in Verb::ALL {
            assert_eq!(verb.to_string(), word);
            for (boots, _) in Boots::ALL {
                let request = Request {
                    verb,
                    name: "web-1".into(),
                    boots,
                };
                assert_eq!(parse(&format!("{request}\n")), Some(request));
            }
        }
        for line in [
            "",
            "on",
            "on ",
            "on -f",
            "on a b",
            "on ../x",
            "on A",
            "create a",
            "on a;b",
            "off /etc",
            "on a media x",
            "on a media ",
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
    }

    proptest! {
        #[test]
        fn what_is_taken_names_one_cell(line in "(on|off|reset)[ a-z0-9$;/.-]{0,40}( media)?") {
            if let Some(request) = parse(&line) {
                prop_assert_eq!(request.to_string(), line);
                let name = request.name;
                prop_assert!(!name.contains(['/', '.', ' ']) && !name.starts_with('-'));
            }
        }
    }

    #[test]
    fn complaints_are_cellctls() {
        let err = "{\"note\":\"x\"}\n{\"error\":{\"kind\":\"refused\",\"exit-code\":1,\
            \"what\":\"cannot start\",\"why\":\"no memory\",\"help\":[\"take less\",\"wait\"]}}\n";
        let told = complaint("cellctl start a", err);
        assert_eq!(
            (&*told.what, &*told.why, &*told.help),
            ("cannot start", "no memory", "take less\nwait")
        );
        let err = "{\"error\":{\"findings\":[{\"severity\":\"warning\",\"message\":\"x\"},\
            {\"severity\":\"error\",\"message\":\"no [cell]\",\"cause\":null,\"help\":\"write it\"}],\"kind\":\"failed\"}}";
        let told = complaint("cellctl create a", err);
        assert_eq!(
            (&*told.what, &*told.why, &*told.help),
            ("cellctl create a", "no [cell]", "write it")
        );
        let told = complaint("cellctl start a", "it fell over\n");
        assert_eq!(
            (&*told.what, &*told.why),
            ("cellctl start a", "it fell over")
        );
    }
}
