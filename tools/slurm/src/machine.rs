//! A machine's side: what a request does there, by `cellctl`.
//!
//! Only cells that were made here for Slurm are ever stopped or destroyed: each has a
//! record that names its node and its job. The controller says which node, and nothing
//! of what its cell is made from: that is the machine's own file and its templates.

use crate::config::Config;
use crate::error::{Error, Result};
use crate::nodes::Inventory;
use crate::request::{Job, Request};
use crate::slice;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where records are, as long as this Linux runs; cells live no longer.
pub(crate) const RECORDS: &str = "/run/cellvisor-slurm";

/// Seconds that a cell's kernel has to power off: Slurm ended its jobs before.
const PATIENCE: &str = "10";

/// What `cellctl` says when driver or monitor are not there: then no cell is.
const ABSENT: i32 = 3;

/// Runs `cellctl`, or in tests stands for it.
pub(crate) trait Cellctl {
    /// Runs it with these words in a folder, with this on standard input, and returns its
    /// exit code, what it printed, and what it complained of.
    fn run(&self, words: &[&str], at: &Path, input: &str) -> Result<(i32, String, String)>;
}

/// The real one.
pub(crate) struct Program;

impl Cellctl for Program {
    fn run(&self, words: &[&str], at: &Path, input: &str) -> Result<(i32, String, String)> {
        let failed = |e: std::io::Error| {
            let help = "install the package cellvisor on this machine; requests come as root";
            Error::new("cannot run cellctl", e.to_string(), help)
        };
        let mut child = Command::new("cellctl")
            .args(words)
            .current_dir(at)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        if let Some(mut pipe) = child.stdin.take() {
            // Who does not read its input says why it ended.
            let _ = pipe.write_all(input.as_bytes());
        }
        let out = child.wait_with_output().map_err(failed)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let code = out.status.code().unwrap_or(-1);
        Ok((code, text(&out.stdout), text(&out.stderr)))
    }
}

/// Whose a cell is; kept beside it as `NODE.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Record {
    pub(crate) node: String,
    pub(crate) job: Option<u32>,
    pub(crate) partition: Option<String>,
    /// The slice file that it was made from.
    pub(crate) template: PathBuf,
}

/// One line of `cellctl list --json`, as far as it is wanted here.
#[derive(Deserialize)]
struct Cell {
    name: String,
    state: String,
}

/// This machine.
pub(crate) struct Machine<'a, C> {
    pub(crate) config: &'a Config,
    /// Its name in the file.
    pub(crate) name: &'a str,
    pub(crate) cellctl: C,
    /// Where its records are.
    pub(crate) records: PathBuf,
}

