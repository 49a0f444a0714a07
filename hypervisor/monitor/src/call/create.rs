//! Making a cell: everything is checked and taken step by step, and given back
//! in reverse if a step fails.

use super::{Caller, Refusal, Vendor};
use crate::cell::{self, Bitmaps, Cell, DeniedCounters, Guest, Life, MAX_CELL_CPUS};
use crate::devices::Devices;
use crate::percpu::{self, Activity, CpuShared, request};
use crate::{facts, kick, log, owners};
use cellvisor_abi::call::{CellId, Conflict, Name, Owner, Resource, State};
use cellvisor_abi::plan::{CellPlan, Memory};
use cellvisor_abi::status::CallStatus;
use cellvisor_abi::{PAGE_SIZE, wire};
use cellvisor_core::addr::{Gpa, Hpa};
use cellvisor_core::cpuid::Table;
use cellvisor_core::own::OwnError;
use cellvisor_core::paging::{Attr, MapError, MemType};
use core::sync::atomic::Ordering;
use log::log;
use spin::Mutex;

/// Makes the cell of a framed plan.
///
/// After an error everything is as it was.
pub(super) fn create(caller: &Caller<'_>, frame: &[u8]) -> Result<CellId, Refusal> {
    let plan: CellPlan<'_> = wire::open(frame)
        .and_then(wire::decode)
        .map_err(|_| Refusal::from(CallStatus::Malformed))?;
    let name = Name::new(plan.name).ok_or(CallStatus::BadName)?;
    if cell::all().any(|cell| cell.name == name) {
        return Err(CallStatus::BadName.into());
    }
    if let Some(function) = plan.functions.iter().flatten().next() {
        return Err(bad(
            CallStatus::NotSupported,
            Resource::Function(function.bdf),
        ));
    }
    let id = cell::free_id().ok_or(CallStatus::TooManyCells)?;
    let cpus = cpus(&plan, caller.shared)?;
    let owner = Owner::Cell(id);
    let result = take_pages(&plan, owner)
        .and_then(|()| take_ports(&plan, owner))
        .and_then(|()| build(&caller.vendor, id, name, &plan, &cpus))
        .and_then(|cell| assign(cell, &cpus));
    if let Err(refusal) = result {
        release(owner);
        return Err(refusal);
    }
    log!(
        "cell={} created id={} cpus={}",
        name.as_str(),
        id.0,
        cpus.len()
    );
    Ok(id)
}

fn bad(status: CallStatus, resource: Resource) -> Refusal {
    Refusal::conflict(
        status,
        Conflict {
            resource,
            owner: None,
        },
    )
}

fn taken(resource: Resource, owner: Owner) -> Refusal {
    Refusal::conflict(
        CallStatus::NotOwned,
        Conflict {
            resource,
            owner: Some(owner),
        },
    )
}

type Cpus = heapless::Vec<u16, MAX_CELL_CPUS>;

/// Indexes of the plan's CPUs. All must be the root's, and not the one that
/// makes the call.
fn cpus(plan: &CellPlan<'_>, own: &CpuShared) -> Result<Cpus, Refusal> {
    let mut cpus = Cpus::new();
    for apic_id in plan.cpus.iter() {
        let apic_id = apic_id.map_err(|_| CallStatus::Malformed)?;
        let resource = Resource::Cpu(apic_id);
        let wrong = || bad(CallStatus::BadResource, resource);
        let index = (0..percpu::MAX_CPUS as u32).find(|index| {
            percpu::cpu(*index).is_some_and(|c| c.apic_id.load(Ordering::Relaxed) == apic_id)
        });
        let index = index.ok_or_else(wrong)?;
        let found = percpu::cpu(index).ok_or_else(wrong)?;
        match found.owner() {
            CellId::ROOT => {}
            other => return Err(taken(resource, Owner::Cell(other))),
        }
        if core::ptr::eq(found, own) || cpus.contains(&(index as u16)) {
            return Err(wrong());
        }
        cpus.push(index as u16).map_err(|_| wrong())?;
    }
    if cpus.is_empty() {
        return Err(CallStatus::BadResource.into());
    }
    Ok(cpus)
}

