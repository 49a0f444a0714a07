//! The page pool: all that the monitor allocates after its start comes from
//! here, in whole pages. There is no heap.

use super::{hpa_of, memory_size, page_up, pool_start, va_of};
use cellvisor_abi::PAGE_SIZE;
use cellvisor_abi::image::BASE;
use cellvisor_core::addr::Hpa;
use cellvisor_core::paging::TableMem;
use spin::Mutex;

/// Free pages form a chain: each holds the address of the next.
struct Pool {
    /// Virtual address of the first free page; 0 if there is none.
    first: u64,
    free: u32,
    total: u32,
}

static POOL: Mutex<Pool> = Mutex::new(Pool {
    first: 0,
    free: 0,
    total: 0,
});

/// Puts all memory behind the per-CPU areas into the pool.
pub(crate) fn init() {
    let mut pool = POOL.lock();
    let mut page = BASE + memory_size();
    while page > page_up(pool_start()) {
        page -= PAGE_SIZE;
        // SAFETY: the page is the monitor's memory, mapped writable, and behind
        // everything that is in use.
        unsafe { (page as *mut u64).write(pool.first) };
        pool.first = page;
        pool.free += 1;
    }
    pool.total = pool.free;
}

/// Pages of the pool: (in all, free).
pub(crate) fn usage() -> (u32, u32) {
    let pool = POOL.lock();
    (pool.total, pool.free)
}

/// Takes a zeroed page; its virtual address.
pub(crate) fn alloc() -> Option<u64> {
    let mut pool = POOL.lock();
    let page = pool.first;
    if page == 0 {
        return None;
    }
    // SAFETY: a free page belongs to the pool alone, and its first word is the
    // link that `init` or `free` wrote.
    pool.first = unsafe { (page as *const u64).read() };
    pool.free -= 1;
    drop(pool);
    // SAFETY: the page is off the chain and nobody else knows it.
    unsafe { core::ptr::write_bytes(page as *mut u8, 0, PAGE_SIZE as usize) };
    Some(page)
}

/// Takes `count` zeroed pages that follow each other, as blocks do that the
/// hardware wants contiguous; `None` if no such run is free.
///
/// Searches the chain, which is in address order as long as nothing was freed;
/// asked for rarely and early.
pub(crate) fn alloc_run(count: u64) -> Option<u64> {
    let mut taken: heapless::Vec<u64, 16> = heapless::Vec::new();
    while (taken.len() as u64) < count {
        let follows = |page: u64| {
            taken.last().is_none_or(|last| {
                page == last + PAGE_SIZE && hpa_of(page).0 == hpa_of(*last).0 + PAGE_SIZE
            })
        };
        match alloc() {
            Some(page) if follows(page) => {
                if taken.push(page).is_err() {
                    free(page);
                    break;
                }
            }
            other => {
                taken.iter().copied().chain(other).for_each(free);
                return None;
            }
        }
    }
    if (taken.len() as u64) < count {
        taken.iter().copied().for_each(free);
        return None;
    }
    taken.first().copied()
}

/// Gives a page back.
///
/// The caller must hold the only reference to it; a page that is not the
/// pool's is ignored.
pub(crate) fn free(page: u64) {
    if page < page_up(pool_start())
        || page >= BASE + memory_size()
        || !page.is_multiple_of(PAGE_SIZE)
    {
        return;
    }
    let mut pool = POOL.lock();
    // SAFETY: the page is the pool's memory and nobody uses it any more.
    unsafe { (page as *mut u64).write(pool.first) };
    pool.first = page;
    pool.free += 1;
}

/// Pages of the pool as tables that hardware walks.
pub(crate) struct PoolTables;

impl PoolTables {
    fn entry(table: Hpa, index: usize) -> Option<*mut u64> {
        let va = va_of(table)?;
        (index < 512).then(|| (va + index as u64 * 8) as *mut u64)
    }
}

impl TableMem for PoolTables {
    fn alloc(&mut self) -> Option<Hpa> {
        alloc().map(hpa_of)
    }

    fn free(&mut self, table: Hpa) {
        if let Some(va) = va_of(table) {
            free(va);
        }
    }

    fn read(&self, table: Hpa, index: usize) -> u64 {
        // SAFETY: `entry` gives addresses inside the monitor's memory only;
        // tables are read and written as whole words, as the hardware does.
        Self::entry(table, index).map_or(0, |entry| unsafe { entry.read_volatile() })
    }

    fn write(&mut self, table: Hpa, index: usize, value: u64) {
        if let Some(entry) = Self::entry(table, index) {
            // SAFETY: as in `read`; the table belongs to the caller's `Tables`.
            unsafe { entry.write_volatile(value) };
        }
    }
}
