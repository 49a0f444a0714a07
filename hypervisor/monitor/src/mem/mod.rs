//! The monitor's memory: where it lies, its page pool, its own page tables and
//! its windows onto other memory.

pub(crate) mod device;
pub(crate) mod map;
pub(crate) mod owners;
pub(crate) mod page;
pub(crate) mod pool;
#[cfg_attr(not(feature = "sockets"), path = "absent/reserve.rs")]
pub(crate) mod reserve;
pub(crate) mod space;

use crate::boot;
pub(crate) use crate::boot::{AREA_SIZE, STACK_SIZE, areas_start, page_up};
use cellvisor_abi::CHUNK_SIZE;
use cellvisor_abi::image::BASE;
use cellvisor_core::addr::{Hpa, Hva};
use core::sync::atomic::AtomicU64;

/// Which of the areas is a CPU's: in the order in which CPUs have entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AreaIndex(pub(crate) u32);

/// Bytes of memory that the driver gave us.
pub(crate) fn memory_size() -> u64 {
    u64::from(boot::boot_info().chunk_count) * CHUNK_SIZE
}

/// Host-physical address of a virtual one in the monitor's memory.
///
/// Only for addresses below [`memory_size`]: the chunk table has no others.
#[inline(never)] // Many call it, and the image is small.
pub(crate) fn hpa_of(va: Hva) -> Hpa {
    let offset = va.0.wrapping_sub(BASE);
    let chunk = boot::boot_info().chunks.get((offset / CHUNK_SIZE) as usize);
    Hpa(chunk.copied().unwrap_or(0) + offset % CHUNK_SIZE)
}

/// Virtual address of host-physical memory of the monitor; `None` for memory
/// that is not its own.
pub(crate) fn va_of(hpa: Hpa) -> Option<Hva> {
    let info = boot::boot_info();
    let chunks = info.chunks.get(..info.chunk_count as usize)?;
    let base = hpa.align_down(CHUNK_SIZE);
    let index = chunks.iter().position(|chunk| Hpa(*chunk) == base)?;
    Some(Hva(BASE + index as u64 * CHUNK_SIZE + hpa.0 % CHUNK_SIZE))
}

/// A word of the monitor's memory that serves as an entry of a table, by its virtual
/// address; `None` for an address that is none.
pub(crate) fn entry(va: Hva) -> Option<&'static AtomicU64> {
    let inside = va.0.checked_sub(BASE)? < memory_size() && va.is_aligned(8);
    // SAFETY: the memory is mapped as long as the monitor runs; those who call name
    // pages of the pool that serve as tables, which CPUs read and change word by
    // word.
    inside.then(|| unsafe { &*va.ptr() })
}

/// First byte behind image, plan and per-CPU areas: the pool begins here.
pub(crate) fn pool_start() -> Hva {
    areas_start() + u64::from(boot::boot_info().cpu_count) * AREA_SIZE as u64
}

/// The stack of the CPU with this area.
pub(crate) fn stack(area: AreaIndex) -> Hva {
    areas_start() + u64::from(area.0) * AREA_SIZE as u64
}
