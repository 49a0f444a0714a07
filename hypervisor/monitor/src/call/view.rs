//! The root's view of the memory of cells.

use crate::call::caller::Caller;
use crate::cell::{self, Cell};
use crate::cpu::kick;
use crate::cpu::percpu::{self, CpuShared};
use crate::mem::owners;
use crate::mem::space::Space;
use crate::refusal::Refusal;
use cellvisor_abi::PAGE_SIZE;
use cellvisor_abi::call::{CellId, Owner};
use cellvisor_abi::status::CallStatus;
use cellvisor_core::addr::{Gpa, Hpa};
use cellvisor_core::paging::{Attr, MapError, Stale};
use core::ops::Range;

/// Ends the root's view of a cell's memory, on all CPUs of the root. After an error the
/// root sees it as before, unless there is no memory for that either.
pub(super) fn hide(caller: &mut Caller<'_>, cell: &Cell) -> Result<(), Refusal> {
    if !cell.life.lock().visible {
        return Ok(());
    }
    let owner = cell.owner();
    // From the first range on it is not all visible, so that `show` has work to do.
    cell.life.lock().visible = false;
    unmap_from_root(caller, &|f| for_each_run(owner, f)).or_else(|refusal| {
        show(cell)?;
        Err(refusal)
    })
}

/// Gives ranges to its argument; the error of the first that fails.
type Ranges<'a> = &'a dyn Fn(&mut dyn FnMut(Range<Hpa>) -> Result<(), ()>) -> Result<(), ()>;

/// Ends the root's view of the ranges that `ranges` gives to its argument. After
/// an error a part of them may be unmapped.
pub(super) fn unmap_from_root(caller: &mut Caller<'_>, ranges: Ranges<'_>) -> Result<(), Refusal> {
    change_root(caller, Space::unmap, ranges)
}

/// Changes the root's view of ranges, for all CPUs of the root.
pub(super) fn change_root(
    caller: &mut Caller<'_>,
    change: fn(&mut Space, Range<Gpa>) -> Result<Stale, MapError>,
    ranges: Ranges<'_>,
) -> Result<(), Refusal> {
    let root = cell::get(CellId::ROOT).ok_or(CallStatus::NoSuchCell)?;
    let mut stale: Option<Stale> = None;
    let result = ranges(&mut |range| {
        let mut space = root.space.lock();
        let space = space.as_mut().ok_or(())?;
        let new = change(space, guest(range)).map_err(|_| ())?;
        stale = Some(match stale.take() {
            Some(old) => old.join(new, &mut crate::mem::pool::PoolTables::Coherent),
            None => new,
        });
        Ok(())
    });
    let flushed = kick::flush(root_cpus(), caller.shared);
    (caller.flush)();
    match (stale.take(), flushed) {
        (Some(stale), Ok(())) => stale.flushed(&mut crate::mem::pool::PoolTables::Coherent),
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
    percpu::cpus().filter(|cpu| cpu.owner() == CellId::ROOT)
}

/// Lets the root see a cell's memory.
pub(super) fn show(cell: &Cell) -> Result<(), Refusal> {
    let root = cell::get(CellId::ROOT).ok_or(CallStatus::NoSuchCell)?;
    if cell.life.lock().visible {
        return Ok(());
    }
    for_each_run(cell.owner(), &mut |range| {
        let mut space = root.space.lock();
        show_range(space.as_mut().ok_or(())?, range)
    })
    .map_err(|()| Refusal::from(CallStatus::NoMemory))?;
    cell.life.lock().visible = true;
    Ok(())
}

/// Maps what is not mapped of a range. A part may be there still if a step before
/// has failed half-way.
fn show_range(space: &mut Space, range: Range<Hpa>) -> Result<(), ()> {
    let end = range.end;
    let mut at = range.start;
    let map = |space: &mut Space, range: Range<Hpa>| {
        let hpa = range.start;
        space.map(guest(range), hpa, Attr::RAM)
    };
    while at < end {
        if let Some(mapping) = space.translate(at.identity()) {
            at = at + mapping.size_left;
            continue;
        }
        at = match map(space, at..end) {
            Ok(()) => end,
            Err(MapError::Overlap(there)) => {
                let there = there.identity();
                map(space, at..there).map_err(|_| ())?;
                there
            }
            Err(_) => return Err(()),
        };
    }
    Ok(())
}

/// What the root calls a range.
fn guest(range: Range<Hpa>) -> Range<Gpa> {
    range.start.identity()..range.end.identity()
}

/// Calls `f` with all ranges that `owner` has; the error of the first that fails.
pub(super) fn for_each_run(
    owner: Owner,
    f: &mut dyn FnMut(Range<Hpa>) -> Result<(), ()>,
) -> Result<(), ()> {
    let mut next = 0;
    loop {
        let run = owners::with(|o| o.pages.owned(owner).find(|run| run.start >= next));
        let Some(Some(run)) = run else { return Ok(()) };
        f(Hpa(run.start * PAGE_SIZE)..Hpa(run.end * PAGE_SIZE))?;
        next = run.end;
    }
}
