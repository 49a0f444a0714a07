//! The root cell: Linux as it was, minus what others own.

use crate::cell::{self, Bitmaps, Cell, DeniedCounters, Life};
use crate::cpu::apic::Mode;
use crate::dev::pci;
use crate::lock::Mutex;
use crate::mem::owners;
use crate::vcpu::Vendor;
use crate::{boot, machine};
use cellvisor_abi::CHUNK_SIZE;
use cellvisor_abi::call::{CellId, Name, Owner, State};
use cellvisor_abi::plan::SystemPlan;
use cellvisor_core::addr::{Gpa, Hpa, PAGE_SIZE};
use cellvisor_core::ids::Port;
use cellvisor_core::paging::{Attr, MapError, MemType, PageSize};
use cellvisor_core::text::Hex;
use cellvisor_core::touch;
pub(crate) use cellvisor_core::touch::Mapped;
use core::ops::Range;

/// Ports of a 16550.
const UART_PORTS: u64 = 8;

/// Where messages to CPUs are written, the registers of local APICs among them.
const INTERRUPTS: Hpa = Hpa(0xfee0_0000);
const INTERRUPTS_SIZE: u64 = 1 << 20;

/// Makes the root cell: ownership of the monitor's own things, tables with all
/// RAM, bitmaps. `None` if the pool is too small.
pub(crate) fn init(plan: &SystemPlan<'_>, vendor: &'static Vendor) -> Option<()> {
    owners::init()?;
    own_monitor(plan)?;
    let bitmaps = Bitmaps::new(vendor, vendor.root_msrs)?;
    let root = Cell {
        id: CellId::ROOT,
        name: Name::new(b"root")?,
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
            root.bitmaps.set_port(Port(plan.log_port).plus(port), true);
        }
    }
    let data = (0..4).map(|byte| pci::DATA_PORT.plus(byte));
    for port in core::iter::once(pci::ADDRESS_PORT).chain(data) {
        root.bitmaps.set_port(port, true);
    }
    map_apic(root)?;
    for range in plan.ram.iter() {
        let start = Gpa(range.start);
        map_range(
            root,
            start.align_down(PAGE_SIZE)..start.checked_add(range.size)?,
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
        let mut take = |start: Hpa, size: u64| {
            let end = (start + size).page();
            owners
                .pages
                .transfer(start.page(), end, Owner::Root, Owner::Monitor)
                .ok()
        };
        chunks
            .iter()
            .try_for_each(|chunk| take(Hpa(*chunk), CHUNK_SIZE))?;
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
    let page = facts.apic_page.identity();
    let mut space = root.space.lock();
    space
        .as_mut()?
        .map(page..page + PAGE_SIZE, facts.apic_page, read_only)
        .ok()
}

/// Maps all of `range` that the root owns. `None` if the pool is empty.
pub(crate) fn map_range(root: &Cell, range: Range<Gpa>) -> Option<()> {
    touch::map_range(&mut View(root), range).then_some(())
}

/// The root's memory as `cellvisor_core::touch` asks for it.
struct View<'a>(&'a Cell);

impl touch::Memory for View<'_> {
    fn largest(&self) -> PageSize {
        machine::get().largest_page
    }

    fn end(&self) -> Gpa {
        machine::get().physical_end.identity()
    }

    fn mem_type(&self, address: Gpa) -> (MemType, Gpa) {
        let (mem_type, until) = machine::get().mtrrs.uniform(address.0);
        (mem_type, Gpa(until))
    }

    fn is_roots(&self, block: Range<Gpa>) -> bool {
        owners::is_roots(block.start.identity()..block.end.identity())
    }

    fn map(&mut self, block: Range<Gpa>, mem_type: MemType) -> Result<(), MapError> {
        let attr = Attr {
            read: true,
            write: true,
            execute: true,
            mem_type,
        };
        let mut space = self.0.space.lock();
        let space = space.as_mut().ok_or(MapError::NoMemory)?;
        let hpa = block.start.identity();
        space.map(block, hpa, attr)
    }
}

/// The root touched `gpa`, which is not mapped: maps the block around it if it
/// is the root's. Device memory is mapped this way, when it is first used.
pub(crate) fn map_on_touch(root: &Cell, gpa: Gpa) -> Mapped {
    let mapped = touch::map_around(&mut View(root), gpa);
    if mapped == Mapped::NoMemory {
        root.log(format_args!("cannot map gpa={}: pool empty", Hex(gpa.0)));
    }
    mapped
}
