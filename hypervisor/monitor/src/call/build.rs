//! Putting a cell together: its tables, its functions, its devices.
//!
//! Source: SDM 2A, "CPUID".

use crate::call::caller::Caller;
use crate::call::view::{for_each_run, unmap_from_root};
use crate::cell::devices::Devices;
use crate::cell::net::{Adapters, Refused};
use crate::cell::{
    self, Bitmaps, Cell, Cpus, DeniedCounters, Guest, Life, claim, classes, functions, socket,
};
use crate::cpu::leaf;
use crate::dev::ioapic;
use crate::dev::iommu::{self, Domain};
use crate::dev::pci::Functions;
use crate::lock::Mutex;
use crate::machine;
use crate::mem::space::Space;
use crate::refusal::{Refusal, bad};
use crate::vcpu::Vendor;
use cellvisor_abi::PAGE_SIZE;
use cellvisor_abi::call::{CellId, Name, Owner, Resource, State};
use cellvisor_abi::plan::{CellPlan, SOCKET_PINS};
use cellvisor_abi::status::CallStatus;
use cellvisor_core::addr::{Gpa, Hpa};
use cellvisor_core::cpuid::{Lacks, Table};
use cellvisor_core::ids::Port;
use cellvisor_core::ioapic::PINS;
use cellvisor_core::link::{self, Links};
use cellvisor_core::paging::MapError;
use core::sync::atomic::AtomicU32;

/// Puts the cell together, and frees what was made if a part is missing.
pub(super) fn build(
    caller: &mut Caller<'_>,
    id: CellId,
    name: Name,
    plan: &CellPlan<'_>,
    cpus: &Cpus,
    functions: Functions,
    links: Links,
) -> Result<&'static Cell, Refusal> {
    let no_memory = || Refusal::from(CallStatus::NoMemory);
    let (_, free_before) = crate::mem::pool::usage();
    if !classes::allows(plan.class, cpus) {
        return Err(CallStatus::NoClass.into());
    }
    let mut parts = Parts::new(functions);
    parts.make(caller, id, plan)?;
    let (Some(space), Some(bitmaps), Some(devices)) = (parts.space, parts.bitmaps, parts.devices)
    else {
        return Err(no_memory());
    };
    let memory = plan.own_memory().map(|memory| memory.size).sum();
    let (_, free_now) = crate::mem::pool::usage();
    let mut lacks = caller.lacks;
    lacks.set(Lacks::SHARED_L3, plan.many_nodes);
    let guest = Guest {
        cpus: cpus.clone(),
        memory,
        cpuid: Table::build(leaf::raw, cpus.len().max(1) as u32).without(lacks),
        layout: plan.devices,
        class: plan.class,
        dump: plan.dump,
        devices: Mutex::new(devices),
        has_functions: parts.functions.len() != 0,
        functions: Mutex::new(parts.functions),
        _domain: parts.domain,
        config_address: AtomicU32::new(0),
        boot: Mutex::new(None),
        pages: free_before - free_now + cell::CELL_PAGES as u32,
        links,
        adapters: parts.adapters,
        socket: parts.socket,
        members: Mutex::new(socket::Members::NONE),
        link: plan.link,
    };
    let life = Life {
        state: State::Loadable,
        failure: None,
        starts: 0,
        scrubbed: 0,
        visible: true,
        quiet: false,
    };
    let cell = Cell {
        id,
        name,
        space: Mutex::new(Some(space)),
        bitmaps,
        denied: DeniedCounters::default(),
        life: Mutex::new(life),
        guest: Some(guest),
    };
    cell::put(cell).ok_or_else(no_memory)
}

/// What a cell is put together from. Functions are dropped before their domain.
struct Parts {
    functions: Functions,
    domain: Option<Domain>,
    space: Option<Space>,
    bitmaps: Option<Bitmaps>,
    devices: Option<Devices>,
    adapters: Adapters,
    socket: Option<socket::Socket>,
}

