//! `nmi`: asks a cell's kernel for a diagnosis, as a machine's NMI button does.

use super::Context;
use super::cells::say_unless_json;
use crate::create;
use crate::error::{Error, Result};
use crate::hypercalls::Monitor;
use crate::messages;
use cellvisor_abi::call::{CellId, State};

/// `nmi`.
pub(super) fn nmi(context: &Context<'_>, name: &str) -> Result<()> {
    // Without the cell's lock: a stop holds it while it waits for the kernel, and why that
    // one does not power off may be the question.
    let record = context.state.cell(name)?;
    let driver = context.driver()?;
    let status = create::status(Monitor(&driver), &record)?;
    send(Monitor(&driver), name, status.cell)?;
    say_unless_json(context, format!("cell \"{name}\" got an NMI"));
    Ok(())
}

/// The monitor decides whether the cell gets one; of one that does not run its state is told.
fn send(monitor: Monitor<'_>, name: &str, cell: CellId) -> Result<()> {
    let Err(error) = monitor.nmi(name, cell) else {
        return Ok(());
    };
    match monitor.status(cell)?.state {
        State::Running => Err(error),
        state => Err(Error::new(
            format!("cannot send an NMI to cell \"{name}\""),
            format!("it does not run: {}", messages::state(state)),
            format!("start it: cellctl start {name}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Fake;
    use cellvisor_abi::call::StopReason;
    use cellvisor_abi::status::CallStatus;

    const CELL: CellId = CellId(1);

    /// What comes of an NMI to a cell in this state.
    fn sent(state: State) -> std::result::Result<(), String> {
        let fake = Fake::default();
        let known = ("web".to_owned(), state);
        fake.now.borrow_mut().cells.insert(CELL.0, known);
        if state != State::Running {
            fake.script(CallStatus::WrongState, &[]);
        }
        send(Monitor(&fake), "web", CELL).map_err(|e| e.to_string())
    }

    #[test]
    fn a_cell_that_runs_gets_one_and_others_are_told_why_not() {
        assert_eq!(sent(State::Running), Ok(()));
        let told = "cannot send an NMI to cell \"web\": it does not run: stopped (powered off)\n  \
                    help: start it: cellctl start web";
        let off = State::Stopped(StopReason::PowerOff);
        assert_eq!(sent(off), Err(told.to_owned()));
        for state in [State::Loadable, State::Failed] {
            let told = sent(state).expect_err("it does not run");
            assert!(told.contains(messages::state(state)), "{told}");
        }
    }
}
