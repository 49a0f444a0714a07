//! Starting, stopping, reloading and destroying cells.

use crate::call::caller::{Caller, find};
use crate::call::give_back::{recheck_interrupts, release};
use crate::call::view::{change_root, for_each_run, hide, show};
use crate::cell::cpus::{assign_all, give_back, stop_all};
use crate::cell::{self, Cell, classes, ipi, socket, watch};
use crate::cpu::kick;
use crate::cpu::percpu::{Activity, request};
use crate::dev::ioapic;
use crate::mem::owners;
use crate::mem::space::Space;
use crate::refusal::Refusal;
use crate::sync::tsc;
use crate::{log, machine};
use cellvisor_abi::PAGE_SIZE;
use cellvisor_abi::call::{Progress, Start, State, StopReason};
use cellvisor_abi::status::CallStatus;
use cellvisor_core::addr::Hpa;
use cellvisor_core::cell_state::Event;
use cellvisor_core::ids::VirtualId;
use cellvisor_core::kvmclock::Clock;
use cellvisor_core::life::{self, Destroy};
use cellvisor_core::text::Label;
use core::ops::Range;
use log::log;

/// Bytes that one call scrubs: less than a millisecond of the root's CPU.
const SCRUB_STEP: u64 = 2 << 20;

/// Starts a loadable cell. The root's view of its memory ends first; after an error it has
/// it again, and can start the cell once more.
pub(super) fn start(caller: &mut Caller<'_>, start: &Start) -> Result<(), Refusal> {
    let (cell, guest) = find(start.cell).ok_or(CallStatus::NoSuchCell)?;
    if !life::may_start(cell.state()) {
        return Err(CallStatus::WrongState.into());
    }
    if !guest.functions.lock().wait(caller.window) {
        return Err(CallStatus::CpuStuck.into());
    }
    if guest.link.is_none_or(|link| !link.root) {
        hide(caller, cell)?;
        classes::confine(None);
    }
    let clock = Clock::new(machine::get().tsc_khz, tsc(), 0);
    {
        let mut devices = guest.devices.lock();
        devices.reset();
        devices.clock = clock.map(|clock| (clock, start.wall_ns, start.wall_tsc));
    }
    *guest.boot.lock() = Some(start.boot);
    socket::put_back(caller.window, cell);
    if !assign_all(cell, cell.id) {
        show(cell)?;
        return Err(CallStatus::CpuStuck.into());
    }
    {
        let mut life = cell.life.lock();
        life.starts += 1;
        life.failure = None;
        life.scrubbed = 0;
        life.quiet = false;
    }
    guest.adapters.reset(Some(cell));
    socket::start(cell);
    cell.apply(Event::Start);
    cell.log(format_args!("started"));
    if let Some(first) = cell.cpu(VirtualId(0)) {
        kick::send(first, request::BOOT);
    }
    Ok(())
}

/// Stops a running cell and waits for its CPUs. A link stays as long as a cell
/// shares it.
pub(super) fn stop(cell: &Cell) -> Result<(), Refusal> {
    if cell::is_shared(cell.id) || !cell.halt(StopReason::Root) {
        return Err(CallStatus::WrongState.into());
    }
    if stop_all(cell) {
        Ok(())
    } else {
        Err(CallStatus::CpuStuck.into())
    }
}

/// Presses the power button of a running cell; false if no CPU of it is told.
pub(super) fn press(cell: &Cell) -> Result<bool, Refusal> {
    let guest = cell.guest.as_ref().ok_or(CallStatus::NoSuchCell)?;
    if cell.state() != State::Running {
        return Err(CallStatus::WrongState.into());
    }
    let message = guest.devices.lock().press();
    ipi::deliver_message(cell, message);
    cell.log(format_args!("power button"));
    Ok(message.is_some())
}

/// Sends an NMI to the first CPU of a running cell. One that does not run its owner's
/// code at the moment gets none.
pub(super) fn nmi(cell: &Cell) -> Result<(), Refusal> {
    if cell.state() != State::Running {
        return Err(CallStatus::WrongState.into());
    }
    let first = cell.cpu(VirtualId(0)).ok_or(CallStatus::NoSuchCell)?;
    kick::send(first, request::NMI);
    cell.log(format_args!("nmi"));
    Ok(())
}

/// A part of a long work: `Again` until all is done.
pub(super) type Step = Result<(CallStatus, Progress), Refusal>;

