//! The monitor's own page tables, the windows of each CPU onto memory that is
//! not the monitor's, and device registers.
//!
//! Address space, all in the one level-4 slot of [`BASE`]: the monitor's memory
//! at [`BASE`], windows at [`WINDOWS`], device registers at [`DEVICES`].
//!
//! Source: SDM 3A, "4-Level Paging and 5-Level Paging", "Page Attribute Table
//! (PAT)".

use super::{entry, hpa_of, memory_size, pool};
use crate::sync::Mutex;
use crate::sync::Once;
use crate::{boot, mem};
use cellvisor_abi::image::{BASE, BRIDGE_SLOT};
use cellvisor_abi::{CHUNK_SIZE, PAGE_SIZE};
use cellvisor_core::addr::Hpa;
use core::sync::atomic::{AtomicU64, Ordering};

const GIB: u64 = 1 << 30;
/// Windows: one page for each CPU.
const WINDOWS: u64 = BASE + GIB;
/// Device registers, mapped uncacheable.
const DEVICES: u64 = BASE + 2 * GIB;
/// Stacks once more, with an unmapped page before each.
const STACKS: u64 = BASE + 3 * GIB;
/// From one such stack to the next.
const STACK_STRIDE: u64 = PAGE_SIZE + mem::STACK_SIZE as u64;

const PRESENT: u64 = 1;
const WRITE: u64 = 1 << 1;
const UNCACHED: u64 = 1 << 3 | 1 << 4;
const ACCESSED_DIRTY: u64 = 1 << 5 | 1 << 6;
const LARGE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

struct Tables {
    /// Virtual address of the level-3 table of our slot.
    level3: u64,
    devices_used: u64,
}

