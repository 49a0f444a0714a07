//! Judges a root's console line by line, to the machine's last word, and then the
//! monitor's log. No clocks and no processes here: the caller tells the time, so
//! that every path has a test.

use super::{Scenario, Step};
use anyhow::{Context, Result};
use regex::Regex;
use std::collections::BTreeMap;

/// Signs of trouble in what a kernel says, on any console and in the kernel's own
/// log: scripts look for these there (`/trouble` in root and cells), so all are
/// extended regular expressions for `grep`, too.
pub(crate) const TROUBLE: &[&str] = &[
    "Kernel panic",
    "kernel BUG at",
    "BUG: ",
    "Oops: ",
    "WARNING: CPU:",
    "general protection fault",
    "unchecked MSR access",
    "NMI received for unknown reason",
    "nobody cared",
    "No irq handler for vector",
    "soft lockup",
    "hard LOCKUP",
    "blocked for more than",
    "rcu_.*detected stalls",
    "refcount_t: ",
    "Bad page state",
    "Machine check events logged",
    "DMAR: .*fault",
    "invalid opcode: ",
];

/// Lines of the monitor's log that tell of something refused, broken or given up.
const COMPLAINT: &str = "denied|failed|panicked|fault|hv: lock |does not|do not|not driven|not checked|\
    cannot|pool empty|unexpected";

/// Complaints about what every Linux tries in a cell: ports that a PC has of old
/// and the old way to configuration space, registers that are not there, and the
/// cache line size of the functions that it drives.
const USUAL: &str = "^hv: cell=\\S+ cpu=\\d+ denied \
    (port (read|write) port=0x([0-3]?[0-9a-f]{1,2}|cf[8-f]) size=|\
    msr read index=|configuration write )";

/// How a script ends well, ends badly, and tells of something wrong.
const PASSED: &str = "ci: pass";
const GIVEN_UP: &str = "ci: failed: ";
const WRONG: &str = "ci: wrong: ";

/// What the second machine's console is called among cells'.
const TWIN: &str = "the twin";

/// Seconds from power-on to the first step.
const BOOT_LIMIT: u32 = 90;

/// What is known after a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// More lines are needed.
    Going,
    /// All was seen.
    Passed,
    /// This was wrong.
    Failed(String),
}

/// A step as it went.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// What people read.
    pub(crate) title: String,
    /// Seconds that it took.
    pub(crate) seconds: f64,
    /// The root's console during the step.
    pub(crate) lines: Vec<String>,
    /// What people want to see of it: commands and what they print, and of
    /// kernels' and cells' lines those that the step waited for.
    pub(crate) shown: Vec<String>,
    /// Its figure for the summary.
    pub(crate) figure: String,
}

/// A step under way.
#[derive(Debug)]
struct Now<'a> {
    step: &'a Step,
    started: f64,
    /// For the root (`None`) and for each cell: how many patterns were seen.
    seen: BTreeMap<Option<&'a str>, usize>,
    never: Vec<Regex>,
    allow: Vec<Regex>,
}

/// Follows one run of a scenario.
#[derive(Debug)]
pub(crate) struct Judge<'a> {
    scenario: &'a Scenario,
    slowness: u32,
    trouble: Vec<Regex>,
    excused: Vec<Regex>,
    now: Option<Now<'a>>,
    next: usize,
    captured: BTreeMap<String, String>,
    /// What was wrong so far, in a run that goes on all the same.
    wrong: Vec<String>,
    /// Steps begun so far; the last may be unfinished.
    pub(crate) records: Vec<Record>,
}

impl<'a> Judge<'a> {
    /// Waits for the first step; limits are multiplied by `slowness`, and lines
    /// that match `excused` are no trouble.
    ///
    /// # Errors
    ///
    /// A pattern of the scenario is no regular expression.
    pub(crate) fn new(scenario: &'a Scenario, slowness: u32, excused: &[&str]) -> Result<Self> {
        check(scenario)?;
        let all = |texts: &[&str]| -> Result<Vec<Regex>> {
            Ok(texts
                .iter()
                .map(|text| Regex::new(text))
                .collect::<Result<_, _>>()?)
        };
        Ok(Self {
            scenario,
            slowness,
            trouble: all(TROUBLE)?,
            excused: all(excused)?,
            now: None,
            next: 0,
            captured: BTreeMap::new(),
            wrong: Vec::new(),
            records: Vec::new(),
        })
    }