impl Parts {
    fn new(functions: Functions) -> Self {
        Self {
            functions,
            domain: None,
            space: None,
            bitmaps: None,
            devices: None,
            adapters: Adapters::new(),
            socket: None,
        }
    }

    /// Makes all; what was made before an error goes when the parts are dropped.
    fn make(
        &mut self,
        caller: &mut Caller<'_>,
        id: CellId,
        plan: &CellPlan<'_>,
    ) -> Result<(), Refusal> {
        let no_memory = || Refusal::from(CallStatus::NoMemory);
        self.adapters.take(plan).map_err(|refused| match refused {
            Refused::Plan => CallStatus::BadResource,
            Refused::Full => CallStatus::NoMemory,
        })?;
        self.socket = socket::take(plan)?;
        claim::take_pages(&self.functions, Owner::Device(id))?;
        if iommu::units() != 0 {
            exclude(Owner::Cell(id))?;
            exclude(Owner::Device(id))?;
        }
        if !functions::note(id, &self.functions) {
            return Err(no_memory());
        }
        ioapic::claim(id, self.functions.plans())?;
        hide_devices(caller, id, &self.functions)?;
        self.domain = claim::domain(plan, &self.functions, id)?;
        claim::protect(caller.window, &mut self.functions, id, self.domain.as_ref())?;
        ioapic::take(caller.window, id)?;
        let space = (caller.vendor.new_space)(machine::get().largest_page).ok_or_else(no_memory)?;
        let space = self.space.insert(space);
        map(plan, space)?;
        claim::map(&self.functions, space)?;
        self.bitmaps = bitmaps(caller.vendor, plan);
        let wires = self.functions.plans().filter_map(|function| function.wire);
        let wired = wires.fold(0, |pins, wire| pins | 1 << wire.gsi);
        let pins = plan.socket.map_or(PINS, |_| SOCKET_PINS);
        self.devices = Devices::new(plan.devices.uart_gsi, wired, pins);
        if self.bitmaps.is_none() || self.devices.is_none() {
            return Err(no_memory());
        }
        Ok(())
    }
}

/// Ends DMA of the root's functions to what `owner` has: memory of a cell, and
/// registers of its functions.
fn exclude(owner: Owner) -> Result<(), Refusal> {
    for_each_run(owner, &mut |range| iommu::exclude(range).map_err(|_| ()))
        .map_err(|()| CallStatus::NoMemory.into())
}

/// Ends the root's view of registers of functions.
fn hide_devices(caller: &mut Caller<'_>, id: CellId, functions: &Functions) -> Result<(), Refusal> {
    if functions.len() == 0 {
        return Ok(());
    }
    let chips = ioapic::pages(id);
    unmap_from_root(caller, &|f| {
        for_each_run(Owner::Device(id), f)?;
        chips
            .iter()
            .try_for_each(|page| f(*page..*page + PAGE_SIZE))
    })
}

fn map(plan: &CellPlan<'_>, space: &mut crate::mem::space::Space) -> Result<(), Refusal> {
    for memory in plan.memory.iter() {
        let gpa = Gpa(memory.gpa);
        let attr = link::attr(memory.share);
        space
            .map(gpa..gpa + memory.size, Hpa(memory.hpa), attr)
            .map_err(|error| match error {
                MapError::NoMemory => CallStatus::NoMemory.into(),
                MapError::Overlap(gpa) => bad(CallStatus::BadResource, Resource::GuestPage(gpa.0)),
                _ => bad(CallStatus::BadResource, Resource::GuestPage(memory.gpa)),
            })?;
    }
    Ok(())
}

/// Only the cell's own ports and the MSRs of its policy are direct.
fn bitmaps(vendor: &'static Vendor, plan: &CellPlan<'_>) -> Option<Bitmaps> {
    let bitmaps = Bitmaps::new(vendor, vendor.cell_msrs)?;
    bitmaps.intercept_all_ports();
    for ports in plan.ports.iter() {
        for offset in 0..ports.count {
            bitmaps.set_port(Port(ports.first).plus(offset), false);
        }
    }
    Some(bitmaps)
}
