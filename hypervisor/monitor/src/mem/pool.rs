//! The page pool: all that the monitor allocates after its start comes from
//! here, in whole pages. There is no heap.
//!
//! Source: SDM 2A, "CLFLUSH".

use super::reserve::Reserve;
use super::{entry, hpa_of, memory_size, page_up, pool_start, va_of};
use crate::lock::{self, Mutex};
use crate::provoke::{self, Step};
use cellvisor_abi::PAGE_SIZE;
use cellvisor_abi::image::BASE;
use cellvisor_core::addr::{Hpa, Hva};
use cellvisor_core::free_map::FreeMap;
use cellvisor_core::locks::Rank;
use cellvisor_core::paging::TableMem;
use core::sync::atomic::{AtomicU64, Ordering};

/// How many pages.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pages(pub(crate) u64);

/// The pool and the virtual address of its first page.
struct Pool {
    map: FreeMap<'static>,
    first: Hva,
}

static POOL: Mutex<Option<Pool>, { Rank::Pool as u8 }> = Mutex::new(None);

/// Puts all memory behind the per-CPU areas into the pool, but for the map of
/// the pool itself. `None` if there is none.
pub(crate) fn init() -> Option<()> {
    let start = page_up(pool_start());
    let end = BASE + memory_size();
    let pages = end.checked_sub(start.0)? / PAGE_SIZE;
    let words = FreeMap::words(pages as usize);
    let first = page_up(start + words as u64 * 8);
    // SAFETY: the memory is the monitor's, mapped, zeroed, behind everything
    // that is in use, and before the first page of the pool.
    let words = unsafe { core::slice::from_raw_parts_mut(start.ptr(), words) };
    let pages = end.checked_sub(first.0)? / PAGE_SIZE;
    let map = FreeMap::new(words, pages as usize)?;
    *POOL.lock() = Some(Pool { map, first });
    Some(())
}

/// Pages of the pool: (in all, free).
pub(crate) fn usage() -> (u32, u32) {
    let pool = POOL.lock();
    pool.as_ref().map_or((0, 0), |pool| {
        (pool.map.pages() as u32, pool.map.free() as u32)
    })
}

/// False when a CPU died that was about to change the map: then no page changes hands.
fn is_whole() -> bool {
    !lock::damage().has(Rank::Pool)
}

/// Takes a zeroed page; its virtual address.
pub(crate) fn alloc() -> Option<Hva> {
    alloc_run(Pages(1))
}

/// Takes `count` zeroed pages that follow each other, in physical memory as
/// well; the virtual address of the first.
pub(crate) fn alloc_run(count: Pages) -> Option<Hva> {
    if provoke::fails(Step::Page) {
        return None;
    }
    let mut guard = POOL.lock();
    let pool = guard.as_mut().filter(|_| is_whole())?;
    let va = |page: usize| pool.first + page as u64 * PAGE_SIZE;
    let joined = |page: usize| hpa_of(va(page)) + PAGE_SIZE == hpa_of(va(page + 1));
    let page = va(pool.map.take(count.0 as usize, joined)?);
    drop(guard);
    // SAFETY: the pages are taken, and nobody else knows them.
    unsafe { core::ptr::write_bytes(page.ptr::<u8>(), 0, (count.0 * PAGE_SIZE) as usize) };
    Some(page)
}

/// Gives a page back.
pub(crate) fn free(page: Hva) {
    free_run(page, Pages(1));
}

/// Gives pages back. The caller must hold the only reference to them; what is
/// not the pool's is ignored.
pub(crate) fn free_run(first: Hva, count: Pages) {
    let mut guard = POOL.lock();
    let Some(pool) = guard.as_mut().filter(|_| is_whole()) else {
        return;
    };
    if let Some(offset) = first.0.checked_sub(pool.first.0) {
        pool.map
            .give((offset / PAGE_SIZE) as usize, count.0 as usize);
    }
}

/// Pages of the pool as tables that hardware walks.
pub(crate) enum PoolTables<'a> {
    /// CPUs walk them, and snoop.
    Coherent,
    /// Units walk them that may not snoop: what is written is cleaned.
    Cleaned,
    /// As the first, and they are from a reserve.
    Reserved(&'a mut Reserve),
}

impl PoolTables<'_> {
    fn entry(table: Hpa, index: usize) -> Option<&'static AtomicU64> {
        let va = va_of(table)?;
        (index < 512).then(|| entry(va + index as u64 * 8))?
    }
}

impl TableMem for PoolTables<'_> {
    fn alloc(&mut self) -> Option<Hpa> {
        let page = match self {
            Self::Reserved(reserve) => reserve.alloc(),
            _ => alloc(),
        };
        page.map(hpa_of)
    }

    fn free(&mut self, table: Hpa) {
        if let Some(va) = va_of(table) {
            match self {
                Self::Reserved(reserve) => reserve.give(va),
                _ => free(va),
            }
        }
    }

    fn read(&self, table: Hpa, index: usize) -> u64 {
        Self::entry(table, index).map_or(0, |entry| entry.load(Ordering::Relaxed))
    }

    fn write(&mut self, table: Hpa, index: usize, value: u64) {
        if let Some(entry) = Self::entry(table, index) {
            entry.store(value, Ordering::Relaxed);
            if matches!(self, Self::Cleaned) {
                clean(entry);
            }
        }
    }
}

/// Writes the cache line of a word of the monitor's memory back to memory.
pub(crate) fn clean(word: &AtomicU64) {
    // SAFETY: the line is the monitor's memory; CLFLUSH is part of the 64-bit
    // architecture's SSE2.
    unsafe {
        core::arch::asm!("mfence", "clflush [{}]", "mfence", in(reg) word.as_ptr(), options(nostack));
    }
}