    /// Takes a line that came at `time` seconds.
    ///
    /// # Errors
    ///
    /// A pattern of the scenario is no regular expression.
    pub(crate) fn line(&mut self, line: &str, time: f64) -> Result<Verdict> {
        let verdict = self.judge(line, time)?;
        // A script that gave up has nothing more to say.
        let over = line.starts_with(GIVEN_UP) || line == PASSED;
        Ok(match verdict {
            Verdict::Failed(why) if self.scenario.lenient && !over => {
                self.wrong.push(why);
                Verdict::Going
            }
            other => other,
        })
    }

    /// What was wrong and did not end the run.
    pub(crate) fn wrong(&self) -> &[String] {
        &self.wrong
    }

    fn judge(&mut self, line: &str, time: f64) -> Result<Verdict> {
        if let Some(name) = line.strip_prefix("step: ") {
            return self.begin(name.trim(), time);
        }
        if line == PASSED {
            return Ok(self.end(time));
        }
        if let Some(record) = self.records.last_mut() {
            record.lines.push(line.to_owned());
            // Kernels' lines begin with a time, cells' with a name.
            if !line.starts_with('[') {
                record.shown.push(line.to_owned());
            }
        }
        for prefix in [GIVEN_UP, WRONG] {
            if let Some(why) = line.strip_prefix(prefix) {
                return Ok(Verdict::Failed(why.to_owned()));
            }
        }
        if self.is_trouble(line) {
            return Ok(Verdict::Failed(format!("trouble: {line}")));
        }
        self.see(line)
    }

    /// Takes a line that came after the end; what is wrong with it.
    pub(crate) fn after(&self, line: &str) -> Option<String> {
        self.is_trouble(line)
            .then(|| format!("trouble after the end: {line}"))
    }

    /// True for a sign of trouble that neither the emulator is to blame for nor the
    /// step under way allows.
    fn is_trouble(&self, line: &str) -> bool {
        let any = |list: &[Regex]| list.iter().any(|regex| regex.is_match(line));
        let allowed = |now: &Now<'_>| any(&now.allow);
        any(&self.trouble) && !any(&self.excused) && !self.now.as_ref().is_some_and(allowed)
    }

    /// What is wrong at `time` if nothing more comes.
    pub(crate) fn overdue(&self, time: f64) -> Option<String> {
        let (started, limit) = self
            .now
            .as_ref()
            .map_or((0.0, BOOT_LIMIT), |now| (now.started, now.step.limit_s));
        let limit = limit * self.slowness;
        (time - started > f64::from(limit)).then(|| match self.missing() {
            Some(missing) => format!("not seen within {limit} s: {missing}"),
            None => format!("the next step did not begin within {limit} s"),
        })
    }

    /// Notes how long the step under way lasted, for a run that ends in it.
    pub(crate) fn stop(&mut self, time: f64) {
        if let (Some(now), Some(record)) = (&self.now, self.records.last_mut()) {
            record.seconds = time - now.started;
        }
    }

