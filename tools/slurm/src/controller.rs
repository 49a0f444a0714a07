//! The controller's side: what `slurmctld` starts.
//!
//! Machines are asked at the same time, each for its nodes one after the other, since
//! `cellctl` takes from a machine one at a time. What fails becomes the node's reason.

use crate::config::{Config, Machine, Way};
use crate::error::{Error, Result};
use crate::machine::{self, Program};
use crate::request::Request;
use crate::slurm::{self, Jobs};
use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Mutex;

/// Machines that are asked at a time: each costs the controller a process of SSH.
const AT_ONCE: usize = 64;

/// Makes the nodes' cells. Those that fail are DOWN with the reason; Slurm gives their
/// jobs back to the queue.
///
/// # Errors
///
/// A node failed: the first error; the others are told as well.
pub(crate) fn resume(config: &Config, nodes: &[String]) -> Result<()> {
    let jobs = Jobs::read();
    each(config, nodes, |machine, node| {
        let job = jobs.of(node);
        ask(config, machine, &Request::Resume(node.to_owned(), job))
            .inspect_err(|why| down(node, why))
    })
}

/// Destroys the nodes' cells.
///
/// # Errors
///
/// As [`resume`].
pub(crate) fn suspend(config: &Config, nodes: &[String]) -> Result<()> {
    each(config, nodes, |machine, node| {
        ask(config, machine, &Request::Suspend(node.to_owned())).inspect_err(|why| down(node, why))
    })
}

/// Says why nodes did not come within Slurm's `ResumeTimeout`, and destroys what there is.
///
/// # Errors
///
/// As [`resume`].
pub(crate) fn resume_fail(config: &Config, nodes: &[String]) -> Result<()> {
    each(config, nodes, |machine, node| {
        let told = ask(config, machine, &Request::Why(node.to_owned()));
        let why = told.unwrap_or_else(|error| error.cause());
        let help = "see the cell's console on its machine by `cellctl console`, while it comes";
        down(
            node,
            &Error::new(format!("node {node} did not come"), why, help),
        );
        ask(config, machine, &Request::Suspend(node.to_owned()))
    })
}

/// Destroys cells of nodes that Slurm takes to be off or down, or does not know: those of
/// jobs that ended while nobody could be asked.
///
/// # Errors
///
/// Slurm or a machine cannot be asked: the first error. Other machines are cleared.
pub(crate) fn sync(config: &Config) -> Result<()> {
    let states = slurm::states()?;
    at_once(config.machines.iter().collect(), |machine| {
        let listed = ask(config, machine, &Request::List)?;
        let mut first = Ok(());
        for node in listed.lines().filter_map(|line| line.split(' ').next()) {
            let state = states.get(node).map_or(slurm::HIDDEN, |state| state);
            if slurm::is_over(state) {
                tell(config, &format!("{node} is {state}: its cell goes"));
                let gone = ask(config, machine, &Request::Suspend(node.to_owned()));
                keep(&mut first, gone.map(drop));
            }
        }
        first
    })
}

/// Keeps the first failure.
fn keep(first: &mut Result<()>, done: Result<()>) {
    if first.is_ok() {
        *first = done;
    }
}

/// Does something for each node, machine by machine.
fn each(
    config: &Config,
    nodes: &[String],
    work: impl Fn(&Machine, &str) -> Result<String> + Sync,
) -> Result<()> {
    let mut first = Ok(());
    let mut machines: BTreeMap<&str, (&Machine, Vec<&str>)> = BTreeMap::new();
    for node in nodes {
        match config.machine_of(node) {
            Ok(machine) => {
                let entry = machines.entry(&machine.name);
                entry.or_insert((machine, Vec::new())).1.push(node);
            }
            Err(why) => {
                down(node, &why);
                keep(&mut first, Err(why));
            }
        }
    }
    let rest = at_once(machines.into_values().collect(), |(machine, nodes)| {
        let mut first = Ok(());
        for node in nodes {
            keep(&mut first, work(machine, node).map(drop));
        }
        first
    });
    keep(&mut first, rest);
    first
}

