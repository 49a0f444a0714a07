//! `events`: what happens to cells, a line for each.

use super::Context;
use crate::cli;
use crate::driver::Driver;
use crate::error::Result;
use crate::hypercalls::Monitor;
use crate::messages;
use crate::output::{self, Reader};
use crate::power;
use cellvisor_abi::call::{CellStatus, FailReason};
use serde::Serialize;
use std::time::SystemTime;

/// One event, as programs read it.
#[derive(Debug, PartialEq, Serialize)]
struct Event {
    cell: String,
    id: u32,
    /// As in `list`, or `destroyed`.
    state: &'static str,
    /// How often it was started.
    starts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<FailReason>,
    /// The state for people.
    #[serde(skip)]
    sentence: &'static str,
}

/// An event and when it was seen.
#[derive(Serialize)]
struct Dated<'a> {
    time: &'a str,
    #[serde(flatten)]
    event: &'a Event,
}

/// `events`.
pub(super) fn events(context: &Context<'_>, options: &cli::Events) -> Result<()> {
    let driver = context.looking_driver()?;
    power::require_on(&driver, "cannot tell what happens to cells")?;
    let monitor = Monitor(&driver);
    let mut before = match options.new {
        true => monitor.cells()?,
        false => Vec::new(),
    };
    loop {
        let now = monitor.cells()?;
        let mine = |event: &Event| options.name.as_ref().is_none_or(|n| *n == event.cell);
        for event in changes(&before, &now).into_iter().filter(mine) {
            let line = line(context, &event)?;
            if output::bytes((line + "\n").as_bytes()) == Reader::Gone {
                return Ok(());
            }
        }
        before = now;
        driver.wait()?;
    }
}

/// What happened between two looks at the cells. The monitor wakes for each event,
/// and a cell that has ended stays as it is until somebody here acts, so that two
/// events of one cell in one look are rare; the number of starts tells of them.
fn changes(before: &[CellStatus], now: &[CellStatus]) -> Vec<Event> {
    let same = |a: &CellStatus, b: &CellStatus| a.cell == b.cell && a.name == b.name;
    let gone = before
        .iter()
        .filter(|old| !now.iter().any(|new| same(old, new)));
    let gone = gone.map(|old| Event {
        state: "destroyed",
        sentence: "destroyed",
        reason: None,
        ..event(old)
    });
    let changed = now.iter().filter(|new| {
        let is_as_before = |old: &CellStatus| old.state == new.state && old.starts == new.starts;
        !before.iter().any(|old| same(old, new) && is_as_before(old))
    });
    gone.chain(changed.map(event)).collect()
}

fn event(status: &CellStatus) -> Event {
    Event {
        cell: status.name.as_str().to_owned(),
        id: status.cell.0,
        state: messages::state_word(status.state),
        starts: status.starts,
        reason: status.failure.map(|failure| failure.reason),
        sentence: messages::state(status.state),
    }
}

fn line(context: &Context<'_>, event: &Event) -> Result<String> {
    let time = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
    if context.cli.json {
        return output::json_line(&Dated { time: &time, event });
    }
    Ok(sentence(event, &time))
}

fn sentence(event: &Event, time: &str) -> String {
    let Event { cell, sentence, .. } = event;
    match &event.reason {
        Some(reason) => format!("{time} {cell} {sentence}: it {}", messages::reason(reason)),
        None => format!("{time} {cell} {sentence}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Fake;
    use cellvisor_abi::call::{CellId, Failure, Registers, State, StopReason};

    /// A look at cells: number, name, state.
    fn look(cells: &[(u32, &str, State)]) -> Vec<CellStatus> {
        let fake = Fake::default();
        let known = cells
            .iter()
            .map(|(id, name, state)| (*id, ((*name).to_owned(), *state)));
        fake.now.borrow_mut().cells.extend(known);
        cells
            .iter()
            .map(|(id, ..)| Monitor(&fake).status(CellId(*id)).expect("a cell"))
            .collect()
    }

    fn lines(before: &[CellStatus], now: &[CellStatus]) -> Vec<String> {
        let events = changes(before, now);
        events.iter().map(|event| sentence(event, "T")).collect()
    }

    #[test]
    fn each_change_is_told_and_nothing_else() {
        let begin = look(&[(1, "a", State::Running), (2, "b", State::Loadable)]);
        assert_eq!(lines(&[], &begin), ["T a running", "T b loadable"]);
        assert_eq!(lines(&begin, &begin), [""; 0]);
        let panicked = State::Stopped(StopReason::Panic);
        let end = look(&[(1, "a", panicked), (2, "b", State::Loadable)]);
        assert_eq!(lines(&begin, &end), ["T a panicked"]);
    }

    #[test]
    fn a_number_that_is_used_again_is_another_cell() {
        let before = look(&[(1, "a", State::Running)]);
        let after = look(&[(1, "b", State::Running)]);
        assert_eq!(lines(&before, &after), ["T a destroyed", "T b running"]);
    }

    #[test]
    fn a_start_between_two_looks_is_seen() {
        let before = look(&[(1, "a", State::Running)]);
        let mut after = before.clone();
        after.iter_mut().for_each(|status| status.starts += 1);
        assert_eq!(lines(&before, &after), ["T a running"]);
    }

    #[test]
    fn a_failure_has_its_reason() {
        let mut failed = look(&[(1, "a", State::Failed)]);
        for status in &mut failed {
            status.failure = Some(Failure {
                reason: FailReason::TripleFault,
                cpu: 0,
                regs: Registers::default(),
            });
        }
        assert_eq!(lines(&[], &failed), ["T a failed: it took a triple fault"]);
    }
}
