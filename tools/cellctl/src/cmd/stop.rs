//! `stop`, `kill` and `restart`: a cell is asked to power off, or its power is cut.

use super::cells::say_unless_json;
use super::{Context, Held, start};
use crate::cli;
use crate::create;
use crate::error::Result;
use crate::hypercalls::Monitor;
use crate::messages;
use crate::output;
use crate::state::CellRecord;
use cellvisor_abi::call::{CellId, State, StopReason};
use std::thread;
use std::time::{Duration, Instant};

/// How often the state is looked at while a cell powers off.
const PERIOD: Duration = Duration::from_millis(50);

/// How a cell that ran came to its end.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// By itself, in this state.
    Itself(State),
    /// Its power was cut, as was asked for.
    Cut,
    /// Its power was cut, since nobody listens to its power button.
    Deaf,
    /// Its power was cut, since it went on for this time.
    Late(Duration),
}

impl End {
    /// What to tell of an end that is not the one that was wished for.
    fn complaint(self, name: &str) -> Option<String> {
        match self {
            Self::Cut | Self::Itself(State::Stopped(StopReason::PowerOff)) => None,
            Self::Itself(State::Stopped(StopReason::Root)) => {
                Some(format!("the power of cell \"{name}\" was cut meanwhile"))
            }
            Self::Itself(state) => {
                let state = messages::state(state);
                Some(format!(
                    "cell \"{name}\" did not power off in order: {state}"
                ))
            }
            Self::Deaf => Some(format!(
                "nothing in cell \"{name}\" listens to its power button, so its power was cut"
            )),
            Self::Late(waited) => Some(format!(
                "cell \"{name}\" did not power off within {} s, so its power was cut",
                waited.as_secs_f64()
            )),
        }
    }
}

/// `stop`.
pub(super) fn stop(context: &Context<'_>, options: &cli::Stop) -> Result<()> {
    // Not the machine's lock: a runaway cell need not wait for a slow create.
    let held = context.hold(&options.name)?;
    end(context, &held, options.timeout)?;
    say_unless_json(context, format!("cell \"{}\" is stopped", options.name));
    Ok(())
}

/// `kill`.
pub(super) fn kill(context: &Context<'_>, name: &str) -> Result<()> {
    let cut = overtake(context, name)?;
    let held = context.hold(name)?;
    // A `restart` that was overtaken has started it again.
    if !cut || held.status.state == State::Running {
        Monitor(&held.driver).stop(name, held.status.cell)?;
    }
    say_unless_json(context, format!("cell \"{name}\" is stopped"));
    Ok(())
}

/// Cuts the power of a cell that is being stopped: whoever waits for it to power off holds
/// its lock, and has what it waits for. True if it was so.
fn overtake(context: &Context<'_>, name: &str) -> Result<bool> {
    let record = context.state.cell(name)?;
    if !record.stopping {
        return Ok(false);
    }
    let driver = context.driver()?;
    let status = create::status(Monitor(&driver), &record)?;
    let cut = status.state == State::Running;
    // If it refuses, the cell has ended by itself in between, which is seen with the lock.
    Ok(cut && Monitor(&driver).stop(name, status.cell).is_ok())
}

/// `restart`.
pub(super) fn restart(context: &Context<'_>, options: &cli::Stop) -> Result<()> {
    let name = &options.name;
    let held = context.hold(name)?;
    start::look(context, &held.record)?;
    if held.status.state == State::Running {
        end(context, &held, options.timeout)?;
    }
    start::start_cell(context, &held.driver, &held.record)?;
    say_unless_json(context, format!("cell \"{name}\" is started again"));
    Ok(())
}