/// Makes the cell the owner of its pages. They must be the root's RAM.
fn take_pages(plan: &CellPlan<'_>, owner: Owner) -> Result<(), Refusal> {
    if plan.memory.is_empty() {
        return Err(CallStatus::BadResource.into());
    }
    for memory in plan.memory.iter() {
        let memory = memory.map_err(|_| CallStatus::Malformed)?;
        check_memory(&memory)?;
        let (first, end) = (
            memory.hpa / PAGE_SIZE,
            (memory.hpa + memory.size) / PAGE_SIZE,
        );
        let result = owners::with(|o| o.pages.transfer(first, end, Owner::Root, owner));
        result
            .unwrap_or(Err(OwnError::Full))
            .map_err(|error| match error {
                OwnError::NotOwned { key, owner } => taken(Resource::Page(key * PAGE_SIZE), owner),
                OwnError::Empty => bad(CallStatus::BadResource, Resource::Page(memory.hpa)),
                OwnError::Full => CallStatus::NoMemory.into(),
            })?;
    }
    Ok(())
}

/// Aligned, inside the machine, and memory that is cached like RAM.
fn check_memory(memory: &Memory) -> Result<(), Refusal> {
    let facts = facts::get();
    let aligned = (memory.gpa | memory.hpa | memory.size).is_multiple_of(PAGE_SIZE);
    let end = memory
        .hpa
        .checked_add(memory.size)
        .filter(|end| *end <= facts.physical_end);
    let guest_end = memory
        .gpa
        .checked_add(memory.size)
        .filter(|end| *end <= facts.physical_end);
    let (Some(end), Some(_), true) = (end, guest_end, aligned && memory.size != 0) else {
        return Err(bad(CallStatus::BadResource, Resource::Page(memory.hpa)));
    };
    let (mem_type, until) = facts.mtrrs.uniform(memory.hpa);
    if mem_type != MemType::WriteBack || until < end {
        return Err(bad(CallStatus::BadResource, Resource::Page(memory.hpa)));
    }
    Ok(())
}

fn take_ports(plan: &CellPlan<'_>, owner: Owner) -> Result<(), Refusal> {
    for ports in plan.ports.iter() {
        let ports = ports.map_err(|_| CallStatus::Malformed)?;
        let (first, end) = (
            u64::from(ports.first),
            u64::from(ports.first) + u64::from(ports.count),
        );
        if ports.count == 0 || end > 1 << 16 {
            return Err(bad(CallStatus::BadResource, Resource::Port(ports.first)));
        }
        let result = owners::with(|o| o.ports.transfer(first, end, Owner::Root, owner));
        result
            .unwrap_or(Err(OwnError::Full))
            .map_err(|error| match error {
                OwnError::NotOwned { key, owner } => taken(Resource::Port(key as u16), owner),
                _ => CallStatus::NoMemory.into(),
            })?;
        if let Some(root) = cell::get(CellId::ROOT) {
            (first..end).for_each(|port| root.bitmaps.set_port(port as u16, true));
        }
    }
    Ok(())
}

/// Gives all that `owner` has in the maps back to the root.
pub(super) fn release(owner: Owner) {
    let root = cell::get(CellId::ROOT);
    owners::with(|owners| {
        loop {
            let Some(run) = owners.pages.owned(owner).next() else {
                break;
            };
            if owners
                .pages
                .transfer(run.start, run.end, owner, Owner::Root)
                .is_err()
            {
                break;
            }
        }
        loop {
            let Some(run) = owners.ports.owned(owner).next() else {
                break;
            };
            if owners
                .ports
                .transfer(run.start, run.end, owner, Owner::Root)
                .is_err()
            {
                break;
            }
            if let Some(root) = root {
                run.for_each(|port| root.bitmaps.set_port(port as u16, false));
            }
        }
    });
}

