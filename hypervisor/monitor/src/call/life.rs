//! Starting, stopping, reloading and destroying cells.

use super::create::{Guarded, assign_all, give_back, recheck_interrupts, release, stop_all};
use super::{Caller, Refusal, find};
use crate::cell::{self, Cell};
use crate::percpu::{Activity, CpuShared, request};
use crate::space::Space;
use crate::sync::tsc;
use crate::{facts, ioapic, kick, log, owners, pci};
use cellvisor_abi::PAGE_SIZE;
use cellvisor_abi::call::{CellId, Owner, Progress, Start, State, StopReason};
use cellvisor_abi::status::CallStatus;
use cellvisor_core::addr::{Gpa, Hpa};
use cellvisor_core::kvmclock::Clock;
use cellvisor_core::paging::{Attr, MapError, Stale};
use cellvisor_core::state::Event;
use log::log;

/// Bytes that one call scrubs: less than a millisecond of the root's CPU.
const SCRUB_STEP: u64 = 2 << 20;

/// Starts a loadable cell. The root's view of its memory ends first.
pub(super) fn start(caller: &mut Caller<'_>, start: &Start) -> Result<(), Refusal> {
    let cell = find(start.cell)?;
    let guest = cell.guest.as_ref().ok_or(CallStatus::NoSuchCell)?;
    if cell.state() != State::Loadable {
        return Err(CallStatus::WrongState.into());
    }
    if !guest.functions.lock().wait(caller.window) {
        return Err(CallStatus::CpuStuck.into());
    }
    hide(caller, cell)?;
    let clock = Clock::new(facts::get().tsc_khz, tsc(), 0);
    {
        let mut devices = guest.devices.lock();
        devices.reset();
        devices.clock = clock.map(|clock| (clock, start.wall_ns, start.wall_tsc));
    }
    *guest.boot.lock() = Some(start.boot);
    if !assign_all(cell.cpus(), cell.id) {
        return Err(CallStatus::CpuStuck.into());
    }
    {
        let mut life = cell.life.lock();
        life.starts += 1;
        life.failure = None;
        life.scrubbed = 0;
        life.quiet = false;
    }
    cell.apply(Event::Start);
    log!("cell={} started", cell.name.as_str());
    if let Some(first) = cell.cpu(0) {
        kick::send(first, request::BOOT);
    }
    Ok(())
}

/// Stops a running cell and waits for its CPUs.
pub(super) fn stop(cell: &Cell) -> Result<(), Refusal> {
    if !cell.halt(StopReason::Root) {
        return Err(CallStatus::WrongState.into());
    }
    if stop_all(cell.cpus()) {
        Ok(())
    } else {
        Err(CallStatus::CpuStuck.into())
    }
}

type Step = Result<(CallStatus, Progress), Refusal>;

/// Scrubs a step; the cell is loadable when all is done.
pub(super) fn reload(caller: &mut Caller<'_>, cell: &Cell) -> Step {
    match cell.state() {
        State::Stopped(_) | State::Failed => {}
        _ => return Err(CallStatus::WrongState.into()),
    }
    let (status, progress) = scrub(caller, cell)?;
    if status == CallStatus::Ok {
        show(cell)?;
        cell.apply(Event::Reload);
    }
    Ok((status, progress))
}

/// Scrubs a step; the cell is gone when all is done.
pub(super) fn destroy(caller: &mut Caller<'_>, cell: &'static Cell) -> Step {
    let progress = match cell.state() {
        State::Running => return Err(CallStatus::WrongState.into()),
        // What a loadable cell has in its memory is the root's.
        State::Loadable => Progress { done: 0, total: 0 },
        State::Stopped(_) | State::Failed => match scrub(caller, cell)? {
            (CallStatus::Ok, progress) => progress,
            again => return Ok(again),
        },
    };
    if !quiet(caller, cell) {
        return Ok((CallStatus::Again, progress));
    }
    show(cell)?;
    if !stop_all(cell.cpus()) || !give_back(cell.cpus()) {
        return Err(CallStatus::CpuStuck.into());
    }
    let (id, name, owner) = (cell.id, cell.name, cell.owner());
    // The root has large pages again where it had them before.
    change_root(caller, Space::merge, |f| for_each_run(owner, f))?;
    let functions = cell.guest.as_ref().map(|guest| guest.functions.lock());
    let guarded: Guarded = functions
        .iter()
        .flat_map(|functions| pci::guarded(functions))
        .collect();
    drop(functions);
    // SAFETY: the hypercall lock is held, all CPUs are the root's, and `cell` is
    // not used below.
    unsafe { cell::remove(id) };
    release(caller.window, owner, &guarded);
    recheck_interrupts(caller);
    log!("cell={} destroyed", name.as_str());
    Ok((CallStatus::Ok, progress))
}

/// Ends what the cell's functions do, once; true when their resets are over.
fn quiet(caller: &mut Caller<'_>, cell: &Cell) -> bool {
    let Some(guest) = &cell.guest else {
        return true;
    };
    let mut functions = guest.functions.lock();
    let mut life = cell.life.lock();
    if !life.quiet {
        life.quiet = true;
        functions.quiesce(caller.window);
        ioapic::quiet(caller.window, cell.id);
    }
    functions.settle(caller.window)
}

