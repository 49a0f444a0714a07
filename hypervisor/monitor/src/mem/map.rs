//! The monitor's own page tables, the windows of each CPU onto memory that is
//! not the monitor's, and device registers.
//!
//! Address space, all in the one level-4 slot of [`BASE`]: the monitor's memory
//! at [`BASE`], windows at [`WINDOWS`], device registers at [`DEVICES`].
//!
//! Source: SDM 3A, "4-Level Paging and 5-Level Paging", "Page Attribute Table
//! (PAT)".

mod trail;

pub(crate) use trail::End;

use super::device::DevicePage;
use super::{AreaIndex, entry, hpa_of, memory_size, pool};
use crate::boot::{STACK_SIZE, STACK_STRIDE, STACKS};
use crate::lock::Mutex;
use crate::sync::Once;
use crate::{boot, mem};
use cellvisor_abi::image::{BASE, BRIDGE_SLOT};
use cellvisor_abi::{CHUNK_SIZE, PAGE_SIZE};
use cellvisor_core::addr::{Hpa, Hva};
use cellvisor_core::locks::Rank;
use core::sync::atomic::Ordering;
use trail::Trail;

const GIB: u64 = 1 << 30;
/// Windows: [`PANES`] pages for each CPU.
const WINDOWS: Hva = Hva(BASE + GIB);
/// Device registers, mapped uncacheable.
const DEVICES: Hva = Hva(BASE + 2 * GIB);

/// Bits of an entry besides the address.
#[derive(Clone, Copy)]
struct Flags(u64);

const PRESENT: u64 = 1;
const WRITE: u64 = 1 << 1;
const UNCACHED: u64 = 1 << 3 | 1 << 4;
const ACCESSED_DIRTY: u64 = 1 << 5 | 1 << 6;
const LARGE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;
/// The monitor's data.
const DATA: Flags = Flags(PRESENT | WRITE | NO_EXECUTE | ACCESSED_DIRTY);
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

struct Tables {
    /// Virtual address of the level-3 table of our slot.
    level3: Hva,
    devices_used: u64,
}

static TABLES: Mutex<Option<Tables>, { Rank::Tables as u8 }> = Mutex::new(None);
static CR3: Once<u64> = Once::new();

/// Host-physical address of the top table; 0 before [`init`].
pub(crate) fn cr3() -> u64 {
    CR3.get().copied().unwrap_or(0)
}

/// Builds the tables. `None` if the pool has too few pages.
pub(crate) fn init() -> Option<()> {
    let level4 = pool::alloc()?;
    let level3 = pool::alloc()?;
    write(
        level4,
        Slot(BRIDGE_SLOT),
        hpa_of(level3).0 | PRESENT | WRITE | ACCESSED_DIRTY,
    );
    let top = if boot::boot_info().la57 != 0 {
        let level5 = pool::alloc()?;
        write(
            level5,
            Slot(0),
            hpa_of(level4).0 | PRESENT | WRITE | ACCESSED_DIRTY,
        );
        level5
    } else {
        level4
    };
    let tables = Tables {
        level3,
        devices_used: 0,
    };
    let image_end = boot::image_end();
    let mut va = Hva(BASE);
    while va.0 < BASE + memory_size() {
        if va.0 < image_end {
            map_small(&tables, va, hpa_of(va), image_flags(va))?;
            va = va + PAGE_SIZE;
        } else if va.is_aligned(CHUNK_SIZE) {
            let level2 = table_at(tables.level3, slot(va, 30))?;
            write(level2, slot(va, 21), hpa_of(va).0 | DATA.0 | LARGE);
            va = va + CHUNK_SIZE;
        } else {
            map_small(&tables, va, hpa_of(va), DATA)?;
            va = va + PAGE_SIZE;
        }
    }
    for area in (0..boot::boot_info().cpu_count).map(AreaIndex) {
        // One table holds all of them: their number is a power of two.
        map_small(&tables, window(area), Hpa(0), Flags(0))?;
        map_stack(&tables, area)?;
    }
    map_small(&tables, DEVICES, Hpa(0), Flags(0))?;
    share_with_bridge(&tables);
    *TABLES.lock() = Some(tables);
    CR3.set(hpa_of(top).0);
    Some(())
}