    /// The step under way, for people.
    pub(crate) fn title(&self) -> &'a str {
        self.now
            .as_ref()
            .map_or("Root boots", |now| &now.step.title)
    }

    /// What the step under way still lacks: the next pattern of each console; in a
    /// lenient run those after it as well that none of its lines fits.
    pub(crate) fn missing(&self) -> Option<String> {
        let now = self.now.as_ref()?;
        let of_console = |(source, patterns): (Option<&'a str>, &'a Vec<String>)| {
            let seen = now.seen.get(&source).copied().unwrap_or(0);
            let left = patterns.iter().skip(seen).enumerate();
            let lacks = left.filter(move |(ahead, pattern)| {
                *ahead == 0 || self.scenario.lenient && !self.was_said(source, pattern)
            });
            lacks.map(move |(_, pattern)| {
                let pattern = self.resolve(pattern, |text| text.to_owned());
                match source {
                    None => format!("`{pattern}`"),
                    Some(cell) => format!("`{pattern}` from {cell}"),
                }
            })
        };
        let missing: Vec<String> = now.step.sources().flat_map(of_console).collect();
        (!missing.is_empty()).then(|| missing.join(", "))
    }

    /// True if a line of the step under way fits the pattern, in whatever order.
    fn was_said(&self, source: Option<&str>, pattern: &str) -> bool {
        let Ok(regex) = Regex::new(&self.resolve(pattern, regex::escape)) else {
            return false;
        };
        let mut lines = self.records.last().into_iter().flat_map(|now| &now.lines);
        lines.any(|line| {
            let (cell, text) = split(line);
            cell == source && regex.is_match(text)
        })
    }

    fn begin(&mut self, name: &str, time: f64) -> Result<Verdict> {
        if let Verdict::Failed(why) = self.close(time) {
            if !self.scenario.lenient {
                return Ok(Verdict::Failed(why));
            }
            self.wrong.push(why);
        }
        let Some(step) = self
            .scenario
            .steps
            .get(self.next)
            .filter(|step| step.name == name)
        else {
            let wanted = self
                .scenario
                .steps
                .get(self.next)
                .map_or("the end", |step| &step.name);
            return Ok(Verdict::Failed(format!(
                "step {name} began where {wanted} was to come"
            )));
        };
        self.next += 1;
        self.now = Some(Now {
            step,
            started: time,
            seen: BTreeMap::new(),
            never: compile(&step.never, step)?,
            allow: compile(&step.allow, step)?,
        });
        self.records.push(Record {
            title: step.title.clone(),
            seconds: 0.0,
            lines: Vec::new(),
            shown: Vec::new(),
            figure: String::new(),
        });
        Ok(Verdict::Going)
    }

    /// Ends the step under way.
    fn close(&mut self, time: f64) -> Verdict {
        if let Some(missing) = self.missing() {
            return Verdict::Failed(format!("not seen: {missing}"));
        }
        self.stop(time);
        if let (Some(now), Some(record)) = (&self.now, self.records.last_mut()) {
            let figure = &now.step.figure;
            record.figure = resolve(&self.captured, figure, str::to_owned);
        }
        Verdict::Going
    }

    fn end(&mut self, time: f64) -> Verdict {
        match self.close(time) {
            Verdict::Going => match self.scenario.steps.get(self.next) {
                Some(step) => Verdict::Failed(format!("ended before step {}", step.name)),
                None => Verdict::Passed,
            },
            other => other,
        }
    }

    /// Looks whether the line is what its console is to say next.
    fn see(&mut self, line: &str) -> Result<Verdict> {
        let Some(now) = &self.now else {
            return Ok(Verdict::Going);
        };
        if let Some(never) = now.never.iter().find(|never| never.is_match(line)) {
            return Ok(Verdict::Failed(format!(
                "seen, but must not be: `{never}` in: {line}"
            )));
        }
        let (cell, text) = split(line);
        let Some((source, patterns)) = now.step.sources().find(|(name, _)| *name == cell) else {
            return Ok(Verdict::Going);
        };
        let seen = now.seen.get(&source).copied().unwrap_or(0);
        let Some(pattern) = patterns.get(seen) else {
            return Ok(Verdict::Going);
        };
        let regex = Regex::new(&self.resolve(pattern, regex::escape))
            .with_context(|| format!("step {}: `{pattern}`", now.step.name))?;
        let Some(found) = regex.captures(text) else {
            return Ok(Verdict::Going);
        };
        for name in regex.capture_names().flatten() {
            if let Some(value) = found.name(name) {
                self.captured
                    .insert(name.to_owned(), value.as_str().to_owned());
            }
        }
        if let Some(record) = self.records.last_mut().filter(|_| line.starts_with('[')) {
            record.shown.push(line.to_owned());
        }
        if let Some(now) = &mut self.now {
            now.seen.insert(source, seen + 1);
        }
        Ok(Verdict::Going)
    }

    fn resolve(&self, pattern: &str, show: impl Fn(&str) -> String) -> String {
        resolve(&self.captured, pattern, show)
    }
}

