//! Runs a scenario on a lane: starts the emulator, feeds the judge, leaves
//! consoles, command line and result in `target/lanes/LANE/SCENARIO/`.

use super::consoles::{self, sort_out};
use super::{Lane, Power, panel};
use crate::build::{self, Parts};
use crate::image::{self, RootImage};
use crate::paths::{Paths, make_dir};
use crate::report;
use crate::scenario::judge::{self, Judge, Record, Verdict};
use crate::scenario::{Cable, Scenario};
use crate::sh;
use anyhow::{Context, Result};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How long an emulator may take to end after its root has.
const END_LIMIT: Duration = Duration::from_secs(20);

/// After a sign of trouble the rest of the story is worth this long a wait.
const AFTERMATH: Duration = Duration::from_secs(3);

/// The folder of a second machine, in the run's.
const TWIN: &str = "twin";

/// How a scenario went.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The steps that began.
    pub(crate) records: Vec<Record>,
    /// What was wrong; `None` if nothing.
    pub(crate) failure: Option<Failure>,
    /// Seconds from power-on to the end.
    pub(crate) seconds: f64,
    /// Where the consoles are.
    pub(crate) dir: PathBuf,
}

/// What was wrong, and in which step.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The step's title.
    pub(crate) step: String,
    /// What was wrong.
    pub(crate) why: String,
    /// What the root said in that step, and the last lines of its console.
    pub(crate) tail: String,
}

/// Sees a run as it goes.
pub(crate) trait Watch {
    /// A line came on the root's console.
    fn line(&mut self, line: &str);
    /// A step began; those before it are done.
    fn step(&mut self, records: &[Record], title: &str);
}

/// Ends the emulator whatever happens.
#[derive(Debug)]
struct Emulator(Child);