static TABLES: Mutex<Option<Tables>> = Mutex::new(None);
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
        BRIDGE_SLOT,
        hpa_of(level3).0 | PRESENT | WRITE | ACCESSED_DIRTY,
    );
    let top = if boot::boot_info().la57 != 0 {
        let level5 = pool::alloc()?;
        write(
            level5,
            0,
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
    let mut va = BASE;
    while va < BASE + memory_size() {
        if va < image_end {
            map_small(&tables, va, hpa_of(va), image_flags(va))?;
            va += PAGE_SIZE;
        } else if va.is_multiple_of(CHUNK_SIZE) {
            let level2 = table_at(tables.level3, va >> 30 & 0x1ff)?;
            let flags = PRESENT | WRITE | LARGE | NO_EXECUTE | ACCESSED_DIRTY;
            write(level2, va >> 21 & 0x1ff, hpa_of(va).0 | flags);
            va += CHUNK_SIZE;
        } else {
            map_small(
                &tables,
                va,
                hpa_of(va),
                PRESENT | WRITE | NO_EXECUTE | ACCESSED_DIRTY,
            )?;
            va += PAGE_SIZE;
        }
    }
    for cpu in 0..u64::from(boot::boot_info().cpu_count) {
        map_small(&tables, WINDOWS + cpu * PAGE_SIZE, Hpa(0), 0)?;
        map_stack(&tables, cpu)?;
    }
    map_small(&tables, DEVICES, Hpa(0), 0)?;
    share_with_bridge(&tables);
    *TABLES.lock() = Some(tables);
    CR3.set(hpa_of(top).0);
    Some(())
}

/// Maps the stack of the CPU with this area index behind a page that is not
/// there: what overflows it faults instead of writing over another CPU's VMCS.
fn map_stack(tables: &Tables, cpu: u64) -> Option<()> {
    for offset in (0..mem::STACK_SIZE as u64).step_by(PAGE_SIZE as usize) {
        let hpa = hpa_of(mem::stack(cpu) + offset);
        let va = mem::stack(cpu) + guarded_stack(cpu) + offset;
        map_small(
            tables,
            va,
            hpa,
            PRESENT | WRITE | NO_EXECUTE | ACCESSED_DIRTY,
        )?;
    }
    Some(())
}

/// How far behind its place in the area the guarded stack of this CPU is.
pub(crate) fn guarded_stack(cpu: u64) -> u64 {
    STACKS + cpu * STACK_STRIDE + PAGE_SIZE - mem::stack(cpu)
}

/// Windows and device registers are there under the bridge tables as well, under
/// which CPUs prepare themselves.
fn share_with_bridge(tables: &Tables) {
    let bridge_level3 = boot::bridge_tables() + 2 * PAGE_SIZE;
    for va in [WINDOWS, DEVICES, STACKS] {
        let index = va >> 30 & 0x1ff;
        write(bridge_level3, index, read(tables.level3, index));
    }
}

/// Text is executable, read-only data is neither writable nor executable.
fn image_flags(va: u64) -> u64 {
    if va < boot::rodata_start() {
        PRESENT | ACCESSED_DIRTY
    } else if va < boot::data_start() {
        PRESENT | NO_EXECUTE | ACCESSED_DIRTY
    } else {
        PRESENT | WRITE | NO_EXECUTE | ACCESSED_DIRTY
    }
}

fn map_small(tables: &Tables, va: u64, hpa: Hpa, flags: u64) -> Option<()> {
    let level2 = table_at(tables.level3, va >> 30 & 0x1ff)?;
    let level1 = table_at(level2, va >> 21 & 0x1ff)?;
    write(level1, va >> 12 & 0x1ff, hpa.0 | flags);
    Some(())
}

/// The table that an entry points at, made if there is none.
fn table_at(table: u64, index: u64) -> Option<u64> {
    let now = read(table, index);
    if now & PRESENT != 0 {
        return super::va_of(Hpa(now & ADDRESS));
    }
    let next = pool::alloc()?;
    write(
        table,
        index,
        hpa_of(next).0 | PRESENT | WRITE | ACCESSED_DIRTY,
    );
    Some(next)
}

fn read(table: u64, index: u64) -> u64 {
    entry(table + index * 8).map_or(0, |entry| entry.load(Ordering::Relaxed))
}

/// Only this module writes our tables, and what it maps is the monitor's memory, a
/// window of one CPU or a device's registers.
fn write(table: u64, index: u64, value: u64) {
    if let Some(entry) = entry(table + index * 8) {
        entry.store(value, Ordering::Relaxed);
    }
}

/// Maps one page of device registers, uncacheable; its virtual address. Pages
/// stay mapped until the monitor is gone.
pub(crate) fn device(hpa: Hpa) -> Option<u64> {
    let mut guard = TABLES.lock();
    let tables = guard.as_mut()?;
    let va = DEVICES + tables.devices_used * PAGE_SIZE;
    let flags = PRESENT | WRITE | NO_EXECUTE | UNCACHED | ACCESSED_DIRTY;
    map_small(tables, va, Hpa(hpa.0 & ADDRESS), flags)?;
    tables.devices_used += 1;
    Some(va)
}

/// One CPU's window: a page through which it looks at one page at a time of
/// memory that is not the monitor's.
pub(crate) struct Window {
    va: u64,
    /// The level-1 entry behind the window.
    entry: &'static AtomicU64,
}

impl Window {
    /// The window of the CPU with this area index. Each CPU makes its own, once.
    pub(crate) fn new(area: u32) -> Option<Self> {
        let va = WINDOWS + u64::from(area) * PAGE_SIZE;
        let guard = TABLES.lock();
        let level2 = table_at(guard.as_ref()?.level3, va >> 30 & 0x1ff)?;
        let level1 = table_at(level2, va >> 21 & 0x1ff)?;
        Some(Self {
            va,
            entry: entry(level1 + (va >> 12 & 0x1ff) * 8)?,
        })
    }

    /// Opens the window on the page at `hpa`.
    ///
    /// The pointer is good until the next call. What is behind it may change at
    /// any time: use volatile accesses or copies, never references.
    pub(crate) fn open(&mut self, hpa: Hpa) -> *mut u8 {
        self.open_as(hpa, 0)
    }

    /// Opens the window on a page of device registers, uncacheable.
    pub(crate) fn open_device(&mut self, hpa: Hpa) -> *mut u8 {
        self.open_as(hpa, UNCACHED)
    }

    fn open_as(&mut self, hpa: Hpa, cache: u64) -> *mut u8 {
        let flags = PRESENT | WRITE | NO_EXECUTE | ACCESSED_DIRTY | cache;
        self.entry
            .store((hpa.0 & ADDRESS) | flags, Ordering::Relaxed);
        // SAFETY: forgetting a translation is always allowed.
        unsafe { x86::tlb::flush(self.va as usize) };
        self.va as *mut u8
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
