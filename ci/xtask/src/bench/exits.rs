//! Instructions of the monitor for each kind of exit: a plugin counts them in
//! QEMU while the scenario `bench-exits` lets a cell make exits of one kind
//! after the other.

use super::Options;
use crate::boot::{Screen, conclude, parts, prepare};
use crate::build::{self, monitor};
use crate::lane::Lane;
use crate::lane::run::{self, Watch};
use crate::paths::Paths;
use crate::report;
use crate::scenario::judge::Record;
use crate::scenario::{self, Scenario};
use crate::sh::Cmd;
use crate::ui::Ui;
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Counters of one vCPU in the plugin's file: guest, monitor, exits.
const WORDS: usize = 3;

/// vCPUs of the cell: QEMU numbers them as Linux does.
const CELL: [usize; 2] = [2, 3];

/// How far the plugin's count of exits may be from the monitor's own, in
/// thousandths: a console's interrupt may come between the two readings.
const TOLERANCE: u64 = 2;

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) guest: u64,
    pub(super) monitor: u64,
    pub(super) exits: u64,
}

/// One phase: what was counted, and what the monitor says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Phase {
    pub(super) name: String,
    /// Of the cell's CPUs, all in all.
    pub(super) counts: Counts,
    /// Of each CPU of the machine.
    pub(super) each: Vec<Counts>,
    pub(super) kind: String,
    /// Exits of the kind (or what else was done), and all exits.
    pub(super) of: u64,
    pub(super) all: u64,
}

/// Reads the counters whenever a phase begins or ends.
struct Reader<'a> {
    screen: Screen<'a>,
    file: PathBuf,
    begin: Vec<Counts>,
    phases: Vec<Phase>,
    failed: Option<anyhow::Error>,
}

impl Watch for Reader<'_> {
    fn line(&mut self, line: &str) {
        self.screen.line(line);
        let seen = if line.starts_with("mark: begin ") {
            counts(&self.file).map(|counts| self.begin = counts)
        } else if line.starts_with("mark: end ") {
            counts(&self.file).and_then(|counts| {
                self.phases.push(phase(line, &self.begin, &counts)?);
                Ok(())
            })
        } else {
            Ok(())
        };
        if let Err(why) = seen {
            self.failed.get_or_insert(why);
        }
    }

    fn step(&mut self, records: &[Record], title: &str) {
        self.screen.step(records, title);
    }
}

/// Plays the scenario and prints what each kind of exit costs.
///
/// # Errors
///
/// The lane has no TCG, the scenario fails, or the plugin and the monitor do not
/// agree on how many exits there were.
pub(super) fn main(paths: &Paths, options: &Options) -> Result<()> {
    let (phases, _) = play(paths, options, "bench-exits")?;
    println!("{}", table(&phases)?);
    Ok(())
}

/// Plays a scenario while the plugin counts; its phases, and what the root said.
///
/// # Errors
///
/// The lane has no TCG, or the scenario fails.
pub(super) fn play(
    paths: &Paths,
    options: &Options,
    name: &str,
) -> Result<(Vec<Phase>, Vec<String>)> {
    play_as(paths, options, name, |_| {})
}

/// As [`play`], with something changed in the scenario.
///
/// # Errors
///
/// As [`play`].
pub(super) fn play_as(
    paths: &Paths,
    options: &Options,
    name: &str,
    change: impl FnOnce(&mut Scenario),
) -> Result<(Vec<Phase>, Vec<String>)> {
    let ui = Ui::new(options.verbose);
    let lane = prepare(paths, &ui, Some(options.lane.unwrap_or(Lane::QemuVmx)))?;
    let mut scenario = scenario::load(paths, name)?;
    ensure!(
        scenario.lanes.contains(&lane),
        "QEMU counts instructions on the lanes qemu-vmx and qemu, not on {}",
        lane.name()
    );
    change(&mut scenario);
    let parts = parts(paths, &ui, &scenario)?;
    let plugin = ui.step("Builds the plugin that counts", |_| build_plugin(paths))?;
    let file = paths.target.join("exit-counter.bin");
    scenario.machine.plugin = Some(arguments(paths, &plugin, &file)?);
    let mut reader = Reader {
        screen: Screen::new(&ui, false),
        file,
        begin: Vec::new(),
        phases: Vec::new(),
        failed: None,
    };
    let outcome = run::run(paths, lane, &scenario, &parts, false, &mut reader)?;
    reader.screen.end(&outcome);
    conclude(&outcome)?;
    if let Some(why) = reader.failed {
        return Err(why);
    }
    let lines = outcome.records.into_iter().flat_map(|record| record.lines);
    Ok((reader.phases, lines.collect()))
}

