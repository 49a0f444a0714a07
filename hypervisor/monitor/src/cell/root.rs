//! The root cell: Linux as it was, minus what others own.

use crate::cell::{self, Bitmaps, Cell, DeniedCounters, Life};
use crate::cpu::apic::Mode;
use crate::dev::pci;
use crate::mem::owners;
use crate::sync::Mutex;
use crate::vcpu::Vendor;
use crate::{boot, log, machine};
use cellvisor_abi::CHUNK_SIZE;
use cellvisor_abi::call::{CellId, Name, Owner, State};
use cellvisor_abi::plan::SystemPlan;
use cellvisor_core::addr::{Gpa, Hpa, PAGE_SIZE};
use cellvisor_core::paging::{Attr, MapError, MemType, PageSize};
use cellvisor_core::touch;
pub(crate) use cellvisor_core::touch::Mapped;

/// Ports of a 16550.
const UART_PORTS: u64 = 8;

/// Where messages to CPUs are written, the registers of local APICs among them.
const INTERRUPTS: u64 = 0xfee0_0000;
const INTERRUPTS_SIZE: u64 = 1 << 20;

/// Makes the root cell: ownership of the monitor's own things, tables with all
/// RAM, bitmaps. `None` if the pool is too small.
pub(crate) fn init(plan: &SystemPlan<'_>, vendor: &'static Vendor) -> Option<()> {
    owners::init()?;
    own_monitor(plan)?;
    let bitmaps = Bitmaps::new(vendor, vendor.root_msrs)?;
    let root = Cell {
        id: CellId::ROOT,
        name: Name::new("root")?,
        space: Mutex::new(Some((vendor.new_space)(machine::get().largest_page)?)),
        bitmaps,
        denied: DeniedCounters::default(),
        life: Mutex::new(Life {
            state: State::Running,
            failure: None,
            starts: 1,
            scrubbed: 0,
            visible: true,
            quiet: false,
        }),
        guest: None,
    };
    let root = cell::put(root)?;
    if plan.log_port != 0 {
        for port in 0..UART_PORTS as u16 {
            root.bitmaps.set_port(plan.log_port + port, true);
        }
    }
    let data = pci::DATA_PORT..pci::DATA_PORT + 4;
    for port in core::iter::once(pci::ADDRESS_PORT).chain(data) {
        root.bitmaps.set_port(port, true);
    }
    map_apic(root)?;
    for range in plan.ram.iter().flatten() {
        map_range(
            root,
            range.start & !(PAGE_SIZE - 1),
            range.start.checked_add(range.size)?,
        )?;
    }
    Some(())
}

/// The monitor owns its memory, configuration space, the page of the APIC registers,
/// which is mapped apart, and the port of its log.
fn own_monitor(plan: &SystemPlan<'_>) -> Option<()> {
    let info = boot::boot_info();
    let chunks = info.chunks.get(..info.chunk_count as usize)?;
    let apic = machine::get().apic_page;
    owners::with(|owners| {
        let mut take = |start: u64, size: u64| {
            let end = (start + size) / PAGE_SIZE;
            owners
                .pages
                .transfer(start / PAGE_SIZE, end, Owner::Root, Owner::Monitor)
                .ok()
        };
        chunks
            .iter()
            .try_for_each(|chunk| take(*chunk, CHUNK_SIZE))?;
        // All addresses that mean interrupts: a write there may be one.
        take(INTERRUPTS, INTERRUPTS_SIZE)?;
        // Each of the root's accesses to configuration space exits. What cannot be
        // taken leads to no cell's function.
        for (start, size) in pci::config::spaces() {
            let _ = take(start, size);
        }
        if !(INTERRUPTS..INTERRUPTS + INTERRUPTS_SIZE).contains(&apic) {
            take(apic, PAGE_SIZE)?;
        }
        if plan.log_port != 0 {
            let first = u64::from(plan.log_port);
            owners
                .ports
                .transfer(first, first + UART_PORTS, Owner::Root, Owner::Monitor)
                .ok()?;
        }
        Some(())
    })?
}

/// In xAPIC mode the root reads the registers itself; its writes exit, for they
/// may be interrupt commands.
fn map_apic(root: &Cell) -> Option<()> {
    let facts = machine::get();
    if facts.root_apic != Mode::Xapic {
        return Some(());
    }
    let read_only = Attr {
        read: true,
        write: false,
        execute: false,
        mem_type: MemType::Uncached,
    };
    let mut space = root.space.lock();
    space
        .as_mut()?
        .map(
            Gpa(facts.apic_page),
            Hpa(facts.apic_page),
            PAGE_SIZE,
            read_only,
        )
        .ok()
}

/// Maps all of `start..end` that the root owns. `None` if the pool is empty.
pub(crate) fn map_range(root: &Cell, start: u64, end: u64) -> Option<()> {
    touch::map_range(&mut View(root), start, end).then_some(())
}

/// The root's memory as `cellvisor_core::touch` asks for it.
struct View<'a>(&'a Cell);

impl touch::Memory for View<'_> {
    fn largest(&self) -> PageSize {
        machine::get().largest_page
    }

    fn end(&self) -> u64 {
        machine::get().physical_end
    }

    fn mem_type(&self, address: u64) -> (MemType, u64) {
        machine::get().mtrrs.uniform(address)
    }

    fn is_roots(&self, start: u64, end: u64) -> bool {
        owners::is_roots(start / PAGE_SIZE..end / PAGE_SIZE)
    }

    fn map(&mut self, start: u64, size: u64, mem_type: MemType) -> Result<(), MapError> {
        let attr = Attr {
            read: true,
            write: true,
            execute: true,
            mem_type,
        };
        let mut space = self.0.space.lock();
        let space = space.as_mut().ok_or(MapError::NoMemory)?;
        space.map(Gpa(start), Hpa(start), size, attr)
    }
}

/// The root touched `gpa`, which is not mapped: maps the block around it if it
/// is the root's. Device memory is mapped this way, when it is first used.
pub(crate) fn map_on_touch(root: &Cell, gpa: u64) -> Mapped {
    let mapped = touch::map_around(&mut View(root), gpa);
    if mapped == Mapped::NoMemory {
        log::line(format_args!("pool empty: root cannot map gpa={gpa:#x}"));
    }
    mapped
}
