//! `run`: a slice as a service, for systemd or whoever else starts programs and
//! starts them again.
//!
//! It takes the place of the cell's supervisor, and leaves new starts to whoever
//! started it: that it wants one says its exit code.

use super::{Context, cells, planning, start};
use crate::cli;
use crate::driver::{Device, Driver};
use crate::error::{Error, Kind, Result};
use crate::hypercalls::Monitor;
use crate::messages;
use crate::output::{self, Reader};
use crate::signals;
use crate::state::CellRecord;
use cellvisor_abi::call::{CellId, State, StopReason};
use sd_notify::NotifyState;
use std::slice;
use std::thread;
use std::time::Duration;

/// How often the console is looked at.
const TURN: Duration = Duration::from_millis(50);

/// `run`.
pub(super) fn run(context: &Context<'_>, options: &cli::Run) -> Result<()> {
    let name = only_slice(context, options)?;
    let Some(_alone) = context.state.supervise(&name)? else {
        return Err(Error::new(
            format!("cannot run cell \"{name}\""),
            "somebody watches it already",
            format!("end that first: cellctl kill {name}"),
        ));
    };
    signals::catch()?;
    if context.state.find_cell(&name)?.is_none() {
        let create = cli::Create {
            files: vec![options.file.clone()],
            enable: options.enable.clone(),
        };
        cells::create(context, &create)?;
    }
    let (driver, cell) = started(context, &name)?;
    // Nobody listens where no service manager started this.
    let _ = sd_notify::notify(false, &[NotifyState::Ready]);
    let Some(state) = follow(context, &driver, &name, cell)? else {
        return Ok(());
    };
    let record = context.state.cell(&name)?;
    end(&record, state)
}

/// The name of the one slice that the file has.
fn only_slice(context: &Context<'_>, options: &cli::Run) -> Result<String> {
    let slices = planning::slices(context, slice::from_ref(&options.file))?;
    match slices.as_slice() {
        [slice] => Ok(slice.name.clone()),
        many => Err(Error::new(
            format!("cannot run {}", options.file.display()),
            format!("it has {} slices, and a service is one", many.len()),
            "write each into a file of its own",
        )),
    }
}

/// Starts the cell unless it runs.
fn started(context: &Context<'_>, name: &str) -> Result<(Device, CellId)> {
    let held = context.hold(name)?;
    if held.status.state != State::Running {
        start::start_cell(context, &held.driver, &held.record)?;
    }
    Ok((held.driver, held.status.cell))
}

/// Prints what the cell says until it ends: its state then. `None` if this program
/// is asked to end, or nobody reads.
fn follow(
    context: &Context<'_>,
    driver: &dyn Driver,
    name: &str,
    cell: CellId,
) -> Result<Option<State>> {
    let monitor = Monitor(driver);
    let mut at = context.state.cell(name)?.console_from;
    loop {
        // The state first: what was said before its end is there then.
        let state = monitor.status(cell)?.state;
        loop {
            let (start, bytes) = monitor.console_read(cell, at)?;
            at = start + bytes.len() as u64;
            if bytes.is_empty() {
                break;
            }
            if output::bytes(&bytes) == Reader::Gone {
                return Ok(None);
            }
        }
        if matches!(state, State::Stopped(_) | State::Failed) {
            return Ok(Some(state));
        }
        if signals::came().is_some() {
            return Ok(None);
        }
        thread::sleep(TURN);
    }
}

/// What the end of a cell means to whoever runs it as a service.
fn end(record: &CellRecord, state: State) -> Result<()> {
    let policy = record.policy;
    let (again, is_failure) = match state {
        State::Stopped(StopReason::Reset) => (policy.restart_on_reboot, false),
        State::Failed | State::Stopped(StopReason::Panic) => (policy.restart_on_failure, true),
        _ => (false, false),
    };
    let error = |help: &str| {
        let what = format!("cell \"{}\" has ended", record.name);
        Error::new(what, messages::state(state), help)
    };
    if again && !record.stopping {
        let help = "its policy wants it to be started again";
        return Err(error(help).kind(Kind::Restart));
    }
    if is_failure {
        return Err(error(&format!(
            "look at it: cellctl status {}",
            record.name
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    /// The exit code after an end, with policies for failures and reboots.
    fn code(state: State, (failure, reboot): (bool, bool), stopping: bool) -> u8 {
        let mut record = testing::record("a");
        record.policy.restart_on_failure = failure;
        record.policy.restart_on_reboot = reboot;
        record.stopping = stopping;
        end(&record, state).err().map_or(0, |error| error.code())
    }

    #[test]
    fn the_policy_decides_about_new_starts() {
        let reset = State::Stopped(StopReason::Reset);
        let panicked = State::Stopped(StopReason::Panic);
        assert_eq!(code(reset, (false, true), false), 133);
        assert_eq!(code(reset, (true, false), false), 0);
        for failed in [State::Failed, panicked] {
            assert_eq!(code(failed, (true, false), false), 133);
            assert_eq!(code(failed, (false, true), false), 1);
        }
        for reason in [StopReason::Root, StopReason::PowerOff] {
            assert_eq!(code(State::Stopped(reason), (true, true), false), 0);
        }
    }

    #[test]
    fn who_is_being_stopped_is_not_started_again() {
        assert_eq!(
            code(State::Stopped(StopReason::Reset), (true, true), true),
            0
        );
        assert_eq!(code(State::Failed, (true, true), true), 1);
    }
}
