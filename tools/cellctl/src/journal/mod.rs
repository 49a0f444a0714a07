//! Steps that change the machine, written down before they are taken.
//!
//! Whatever happens in between (a failure, a crash, a kill), what is written
//! says how to get back: each step is noted as begun, taken, and noted as done.
//! Undoing goes from the last to the first; a step that was only begun is
//! undone as far as it can have happened.

use crate::calls::Monitor;
use crate::driver::Driver;
use crate::error::{Error, Result};
use crate::functions::{self, Fresh, Namespace, PfBefore, Secondary};
use crate::linux::{Linux, Node};
use crate::output::size;
use crate::pci::{Pci, Port};
use cellvisor_abi::call::{CellId, State};
use cellvisor_planner::pci::Address;
use serde::{Deserialize, Serialize};

/// One change of the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "step")]
pub(crate) enum Step {
    /// A CPU was taken from Linux.
    CpuOffline {
        /// Linux's number.
        cpu: u32,
    },
    /// A CPU that was offline was given to Linux.
    CpuOnline {
        /// Linux's number.
        cpu: u32,
    },
    /// A pool of huge pages was made larger.
    HugePages {
        /// NUMA node.
        node: Node,
        /// Bytes of a page.
        page_size: u64,
        /// Pages in the pool before.
        before: u64,
        /// Pages that were added.
        added: u64,
    },
    /// Virtual functions were made, and their physical function made ready.
    Vfs {
        /// The physical function.
        pf: Address,
        /// What it was before the first cell had one of them.
        before: PfBefore,
    },
    /// MAC address or VLAN of a network card's VF were set.
    Port {
        /// The physical function.
        pf: Address,
        /// The number of the virtual one.
        vf: u16,
        /// What they were.
        before: Port,
    },
    /// An NVMe controller's VF got resources, and was brought online.
    Secondary {
        /// The physical function.
        pf: Address,
        /// The number of the virtual one.
        vf: u16,
        /// What it was.
        before: Secondary,
    },
    /// A namespace was made for a cell.
    NewNamespace {
        /// The physical function.
        pf: Address,
        /// The namespace, and those before it.
        fresh: Fresh,
    },
    /// An NVMe controller's VF got a namespace.
    Namespace {
        /// The physical function.
        pf: Address,
        /// What was attached to what.
        before: Namespace,
    },
    /// Linux's driver let go of a function.
    Driver {
        /// The function.
        function: Address,
        /// The driver that it had.
        before: functions::Driver,
    },
    /// Linux enabled a function without driver, which routes its interrupt.
    Enabled {
        /// The function.
        function: Address,
        /// How many had it enabled.
        before: u64,
    },
    /// A port or device was told to keep apart what is behind it.
    Acs {
        /// The port or the device's function.
        function: Address,
        /// What it was told before.
        before: u16,
    },
    /// The driver pinned or claimed memory.
    Pin {
        /// Its number, which no other pin ever has.
        id: u64,
    },
    /// The monitor made a cell.
    Cell {
        /// Its name.
        name: String,
        /// Its id; `None` while it is not known.
        id: Option<CellId>,
    },
}

impl Step {
    /// True if it changed a PCI function.
    const fn is_of_functions(&self) -> bool {
        matches!(
            self,
            Self::Vfs { .. }
                | Self::Port { .. }
                | Self::Secondary { .. }
                | Self::NewNamespace { .. }
                | Self::Namespace { .. }
                | Self::Driver { .. }
                | Self::Enabled { .. }
        )
    }
}

/// True if functions cannot go back before this step is undone. They need not
/// wait for a namespace that is in nobody's way.
fn holds_functions(entry: &Entry) -> bool {
    let waits = entry.step.is_of_functions() || matches!(entry.step, Step::Cell { .. });
    waits && !matches!(entry.step, Step::NewNamespace { .. })
}

/// A step and how far it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// What.
    #[serde(flatten)]
    pub(crate) step: Step,
    /// False from before it is taken until it is known to be done.
    pub(crate) done: bool,
}

/// The machine: what steps act on.
#[derive(Clone, Copy)]
pub(crate) struct Machine<'a> {
    /// The driver.
    pub(crate) driver: &'a dyn Driver,
    /// The running Linux.
    pub(crate) linux: &'a dyn Linux,
    /// Its PCI functions.
    pub(crate) pci: &'a dyn Pci,
}

/// Keeps the steps where a crash does not reach them.
type Keep<'a> = dyn FnMut(&[Entry]) -> Result<()> + 'a;

/// Steps taken so far.
pub(crate) struct Journal<'a> {
    entries: Vec<Entry>,
    keep: Box<Keep<'a>>,
}

impl<'a> Journal<'a> {
    /// A journal that begins with what is known already.
    pub(crate) fn new(entries: Vec<Entry>, keep: impl FnMut(&[Entry]) -> Result<()> + 'a) -> Self {
        Self {
            entries,
            keep: Box::new(keep),
        }
    }