/// Ends a running cell, and tells if it was not in order. That it is being stopped
/// is noted first, so that no supervisor takes it for a reset or a failure.
fn end(context: &Context<'_>, held: &Held, timeout: Option<f64>) -> Result<()> {
    let record = &held.record;
    context.state.save_cell(&CellRecord {
        stopping: true,
        ..record.clone()
    })?;
    let default = Duration::from_secs(record.policy.stop_timeout.into());
    let patience = timeout.map_or(default, Duration::from_secs_f64);
    let monitor = Monitor(&held.driver);
    let end = press_or_cut(monitor, &record.name, held.status.cell, patience)?;
    if let Some(complaint) = end.complaint(&record.name) {
        output::warn(complaint);
    }
    Ok(())
}

/// Presses the power button, and cuts the power when `patience` is over.
fn press_or_cut(monitor: Monitor<'_>, name: &str, cell: CellId, patience: Duration) -> Result<End> {
    if patience.is_zero() {
        monitor.stop(name, cell)?;
        return Ok(End::Cut);
    }
    let cut = if monitor.press(name, cell)? {
        End::Late(patience)
    } else {
        End::Deaf
    };
    let end = Instant::now() + patience;
    while cut != End::Deaf && Instant::now() < end {
        let state = monitor.status(cell)?.state;
        if state != State::Running {
            return Ok(End::Itself(state));
        }
        thread::sleep(PERIOD);
    }
    match monitor.stop(name, cell) {
        Ok(()) => Ok(cut),
        // It may have ended by itself at the last moment.
        Err(error) => match monitor.status(cell)?.state {
            State::Running => Err(error),
            state => Ok(End::Itself(state)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Fake;
    use cellvisor_abi::status::CallStatus;

    const CELL: CellId = CellId(1);
    const POWER_OFF: State = State::Stopped(StopReason::PowerOff);
    const PATIENCE: Duration = Duration::from_millis(60);

    /// Stops a cell that is in `state` when its button was pressed, and either
    /// `hears` it or does not: how it ended, and in which state.
    fn ends(state: State, hears: bool, patience: Duration) -> (End, State) {
        let fake = Fake::default();
        let known = ("a".to_owned(), state);
        fake.now.borrow_mut().cells.insert(CELL.0, known);
        if !patience.is_zero() {
            let heard = cellvisor_abi::wire::to_vec(&hears);
            fake.script(CallStatus::Ok, &heard);
        }
        let end = press_or_cut(Monitor(&fake), "a", CELL, patience).expect("ends");
        let (_, state) = fake.now.borrow().cells[&CELL.0];
        (end, state)
    }

    #[test]
    fn who_powers_off_in_time_is_left_alone() {
        let end = ends(POWER_OFF, true, PATIENCE);
        assert_eq!(end, (End::Itself(POWER_OFF), POWER_OFF));
        assert_eq!(end.0.complaint("a"), None);
    }

    #[test]
    fn who_goes_on_is_cut_when_time_is_over_and_that_is_told() {
        let begin = Instant::now();
        let (end, state) = ends(State::Running, true, PATIENCE);
        assert!(begin.elapsed() >= PATIENCE);
        assert_eq!(state, State::Stopped(StopReason::Root));
        let told = "cell \"a\" did not power off within 0.06 s, so its power was cut";
        assert_eq!(end.complaint("a").as_deref(), Some(told));
    }

    #[test]
    fn who_does_not_listen_is_cut_at_once() {
        let (end, state) = ends(State::Running, false, Duration::from_secs(60));
        assert_eq!(state, State::Stopped(StopReason::Root));
        assert!(
            end.complaint("a")
                .is_some_and(|told| told.contains("listens"))
        );
    }

    #[test]
    fn without_patience_no_button_is_pressed() {
        let end = ends(State::Running, true, Duration::ZERO);
        assert_eq!(end, (End::Cut, State::Stopped(StopReason::Root)));
    }

    #[test]
    fn a_crash_instead_of_a_power_off_is_told() {
        let (end, _) = ends(State::Failed, true, PATIENCE);
        let told = "cell \"a\" did not power off in order: failed";
        assert_eq!(end.complaint("a").as_deref(), Some(told));
    }
}
