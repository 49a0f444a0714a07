//! The way back of each step.
//!
//! Undoing may be cut off anywhere and begun again, so each undo looks at what
//! there is and does only what is left to do.

use super::{Entry, Machine, Step};
use crate::driver::Driver;
use crate::error::Result;
use crate::functions;
use crate::hypercalls::Monitor;
use crate::output::warn;
use cellvisor_abi::call::{CellId, State};

/// What must be noted in the place of `entry` before it is undone. A pool of huge
/// pages is everybody's: its size does not say who changed it.
pub(super) fn prepared(machine: Machine<'_>, entry: &Entry) -> Result<Option<Entry>> {
    let Step::HugePages {
        node,
        page_size,
        before,
        added,
    } = entry.step
    else {
        return Ok(None);
    };
    let from = machine.linux.huge_pages(node, page_size)?.total;
    let ours = if entry.done {
        added
    } else {
        from.saturating_sub(before).min(added)
    };
    let step = Step::PoolBack {
        node,
        page_size,
        from,
        to: from.saturating_sub(ours),
    };
    Ok(Some(Entry { step, done: false }))
}

/// Undoes one step.
pub(super) fn undo(machine: Machine<'_>, entry: &Entry) -> Result<()> {
    match &entry.step {
        Step::CpuOffline { cpu } => machine.linux.set_cpu_online(*cpu, true),
        Step::CpuOnline { cpu } => machine.linux.set_cpu_online(*cpu, false),
        Step::Acs { .. }
        | Step::Vfs { .. }
        | Step::Port { .. }
        | Step::Secondary { .. }
        | Step::NewNamespace { .. }
        | Step::Namespace { .. }
        | Step::Driver { .. }
        | Step::Enabled { .. } => functions::undo(machine, &entry.step),
        Step::Forwarding { link, before } => {
            let last = machine.linux.forget_table(link)?;
            if last && !before {
                machine.linux.set_forwards(false)?;
            }
            Ok(())
        }
        Step::Pin { id } => machine.driver.unpin(*id),
        Step::Cell { name, id } => destroy(machine.driver, name, *id),
        // `prepared` has put the next one in its place.
        Step::HugePages { .. } => Ok(()),
        Step::PoolBack {
            node,
            page_size,
            from,
            to,
        } => {
            let now = machine.linux.huge_pages(*node, *page_size)?.total;
            if now == *from && from != to {
                machine.linux.set_huge_pages(*node, *page_size, *to)?;
            } else if now > *to {
                warn(format!(
                    "somebody changed the pool of huge pages meanwhile: it has {now}, and {} may \
                     be left of a cell",
                    from - to
                ));
            }
            Ok(())
        }
    }
}

/// Destroys the cell of that name, whatever state it is in, and no other: numbers
/// of cells are used again.
pub(crate) fn destroy(driver: &dyn Driver, name: &str, id: Option<CellId>) -> Result<()> {
    if driver.info()?.enabled == 0 {
        return Ok(());
    }
    let monitor = Monitor(driver);
    let cells = monitor.cells()?;
    let found = cells
        .iter()
        .find(|c| c.name.as_str() == name && id.is_none_or(|id| id == c.cell));
    let Some(cell) = found else { return Ok(()) };
    if cell.state == State::Running {
        monitor.stop(name, cell.cell)?;
    }
    monitor.destroy(name, cell.cell)
}
