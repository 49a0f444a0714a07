//! Finds contradictions in a cell's description before any table is made.

use crate::numa::{LOCAL, Numa, UNREACHABLE};
use crate::pci::{MAX_BRIDGES, RootBridge, Window};
use crate::shared::{MAX_SHARED, Shared};
use crate::{ALIGN, CellAcpi, Error, dsdt, fixed};
use alloc::vec::Vec;
use cellvisor_abi::plan::{Ecam, POWER_PORTS, SOCKET_PINS};

/// Pins of the virtual I/O APIC, of a cell with an Extended Socket and of others.
const fn pins(cell: &CellAcpi<'_>) -> u8 {
    match cell.socket {
        Some(_) => SOCKET_PINS,
        None => 24,
    }
}

/// Most nodes: a distance table of one byte for each pair takes 64 KiB then.
const MAX_NODES: u32 = 256;

/// Checks all of `cell`; the first contradiction is told.
pub(crate) fn check(cell: &CellAcpi<'_>) -> Result<(), Error> {
    let fits = cell.base.checked_add(cell.room as u64).is_some();
    if !cell.base.is_multiple_of(ALIGN as u64) || !fits {
        return Err(Error::Base(cell.base));
    }
    if cell.cpus == 0 || cell.cpus == u32::MAX {
        return Err(Error::Cpus(cell.cpus));
    }
    // The CPUs' entries alone must fit, so that a wild count costs no memory.
    let needed = cell.cpus as usize * 8;
    if needed > cell.room {
        return Err(Error::TooLong {
            needed,
            room: cell.room,
        });
    }
    devices(cell)?;
    cell.ecam
        .iter()
        .enumerate()
        .try_for_each(|(i, e)| ecam(i, e))?;
    bridges(cell)?;
    cell.shared
        .iter()
        .enumerate()
        .try_for_each(|(i, shared)| memory(i, shared))?;
    cell.numa
        .as_ref()
        .map_or(Ok(()), |numa| nodes(numa, cell.cpus))
}

fn devices(cell: &CellAcpi<'_>) -> Result<(), Error> {
    let (devices, uarts) = (&cell.devices, cell.uarts);
    let ports = [(devices.uart_port, 8), (devices.power_port, POWER_PORTS)];
    for (first, count) in ports.into_iter().chain(uarts.iter().map(|port| (*port, 8))) {
        if u16::checked_add(first, count - 1).is_none() {
            return Err(Error::Port(first));
        }
    }
    let at = devices.ioapic;
    if at != 0 && (fixed::ioapic_address(devices).is_none() || !at.is_multiple_of(0x1000)) {
        return Err(Error::Ioapic(at));
    }
    if devices.uart_port != 0 && at != 0 && devices.uart_gsi >= pins(cell) {
        return Err(Error::Gsi(devices.uart_gsi));
    }
    match cell.socket {
        Some(gsi) if gsi >= pins(cell) || at == 0 => Err(Error::Gsi(gsi)),
        _ => Ok(()),
    }
}

fn ecam(index: usize, e: &Ecam) -> Result<(), Error> {
    let first = e.base.checked_add(u64::from(e.first_bus) << 20);
    let end = first.and_then(|first| first.checked_add(dsdt::ecam_size(e)));
    match end {
        Some(_) if e.first_bus <= e.last_bus => Ok(()),
        _ => Err(Error::Ecam(index)),
    }
}

fn memory(index: usize, shared: &Shared<'_>) -> Result<(), Error> {
    let good = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
    let named = !shared.name.is_empty() && shared.name.bytes().all(good);
    let plain = shared.note.bytes().all(|b| matches!(b, b' '..=b'~'));
    match shared.base.checked_add(shared.size) {
        Some(_) if named && plain && shared.size > 0 && index < MAX_SHARED => Ok(()),
        _ => Err(Error::Shared(index)),
    }
}

fn bridges(cell: &CellAcpi<'_>) -> Result<(), Error> {
    let count = cell.bridges.len();
    if count > MAX_BRIDGES {
        return Err(Error::Bridges(count));
    }
    for (i, b) in cell.bridges.iter().enumerate() {
        if b.first_bus > b.last_bus {
            return Err(Error::Buses(i));
        }
        if !b.windows.iter().all(is_window) {
            return Err(Error::Window(i));
        }
        interrupts(cell, i, b)?;
        match (b.node, &cell.numa) {
            (Some(node), numa) if numa.is_none_or(|n| node >= n.nodes) => {
                return Err(Error::NoSuchNode(node));
            }
            _ => {}
        }
    }
    shared_bus(cell.bridges)
}