/// Scrubs a step; the cell is loadable when all is done.
pub(super) fn reload(caller: &mut Caller<'_>, cell: &Cell) -> Step {
    if !life::may_reload(cell.state()) {
        return Err(CallStatus::WrongState.into());
    }
    let (status, progress) = scrub(caller, cell)?;
    if status == CallStatus::Ok {
        show(cell)?;
        cell.apply(Event::Reload);
    }
    Ok((status, progress))
}

/// Lets the root see what a cell that has ended left in its memory, if its plan
/// allows that. `Again` until its functions write there no more.
pub(super) fn reveal(caller: &mut Caller<'_>, cell: &Cell) -> Result<CallStatus, Refusal> {
    let allowed = cell.guest.as_ref().is_some_and(|guest| guest.dump);
    life::may_show(cell.state(), allowed)?;
    if !stop_all(cell) {
        return Err(CallStatus::CpuStuck.into());
    }
    if !quiet(caller, cell) {
        return Ok(CallStatus::Again);
    }
    show(cell)?;
    cell.log(format_args!("shown to the root"));
    Ok(CallStatus::Ok)
}

/// Scrubs a step; the cell is gone when all is done.
pub(super) fn destroy(caller: &mut Caller<'_>, cell: &'static Cell) -> Step {
    let progress = match life::destroy(cell.state()) {
        Destroy::Refused => return Err(CallStatus::WrongState.into()),
        Destroy::AtOnce => Progress { done: 0, total: 0 },
        Destroy::Scrub => match scrub(caller, cell)? {
            (CallStatus::Ok, progress) => progress,
            again => return Ok(again),
        },
    };
    if !quiet(caller, cell) {
        return Ok((CallStatus::Again, progress));
    }
    show(cell)?;
    if !stop_all(cell) || !give_back(cell) {
        return Err(CallStatus::CpuStuck.into());
    }
    let (id, name, owner) = (cell.id, cell.name, cell.owner());
    // The root has large pages again where it had them before.
    change_root(caller, Space::merge, &|f| for_each_run(owner, f))?;
    // SAFETY: the hypercall lock is held, all CPUs are the root's, and `cell` is
    // not used below.
    unsafe { cell::remove(id) };
    watch::notify();
    release(caller.window, owner);
    recheck_interrupts(caller);
    log!("cell={} destroyed", Label(name));
    Ok((CallStatus::Ok, progress))
}

/// Goes on ending the first cell that is left; `Ok` when there is none.
pub(super) fn end_next(caller: &mut Caller<'_>) -> Step {
    let none = Progress { done: 0, total: 0 };
    // Links come after those that share them.
    let Some(cell) = cell::all().find(|cell| !cell::is_shared(cell.id)) else {
        return Ok((CallStatus::Ok, none));
    };
    // It may stop by itself at this moment, which is as good.
    if let Err(refusal) = stop(cell)
        && cell.state() == State::Running
    {
        return Err(refusal);
    }
    let (_, progress) = destroy(caller, cell)?;
    Ok((CallStatus::Again, progress))
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
    if cell.cpus().any(|cpu| cpu.activity() == Activity::Running) && !stop_all(cell) {
        return Err(CallStatus::CpuStuck.into());
    }
    let total = cell.guest.as_ref().map_or(0, |guest| guest.memory);
    // DMA ends before the memory is zeroed.
    let quiet = quiet(caller, cell);
    let step = life::scrub(cell.life.lock().scrubbed, total, SCRUB_STEP);
    let mut left = step.end - step.start;
    while left > 0 {
        let run = rest_of_run(cell, step.end - left).ok_or(CallStatus::BadResource)?;
        let size = left.min(run.end - run.start);
        for at in (run.start..run.start + size).step_by(PAGE_SIZE as usize) {
            caller.window.zero(Hpa(at));
        }
        left -= size;
    }
    cell.life.lock().scrubbed = step.end;
    let status = if step.last && quiet {
        CallStatus::Ok
    } else {
        CallStatus::Again
    };
    let done = step.end;
    Ok((status, Progress { done, total }))
}

/// Where byte `offset` of all that the cell owns is, in host order, up to the end of what
/// lies there in one piece.
fn rest_of_run(cell: &Cell, offset: u64) -> Option<Range<u64>> {
    let mut left = offset / PAGE_SIZE;
    owners::with(|owners| {
        owners.pages.owned(cell.owner()).find_map(|run| {
            let size = run.end - run.start;
            if left < size {
                return Some((run.start + left) * PAGE_SIZE..run.end * PAGE_SIZE);
            }
            left -= size;
            None
        })
    })?
}