/// Does all of it, [`AT_ONCE`] at a time, and returns the first failure that there is.
fn at_once<T: Send>(items: Vec<T>, work: impl Fn(T) -> Result<()> + Sync) -> Result<()> {
    let threads = AT_ONCE.min(items.len());
    let waiting = Mutex::new(items.into_iter());
    let failed = Mutex::new(Ok(()));
    let next = || waiting.lock().ok().and_then(|mut all| all.next());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(item) = next() {
                    let done = work(item);
                    if let Ok(mut failed) = failed.lock() {
                        keep(&mut failed, done);
                    }
                }
            });
        }
    });
    failed.into_inner().unwrap_or(Ok(()))
}

/// Asks a machine, and tells the log what came of it.
fn ask(config: &Config, machine: &Machine, request: &Request) -> Result<String> {
    let answer = match &machine.way {
        Way::Local => here(config, &machine.name).serve(request),
        Way::Ssh(to) => by_ssh(to, request),
    };
    match &answer {
        Ok(answer) => tell(config, &format!("{}: {request}: {answer}", machine.name)),
        Err(why) => tell(
            config,
            &format!("{}: {request}: error: {why}", machine.name),
        ),
    }
    answer
}

/// This machine, under its name in the file.
pub(crate) fn here<'a>(config: &'a Config, name: &'a str) -> machine::Machine<'a, Program> {
    machine::Machine {
        config,
        name,
        cellctl: Program,
        records: machine::RECORDS.into(),
    }
}

/// Asks by SSH: no terminal, no questions, and no waiting for a machine that is off.
fn by_ssh(to: &str, request: &Request) -> Result<String> {
    let words = [
        "-T",
        "-oBatchMode=yes",
        "-oConnectTimeout=10",
        "-oServerAliveInterval=10",
    ];
    let out = Command::new("ssh")
        .args(words)
        .args(["--", to, &request.to_string()])
        .stdin(Stdio::null())
        .output()
        .map_err(|e| Error::new("cannot run ssh", e.to_string(), "install openssh-client"))?;
    if out.status.success() {
        return Ok(String::from_utf8_lossy(&out.stdout).trim_end().to_owned());
    }
    let told = String::from_utf8_lossy(&out.stderr);
    let mut lines = told.lines();
    let why = lines.next().unwrap_or("it says nothing");
    let why = why.strip_prefix("cellvisor-slurm: ").unwrap_or(why);
    let help: Vec<_> = lines
        .filter_map(|line| line.trim().strip_prefix("help: "))
        .collect();
    let help = if help.is_empty() {
        format!("try as Slurm's user: ssh {to} list")
    } else {
        help.join("\n")
    };
    Err(Error::new(to, why, help))
}

/// Sets a node DOWN with its reason.
fn down(node: &str, why: &Error) {
    if let Err(error) = slurm::down(node, &why.reason()) {
        eprintln!("cellvisor-slurm: {error}");
    }
}

/// A line for people: `slurmctld` throws away what its programs print.
fn tell(config: &Config, line: &str) {
    println!("{line}");
    let Some(path) = &config.log else { return };
    let file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seconds = now.map_or(0, |now| now.as_secs());
    // In one piece, since lines of several processes come here.
    let written =
        file.and_then(|mut file| file.write_all(format!("{seconds} {line}\n").as_bytes()));
    if let Err(e) = written {
        eprintln!("cellvisor-slurm: cannot write {}: {e}", path.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn all_is_done_though_some_of_it_fails() {
        let done = AtomicUsize::new(0);
        let failed = at_once((0..1000).collect(), |number: usize| {
            done.fetch_add(1, Ordering::Relaxed);
            match number {
                500 => Err(Error::new("500", "it fails", "none")),
                _ => Ok(()),
            }
        });
        assert_eq!(done.into_inner(), 1000);
        assert_eq!(failed.expect_err("one fails").what, "500");
        assert_eq!(at_once(Vec::<usize>::new(), |_| Ok(())), Ok(()));
    }
}
