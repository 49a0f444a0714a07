//! Configuration space of the hardware.
//!
//! Source: PCI Local Bus 3.0, "Software Generation of Configuration Transactions";
//! PCI Express Base 5.0, "PCI Express Enhanced Configuration Access Mechanism
//! (ECAM)".

use crate::lock::Mutex;
use crate::machine;
use crate::mem::map::Window;
use crate::sync::Once;
use cellvisor_abi::plan::{Ecam, SystemPlan};
use cellvisor_core::addr::{Hpa, PAGE_SIZE};
use cellvisor_core::few::first;
use cellvisor_core::ids::Port;
use cellvisor_core::locks::Rank;
use cellvisor_core::pci::{ABSENT, Access, Bdf, CONFIG_SIZE};
use heapless::Vec;

/// Most entries of MCFG.
const MAX_ECAM: usize = 64;

/// A register of configuration space, by its offset.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Register(pub(crate) u16);

impl Register {
    /// The one that is `bytes` further up.
    pub(crate) const fn plus(self, bytes: u16) -> Self {
        Self(self.0 + bytes)
    }
}

/// Port of the address, and the first of four for data.
pub(crate) const ADDRESS_PORT: Port = Port(0xcf8);
pub(crate) const DATA_PORT: Port = Port(0xcfc);
const ENABLE: u32 = 1 << 31;
/// Bytes of configuration space of one bus.
const BUS: u64 = 256 * CONFIG_SIZE;

static ECAM: Once<Vec<Ecam, MAX_ECAM>> = Once::new();
/// The two ports are used together.
static PORTS: Mutex<(), { Rank::ConfigPorts as u8 }> = Mutex::new(());

/// Notes where configuration space is mapped to memory. What is not in the machine's
/// addresses as a whole is not used.
pub(crate) fn init(plan: &SystemPlan<'_>) {
    let limit = machine::get().physical_end;
    let is_there = |ecam: &Ecam| {
        let size = (u64::from(ecam.last_bus) + 1) * BUS;
        let end = ecam.base.checked_add(size).filter(|end| Hpa(*end) <= limit);
        ecam.first_bus <= ecam.last_bus && ecam.base.is_multiple_of(BUS) && end.is_some()
    };
    let spaces = plan.ecam.iter().filter(is_there);
    ECAM.set(first(spaces));
}

/// Start and size of all that is mapped.
pub(crate) fn spaces() -> impl Iterator<Item = (Hpa, u64)> {
    let spaces = ECAM.get().map_or(&[][..], |ecam| ecam);
    spaces.iter().map(|ecam| {
        let buses = u64::from(ecam.last_bus) + 1 - u64::from(ecam.first_bus);
        let start = Hpa(ecam.base) + u64::from(ecam.first_bus) * BUS;
        (start, buses * BUS)
    })
}

/// Page of a function's configuration space; `None` if it is not mapped.
pub(crate) fn page(bdf: Bdf) -> Option<Hpa> {
    let covers = |ecam: &&Ecam| {
        ecam.segment == bdf.segment && (ecam.first_bus..=ecam.last_bus).contains(&bdf.bus())
    };
    let ecam = ECAM.get()?.iter().find(covers)?;
    let at = ecam
        .base
        .checked_add(u64::from(bdf.requester) * CONFIG_SIZE)?;
    Some(Hpa(at)).filter(|at| *at < machine::get().physical_end)
}

/// The function and the offset in its space that an address is; `None` for
/// addresses that are no configuration space.
pub(crate) fn at(address: Hpa) -> Option<(Bdf, u16)> {
    ECAM.get()?.iter().find_map(|ecam| {
        let offset = address.0.checked_sub(ecam.base)?;
        let requester = u16::try_from(offset / CONFIG_SIZE).ok()?;
        let bdf = Bdf {
            segment: ecam.segment,
            requester,
        };
        let covered = (ecam.first_bus..=ecam.last_bus).contains(&bdf.bus());
        covered.then_some((bdf, (offset % PAGE_SIZE) as u16))
    })
}

/// Reads four bytes at a multiple of 4.
pub(crate) fn read(window: &mut Window, bdf: Bdf, at: Register) -> u32 {
    if let Some(page) = page(bdf) {
        return window.open_device(page).read(u64::from(at.0), 4) as u32;
    }
    by_ports(bdf, at, |port| {
        // SAFETY: the address port points at the register.
        unsafe { x86::io::inl(port) }
    })
    .unwrap_or(ABSENT)
}

/// Writes four bytes at a multiple of 4. The caller has decided that the
/// function's owner may do this.
pub(crate) fn write(window: &mut Window, bdf: Bdf, at: Register, value: u32) {
    if let Some(access) = Access::new(at.0 & 0xffc, 4) {
        write_part(window, bdf, access, value);
    }
}

/// Writes the bytes of `access` and no others: registers beside it may act when
/// they are written. The same promise as for [`write()`].
pub(crate) fn write_part(window: &mut Window, bdf: Bdf, access: Access, value: u32) {
    let Some(page) = page(bdf) else {
        write_by_port(bdf, access, value);
        return;
    };
    let (offset, value) = (u64::from(access.offset()), u64::from(value));
    window.open_device(page).write(offset, access.size(), value);
}

/// The same where configuration space is not mapped.
fn write_by_port(bdf: Bdf, access: Access, value: u32) {
    by_ports(bdf, Register(access.dword()), |port| {
        let port = port + (access.offset() & 3);
        // SAFETY: the address port points at the register.
        unsafe {
            match access.size() {
                1 => x86::io::outb(port, value as u8),
                2 => x86::io::outw(port, value as u16),
                _ => x86::io::outl(port, value),
            }
        }
    });
}

/// Runs `f` with the data port while the address port points at a register of
/// segment 0; the root finds the address port as it was.
fn by_ports<T>(bdf: Bdf, at: Register, f: impl FnOnce(u16) -> T) -> Option<T> {
    if bdf.segment != 0 || at.0 >= 0x100 {
        return None;
    }
    let _guard = PORTS.lock();
    let address = ENABLE | u32::from(bdf.requester) << 8 | u32::from(at.0 & 0xfc);
    // SAFETY: the root's accesses to both ports exit and wait for the lock; the
    // address port is put back.
    unsafe {
        let before = x86::io::inl(ADDRESS_PORT.0);
        x86::io::outl(ADDRESS_PORT.0, address);
        let result = f(DATA_PORT.0);
        x86::io::outl(ADDRESS_PORT.0, before);
        Some(result)
    }
}

/// The root reads the address port, or writes it; never between the two halves of
/// another's access.
pub(crate) fn root_address(write: Option<u32>) -> u32 {
    let _guard = PORTS.lock();
    // SAFETY: what the address port holds is the root's affair.
    unsafe {
        if let Some(address) = write {
            x86::io::outl(ADDRESS_PORT.0, address);
        }
        x86::io::inl(ADDRESS_PORT.0)
    }
}

/// What the root's access to a data port means; `None` if that is nothing.
pub(crate) fn of_root(port: Port, size: u8) -> Option<(Bdf, Access)> {
    Access::from_ports(root_address(None), port.0, size)
}