/// Builds the plugin.
///
/// # Errors
///
/// It does not compile.
pub(super) fn build_plugin(paths: &Paths) -> Result<PathBuf> {
    build::cargo(paths)
        .words("build --release --package exit-counter")
        .run(paths, "build-exit-counter")?;
    Ok(paths.target.join("release/libexit_counter.so"))
}

/// The plugin with its arguments: the monitor's code, and where exits arrive in
/// either back end.
fn arguments(paths: &Paths, plugin: &Path, file: &Path) -> Result<String> {
    let names = ["__image_start", "__image_end", "vmx_exit", "svm_exit"];
    let [from, to, vmx, svm] = addresses(paths, names)?;
    Ok(format!(
        "{},counters={},from={from:x},to={to:x},exit={vmx:x},exit={svm:x}",
        plugin.display(),
        file.display(),
    ))
}

/// Where the monitor's image is: its first address, and the first behind it.
///
/// # Errors
///
/// The image is not there.
pub(super) fn place(paths: &Paths) -> Result<(u64, u64)> {
    addresses(paths, ["__image_start", "__image_end"]).map(|[from, to]| (from, to))
}

/// Addresses of symbols of the monitor.
fn addresses<const N: usize>(paths: &Paths, names: [&str; N]) -> Result<[u64; N]> {
    let listing = Cmd::new("nm").arg(monitor::elf(paths)).read()?;
    let symbols = symbols(&listing);
    let mut found = [0; N];
    for (address, name) in found.iter_mut().zip(names) {
        let text = symbols.get(name);
        let value = text.and_then(|text| u64::from_str_radix(text, 16).ok());
        *address = value.with_context(|| format!("the monitor has no symbol {name}"))?;
    }
    Ok(found)
}

/// Addresses by names, from what `nm` prints.
fn symbols(text: &str) -> BTreeMap<&str, &str> {
    let words = text.lines().map(|line| line.split_whitespace().collect());
    words
        .filter_map(|words: Vec<&str>| match words[..] {
            [address, _, name] => Some((name, address)),
            _ => None,
        })
        .collect()
}

fn counts(file: &Path) -> Result<Vec<Counts>> {
    let bytes = std::fs::read(file).context("cannot read the plugin's counters")?;
    Ok(each(&bytes))
}

/// The counters of each CPU.
fn each(bytes: &[u8]) -> Vec<Counts> {
    let (words, _) = bytes.as_chunks::<8>();
    let (cpus, _) = words.as_chunks::<WORDS>();
    let counts = |[guest, monitor, exits]: &[[u8; 8]; WORDS]| Counts {
        guest: u64::from_le_bytes(*guest),
        monitor: u64::from_le_bytes(*monitor),
        exits: u64::from_le_bytes(*exits),
    };
    cpus.iter().map(counts).collect()
}

/// Adds up the counters of the cell's CPUs.
fn sum(each: &[Counts]) -> Counts {
    let cell = CELL.iter().filter_map(|vcpu| each.get(*vcpu));
    cell.fold(Counts::default(), |sum, counts| Counts {
        guest: sum.guest + counts.guest,
        monitor: sum.monitor + counts.monitor,
        exits: sum.exits + counts.exits,
    })
}

impl Counts {
    /// What was counted since `earlier`.
    const fn since(self, earlier: Self) -> Self {
        Self {
            guest: self.guest.saturating_sub(earlier.guest),
            monitor: self.monitor.saturating_sub(earlier.monitor),
            exits: self.exits.saturating_sub(earlier.exits),
        }
    }
}