/// Puts the cell together, and frees what was made if a part is missing.
fn build(
    vendor: &Vendor,
    id: CellId,
    name: Name,
    plan: &CellPlan<'_>,
    cpus: &Cpus,
) -> Result<&'static Cell, Refusal> {
    let no_memory = || Refusal::from(CallStatus::NoMemory);
    let (_, free_before) = crate::mem::pool::usage();
    let mut space = (vendor.new_space)(facts::get().largest_page).ok_or_else(no_memory)?;
    if let Err(refusal) = map(plan, &mut space) {
        space.destroy();
        return Err(refusal);
    }
    let Some(bitmaps) = bitmaps(vendor, plan) else {
        space.destroy();
        return Err(no_memory());
    };
    let Some(devices) = Devices::new(plan.devices.uart_gsi) else {
        space.destroy();
        bitmaps.free();
        return Err(no_memory());
    };
    let memory = plan.memory.iter().flatten().map(|memory| memory.size).sum();
    let (_, free_now) = crate::mem::pool::usage();
    let native = |leaf, sub| {
        let found = raw_cpuid::native_cpuid::cpuid_count(leaf, sub);
        [found.eax, found.ebx, found.ecx, found.edx]
    };
    let guest = Guest {
        cpus: cpus.clone(),
        memory,
        cpuid: Table::build(native, cpus.len() as u32).without(vendor.lacks),
        layout: plan.devices,
        devices: Mutex::new(devices),
        boot: Mutex::new(None),
        pages: free_before - free_now + cell::CELL_PAGES as u32,
    };
    let life = Life {
        state: State::Loadable,
        failure: None,
        starts: 0,
        scrubbed: 0,
        visible: true,
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

fn map(plan: &CellPlan<'_>, space: &mut crate::space::Space) -> Result<(), Refusal> {
    for memory in plan.memory.iter().flatten() {
        space
            .map(Gpa(memory.gpa), Hpa(memory.hpa), memory.size, Attr::RAM)
            .map_err(|error| match error {
                MapError::NoMemory => CallStatus::NoMemory.into(),
                MapError::Overlap(gpa) => bad(CallStatus::BadResource, Resource::GuestPage(gpa.0)),
                _ => bad(CallStatus::BadResource, Resource::GuestPage(memory.gpa)),
            })?;
    }
    Ok(())
}

/// Only the cell's own ports and the MSRs of its policy are direct.
fn bitmaps(vendor: &Vendor, plan: &CellPlan<'_>) -> Option<Bitmaps> {
    let bitmaps = Bitmaps::new(vendor.bitmaps)?;
    (vendor.fill_cell_msrs)(bitmaps.msr);
    bitmaps.intercept_all_ports();
    for ports in plan.ports.iter().flatten() {
        for offset in 0..ports.count {
            bitmaps.set_port(ports.first.wrapping_add(offset), false);
        }
    }
    Some(bitmaps)
}

/// Takes the CPUs from the root. A CPU that does not answer makes all go back.
fn assign(cell: &'static Cell, cpus: &Cpus) -> Result<(), Refusal> {
    let members = || {
        cpus.iter()
            .filter_map(|index| percpu::cpu(u32::from(*index)))
    };
    let done = stop_all(members()) && assign_all(members(), cell.id);
    if done {
        return Ok(());
    }
    give_back(members());
    // SAFETY: the CPUs are the root's again, nobody else has seen the cell, and
    // it is not used below.
    unsafe { cell::remove(cell.id) };
    Err(CallStatus::CpuStuck.into())
}

/// Makes CPUs leave their guest; false if one does not answer.
pub(super) fn stop_all<'a>(cpus: impl Iterator<Item = &'a CpuShared>) -> bool {
    let mut all = true;
    for cpu in cpus {
        kick::send(cpu, request::STOP);
        all &= kick::wait(cpu, request::STOP) && cpu.activity() == Activity::Stopped;
    }
    all
}

/// Makes stopped CPUs those of `owner`, with virtual ids in their order; false
/// if one does not answer.
pub(super) fn assign_all<'a>(cpus: impl Iterator<Item = &'a CpuShared>, owner: CellId) -> bool {
    let mut all = true;
    for (virtual_id, cpu) in (0..).zip(cpus) {
        let id = if owner == CellId::ROOT {
            cpu.apic_id.load(Ordering::Relaxed)
        } else {
            virtual_id
        };
        cpu.next_owner.store(owner.0, Ordering::Release);
        cpu.next_virtual_id.store(id, Ordering::Release);
        kick::send(cpu, request::ASSIGN);
        all &= kick::wait(cpu, request::ASSIGN);
    }
    all
}

/// Gives CPUs to the root, which starts them when it wants.
pub(super) fn give_back<'a>(cpus: impl Iterator<Item = &'a CpuShared>) -> bool {
    assign_all(cpus, CellId::ROOT)
}
