//! Making a cell: everything is checked and taken step by step, and given back
//! in reverse if a step fails.

use crate::call::build::build;
use crate::call::caller::Caller;
use crate::call::give_back::{recheck_interrupts, release};
use crate::cell::cpus::{assign_all, give_back, stop_all};
use crate::cell::{self, Cell, Cpus, PARTS, claim, watch};
use crate::cpu::outer;
use crate::cpu::percpu::{self, CpuShared};
use crate::dev::pci;
use crate::mem::owners;
use crate::refusal::{Refusal, bad, taken};
use crate::{log, machine};
use cellvisor_abi::call::{CellId, Name, Owner, Resource};
use cellvisor_abi::parts::Parts;
use cellvisor_abi::plan::{CellPlan, Memory, Share};
use cellvisor_abi::status::CallStatus;
use cellvisor_abi::{PAGE_SIZE, wire};
use cellvisor_core::addr::Hpa;
use cellvisor_core::ids::{PlanIndex, Port};
use cellvisor_core::link::{self, Links};
use cellvisor_core::ownership::OwnError;
use cellvisor_core::paging::MemType;
use cellvisor_core::text::{Dec, Label};
use log::log;

/// Makes the cell of a framed plan.
///
/// After an error everything is as it was.
pub(super) fn create(caller: &mut Caller<'_>, frame: &[u8]) -> Result<CellId, Refusal> {
    // By reference: the plan stays where it is decoded.
    let decoded = wire::open(frame).and_then(wire::decode::<CellPlan<'_>>);
    let Ok(plan) = &decoded else {
        return Err(CallStatus::Malformed.into());
    };
    if !PARTS.has(Parts::of(plan)) {
        return Err(CallStatus::LeftOut.into());
    }
    let name = Name::new(plan.name).ok_or(CallStatus::BadName)?;
    if cell::all().any(|cell| cell.name == name) {
        return Err(CallStatus::BadName.into());
    }
    let id = cell::free_id().ok_or(CallStatus::TooManyCells)?;
    if !link::is_whole(plan) {
        return Err(CallStatus::BadResource.into());
    }
    let cpus = cpus(plan, caller.shared)?;
    let functions = claim::claim(caller.window, plan)?;
    let owner = Owner::Cell(id);
    let mut links = Links::new();
    let result = take_pages(plan, owner, &mut links)
        .and_then(|()| take_ports(plan, owner))
        .and_then(|()| build(caller, id, name, plan, &cpus, functions, links))
        .and_then(|cell| assign(caller, cell));
    if let Err(refusal) = result {
        release(caller.window, owner);
        return Err(refusal);
    }
    log!(
        "cell={} created id={} cpus={}",
        Label(name),
        Dec(u64::from(id.0)),
        Dec(cpus.len() as u64)
    );
    watch::notify();
    Ok(id)
}

/// Indexes of the plan's CPUs. All must be the root's, and not the one that
/// makes the call.
fn cpus(plan: &CellPlan<'_>, own: &CpuShared) -> Result<Cpus, Refusal> {
    let mut cpus = Cpus::new();
    for apic_id in plan.cpus.iter() {
        let resource = Resource::Cpu(apic_id);
        let wrong = || bad(CallStatus::BadResource, resource);
        let index = (0..percpu::MAX_CPUS as u16)
            .map(PlanIndex)
            .find(|index| percpu::cpu(*index).is_some_and(|c| c.apic_id().0 == apic_id));
        let index = index.ok_or_else(wrong)?;
        let found = percpu::cpu(index).ok_or_else(wrong)?;
        match found.owner() {
            CellId::ROOT => {}
            other => return Err(taken(resource, Owner::Cell(other))),
        }
        if core::ptr::eq(found, own) || cpus.contains(&index) {
            return Err(wrong());
        }
        cpus.push(index).map_err(|_| wrong())?;
    }
    Ok(cpus)
}

/// Makes the cell the owner of its pages, which must be the root's RAM, and notes the
/// links that it shares.
fn take_pages(plan: &CellPlan<'_>, owner: Owner, links: &mut Links) -> Result<(), Refusal> {
    if plan.memory.is_empty() {
        return Err(CallStatus::BadResource.into());
    }
    for memory in plan.memory.iter() {
        take_memory(&memory, owner, links)?;
    }
    // A socket shares a link's memory as well, which is nowhere to be seen yet.
    plan.socket.map_or(Ok(()), |socket| {
        let memory = Memory {
            gpa: 0,
            hpa: socket.memory,
            size: PAGE_SIZE,
            share: Share::Write,
        };
        take_memory(&memory, owner, links)
    })
}

#[inline(never)] // Twice.
fn take_memory(memory: &Memory, owner: Owner, links: &mut Links) -> Result<(), Refusal> {
    check_memory(memory)?;
    if memory.share == Share::Own {
        return take(memory, owner);
    }
    let run = owners::with(|o| o.pages.run(memory.hpa / PAGE_SIZE));
    let run = run.unwrap_or((Owner::Monitor, 0));
    if link::share(links, memory, run, cell::is_open) {
        return Ok(());
    }
    Err(taken(Resource::Page(memory.hpa), run.0))
}

fn take(memory: &Memory, owner: Owner) -> Result<(), Refusal> {
    let range = Hpa(memory.hpa)..Hpa(memory.hpa + memory.size);
    let pages = range.start.page()..range.end.page();
    claim::transfer(range, owner)?;
    // From now on nobody names such an area any more.
    match outer::first_area_in(pages) {
        Some(area) => Err(taken(Resource::Page(area & !(PAGE_SIZE - 1)), Owner::Root)),
        None => Ok(()),
    }
}

/// Aligned, inside the machine, and memory that is cached like RAM.
fn check_memory(memory: &Memory) -> Result<(), Refusal> {
    let facts = machine::get();
    let aligned = (memory.gpa | memory.hpa | memory.size).is_multiple_of(PAGE_SIZE);
    let end = memory
        .hpa
        .checked_add(memory.size)
        .filter(|end| *end <= facts.physical_end.0);
    let guest_end = memory
        .gpa
        .checked_add(memory.size)
        .filter(|end| *end <= facts.physical_end.0);
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
        let (first, end) = (
            u64::from(ports.first),
            u64::from(ports.first) + u64::from(ports.count),
        );
        let config = u64::from(pci::ADDRESS_PORT.0)..u64::from(pci::DATA_PORT.0) + 4;
        let filtered = first < config.end && config.start < end;
        if ports.count == 0 || end > 1 << 16 || filtered {
            return Err(bad(CallStatus::BadResource, Resource::Port(ports.first)));
        }
        owners::take_ports(first..end, owner).map_err(|error| match error {
            OwnError::NotOwned { key, owner } => taken(Resource::Port(key as u16), owner),
            _ => CallStatus::NoMemory.into(),
        })?;
        if let Some(root) = cell::get(CellId::ROOT) {
            (first..end).for_each(|port| root.bitmaps.set_port(Port(port as u16), true));
        }
    }
    Ok(())
}

/// Takes the CPUs from the root. A CPU that does not answer makes all go back.
fn assign(caller: &mut Caller<'_>, cell: &'static Cell) -> Result<(), Refusal> {
    if stop_all(cell) && assign_all(cell, cell.id) {
        recheck_interrupts(caller);
        return Ok(());
    }
    give_back(cell);
    // SAFETY: the CPUs are the root's again, nobody else has seen the cell, and
    // it is not used below.
    unsafe { cell::remove(cell.id) };
    Err(CallStatus::CpuStuck.into())
}
