//! PCI functions on their way into a cell and back: virtual functions are made
//! and set up, and Linux's drivers let go of what the cell gets.
//!
//! Each step is noted with what was there before, and undoing one only brings
//! that back, so that it does not matter how far the step came.

pub(crate) mod acs;
mod hold;
mod intx;
mod nvme;
mod sriov;
#[cfg(test)]
mod tests;

pub(crate) use hold::Before as Driver;
pub(crate) use nvme::{Fresh, Namespace, Secondary};
pub(crate) use sriov::Before as PfBefore;

use crate::error::{Error, Result};
use crate::journal::{Entry, Machine, Step};
use crate::pci::{Pci, Port};
use crate::state::{CellJournal, CellRecord, PortRange};
use cellvisor_abi::Bdf;
use cellvisor_abi::PAGE_SIZE;
use cellvisor_planner::host::{Bar, IoApic, Space};
use cellvisor_planner::plan::{AssignedFunction, CellAssignment};
use std::collections::BTreeMap;

/// Class of a network card, and of an NVMe controller.
const NETWORK: u32 = 0x02;
const NVME: u32 = 0x0108;

/// VFs that are needed of each PF.
pub(crate) type Needed = BTreeMap<Bdf, u16>;

/// What functions are taken by, besides the cell's own record.
#[derive(Clone, Copy)]
pub(crate) struct Around<'a> {
    /// VFs that must be there.
    pub(crate) vfs: &'a Needed,
    /// I/O APICs of the machine.
    pub(crate) io_apics: &'a [IoApic],
    /// The monitor remaps interrupts.
    pub(crate) remapped: bool,
}

/// VFs that these cells need: whoever makes some makes enough for all, since
/// their number cannot change while they are in use.
pub(crate) fn needed<'c>(cells: impl Iterator<Item = &'c CellAssignment>) -> Needed {
    let mut needed = Needed::new();
    for function in cells.flat_map(|c| &c.functions) {
        if let (Some(pf), Some(vf)) = (function.pf, function.vf) {
            let number = needed.entry(pf).or_default();
            *number = vf.saturating_add(1).max(*number);
        }
    }
    needed
}

/// Takes all functions of the journal's cell: afterwards no driver of Linux has
/// them, and its record knows the sizes of their BARs and where they interrupt.
/// `others` are the cells that exist.
pub(crate) fn take(
    journal: &mut CellJournal<'_>,
    around: &Around<'_>,
    others: &[CellRecord],
) -> Result<()> {
    let pci = journal.machine().pci;
    let assignment = journal.record.assignment.clone();
    for pf in self::needed([&assignment].into_iter()).into_keys() {
        let number = around.vfs.get(&pf).copied().unwrap_or_default();
        sriov::take(journal, pf, number, inherited(others, pf))?;
    }
    for function in &assignment.functions {
        if let (Some(pf), Some(vf)) = (function.pf, function.vf) {
            check_address(pci, function, pf, vf)?;
        }
        // Nobody drives it while it is set up, nor when that is undone.
        hold::take(journal, function.address)?;
        if let (Some(pf), Some(vf)) = (function.pf, function.vf) {
            match pci.class(pf)? {
                class if class >> 8 == NETWORK => port(journal, function, pf, vf)?,
                NVME => nvme::take(journal, pf, vf, nvme::Wanted::of(function))?,
                _ => {}
            }
        }
    }
    for (function, taken) in assignment
        .functions
        .iter()
        .zip(&mut journal.record.functions)
    {
        let bars = pci.bars(function.address)?;
        taken.plan.bar_sizes = bar_sizes(function.address, &bars)?;
        taken.ports = ports(function.address, &bars)?;
    }
    intx::take(journal, others, around)
}