/// Maps the stack of the CPU with this area, and the shared part, behind a page that is
/// not there: what overflows it faults instead of writing over another CPU's VMCS.
fn map_stack(tables: &Tables, area: AreaIndex) -> Option<()> {
    let size = STACK_SIZE as u64 + PAGE_SIZE;
    for offset in (0..size).step_by(PAGE_SIZE as usize) {
        let hpa = hpa_of(mem::stack(area) + offset);
        let va = mem::stack(area) + guarded_stack(area) + offset;
        map_small(tables, va, hpa, DATA)?;
    }
    Some(())
}

/// The first of the two panes for the page at `hpa`. Tables of a guest that follow each
/// other on a walk mostly lie near each other, and get panes of their own.
const fn panes(hpa: Hpa) -> usize {
    (hpa.page() ^ hpa.page() >> 9) as usize * 2 % SHARED
}

/// How far behind its place in the area the guarded stack of this CPU is.
pub(crate) fn guarded_stack(area: AreaIndex) -> u64 {
    (STACKS + u64::from(area.0) * STACK_STRIDE + PAGE_SIZE).0 - mem::stack(area).0
}

/// Windows and device registers are there under the bridge tables as well, under
/// which CPUs prepare themselves.
fn share_with_bridge(tables: &Tables) {
    let bridge_level3 = Hva(boot::bridge_tables()) + 2 * PAGE_SIZE;
    for va in [WINDOWS, DEVICES, STACKS] {
        let index = slot(va, 30);
        write(bridge_level3, index, read(tables.level3, index));
    }
}

/// The window of a CPU.
fn window(area: AreaIndex) -> Hva {
    WINDOWS + u64::from(area.0) * (PANES as u64 * PAGE_SIZE)
}

/// Where an address is in its table at the level that begins with this bit.
const fn slot(va: Hva, bit: u32) -> Slot {
    Slot(va.0 >> bit & 0x1ff)
}

/// Place of an entry in its table.
#[derive(Clone, Copy)]
struct Slot(u64);

impl Slot {
    /// Where the entry is.
    fn within(self, table: Hva) -> Hva {
        table + self.0 * 8
    }
}

/// Text is executable, read-only data is neither writable nor executable.
fn image_flags(va: Hva) -> Flags {
    if va.0 < boot::text_start() {
        Flags(PRESENT | NO_EXECUTE | ACCESSED_DIRTY)
    } else if va.0 < boot::data_start() {
        Flags(PRESENT | ACCESSED_DIRTY)
    } else {
        DATA
    }
}

fn map_small(tables: &Tables, va: Hva, hpa: Hpa, flags: Flags) -> Option<()> {
    let level2 = table_at(tables.level3, slot(va, 30))?;
    let level1 = table_at(level2, slot(va, 21))?;
    write(level1, slot(va, 12), hpa.0 | flags.0);
    Some(())
}

/// The table that an entry points at, made if there is none.
fn table_at(table: Hva, slot: Slot) -> Option<Hva> {
    let now = read(table, slot);
    if now & PRESENT != 0 {
        return super::va_of(Hpa(now & ADDRESS));
    }
    let next = pool::alloc()?;
    write(
        table,
        slot,
        hpa_of(next).0 | PRESENT | WRITE | ACCESSED_DIRTY,
    );
    Some(next)
}

fn read(table: Hva, slot: Slot) -> u64 {
    entry(slot.within(table)).map_or(0, |entry| entry.load(Ordering::Relaxed))
}

/// Only this module writes our tables, and what it maps is the monitor's memory, a
/// window of one CPU or a device's registers.
fn write(table: Hva, slot: Slot, value: u64) {
    if let Some(entry) = entry(slot.within(table)) {
        entry.store(value, Ordering::Relaxed);
    }
}