impl Step {
    /// The patterns of each console: the root's, the second machine's, then those of cells.
    fn sources(&self) -> impl Iterator<Item = (Option<&str>, &Vec<String>)> {
        let roots = [(None, &self.see), (Some(TWIN), &self.twin)];
        let cells = self
            .cells
            .iter()
            .map(|(name, patterns)| (Some(name.as_str()), patterns));
        roots.into_iter().chain(cells)
    }
}

/// What is wrong with the monitor's log: complaints that the scenario does not
/// expect, and those that it does and that are not there.
///
/// # Errors
///
/// A pattern of the scenario is no regular expression.
pub(crate) fn log(scenario: &Scenario, text: &str) -> Result<Vec<String>> {
    let complaint = Regex::new(COMPLAINT)?;
    let usual = Regex::new(USUAL)?;
    let root = "hv: cell=root ";
    let expected = scenario.monitor.iter().map(|text| Regex::new(text));
    let expected = expected.collect::<Result<Vec<_>, _>>()?;
    let complaints: Vec<&str> = text
        .lines()
        .filter(|line| complaint.is_match(line))
        .collect();
    let known = |line: &str| {
        let usual = !line.starts_with(root) && usual.is_match(line);
        usual || expected.iter().any(|regex| regex.is_match(line))
    };
    let seen = |regex: &&Regex| complaints.iter().any(|line| regex.is_match(line));
    let unknown = complaints.iter().filter(|line| !known(line));
    let missing = expected.iter().filter(|regex| !seen(regex));
    Ok(unknown
        .map(|line| format!("the monitor's log has: {line}"))
        .chain(missing.map(|regex| format!("the monitor's log has no line like `{regex}`")))
        .collect())
}

/// A line as the second machine said it, as the judge takes it: cells' lines are as those
/// of the first, and its script gives up for both.
pub(crate) fn of_twin(line: &str) -> String {
    let ends = [GIVEN_UP, WRONG].map(|prefix| (prefix, line.strip_prefix(prefix)));
    if let Some((prefix, Some(why))) = ends.into_iter().find(|(_, why)| why.is_some()) {
        return format!("{prefix}{TWIN}: {why}");
    }
    match split(line) {
        (Some(_), _) => line.to_owned(),
        _ => format!("[twin] {line}"),
    }
}

/// Whose line this is (`[cell NAME] …` is a cell's), and the line itself.
pub(crate) fn split(line: &str) -> (Option<&str>, &str) {
    if let Some(text) = line.strip_prefix("[twin] ") {
        return (Some(TWIN), text);
    }
    let cell = line
        .strip_prefix("[cell ")
        .and_then(|rest| rest.split_once("] "));
    cell.map_or((None, line), |(name, text)| (Some(name), text))
}

/// Puts captured values in the place of `<NAME>`; `(?<NAME>` stays.
fn resolve(
    captured: &BTreeMap<String, String>,
    pattern: &str,
    show: impl Fn(&str) -> String,
) -> String {
    let mut text = pattern.replace("(?<", "\u{1}");
    for (name, value) in captured {
        text = text.replace(&format!("<{name}>"), &show(value));
    }
    text.replace('\u{1}', "(?<")
}

/// Compiles every pattern once, so that a mistake shows before the machine
/// starts.
fn check(scenario: &Scenario) -> Result<()> {
    let mut named = BTreeMap::new();
    for step in &scenario.steps {
        for see in step.sources().flat_map(|(_, patterns)| patterns) {
            let regex = compile(&[resolve(&named, see, regex::escape)], step)?;
            let names = regex.iter().flat_map(Regex::capture_names).flatten();
            named.extend(names.map(|name| (name.to_owned(), String::new())));
        }
        compile(&step.never, step)?;
        compile(&step.allow, step)?;
    }
    Ok(())
}

fn compile(patterns: &[String], step: &Step) -> Result<Vec<Regex>> {
    let regex =
        |text: &String| Regex::new(text).with_context(|| format!("step {}: `{text}`", step.name));
    patterns.iter().map(regex).collect()
}

#[cfg(test)]
mod tests;
