//! The cell's RAM, as far as neither the loader nor the program uses it.

use crate::Machine;
use core::arch::asm;
use core::arch::x86_64::__cpuid;
use core::sync::atomic::AtomicU64;

/// Below this are boot parameters, page tables, the start of other CPUs, and what
/// firmware has on PCs.
const LOW_END: u64 = 1 << 20;
/// End of what the loader maps.
const MAPPED: u64 = 4 << 30;
/// What one page table of level 3 covers.
const REACH: u64 = 512 << 30;
/// Bytes of a page of level 3.
const GIANT: u64 = 1 << 30;
/// Page table entry: present, writable, a page of its own.
const PAGE: u64 = 0b1000_0011;
/// Bit of CPUID 8000_0001H, EDX: there are pages of 1 GiB.
const GIANT_PAGES: u32 = 1 << 26;

/// Boot parameters: number of entries of the memory map, the map, address and size of
/// the initial RAM disk (Linux, "Zero Page").
const ENTRIES: usize = 0x1e8;
const MAP: usize = 0x2d0;
const DISK: usize = 0x218;
const DISK_SIZE: usize = 0x21c;
/// Bytes of an entry of the map, and its kind of RAM that may be used.
const ENTRY: usize = 20;
const USABLE: u32 = 1;

unsafe extern "C" {
    /// The program's first byte, and the byte after its last (`cells/cell.ld`).
    static cell_start: u8;
    static cell_end: u8;
}

/// Calls `found` with each stretch of RAM that nothing uses, in ascending order;
/// returns bytes of RAM that were left out because no page table reaches them.
///
/// The words are atomic, so all CPUs may use them at once. The first CPU calls this
/// before it starts others, so that they find the same page tables.
pub fn free(machine: &Machine, mut found: impl FnMut(&'static [AtomicU64])) -> u64 {
    let reach = map_all();
    let mut beyond = 0;
    each_usable(machine, |start, end| {
        beyond += end.saturating_sub(start.max(reach));
        cut(machine, start.max(LOW_END), end.min(reach), &mut found);
    });
    beyond
}

/// The usable ranges of the memory map.
fn each_usable(machine: &Machine, mut usable: impl FnMut(u64, u64)) {
    let params = machine.params;
    // SAFETY: the loader leaves boot parameters of one page at this address, which
    // is mapped and which nothing writes to; the map has no more entries than it says.
    unsafe {
        let entries = params.add(ENTRIES).read();
        for n in 0..usize::from(entries) {
            let entry = params.add(MAP + n * ENTRY);
            let start = entry.cast::<u64>().read_unaligned();
            let size = entry.add(8).cast::<u64>().read_unaligned();
            if entry.add(16).cast::<u32>().read_unaligned() == USABLE {
                usable(start, start + size);
            }
        }
    }
}

/// Calls `found` with what of a range is left around the program and the disk.
fn cut(machine: &Machine, start: u64, end: u64, found: &mut impl FnMut(&'static [AtomicU64])) {
    let mut used = [program(), disk(machine)];
    used.sort_unstable();
    let mut from = start;
    for (first, after) in used.into_iter().chain([(end, end)]) {
        let to = first.min(end);
        if from < to {
            found(words(from, to));
        }
        from = from.max(after);
    }
}

/// RAM from one address up to another, in whole words.
fn words(from: u64, to: u64) -> &'static [AtomicU64] {
    let start = from.next_multiple_of(8);
    let count = to.saturating_sub(start) / 8;
    // SAFETY: the range is RAM by the memory map, mapped, and neither the program's
    // nor the loader's, so nothing else refers to it; any bytes are such words, and
    // all who get them share them as atomic ones.
    unsafe { core::slice::from_raw_parts(start as *const AtomicU64, count as usize) }
}

/// Where the program lies: its first byte, the byte after its last.
fn program() -> (u64, u64) {
    let (start, end) = (&raw const cell_start, &raw const cell_end);
    (start.addr() as u64, end.addr() as u64)
}

/// Where the initial RAM disk lies below 4 GiB; nowhere without one.
fn disk(machine: &Machine) -> (u64, u64) {
    // SAFETY: as for the memory map.
    let [start, size] = unsafe {
        [DISK, DISK_SIZE].map(|at| machine.params.add(at).cast::<u32>().read_unaligned())
    };
    (u64::from(start), u64::from(start) + u64::from(size))
}

/// Maps the rest of what the loader's page table of level 3 reaches to itself, where
/// CPUs have pages that large; returns the end of what is mapped.
fn map_all() -> u64 {
    if __cpuid(0x8000_0000).eax < 0x8000_0001 || __cpuid(0x8000_0001).edx & GIANT_PAGES == 0 {
        return MAPPED;
    }
    // SAFETY: CR3 holds the loader's tables, which are mapped to themselves; the
    // entries that change were not present, so no CPU has them cached.
    unsafe {
        let cr3: u64;
        asm!("mov {}, cr3", out(reg) cr3, options(nomem, nostack));
        let level_4 = (cr3 & !0xfff) as *const u64;
        let level_3 = (level_4.read() & !0xfff) as *mut u64;
        for n in MAPPED / GIANT..REACH / GIANT {
            level_3.add(n as usize).write((n * GIANT) | PAGE);
        }
    }
    REACH
}