/// Maps one page of device registers, uncacheable; its virtual address. Pages
/// stay mapped until the monitor is gone.
pub(crate) fn device(hpa: Hpa) -> Option<Hva> {
    let mut guard = TABLES.lock();
    let tables = guard.as_mut()?;
    let va = DEVICES + tables.devices_used * PAGE_SIZE;
    let flags = Flags(PRESENT | WRITE | NO_EXECUTE | UNCACHED | ACCESSED_DIRTY);
    map_small(tables, va, Hpa(hpa.0 & ADDRESS), flags)?;
    tables.devices_used += 1;
    Some(va)
}

/// Panes of a window for whatever is looked at; those of [`trail`] are behind them.
const SHARED: usize = 8;

/// Pages of a window, some of which may be unused.
const PANES: usize = (SHARED + trail::PANES).next_power_of_two();

/// One CPU's window: a few pages through which it looks at memory that is not the
/// monitor's. A page is seen through one of the shared panes only, so that it has one
/// memory type, and stays there until the pane is wanted for another.
#[repr(C)] // What is small comes first, within a byte's reach of instructions.
pub(crate) struct Window {
    va: Hva,
    /// Where the level-1 entry behind the first pane is.
    entries: Hva,
    /// Which of two panes was changed last.
    turn: usize,
    /// What the entries hold.
    shown: [u64; PANES],
    trail: Trail,
}

/// An entry that shows the page that `hpa` is in.
const fn shows(hpa: Hpa, cache: Flags) -> u64 {
    hpa.0 & ADDRESS | PRESENT | WRITE | NO_EXECUTE | ACCESSED_DIRTY | cache.0
}

impl Window {
    /// The window of the CPU with this area. Each CPU makes its own, once.
    pub(crate) fn new(area: AreaIndex) -> Option<Self> {
        let va = window(area);
        let guard = TABLES.lock();
        let level2 = table_at(guard.as_ref()?.level3, slot(va, 30))?;
        let level1 = table_at(level2, slot(va, 21))?;
        let entries = slot(va, 12).within(level1);
        // One of them is in the monitor's memory, and so is the table that has them all.
        entry(entries)?;
        Some(Self {
            va,
            entries,
            shown: [0; PANES],
            turn: 0,
            trail: Trail::default(),
        })
    }

    /// Opens the window on the page at `hpa`.
    ///
    /// The pointer is good until the next call. What is behind it may change at
    /// any time: use volatile accesses or copies, never references.
    #[inline(never)] // But for `word`.
    pub(crate) fn open(&mut self, hpa: Hpa) -> *mut u8 {
        self.open_as(hpa, Flags(0))
    }