fn is_window(window: &Window) -> bool {
    match *window {
        Window::Io { first, last } => first <= last,
        Window::Memory { first, last, .. } => first <= last && (first, last) != (0, u64::MAX),
    }
}

fn interrupts(cell: &CellAcpi<'_>, index: usize, bridge: &RootBridge<'_>) -> Result<(), Error> {
    let mut seen = [0u8; 32];
    for wire in bridge.intx {
        if wire.gsi >= pins(cell) || cell.devices.ioapic == 0 {
            return Err(Error::Gsi(wire.gsi));
        }
        let pins = seen
            .get_mut(usize::from(wire.device))
            .ok_or(Error::Intx(index))?;
        let pin = 1 << wire.pin as u8;
        if *pins & pin != 0 {
            return Err(Error::Intx(index));
        }
        *pins |= pin;
    }
    Ok(())
}

/// Sorted by first bus, only neighbours can overlap.
fn shared_bus(bridges: &[RootBridge<'_>]) -> Result<(), Error> {
    let mut order: Vec<_> = (0..).zip(bridges).collect();
    order.sort_by_key(|(_, b)| (b.segment, b.first_bus));
    for pair in order.windows(2) {
        if let [(i, a), (j, b)] = pair
            && a.segment == b.segment
            && b.first_bus <= a.last_bus
        {
            return Err(Error::SharedBus(*i, *j));
        }
    }
    Ok(())
}

fn nodes(numa: &Numa<'_>, cpus: u32) -> Result<(), Error> {
    if numa.nodes == 0 || numa.nodes > MAX_NODES {
        return Err(Error::Nodes(numa.nodes));
    }
    if numa.cpus.len() != cpus as usize {
        return Err(Error::CpuNodes {
            cpus,
            nodes: numa.cpus.len(),
        });
    }
    let named = numa
        .cpus
        .iter()
        .copied()
        .chain(numa.memory.iter().map(|m| m.node));
    if let Some(node) = named.into_iter().find(|node| *node >= numa.nodes) {
        return Err(Error::NoSuchNode(node));
    }
    let bad = |m: &crate::NodeMemory| m.size == 0 || m.gpa.checked_add(m.size).is_none();
    if let Some(index) = numa.memory.iter().position(bad) {
        return Err(Error::Memory(index));
    }
    for from in 0..numa.nodes {
        for to in 0..numa.nodes {
            if !is_distance(numa, from, to) {
                return Err(Error::Distance(from, to));
            }
        }
    }
    access(numa)
}

fn access(numa: &Numa<'_>) -> Result<(), Error> {
    let mut has_cpu = alloc::vec![false; numa.nodes as usize];
    for node in numa.cpus {
        if let Some(seen) = has_cpu.get_mut(*node as usize) {
            *seen = true;
        }
    }
    let mut pairs = Vec::new();
    for pair in numa.access {
        let cpus = has_cpu.get(pair.initiator as usize);
        let cpus = cpus.ok_or(Error::NoSuchNode(pair.initiator))?;
        if pair.target >= numa.nodes {
            return Err(Error::NoSuchNode(pair.target));
        }
        let has_memory = numa.memory.iter().any(|m| m.node == pair.target);
        if !cpus || !has_memory {
            return Err(Error::Access(pair.initiator, pair.target));
        }
        pairs.push((pair.initiator, pair.target));
    }
    pairs.sort_unstable();
    for neighbours in pairs.windows(2) {
        if let [a, b] = neighbours
            && a == b
        {
            return Err(Error::Access(a.0, a.1));
        }
    }
    Ok(())
}

fn is_distance(numa: &Numa<'_>, from: u32, to: u32) -> bool {
    match (numa.distance(from, to), numa.distance(to, from)) {
        (Some(there), Some(back)) if from != to => {
            there == back && there > LOCAL && there != UNREACHABLE
        }
        (there, _) => from == to && there == Some(LOCAL),
    }
}
