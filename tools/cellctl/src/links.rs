//! Links: memory that cells share, made before the first of them and given back
//! after the last.
//!
//! The monitor knows a link as a cell without CPUs, so that its steps are those of a
//! cell. It runs from the moment it is made: what the root is not to see is out of
//! its sight before a cell can have it.

use crate::error::{Error, Result};
use crate::hypercalls::Monitor;
use crate::journal::{self, Journal, Machine, Step};
use crate::loader::layout;
use crate::memory::take_memory;
use crate::state::{CellRecord, LinkRecord, StateDir, Window};
use cellvisor_abi::call::{Name, Start};
use cellvisor_abi::plan::{
    self, Adapter, CellPlan, Class, Devices, Memory, SOCKET_GSI, Share, Socket,
};
use cellvisor_abi::wire::{ListBuf, seal};
use cellvisor_planner::config::{Link, ROOT};
use cellvisor_planner::plan::{CellAssignment, NewLink};
use ipnet::Ipv4Net;

/// Makes all links, or none.
///
/// # Errors
///
/// Whatever step failed; all others are undone.
pub(crate) fn make_all(machine: Machine<'_>, state: &StateDir, links: &[NewLink]) -> Result<()> {
    // What a crash has left is in nobody's use.
    swept(machine, state)?;
    for link in links {
        if let Err(error) = make(machine, state, link) {
            return Err(journal::with_leftovers(error, &sweep(machine, state)));
        }
    }
    Ok(())
}

fn make(machine: Machine<'_>, state: &StateDir, new: &NewLink) -> Result<()> {
    let mut record = LinkRecord::new(new.link.clone());
    let mut journal = Journal::new(machine, state, &mut record);
    if new.link.is_ethernet() && !new.link.has_root() {
        // The monitor learns of it from the cells that have it.
        return journal.note();
    }
    let mut memory = Vec::new();
    for share in &new.memory {
        memory.extend(take_memory(&mut journal, share)?);
    }
    memory.sort_unstable_by_key(|range| range.start);
    journal.record.memory = memory;
    let frame = frame(journal.record);
    let name = new.link.name.clone();
    let step = |id| Step::Cell {
        name: name.clone(),
        id,
    };
    journal.take(step(None), || {
        let monitor = Monitor(machine.driver);
        let id = monitor.create(&name, &frame)?;
        monitor.start(&name, &Start::at_zero(id))?;
        Ok((step(Some(id)), ()))
    })?;
    match new.link.addresses.filter(|_| new.link.nat) {
        Some(network) => forward(&mut journal, network),
        None => Ok(()),
    }
}

/// Has Linux forward for the link's network.
fn forward(journal: &mut Journal<'_, LinkRecord>, network: Ipv4Net) -> Result<()> {
    let linux = journal.machine().linux;
    let name = journal.record.link.name.clone();
    // Who came first has found it as it was.
    let others = journal.store().links()?;
    let mut steps = others.iter().flat_map(|other| &other.steps);
    let noted = steps.find_map(|entry| match entry.step {
        Step::Forwarding { before, .. } => Some(before),
        _ => None,
    });
    let before = noted.map_or_else(|| linux.forwards(), Ok)?;
    let step = Step::Forwarding {
        link: name.clone(),
        before,
    };
    journal.take(step.clone(), || {
        linux.put_table(&name, network)?;
        if !before {
            linux.set_forwards(true)?;
        }
        Ok((step, ()))
    })
}

/// A link's plan as the monitor wants it. In a network that has memory, that is the root's
/// adapter's.
fn frame(record: &LinkRecord) -> Vec<u8> {
    let link = &record.link;
    let memory = ListBuf::new(&stretches(record, 0, Share::Own));
    let adapter = adapter(link, ROOT);
    let adapters = ListBuf::new(adapter.as_slice());
    let none = ListBuf::default();
    seal(&CellPlan {
        name: link.name.as_bytes(),
        cpus: none.list(),
        memory: memory.list(),
        ports: none.list(),
        functions: none.list(),
        adapters: adapters.list(),
        console: false,
        socket: None,
        devices: Devices::STANDARD,
        dump: false,
        many_nodes: false,
        class: Class::ROOT,
        link: Some(plan::Link {
            root: link.has_root(),
        }),
    })
}