/// Zeroes the next part of a cell's memory. `Again` until all is done.
fn scrub(caller: &mut Caller<'_>, cell: &Cell) -> Step {
    if cell.cpus().any(|cpu| cpu.activity() == Activity::Running) && !stop_all(cell.cpus()) {
        return Err(CallStatus::CpuStuck.into());
    }
    let total = cell.guest.as_ref().map_or(0, |guest| guest.memory);
    // DMA ends before the memory is zeroed.
    let quiet = quiet(caller, cell);
    let done = cell.life.lock().scrubbed;
    let end = total.min(done + SCRUB_STEP);
    let mut at = done;
    while at < end {
        let page = nth_page(cell, at).ok_or(CallStatus::BadResource)?;
        caller.window.zero(page);
        at += PAGE_SIZE;
    }
    cell.life.lock().scrubbed = end;
    let status = if end == total && quiet {
        CallStatus::Ok
    } else {
        CallStatus::Again
    };
    Ok((status, Progress { done: end, total }))
}

/// Page at byte `offset` of all that the cell owns, in host order.
fn nth_page(cell: &Cell, offset: u64) -> Option<Hpa> {
    let mut left = offset / PAGE_SIZE;
    owners::with(|owners| {
        owners.pages.owned(cell.owner()).find_map(|run| {
            let size = run.end - run.start;
            if left < size {
                return Some(Hpa((run.start + left) * PAGE_SIZE));
            }
            left -= size;
            None
        })
    })?
}

/// Ends the root's view of a cell's memory, on all CPUs of the root.
fn hide(caller: &mut Caller<'_>, cell: &Cell) -> Result<(), Refusal> {
    if !cell.life.lock().visible {
        return Ok(());
    }
    let owner = cell.owner();
    unmap_from_root(caller, |f| for_each_run(owner, f)).or_else(|refusal| {
        show(cell)?;
        Err(refusal)
    })?;
    cell.life.lock().visible = false;
    Ok(())
}

/// Ends the root's view of the ranges that `ranges` gives to its argument. After
/// an error a part of them may be unmapped.
pub(super) fn unmap_from_root(
    caller: &mut Caller<'_>,
    ranges: impl FnOnce(&mut dyn FnMut(u64, u64) -> Result<(), ()>) -> Result<(), ()>,
) -> Result<(), Refusal> {
    change_root(caller, Space::unmap, ranges)
}

/// Changes the root's view of ranges, for all CPUs of the root.
fn change_root(
    caller: &mut Caller<'_>,
    change: fn(&mut Space, Gpa, u64) -> Result<Stale, MapError>,
    ranges: impl FnOnce(&mut dyn FnMut(u64, u64) -> Result<(), ()>) -> Result<(), ()>,
) -> Result<(), Refusal> {
    let root = cell::get(CellId::ROOT).ok_or(CallStatus::NoSuchCell)?;
    let mut stale: Option<Stale> = None;
    let result = ranges(&mut |start, size| {
        let mut space = root.space.lock();
        let space = space.as_mut().ok_or(())?;
        let new = change(space, Gpa(start), size).map_err(|_| ())?;
        stale = Some(match stale.take() {
            Some(old) => old.join(new, &mut crate::mem::pool::PoolTables),
            None => new,
        });
        Ok(())
    });
    let flushed = kick::flush(root_cpus(), caller.shared);
    (caller.flush)();
    match (stale.take(), flushed) {
        (Some(stale), Ok(())) => stale.flushed(&mut crate::mem::pool::PoolTables),
        // Tables that a CPU may still walk are lost rather than used again.
        (Some(stale), Err(_)) => stale.abandon(),
        (None, _) => {}
    }
    match (flushed, result) {
        (Err(_), _) => Err(CallStatus::CpuStuck.into()),
        (Ok(()), Err(())) => Err(CallStatus::NoMemory.into()),
        (Ok(()), Ok(())) => Ok(()),
    }
}

fn root_cpus() -> impl Iterator<Item = &'static CpuShared> + Clone {
    (0..crate::entry::boot_info().cpu_count)
        .filter_map(crate::percpu::cpu)
        .filter(|cpu| cpu.owner() == CellId::ROOT)
}

/// Lets the root see a cell's memory.
fn show(cell: &Cell) -> Result<(), Refusal> {
    let root = cell::get(CellId::ROOT).ok_or(CallStatus::NoSuchCell)?;
    if cell.life.lock().visible {
        return Ok(());
    }
    for_each_run(cell.owner(), &mut |start, size| {
        let mut space = root.space.lock();
        show_range(space.as_mut().ok_or(())?, start, start + size)
    })
    .map_err(|()| Refusal::from(CallStatus::NoMemory))?;
    cell.life.lock().visible = true;
    Ok(())
}

/// Maps what is not mapped of `at..end`. A part may be there still if a step
/// before has failed half-way.
fn show_range(space: &mut Space, mut at: u64, end: u64) -> Result<(), ()> {
    while at < end {
        if let Some(mapping) = space.translate(Gpa(at)) {
            at += mapping.size_left;
            continue;
        }
        at = match space.map(Gpa(at), Hpa(at), end - at, Attr::RAM) {
            Ok(()) => end,
            Err(MapError::Overlap(there)) => {
                space
                    .map(Gpa(at), Hpa(at), there.0 - at, Attr::RAM)
                    .map_err(|_| ())?;
                there.0
            }
            Err(_) => return Err(()),
        };
    }
    Ok(())
}

/// Calls `f` with start and size of all that `owner` has; the error of the first
/// that fails.
pub(super) fn for_each_run(
    owner: Owner,
    f: &mut dyn FnMut(u64, u64) -> Result<(), ()>,
) -> Result<(), ()> {
    let mut next = 0;
    loop {
        let run = owners::with(|o| o.pages.owned(owner).find(|run| run.start >= next));
        let Some(Some(run)) = run else { return Ok(()) };
        f(run.start * PAGE_SIZE, (run.end - run.start) * PAGE_SIZE)?;
        next = run.end;
    }
}
