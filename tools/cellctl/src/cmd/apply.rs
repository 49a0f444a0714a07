//! `apply` and `diff`: what slice files say, what there is, and the way from one
//! to the other.

use super::{Context, autostart, cells, planning, start, stop, supervise};
use crate::cli;
use crate::driver::Driver;
use crate::error::Result;
use crate::hypercalls::Monitor;
use crate::output::{self, say};
use crate::state::CellRecord;
use cellvisor_abi::call::{CellStatus, State};
use cellvisor_planner::config::Slice;
use serde::Serialize;
use std::path::PathBuf;

/// What brings a cell to what its file says; the later, the more is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Action {
    /// It runs, as its file says.
    None,
    /// Something is noted; it runs on.
    Note,
    /// It does not run.
    Start,
    /// It runs something else.
    Restart,
    /// It is not there.
    Create,
    /// It has something else, or is left over.
    Recreate,
}

impl Action {
    /// For people.
    const fn words(self) -> &'static str {
        match self {
            Self::None => "is as its file says, and runs",
            Self::Note => "runs on; the change is noted",
            Self::Start => "is started",
            Self::Restart => "is stopped and started anew",
            Self::Create => "is created and started",
            Self::Recreate => "is destroyed, created and started",
        }
    }
}

/// What is to be done for a slice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Step {
    name: String,
    action: Action,
    /// Tables of its file that say something else than what there is.
    differs: Vec<&'static str>,
}

impl Step {
    /// One line for people.
    fn line(&self) -> String {
        let mut line = format!("{}: {}", self.name, self.action.words());
        if !self.differs.is_empty() {
            let tables = self.differs.iter().map(|table| format!("[{table}]"));
            let tables = tables.collect::<Vec<_>>().join(", ");
            line += &format!(" (another {tables})");
        }
        line
    }
}

/// `diff`: what `apply` would do.
pub(super) fn diff(context: &Context<'_>, files: &[PathBuf]) -> Result<()> {
    let slices = wanted(context, files)?;
    report(context, &steps(context, &slices)?)
}

/// `apply`. Slices come one after the other; where one cannot, those before it stay.
pub(super) fn apply(context: &Context<'_>, options: &cli::Apply) -> Result<()> {
    let slices = wanted(context, &options.files)?;
    let steps = steps(context, &slices)?;
    let named = |action: &[Action]| -> Vec<String> {
        let these = steps.iter().filter(|step| action.contains(&step.action));
        these.map(|step| step.name.clone()).collect()
    };
    // What is to be changed in place comes first: it is refused without harm.
    for slice in &slices {
        let step = steps.iter().find(|step| step.name == slice.name);
        if let Some(step) = step {
            change(context, slice, step)?;
        }
    }
    let again = named(&[Action::Recreate]);
    if !again.is_empty() {
        cells::destroy(context, &again)?;
    }
    let new = named(&[Action::Create, Action::Recreate]);
    if !new.is_empty() {
        let mut new_slices = slices.clone();
        new_slices.retain(|slice| new.contains(&slice.name));
        cells::create_slices(context, &new_slices, &options.enable)?;
    }
    let idle = named(&[Action::Start, Action::Create, Action::Recreate]);
    if !idle.is_empty() {
        start::start(context, &idle)?;
    }
    report(context, &steps)
}

/// Prints what is done, or would be.
fn report(context: &Context<'_>, steps: &[Step]) -> Result<()> {
    if context.cli.json {
        return output::json(&steps);
    }
    steps.iter().for_each(|step| say(step.line()));
    Ok(())
}

/// The slices of the files, or those that are defined for this machine.
fn wanted(context: &Context<'_>, files: &[PathBuf]) -> Result<Vec<Slice>> {
    if !files.is_empty() {
        return planning::slices(context, files);
    }
    let defined = autostart::defined(&context.cli.slices_dir)?;
    let mut slices = planning::slices(context, &defined.files)?;
    slices.retain(|slice| defined.names.contains(&slice.name));
    Ok(slices)
}

/// What is to be done for each slice.
fn steps(context: &Context<'_>, slices: &[Slice]) -> Result<Vec<Step>> {
    let records = context.state.cells()?.whole()?;
    let driver = context.driver()?;
    let known = match driver.info()?.enabled {
        0 => Vec::new(),
        _ => Monitor(&driver).cells()?,
    };
    let step = |slice: &Slice| {
        let record = records.iter().find(|record| record.name == slice.name);
        step(slice, record, &known)
    };
    slices.iter().map(step).collect()
}

/// What is to be done for a slice whose cell has `record`, where the monitor has
/// the cells `known`.
fn step(slice: &Slice, record: Option<&CellRecord>, known: &[CellStatus]) -> Result<Step> {
    let name = slice.name.clone();
    let Some(record) = record else {
        return Ok(Step {
            name,
            action: Action::Create,
            differs: Vec::new(),
        });
    };
    let status = known
        .iter()
        .find(|cell| Some(cell.cell) == record.id() && cell.name.as_str() == record.name);
    let wish = cells::wish(slice);
    let has_another = |table: &&str| wish.get(table) != record.wish.get(table);
    let mut differs: Vec<_> = ["cpus", "memory", "console", "pci", "cache", "bandwidth"]
        .into_iter()
        .filter(has_another)
        .collect();
    let mut action = match status {
        Some(_) if !differs.is_empty() => Action::Recreate,
        None => Action::Recreate,
        Some(status) if status.state != State::Running => Action::Start,
        Some(_) => Action::None,
    };
    if cells::payload(slice)? != record.payload {
        differs.push("kernel");
        action = action.max(Action::Restart);
    }
    if cells::policy(slice) != record.policy {
        differs.push("policy");
        action = action.max(Action::Note);
    }
    // One that does not run need not be stopped.
    let idle = status.is_some_and(|status| status.state != State::Running);
    if idle && action == Action::Restart {
        action = Action::Start;
    }
    Ok(Step {
        name,
        action,
        differs,
    })
}