impl Drop for Emulator {
    fn drop(&mut self) {
        // An emulator that has ended already cannot be killed: that is fine.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The folder for what a run leaves.
pub(crate) fn dir(paths: &Paths, lane: Lane, scenario: &str) -> PathBuf {
    paths.target.join("lanes").join(lane.name()).join(scenario)
}

/// Runs a scenario whose parts are built. With `keep`, images and disks stay
/// after a good end, too.
///
/// # Errors
///
/// The machine cannot be started or its files not be written; a scenario that
/// goes wrong is no error but an [`Outcome`].
pub(crate) fn run(
    paths: &Paths,
    lane: Lane,
    scenario: &Scenario,
    parts: &Parts,
    keep: bool,
    watch: &mut dyn Watch,
) -> Result<Outcome> {
    let scenario = &scenario.on(lane);
    let dir = dir(paths, lane, &scenario.name);
    if dir.exists() {
        std::fs::remove_dir_all(&dir).with_context(|| format!("cannot empty {}", dir.display()))?;
    }
    make_dir(&dir)?;
    let powers = {
        let _alone = build::alone();
        let root = image::root(paths, scenario, parts, &dir)?;
        powers(paths, lane, scenario, &root, &dir)?
    };
    let outcome = play(lane, scenario, powers, &dir, watch)?;
    report::scenario(&outcome, lane, scenario)?;
    if outcome.failure.is_none() && !keep {
        for file in [
            "root.cpio",
            "nvme-net0.img",
            "nvme-net1.img",
            "nvme-root.img",
            "boot.iso",
            "console.pipe",
            "job.img",
            "swap.img",
        ] {
            // Only some machines have disks.
            drop(std::fs::remove_file(dir.join(file)));
        }
    }
    Ok(outcome)
}

/// The machine; or both, where the scenario wants two.
fn powers(
    paths: &Paths,
    lane: Lane,
    scenario: &Scenario,
    root: &RootImage,
    dir: &Path,
) -> Result<Vec<Power>> {
    if !scenario.machine.twin {
        return Ok(vec![lane.power(paths, scenario, root, dir)?]);
    }
    let second = dir.join(TWIN);
    make_dir(&second)?;
    let ends = ["cable-1", "cable-2"].map(|end| dir.join(end));
    let machine = |number: u8, dir: &Path, words: &str| {
        let mut scenario = scenario.clone();
        let [mut near, mut far] = ends.clone();
        if number == 2 {
            std::mem::swap(&mut near, &mut far);
        }
        scenario.machine.cable = Some(Cable { near, far, number });
        scenario.root.cmdline.push_str(words);
        lane.power(paths, &scenario, root, dir)
    };
    Ok(vec![
        machine(1, dir, "")?,
        machine(2, &second, " cellvisor.twin")?,
    ])
}

fn play(
    lane: Lane,
    scenario: &Scenario,
    powers: Vec<Power>,
    dir: &Path,
    watch: &mut dyn Watch,
) -> Result<Outcome> {
    let mut judge = Judge::new(scenario, scenario.patience, lane.excused())?;
    let start = Instant::now();
    let (mut emulators, lines) = switch_on(powers, dir)?;
    let mut tail = Tail::default();
    let mut failure = loop {
        let time = start.elapsed().as_secs_f64();
        match lines.recv_timeout(Duration::from_millis(200)) {
            Ok(line) => {
                watch.line(&line);
                tail.push(&line);
                sort_out(&line, dir)?;
                // It may be the scenario that has brought the machine to its end.
                if let Err(why) = operate(&line, dir) {
                    break Some(format!("the machine does not do as it is told: {why:#}"));
                }
                let steps = judge.records.len();
                match judge.line(&line, time)? {
                    Verdict::Going if judge.records.len() > steps => {
                        watch.step(&judge.records, judge.title());
                    }
                    Verdict::Going => {}
                    Verdict::Passed => break None,
                    Verdict::Failed(why) => break Some(why),
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                if let Some(why) = judge.overdue(time) {
                    break Some(why);
                }
                // A named pipe that nobody opened has no end.
                if matches!(emulators[0].0.try_wait(), Ok(Some(_))) {
                    break Some(died(&mut emulators[0], dir));
                }
            }
            Err(RecvTimeoutError::Disconnected) => break Some(died(&mut emulators[0], dir)),
        }
    };
    judge.stop(start.elapsed().as_secs_f64());
    let cpus = failure.as_ref().and_then(|_| panel::cpus(dir));
    let wait = match failure {
        Some(_) => AFTERMATH,
        None => END_LIMIT * scenario.patience,
    };
    let mut last = Last {
        dir,
        watch,
        tail: &mut tail,
        judge: &mut judge,
    };
    let end = last.drain(&lines, wait)?;
    drop(emulators);
    let log = judge::log(scenario, &monitors(dir))?;
    if scenario.lenient {
        let all = judge
            .wrong()
            .iter()
            .cloned()
            .chain(failure)
            .chain(end)
            .chain(log);
        failure = all.reduce(|all, next| format!("{all}\n{next}"));
    } else {
        failure = failure.or(end).or_else(|| log.into_iter().next());
    }
    let step = judge.title().to_owned();
    let said = judge
        .records
        .last()
        .map_or(&[][..], |record| &record.shown[..]);
    let failure = failure.map(|why| Failure {
        step,
        why,
        tail: tail.text(cpus, said),
    });
    let seconds = start.elapsed().as_secs_f64();
    Ok(Outcome {
        records: judge.records,
        failure,
        seconds,
        dir: dir.to_owned(),
    })
}

/// Starts each machine, and reads their consoles.
fn switch_on(powers: Vec<Power>, dir: &Path) -> Result<(Vec<Emulator>, Receiver<String>)> {
    let (send, lines) = channel();
    let mut emulators = Vec::new();
    for (number, power) in powers.into_iter().enumerate() {
        let (home, as_is): (_, fn(&str) -> String) = match number {
            0 => (dir.to_owned(), str::to_owned),
            _ => (dir.join(TWIN), judge::of_twin),
        };
        std::fs::write(
            home.join("command.txt"),
            format!("{}\n", sh::line(&power.command)),
        )
        .context("cannot write the emulator's command line")?;
        let mut emulator = spawn(&power.command, &home)?;
        let send = send.clone();
        consoles::read(&mut emulator.0, power.console, &home, move |line| {
            send.send(as_is(line)).is_ok()
        })?;
        emulators.push(emulator);
    }
    Ok((emulators, lines))
}

/// The logs of all monitors.
fn monitors(dir: &Path) -> String {
    let logs = [dir.to_owned(), dir.join(TWIN)].map(|dir| dir.join("monitor.log"));
    let texts = logs.map(|log| std::fs::read(log).unwrap_or_default());
    String::from_utf8_lossy(&texts.concat()).into_owned()
}

/// The emulator dies with this process, however that ends.
fn spawn(command: &Command, dir: &Path) -> Result<Emulator> {
    let errors = File::create(dir.join("emulator.log")).context("cannot write emulator.log")?;
    let line = sh::line(command);
    let here = Path::new(".");
    Command::new("setpriv")
        .current_dir(command.get_current_dir().unwrap_or(here))
        .args(["--pdeathsig", "KILL", "--"])
        .arg(command.get_program())
        .args(command.get_args())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(errors)
        .spawn()
        .map(Emulator)
        .with_context(|| format!("cannot start the emulator: {line}"))
}

/// The root asks for something that only a machine can do: `machine: COMMAND`, in the
/// words of QEMU's monitor.
fn operate(line: &str, dir: &Path) -> Result<()> {
    let Some(command) = line.strip_prefix("machine: ") else {
        return Ok(());
    };
    panel::ask(dir, command).map(drop)
}

/// Reads what comes after the verdict.
struct Last<'r, 's> {
    dir: &'r Path,
    watch: &'r mut dyn Watch,
    tail: &'r mut Tail,
    judge: &'r mut Judge<'s>,
}

impl Last<'_, '_> {
    /// Reads until the emulator ends or `wait` is over. What is wrong with the end:
    /// a sign of trouble, or that there is none.
    fn drain(&mut self, lines: &Receiver<String>, wait: Duration) -> Result<Option<String>> {
        let end = Instant::now() + wait;
        let mut wrong = None;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            match lines.recv_timeout(left) {
                Ok(line) => {
                    self.watch.line(&line);
                    self.tail.push(&line);
                    sort_out(&line, self.dir)?;
                    if let Some(why) = self.judge.after(&line) {
                        wrong.get_or_insert(why);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(wrong),
                Err(RecvTimeoutError::Timeout) => break,
            }
        }
        Ok(wrong.or_else(|| Some(format!("no power-off within {} s", wait.as_secs()))))
    }
}

fn died(emulator: &mut Emulator, dir: &Path) -> String {
    let status = emulator
        .0
        .wait()
        .map_or_else(|why| why.to_string(), |status| status.to_string());
    let mut errors = String::new();
    if let Ok(mut file) = File::open(dir.join("emulator.log")) {
        // What it said is a help, not a need.
        drop(file.read_to_string(&mut errors));
    }
    let said = sh::tail(&errors, 5);
    let what = "the machine ended before the scenario did";
    if said.is_empty() {
        format!("{what} ({status})")
    } else {
        format!("{what} ({status}): {said}")
    }
}

/// The last lines of a console.
#[derive(Debug, Default)]
struct Tail(std::collections::VecDeque<String>);

impl Tail {
    const LINES: usize = 40;
    const SAID: usize = 20;

    fn push(&mut self, line: &str) {
        if self.0.len() == Self::LINES {
            self.0.pop_front();
        }
        self.0.push_back(line.to_owned());
    }

    /// What the CPUs do and the end of what the root `said` itself stand before them:
    /// cells and kernels may have said more since than there is room for.
    fn text(&self, cpus: Option<String>, said: &[String]) -> String {
        let said = said.iter().skip(said.len().saturating_sub(Self::SAID));
        cpus.as_deref()
            .into_iter()
            .chain(["the root in this step:"])
            .chain(said.map(String::as_str))
            .chain(["the last lines of all:"])
            .chain(self.0.iter().map(String::as_str))
            .collect::<Vec<_>>()
            .join("\n")
    }
}