/// Undoes a step that is about functions; others are none of its business.
pub(crate) fn undo(machine: Machine<'_>, step: &Step) -> Result<()> {
    match step {
        Step::Vfs { pf, before } => sriov::undo(machine.pci, *pf, before),
        Step::Port { pf, vf, before } => match machine.pci.vf(*pf, *vf)? {
            Some(_) => machine.pci.set_port(*pf, *vf, *before),
            None => Ok(()),
        },
        Step::Secondary { pf, vf, before } => nvme::undo_secondary(machine.pci, *pf, *vf, *before),
        Step::NewNamespace { pf, fresh } => nvme::undo_make(machine.pci, *pf, fresh),
        Step::Namespace { pf, before } => nvme::undo_take(machine.pci, *pf, before),
        Step::Driver { function, before } => hold::undo(machine.pci, *function, before),
        Step::Enabled { function, before } => intx::undo(machine.pci, *function, *before),
        Step::Acs { function, before } => match machine.pci.acs(*function)? {
            Some(now) if now.on != *before => machine.pci.set_acs(*function, *before),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

/// What a PF was before the first of the cells that have VFs of it.
fn inherited(others: &[CellRecord], pf: Bdf) -> Option<PfBefore> {
    let steps = others.iter().flat_map(|c| &c.steps);
    steps
        .map(|Entry { step, .. }| step)
        .find_map(|step| match step {
            Step::Vfs { pf: of, before } if *of == pf => Some(before.clone()),
            _ => None,
        })
}

/// Sets MAC address and VLAN of a network card's VF.
fn port(
    journal: &mut CellJournal<'_>,
    function: &AssignedFunction,
    pf: Bdf,
    vf: u16,
) -> Result<()> {
    if function.mac.is_none() && function.vlan.is_none() {
        return Ok(());
    }
    let pci = journal.machine().pci;
    let before = pci.port(pf, vf)?;
    let wanted = Port {
        mac: function.mac.map_or(before.mac, |mac| mac.0),
        vlan: function.vlan.unwrap_or(before.vlan),
    };
    if wanted == before {
        return Ok(());
    }
    let step = Step::Port { pf, vf, before };
    journal.take(step.clone(), || {
        pci.set_port(pf, vf, wanted)?;
        Ok((step, ()))
    })
}

/// The card may count its VFs otherwise than it said before they existed.
fn check_address(pci: &dyn Pci, function: &AssignedFunction, pf: Bdf, vf: u16) -> Result<()> {
    let found = pci.vf(pf, vf)?;
    if found == Some(function.address) {
        return Ok(());
    }
    let is = found.map_or_else(|| "does not exist".to_owned(), |at| format!("is {at}"));
    Err(Error::new(
        format!("cannot use VF {vf} of {pf}"),
        format!("it should be {}, and {is}", function.address),
        format!("make the VFs first: echo N > /sys/bus/pci/devices/{pf}/sriov_numvfs"),
    ))
}

/// The refusal of a BAR.
fn bad_bar(function: Bdf, bar: &Bar, why: &str) -> Error {
    Error::new(
        format!("cannot give {function} to a cell"),
        format!(
            "its BAR {} of {:#x} bytes at {:#x} {why}",
            bar.index, bar.size, bar.start
        ),
        "take another function; boot Linux with `pci=resource_alignment=4096@...` if it is small",
    )
}

/// Binary logarithms of the sizes of six BARs.
fn bar_sizes(function: Bdf, bars: &[Bar]) -> Result<[u8; 6]> {
    let mut sizes = [0; 6];
    for bar in bars {
        if !bar.size.is_power_of_two() {
            return Err(bad_bar(function, bar, "has no size that a BAR can have"));
        }
        if bar.start == 0 {
            return Err(bad_bar(function, bar, "has no address"));
        }
        let whole = bar.size >= PAGE_SIZE && bar.start % PAGE_SIZE == 0;
        if bar.space == Space::Mem && !whole {
            return Err(bad_bar(function, bar, "shares a page with something else"));
        }
        if let Some(size) = sizes.get_mut(usize::from(bar.index)) {
            *size = u8::try_from(bar.size.ilog2()).unwrap_or_default();
        }
    }
    Ok(sizes)
}

/// The I/O ports among the BARs.
fn ports(function: Bdf, bars: &[Bar]) -> Result<Vec<PortRange>> {
    let io = bars.iter().filter(|b| b.space == Space::Io);
    io.map(|bar| {
        let first = u16::try_from(bar.start).ok();
        let count = u16::try_from(bar.size).ok();
        let range = first
            .zip(count)
            .map(|(first, count)| PortRange { first, count });
        range.ok_or_else(|| bad_bar(function, bar, "is beyond the last I/O port"))
    })
    .collect()
}
