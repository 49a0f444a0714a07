//! Interrupts from one CPU to others of the same cell, and to no one else.

use crate::cell::cpu::Cpu;
use crate::cell::{Cell, Guest, count};
use crate::cpu::dest::means;
use crate::cpu::percpu::{CpuShared, request};
use crate::cpu::{apic, kick};
use cellvisor_core::icr::{self, Dest, Ipi, Kind};
use cellvisor_core::ids::VirtualId;
use cellvisor_core::ioapic::Message;
use cellvisor_core::pci::msi;
use cellvisor_core::text::Word;
use core::sync::atomic::Ordering;

/// The sender of interrupts that are no CPU's.
const NO_ID: VirtualId = VirtualId(u32::MAX);

/// Interrupt command: fixed delivery, asserted.
const FIXED: u32 = 1 << 14;

/// A CPU gives an interrupt command; true if it reached anybody.
pub(crate) fn command(cpu: &mut Cpu<'_>, ipi: Ipi) -> bool {
    route(cpu.cell, ipi, Some(cpu.shared)) != 0
}

/// The usual command of a cell's CPU, an interrupt for CPUs of the cell. False, and
/// nothing is sent, for all others, those among them that mean nobody.
#[inline(never)] // In one place for both back ends.
pub(crate) fn usual(guest: &Guest, sender: &CpuShared, value: u64) -> bool {
    let Ok(Ipi {
        kind: Kind::Fixed(vector @ 16..),
        dest,
    }) = icr::decode_x2apic(value)
    else {
        return false;
    };
    let mut sent = false;
    for target in meant(guest, dest, sender.virtual_id()) {
        // SAFETY: the target is one of the cell's CPUs, and so is this one: they are in
        // x2APIC mode as long as they are a cell's.
        unsafe { apic::send_x2apic(target.apic_id(), FIXED | u32::from(vector)) };
        sent = true;
    }
    sent
}

/// A virtual device interrupts its cell.
pub(crate) fn deliver_message(cell: &Cell, message: Option<Message>) {
    if let Some(message) = message {
        route(cell, message.ipi(), None);
    }
}

/// A device that is played for a cell interrupts it by a message, which the cell has
/// chosen.
pub(crate) fn deliver_msi(cell: &Cell, (address, data): (u64, u32)) {
    match msi::decode(address, data) {
        Ok(ipi) => {
            route(cell, ipi, None);
        }
        Err(_) => {
            if count(&cell.denied.ipi) {
                refused(cell, Kind::Reserved, None);
            }
        }
    }
}

/// Sends to each CPU of `cell` that `ipi` means. What else it means is
/// counted and dropped. How many it meant.
fn route(cell: &Cell, ipi: Ipi, sender: Option<&CpuShared>) -> u32 {
    let own = sender.map_or(NO_ID, CpuShared::virtual_id);
    let once = matches!(ipi.kind, Kind::LowestPriority(_));
    let mut reached = 0;
    let mut send = |target: &CpuShared| {
        if !once || reached == 0 {
            deliver(cell, target, ipi.kind, sender);
        }
        reached += 1;
    };
    if let Some(guest) = &cell.guest {
        meant(guest, ipi.dest, own).for_each(&mut send);
    } else {
        root_targets(cell, ipi.dest, own, &mut send);
    }
    let must_reach = matches!(ipi.dest, Dest::Physical(_));
    if must_reach && reached == 0 && count(&cell.denied.ipi) {
        refused(cell, ipi.kind, sender);
    }
    reached
}

/// The CPUs of a cell that `dest` means when the one with the id `own` says it.
#[inline(always)] // As `usual`.
fn meant(guest: &Guest, dest: Dest, own: VirtualId) -> impl Iterator<Item = &'static CpuShared> {
    let targets = icr::targets(dest, own.0, guest.cpus.len() as u32);
    targets.filter_map(|id| guest.cpu(VirtualId(id)))
}

/// The root's ids are the physical ones, with gaps where cells have CPUs.
fn root_targets(cell: &Cell, dest: Dest, own: VirtualId, send: &mut impl FnMut(&CpuShared)) {
    if let Dest::Physical(id) = dest {
        cell.cpu(VirtualId(id)).into_iter().for_each(send);
        return;
    }
    let is_own = |cpu: &CpuShared| cpu.virtual_id() == own;
    let meant = |cpu: &CpuShared| match dest {
        Dest::SelfOnly => is_own(cpu),
        Dest::AllButSelf => !is_own(cpu),
        _ => means(dest, cpu),
    };
    cell.cpus().filter(|cpu| meant(cpu)).for_each(send);
}

fn deliver(cell: &Cell, target: &CpuShared, kind: Kind, sender: Option<&CpuShared>) {
    match kind {
        Kind::Fixed(vector @ 16..) | Kind::LowestPriority(vector @ 16..) => {
            // SAFETY: `route` has found the target among the cell's CPUs.
            unsafe {
                apic::send(target.apic_id(), FIXED | u32::from(vector));
            }
        }
        Kind::Nmi => kick::send(target, request::NMI),
        Kind::Init { assert: true } => kick::send(target, request::INIT),
        Kind::StartUp(page) => {
            target.sipi_vector.store(page, Ordering::Relaxed);
            kick::send(target, request::SIPI);
        }
        Kind::Init { assert: false } => {}
        // An APIC sends no vectors below 16.
        Kind::Fixed(_) | Kind::LowestPriority(_) | Kind::Smi | Kind::ExtInt | Kind::Reserved => {
            if count(&cell.denied.ipi) {
                refused(cell, kind, sender);
            }
        }
    }
}

/// Reports a command that nobody got.
fn refused(cell: &Cell, kind: Kind, sender: Option<&CpuShared>) {
    let what = match kind {
        Kind::Fixed(_) | Kind::LowestPriority(_) => "interrupt",
        Kind::Nmi => "nmi",
        Kind::Init { .. } => "init",
        Kind::StartUp(_) => "start-up",
        Kind::Smi => "smi",
        Kind::ExtInt => "extint",
        Kind::Reserved => "reserved",
    };
    cell.log_of(
        sender.map(CpuShared::virtual_id),
        format_args!("denied ipi kind={}", Word(what)),
    );
}