/// Notes what a cell shall boot and how it is watched from now on, and has it boot
/// that if it runs. If that is refused, what was noted stays as it was.
fn change(context: &Context<'_>, slice: &Slice, step: &Step) -> Result<()> {
    let in_place = step.action <= Action::Restart && !step.differs.is_empty();
    if !in_place {
        return Ok(());
    }
    let state = &context.state;
    let before = {
        let _cell = state.lock_cell(&step.name)?;
        let before = state.cell(&step.name)?;
        let now = CellRecord {
            source: cells::source(slice)?,
            payload: cells::payload(slice)?,
            policy: cells::policy(slice),
            ..before.clone()
        };
        start::look(context, &now)?;
        state.save_cell(&now)?;
        before
    };
    if step.action == Action::Restart {
        let options = cli::Stop {
            name: step.name.clone(),
            timeout: None,
        };
        return stop::restart(context, &options);
    }
    if step.action == Action::Note && !before.policy.restarts() {
        supervise::ensure(context, &state.cell(&step.name)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Entry, Step as Change};
    use crate::testing::{Fake, record};
    use cellvisor_abi::call::{CellId, StopReason};
    use cellvisor_planner::config;
    use std::path::Path;

    const WEB: &str = "version = 1\ncell.name = \"web\"\ncpus.count = 2\nmemory.size = \"64MiB\"\n\
                       kernel.image = \"/boot/vmlinuz\"\n";

    fn slice(text: &str) -> Slice {
        let slices = config::parse(text, Path::new("/etc/web.toml")).expect("a slice file");
        slices.into_iter().next().expect("one")
    }

    /// The record of a cell that was created from `WEB`.
    fn created() -> CellRecord {
        let slice = slice(WEB);
        let mut record = record("web");
        record.wish = cells::wish(&slice);
        record.payload = cells::payload(&slice).expect("a payload");
        record.policy = cells::policy(&slice);
        record.steps = vec![Entry {
            step: Change::Cell {
                name: "web".into(),
                id: Some(CellId(3)),
            },
            done: true,
        }];
        record
    }

    /// What is to be done where the monitor has the cell in this state.
    fn decided(text: &str, state: Option<State>) -> (Action, Vec<&'static str>) {
        let known: Vec<_> = state
            .map(|state| Fake::with_cell(3, "web", state))
            .into_iter()
            .collect();
        let step = step(&slice(text), Some(&created()), &known).expect("decides");
        (step.action, step.differs)
    }

    #[test]
    fn least_is_done_that_brings_a_cell_to_what_its_file_says() {
        let stopped = State::Stopped(StopReason::Root);
        let add = |more: &str| format!("{WEB}{more}");
        let other = |from: &str, to: &str| WEB.replace(from, to);
        let line = add("kernel.cmdline = \"quiet\"\n");
        let calm = add("policy.on-reboot = \"stop\"\n");
        let large = other("64MiB", "128MiB");
        let vf = add("pci = [{ address = \"0000:02:00.0\" }]\n");
        let ways = add("cache.l3-ways = 4\n");
        let half = add("bandwidth.percent = 50\n");
        for (text, state, action, differs) in [
            (WEB, State::Running, Action::None, vec![]),
            (WEB, State::Loadable, Action::Start, vec![]),
            (WEB, stopped, Action::Start, vec![]),
            (WEB, State::Failed, Action::Start, vec![]),
            (&line, State::Running, Action::Restart, vec!["kernel"]),
            (&line, stopped, Action::Start, vec!["kernel"]),
            (&calm, State::Running, Action::Note, vec!["policy"]),
            (&calm, stopped, Action::Start, vec!["policy"]),
            (&large, State::Running, Action::Recreate, vec!["memory"]),
            (&large, stopped, Action::Recreate, vec!["memory"]),
            (&vf, State::Running, Action::Recreate, vec!["pci"]),
            (&ways, State::Running, Action::Recreate, vec!["cache"]),
            (&half, stopped, Action::Recreate, vec!["bandwidth"]),
        ] {
            assert_eq!(decided(text, Some(state)), (action, differs), "{text}");
        }
        assert_eq!(decided(WEB, None), (Action::Recreate, vec![]), "left over");
        let new = step(&slice(WEB), None, &[]).expect("decides");
        assert_eq!(new.action, Action::Create);
    }

    #[test]
    fn steps_are_told_with_the_tables_that_differ() {
        let step = Step {
            name: "web".into(),
            action: Action::Recreate,
            differs: vec!["cpus", "policy"],
        };
        assert_eq!(
            step.line(),
            "web: is destroyed, created and started (another [cpus], [policy])"
        );
    }
}