/// From a line like `mark: end cpuid kind=cpuid of=200000 all=200010`.
fn phase(line: &str, begin: &[Counts], end: &[Counts]) -> Result<Phase> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let ["mark:", "end", name, kind, of, all] = words[..] else {
        bail!("cannot read `{line}`");
    };
    let value = |word: &str| word.split_once('=').map(|(_, value)| value.to_owned());
    let number = |word: &str| value(word).and_then(|value| value.parse().ok());
    let parts = (value(kind), number(of), number(all));
    let (Some(kind), Some(of), Some(all)) = parts else {
        bail!("cannot read `{line}`");
    };
    let pairs = begin.iter().zip(end);
    let each: Vec<Counts> = pairs.map(|(begin, end)| end.since(*begin)).collect();
    Ok(Phase {
        name: name.to_owned(),
        counts: sum(&each),
        each,
        kind,
        of,
        all,
    })
}

fn table(phases: &[Phase]) -> Result<String> {
    let head = [
        "the cell does",
        "exits",
        "of the kind",
        "seen by QEMU",
        "instructions per exit",
        "per million of the cell's",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for phase in phases {
        let Phase { counts, all, .. } = phase;
        let apart = counts.exits.abs_diff(*all);
        ensure!(
            apart <= (all * TOLERANCE / 1000).max(20),
            "{}: the monitor counted {all} exits, QEMU {}",
            phase.name,
            counts.exits
        );
        let ratio = |part: u64, whole: u64| part as f64 / whole.max(1) as f64;
        rows.push(vec![
            phase.name.clone(),
            all.to_string(),
            format!("{} {}", phase.of, phase.kind),
            counts.exits.to_string(),
            format!("{:.0}", ratio(counts.monitor, counts.exits)),
            format!("{:.0}", 1e6 * ratio(counts.monitor, counts.guest)),
        ]);
    }
    Ok(report::table(&rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_the_cells_cpus_are_added() {
        let words: Vec<u64> = (0..12).collect();
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let expected = Counts {
            guest: 6 + 9,
            monitor: 7 + 10,
            exits: 8 + 11,
        };
        assert_eq!(sum(&each(&bytes)), expected);
        assert_eq!(sum(&[]), Counts::default());
    }

    /// What the first of the cell's CPUs counted, others nothing.
    fn of_cell(counts: Counts) -> [Counts; 3] {
        [Counts::default(), Counts::default(), counts]
    }

    #[test]
    fn a_phase_is_the_difference_of_two_readings() {
        let begin = Counts {
            guest: 10,
            monitor: 20,
            exits: 3,
        };
        let end = Counts {
            guest: 110,
            monitor: 70,
            exits: 13,
        };
        let line = "mark: end cpuid kind=cpuid of=9 all=10";
        let (begin, end) = (of_cell(begin), of_cell(end));
        let phase = phase(line, &begin, &end).expect("it is well-formed");
        assert_eq!((phase.of, phase.all, phase.counts.exits), (9, 10, 10));
        assert_eq!(phase.each[2].guest, 100);
        let table = table(&[phase]).expect("both counted the same");
        assert!(table.contains("cpuid"), "{table}");
        assert!(super::phase("mark: end cpuid", &begin, &end).is_err());
    }

    #[test]
    fn counts_that_differ_are_no_result() {
        let end = Counts {
            guest: 1,
            monitor: 1,
            exits: 900,
        };
        let line = "mark: end icr kind=icr of=1000 all=1000";
        let begin = of_cell(Counts::default());
        let phase = phase(line, &begin, &of_cell(end)).expect("it is well-formed");
        assert!(table(&[phase]).is_err());
    }

    #[test]
    fn symbols_are_read_from_nm() {
        let text = "0000200000000000 T vmx_exit\n                 U other\n";
        assert_eq!(
            symbols(text).get("vmx_exit").copied(),
            Some("0000200000000000")
        );
        assert!(!symbols(text).contains_key("other"));
    }
}