    /// Notes `intent`, acts, and notes the step as it turned out.
    pub(crate) fn take<T>(
        &mut self,
        intent: Step,
        act: impl FnOnce() -> Result<(Step, T)>,
    ) -> Result<T> {
        self.entries.push(Entry {
            step: intent,
            done: false,
        });
        (self.keep)(&self.entries)?;
        let (step, value) = act()?;
        self.entries.pop();
        self.entries.push(Entry { step, done: true });
        (self.keep)(&self.entries)?;
        Ok(value)
    }

    /// What was taken, for whoever undoes it later.
    pub(crate) fn into_entries(self) -> Vec<Entry> {
        self.entries
    }

    /// Undoes everything, last step first. What cannot be undone stays noted,
    /// and the rest goes on without it, except that a function goes back only
    /// as a whole, and not from a cell that is still there.
    pub(crate) fn undo(&mut self, machine: Machine<'_>) -> Vec<Error> {
        let mut left = Vec::new();
        let mut errors = Vec::new();
        while let Some(entry) = self.entries.pop() {
            if entry.step.is_of_functions() && left.iter().any(holds_functions) {
                left.push(entry);
                continue;
            }
            if let Err(error) = undo_step(machine, &entry) {
                errors.push(error);
                left.push(entry);
            }
            let all: Vec<_> = self
                .entries
                .iter()
                .chain(left.iter().rev())
                .cloned()
                .collect();
            errors.extend((self.keep)(&all).err());
        }
        left.reverse();
        self.entries = left;
        errors
    }
}

/// Undoes one step.
fn undo_step(machine: Machine<'_>, entry: &Entry) -> Result<()> {
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
        Step::Pin { id } => machine.driver.unpin(*id),
        Step::Cell { name, id } => destroy(machine.driver, name, *id),
        Step::HugePages {
            node,
            page_size,
            before,
            added,
        } => {
            let now = machine.linux.huge_pages(*node, *page_size)?.total;
            let ours = if entry.done {
                *added
            } else {
                now.saturating_sub(*before).min(*added)
            };
            let rest = now.saturating_sub(ours);
            machine
                .linux
                .set_huge_pages(*node, *page_size, rest)
                .map(drop)
        }
    }
}

/// Destroys a cell, whatever state it is in.
fn destroy(driver: &dyn Driver, name: &str, id: Option<CellId>) -> Result<()> {
    if driver.info()?.enabled == 0 {
        return Ok(());
    }
    let monitor = Monitor(driver);
    let cells = monitor.cells()?;
    let found = cells
        .iter()
        .find(|c| id.map_or(c.name.as_str() == name, |id| c.cell == id));
    let Some(cell) = found else { return Ok(()) };
    if cell.state == State::Running {
        monitor.stop(name, cell.cell)?;
    }
    monitor.destroy(name, cell.cell)
}

/// Takes a CPU from Linux.
pub(crate) fn take_cpu(journal: &mut Journal<'_>, machine: Machine<'_>, cpu: u32) -> Result<()> {
    let step = Step::CpuOffline { cpu };
    journal.take(step.clone(), || {
        machine.linux.set_cpu_online(cpu, false)?;
        Ok((step, ()))
    })
}

/// Makes sure that `pages` huge pages of `node` are free, and adds what lacks.
///
/// # Errors
///
/// If Linux cannot provide them; the pool is as before then.
pub(crate) fn reserve_pages(
    journal: &mut Journal<'_>,
    linux: &dyn Linux,
    node: Node,
    page_size: u64,
    pages: u64,
) -> Result<()> {
    let pool = linux.huge_pages(node, page_size)?;
    let lacking = pages.saturating_sub(pool.free);
    if lacking == 0 {
        return Ok(());
    }
    let step = |added| Step::HugePages {
        node,
        page_size,
        before: pool.total,
        added,
    };
    let wanted = pool.total + lacking;
    let got = journal.take(step(lacking), || {
        let mut got = linux.set_huge_pages(node, page_size, wanted)?;
        if got < wanted {
            linux.compact_memory();
            got = linux.set_huge_pages(node, page_size, wanted)?;
        }
        if got < wanted {
            linux.set_huge_pages(node, page_size, pool.total)?;
            return Ok((step(0), got));
        }
        Ok((step(lacking), got))
    })?;
    if got >= wanted {
        return Ok(());
    }
    let place = node.map_or_else(|| "this machine".to_owned(), |n| format!("NUMA node {n}"));
    Err(Error::new(
        format!(
            "cannot reserve {pages} huge pages of {} on {place}",
            size(page_size)
        ),
        format!(
            "only {} can be had: free memory is short or scattered",
            pool.free + got.saturating_sub(pool.total)
        ),
        "end programs that use much memory, ask for less, take another node, or reserve the pages \
         when Linux boots (hugepages= on its command line)",
    ))
}

/// Turns what failed and what could not be undone into one error.
pub(crate) fn with_leftovers(error: Error, leftovers: &[Error]) -> Error {
    leftovers.iter().fold(error, |error, left| {
        error.note(&format!(
            "while undoing: {}",
            left.to_string().replace('\n', " ")
        ))
    })
}