/// A link's memory from a guest-physical address on.
fn stretches(record: &LinkRecord, start: u64, share: Share) -> Vec<Memory> {
    let mut gpa = start;
    let place = |range: &plan::Range| {
        let at = gpa;
        gpa += range.size;
        Memory {
            gpa: at,
            hpa: range.start,
            size: range.size,
            share,
        }
    };
    record.memory.iter().map(place).collect()
}

/// The record of a link that exists, for a cell that is to have it.
fn find(state: &StateDir, link: &Link, cell: &str) -> Result<LinkRecord> {
    let record = state.find_link(&link.name)?;
    record.filter(|record| record.link == *link).ok_or_else(|| {
        Error::new(
            format!("cannot give link \"{}\" to cell \"{cell}\"", link.name),
            "its record is gone, or of another link",
            "destroy all cells that share it, and create them anew",
        )
    })
}

/// The Extended Socket of a cell, whose link exists.
///
/// # Errors
///
/// A link that is not there, or is not one of so many members.
pub(crate) fn socket(state: &StateDir, cell: &CellAssignment) -> Result<Option<Socket>> {
    let Some(link) = cell.links.iter().find(|link| link.is_socket()) else {
        return Ok(None);
    };
    let record = find(state, link, &cell.name)?;
    let number = link.place_of(&cell.name).and_then(|n| u8::try_from(n).ok());
    let members = u8::try_from(link.members.len()).ok();
    let socket = (|| {
        Some(Socket {
            memory: record.memory.first()?.start,
            number: number?,
            members: members?,
            gsi: SOCKET_GSI,
        })
    })();
    let why = format!("link \"{}\" has no memory, or not this member", link.name);
    let what = format!("cannot describe cell \"{}\" to the monitor", cell.name);
    socket.map(Some).ok_or_else(|| Error::internal(&what, why))
}

/// Where a cell whose RAM is placed sees its links, which exist.
///
/// # Errors
///
/// A link that is not there, or no room for it.
pub(crate) fn windows(state: &StateDir, cell: &CellRecord) -> Result<Vec<Window>> {
    let links = cell.assignment.links.iter();
    let links: Vec<&Link> = links.filter(|link| link.is_window()).collect();
    let sizes: Vec<u64> = links.iter().map(|link| link.size).collect();
    let starts = layout::windows(&cell.memory, &cell.off_limits, &sizes)?;
    let window = |(link, start): (&&Link, u64)| {
        let record = find(state, link, &cell.name)?;
        let share = match link.is_written_by(&cell.name) {
            true => Share::Write,
            false => Share::Read,
        };
        Ok(Window {
            link: link.name.clone(),
            memory: stretches(&record, start, share),
        })
    };
    links.iter().zip(starts).map(window).collect()
}

/// The adapters of a cell on networks that the monitor carries, and for the doorbells of
/// windows, in the order in which it sees them.
pub(crate) fn adapters(cell: &CellAssignment) -> Vec<Adapter> {
    let links = cell.links.iter();
    links.filter_map(|link| adapter(link, &cell.name)).collect()
}

/// The adapter of a member of such a link.
fn adapter(link: &Link, member: &str) -> Option<Adapter> {
    Some(Adapter {
        link: Name::new(link.name.as_bytes())?.0,
        mac: link.adapter_of(member)?,
    })
}

/// Gives back all links that no cell has; what failed.
pub(crate) fn sweep(machine: Machine<'_>, state: &StateDir) -> Vec<Error> {
    let found = || Ok((state.links()?, state.cells()?));
    let (links, cells) = match found() {
        Ok(found) => found,
        Err(error) => return vec![error],
    };
    // What an unreadable cell has is not known.
    if !cells.bad.is_empty() {
        return Vec::new();
    }
    let is_shared = |link: &LinkRecord| {
        let mut shared = cells.good.iter().flat_map(|cell| &cell.assignment.links);
        shared.any(|other| other.name == link.link.name)
    };
    let unused = links.into_iter().filter(|link| !is_shared(link));
    unused
        .flat_map(|mut link| Journal::new(machine, state, &mut link).undo())
        .collect()
}

/// As [`sweep`].
///
/// # Errors
///
/// The first that failed, with the others.
pub(crate) fn swept(machine: Machine<'_>, state: &StateDir) -> Result<()> {
    let mut errors = sweep(machine, state).into_iter();
    match errors.next() {
        None => Ok(()),
        Some(first) => Err(journal::with_leftovers(first, &errors.collect::<Vec<_>>())
            .note("what is left of a link is still noted: `cellctl disable` tries again")),
    }
}

#[cfg(test)]
mod tests;