impl<C: Cellctl> Machine<'_, C> {
    /// Does what is asked for, and returns what the controller is told.
    ///
    /// # Errors
    ///
    /// The node is not this machine's, a cell of somebody else has its name, or `cellctl`
    /// fails. A cell that was made and could not be started is destroyed again.
    pub(crate) fn serve(&self, request: &Request) -> Result<String> {
        match request {
            Request::Resume(node, job) => {
                let node = self.mine(node)?;
                let failed = |why: &Error| self.note_failure(node, why);
                self.resume(node, job).inspect_err(failed)
            }
            Request::Suspend(node) => self.suspend(self.mine(node)?),
            Request::Why(node) => self.why(self.mine(node)?),
            Request::List => self.list(),
        }
    }

    /// The node, if the file gives it to this machine.
    fn mine<'n>(&self, node: &'n str) -> Result<&'n str> {
        let owner = &self.config.machine_of(node)?.name;
        if owner == self.name {
            return Ok(node);
        }
        Err(Error::new(
            format!("node {node}"),
            format!(
                "it is on machine \"{owner}\", and this is \"{}\"",
                self.name
            ),
            "give controller and machines the same slurm.toml",
        ))
    }

    fn resume(&self, node: &str, job: &Job) -> Result<String> {
        let path = self.config.template(node, job.partition.as_deref())?;
        let slice = slice::render(&slice::read(path)?, node, job).map_err(|e| e.of(path))?;
        // What is left of a job that nobody cleared.
        self.suspend(node)?;
        self.note(&Record {
            node: node.to_owned(),
            job: job.id,
            partition: job.partition.clone(),
            template: path.to_owned(),
        })?;
        let at = path.parent().unwrap_or(Path::new("/"));
        let made = self.cellctl(&["create", "-"], at, &slice).and_then(|()| {
            let started = self.cellctl(&["start", node], at, "");
            started.inspect_err(|_| {
                // It stays noted if this fails, and the next try begins with it.
                let _ = self.suspend(node);
            })
        });
        if made.is_err() && matches!(self.state(node), Ok(None)) {
            self.forget(node)?;
        }
        made.map(|()| format!("{node} is started"))
    }

    fn suspend(&self, node: &str) -> Result<String> {
        let Some(state) = self.state(node)? else {
            self.forget(node)?;
            return Ok(format!("{node} is not there"));
        };
        if self.record(node).is_none() {
            return Err(Error::new(
                format!("node {node}"),
                "a cell of this name is there that was not made for Slurm",
                "give one of them another name; nothing was done to the cell",
            ));
        }
        let at = Path::new("/");
        if state == "running" {
            // `destroy` cuts the power of one that cannot be stopped in order.
            let _ = self.cellctl(&["stop", node, "--timeout", PATIENCE], at, "");
        }
        self.cellctl(&["destroy", node], at, "")?;
        self.forget(node)?;
        Ok(format!("{node} is gone"))
    }

    /// What became of a node that did not come, in a line. Slurm asks when its time is
    /// over, also where the node has failed at once.
    fn why(&self, node: &str) -> Result<String> {
        if let Ok(failure) = std::fs::read_to_string(self.failure(node)) {
            return Ok(failure);
        }
        Ok(match self.state(node)?.as_deref() {
            None => "its cell is not there".to_owned(),
            Some("running") => {
                "its cell runs, but slurmd in it did not come to the controller in time".to_owned()
            }
            Some("powered-off") => "its cell powered itself off".to_owned(),
            Some(state) => format!("its cell is {state}"),
        })
    }

    /// Nodes whose cells, or records, are here: name, job and state in each line.
    fn list(&self) -> Result<String> {
        let cells = self.cells()?;
        let state = |name: &str| cells.iter().find(|cell| cell.name == name);
        let line = |record: Record| {
            let job = record.job.map_or("-".to_owned(), |job| job.to_string());
            let state = state(&record.node).map_or("absent", |cell| &*cell.state);
            format!("{} {job} {state}", record.node)
        };
        let lines: Vec<_> = self.all().into_iter().map(line).collect();
        Ok(lines.join("\n"))
    }

    /// The state of the node's cell, if there is one.
    fn state(&self, node: &str) -> Result<Option<String>> {
        let mut cells = self.cells()?.into_iter();
        Ok(cells.find(|cell| cell.name == node).map(|cell| cell.state))
    }

    fn cells(&self) -> Result<Vec<Cell>> {
        let (code, out, err) = self.cellctl.run(&["--json", "list"], Path::new("/"), "")?;
        match code {
            0 => serde_json::from_str(&out).map_err(|e| {
                let help = "install cellvisor and cellvisor-slurm of the same version";
                Error::new("cannot read cellctl's list", e.to_string(), help)
            }),
            ABSENT => Ok(Vec::new()),
            _ => Err(complaint(&["list"], &err)),
        }
    }

    /// What this machine has.
    ///
    /// # Errors
    ///
    /// `cellctl` fails, or prints something else.
    pub(crate) fn inventory(&self) -> Result<Inventory> {
        let words = ["host", "--inventory"];
        let (code, out, err) = self.cellctl.run(&words, Path::new("/"), "")?;
        match code {
            0 => Inventory::parse(&out),
            _ => Err(complaint(&words, &err)),
        }
    }

    fn cellctl(&self, words: &[&str], at: &Path, input: &str) -> Result<()> {
        let (code, _, err) = self.cellctl.run(words, at, input)?;
        match code {
            0 => Ok(()),
            _ => Err(complaint(words, &err)),
        }
    }

    fn record(&self, node: &str) -> Option<Record> {
        let text = std::fs::read_to_string(self.file(node)).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// All records, in the order of their nodes.
    fn all(&self) -> Vec<Record> {
        let files = std::fs::read_dir(&self.records).into_iter().flatten();
        let node = |name: &str| name.strip_suffix(".json").map(str::to_owned);
        let nodes = files
            .flatten()
            .filter_map(|file| node(file.file_name().to_str()?));
        let mut all: Vec<_> = nodes.filter_map(|node| self.record(&node)).collect();
        all.sort_by(|a, b| a.node.cmp(&b.node));
        all
    }

    fn note(&self, record: &Record) -> Result<()> {
        let json = serde_json::to_string(record).unwrap_or_default();
        self.write(&self.file(&record.node), &json)
    }

    /// Keeps why a node failed. It is no record: what made it fail may be a cell of
    /// somebody else's, which stays so.
    fn note_failure(&self, node: &str, why: &Error) {
        // Without it the reason is less exact, and the failure itself is told.
        let _ = self.write(&self.failure(node), &why.cause());
    }

    fn write(&self, path: &Path, text: &str) -> Result<()> {
        std::fs::create_dir_all(&self.records)
            .and_then(|()| std::fs::write(path, text))
            .map_err(|e| {
                let what = format!("cannot write {}", path.display());
                Error::new(what, e.to_string(), "requests are served as root")
            })
    }

    fn forget(&self, node: &str) -> Result<()> {
        for file in [self.failure(node), self.file(node)] {
            match std::fs::remove_file(&file) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    let what = format!("cannot remove {}", file.display());
                    let help = "requests are served as root";
                    return Err(Error::new(what, e.to_string(), help));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn file(&self, node: &str) -> PathBuf {
        self.records.join(format!("{node}.json"))
    }

    fn failure(&self, node: &str) -> PathBuf {
        self.records.join(format!("{node}.failure"))
    }
}

/// What `cellctl` complained of, as an error of ours: a line, or the first finding of a
/// report, which tells why beside the place that it marks.
fn complaint(words: &[&str], err: &str) -> Error {
    let mut lines = err.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.clone().next().unwrap_or("it says nothing");
    let found = lines.find_map(|line| line.strip_prefix("error: "));
    let beside = lines
        .take_while(|line| !line.starts_with("error: "))
        .find_map(|line| line.split_once("| ")?.1.trim().strip_prefix('^'));
    let beside = beside.map(|text| text.trim_start_matches('^').trim());
    let why = match beside.filter(|text| !text.is_empty()) {
        Some(beside) => format!("{}: {beside}", found.unwrap_or(first)),
        None => found.unwrap_or(first).to_owned(),
    };
    let help: Vec<_> = err
        .lines()
        .map(|line| line.trim().trim_start_matches("= "))
        .filter_map(|line| line.strip_prefix("help: "))
        .collect();
    let help = if help.is_empty() {
        "run it on the machine by hand".to_owned()
    } else {
        help.join("\n")
    };
    Error::new(format!("cellctl {}", words.join(" ")), why, help)
}

#[cfg(test)]
#[path = "machine/tests.rs"]
mod tests;