    /// Opens the window on the page of device registers that `hpa` is in, uncacheable.
    pub(crate) fn open_device(&mut self, hpa: Hpa) -> DevicePage<'_> {
        DevicePage::shown(self.open_as(hpa, Flags(UNCACHED)))
    }

    #[inline(always)] // As `word`.
    fn open_as(&mut self, hpa: Hpa, cache: Flags) -> *mut u8 {
        let first = panes(hpa);
        let wanted = shows(hpa, cache);
        if self.shown.get(first) == Some(&wanted) {
            return self.pane(first).ptr();
        }
        if self.shown.get(first + 1) == Some(&wanted) {
            return self.pane(first + 1).ptr();
        }
        self.show(first, wanted)
    }

    #[inline(always)] // As `word`.
    fn pane(&self, pane: usize) -> Hva {
        self.va + pane as u64 * PAGE_SIZE
    }

    /// Makes one of two panes show what this entry says, the one that shows the page in
    /// another way if there is such a one; where the pane is.
    #[inline(never)] // Mostly it is shown already.
    fn show(&mut self, first: usize, value: u64) -> *mut u8 {
        let shows = |pane: usize| {
            let shown = self.shown.get(pane);
            shown.is_some_and(|shown| (shown ^ value) & ADDRESS == 0)
        };
        let pane = if shows(first) {
            first
        } else if shows(first + 1) {
            first + 1
        } else {
            self.turn ^= 1;
            first + self.turn
        };
        self.set(pane, value);
        self.pane(pane).ptr()
    }

    fn set(&mut self, pane: usize, value: u64) {
        if let Some(entry) = entry(self.entries + pane as u64 * 8) {
            entry.store(value, Ordering::Relaxed);
        }
        // SAFETY: forgetting a translation is always allowed.
        unsafe { x86::tlb::flush(self.pane(pane).0 as usize) };
        if let Some(shown) = self.shown.get_mut(pane) {
            *shown = value;
        }
    }

    /// Shows nothing any more: the CPU gets another owner.
    pub(crate) fn close(&mut self) {
        self.begin_trail();
        for pane in 0..PANES {
            self.set(pane, 0);
        }
    }

    /// Reads eight bytes of memory at `hpa`, a multiple of eight.
    #[inline(always)] // A walk of a guest's tables asks for it at each level.
    pub(crate) fn word(&mut self, hpa: Hpa) -> u64 {
        let page = self.open_as(hpa, Flags(0));
        // SAFETY: the pane shows the page, the offset is inside it and aligned.
        unsafe {
            page.add((hpa.page_offset() & !7) as usize)
                .cast::<u64>()
                .read_volatile()
        }
    }

    /// Copies from memory at `hpa`; the range must not leave its page.
    pub(crate) fn read(&mut self, hpa: Hpa, out: &mut [u8]) {
        let offset = (hpa.0 % PAGE_SIZE) as usize;
        let len = out.len().min(PAGE_SIZE as usize - offset);
        let page = self.open(hpa);
        // SAFETY: offset + len stay in the page that the window shows; `out` is
        // the monitor's own memory.
        unsafe { core::ptr::copy_nonoverlapping(page.add(offset), out.as_mut_ptr(), len) };
    }

    /// Copies to memory at `hpa`; the range must not leave its page. The caller
    /// has checked whose memory it is.
    pub(crate) fn write(&mut self, hpa: Hpa, bytes: &[u8]) {
        let offset = (hpa.0 % PAGE_SIZE) as usize;
        let len = bytes.len().min(PAGE_SIZE as usize - offset);
        let page = self.open(hpa);
        // SAFETY: as in `read`, in the other direction.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), page.add(offset), len) };
    }

    /// Stores a value at `hpa`, a multiple of its size, at once. The caller has checked
    /// whose memory it is.
    pub(crate) fn put<T: Word>(&mut self, hpa: Hpa, value: T) {
        let offset = hpa.page_offset() as usize & !(size_of::<T>() - 1);
        let page = self.open(hpa);
        // SAFETY: the pane shows the page, the offset is inside it and aligned.
        unsafe { page.add(offset).cast::<T>().write_volatile(value) };
    }

    /// Copies from memory at `from` to another page at `to`; neither range must leave its
    /// page. The caller has checked whose memory it is.
    pub(crate) fn copy(&mut self, from: Hpa, to: Hpa, len: u64) {
        let (start, target) = (from.page_offset(), to.page_offset());
        let len = len.min(PAGE_SIZE - start).min(PAGE_SIZE - target);
        if from.page() == to.page() {
            return;
        }
        self.open(from);
        let to = self.open(to);
        // If both have the same panes, the second may have taken the place of the first,
        // which comes back to the other one now.
        let from = self.open(from);
        let (from, to) = (
            from.wrapping_add(start as usize),
            to.wrapping_add(target as usize),
        );
        // SAFETY: two panes show the pages, and the ranges are inside them; of bytes that
        // guests write meanwhile any may arrive.
        unsafe { core::ptr::copy_nonoverlapping(from, to, len as usize) };
    }

    /// Zeroes the page at `hpa`. The caller has checked whose memory it is.
    pub(crate) fn zero(&mut self, hpa: Hpa) {
        let page = self.open(hpa);
        // Eight bytes at a time: emulators and old CPUs do not join bytes.
        // SAFETY: the window shows one whole page.
        unsafe {
            core::arch::asm!("rep stosq",
                inout("rcx") PAGE_SIZE / 8 => _, inout("rdi") page => _, in("rax") 0,
                options(nostack, preserves_flags));
        }
    }
}

/// What is stored at once.
pub(crate) trait Word: Copy {}
impl Word for u16 {}
impl Word for u32 {}
