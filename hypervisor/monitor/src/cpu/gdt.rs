//! Descriptor tables of the monitor, shared by all CPUs.
//!
//! The selectors are those of 64-bit Linux, so that code segment and stack stay
//! valid when one table is exchanged for the other on the way out.
//!
//! Source: SDM 3A, "Segment Descriptors", "Task Management in 64-bit Mode", "64-Bit
//! Mode IDT".

use crate::boot;
use crate::sync::Once;
use core::cell::UnsafeCell;
use x86::dtables::DescriptorTablePointer;

/// Selector of the code segment.
pub(crate) const CODE: u16 = 0x10;
/// Selector of the data segment.
pub(crate) const DATA: u16 = 0x18;
/// Selector of the task state segment.
pub(crate) const TSS: u16 = 0x40;

/// Entries of a table that goes up to the task state segment.
const ENTRIES: usize = TSS as usize / 8 + 2;
const CODE_SEGMENT: u64 = 0x00af_9b00_0000_ffff;
const DATA_SEGMENT: u64 = 0x00cf_9300_0000_ffff;
/// Vectors with an exception stub. Of those from 16 on interrupts can come, too.
const EXCEPTIONS: usize = 32;
const VECTORS: usize = 256;
const NMI: usize = 2;
const DOUBLE_FAULT: usize = 8;
const PAGE_FAULT: usize = 14;
/// In a gate: use the first entry of the interrupt stack table.
const IST1: u64 = 1 << 32;
/// Limit for LIDT.
pub(crate) const IDT_LIMIT: u16 = (VECTORS * 16 - 1) as u16;

/// A global descriptor table.
#[repr(C, align(16))]
#[derive(Clone, Copy)]
pub(crate) struct Gdt([u64; ENTRIES]);

impl Gdt {
    /// Flat 64-bit segments and an available task state segment.
    pub(crate) const fn new(tss_base: u64, tss_limit: u32) -> Self {
        let mut entries = [0; ENTRIES];
        entries[CODE as usize / 8] = CODE_SEGMENT;
        entries[DATA as usize / 8] = DATA_SEGMENT;
        entries[TSS as usize / 8] = (tss_limit as u64 & 0xffff)
            | (tss_base & 0xff_ffff) << 16
            | 0x89 << 40
            | (tss_limit as u64 >> 16 & 0xf) << 48
            | (tss_base >> 24 & 0xff) << 56;
        entries[TSS as usize / 8 + 1] = tss_base >> 32;
        Self(entries)
    }

    /// Limit for LGDT.
    pub(crate) const LIMIT: u16 = (ENTRIES * 8 - 1) as u16;
}

/// The task state segment: all that is used of it is the stack for faults that
/// the monitor's own stack cannot take.
#[repr(C, align(128))]
struct Tss([u32; TSS_WORDS]);

const TSS_WORDS: usize = 26;
/// Low word of the first entry of the interrupt stack table.
const TSS_IST1: usize = 9;

/// The stack of such faults. They are fatal, so all CPUs may share it.
#[repr(C, align(16))]
struct EmergencyStack(UnsafeCell<[u8; EMERGENCY_STACK]>);

const EMERGENCY_STACK: usize = 4096;

// SAFETY: only the CPU uses it, and no Rust code looks at its contents.
unsafe impl Sync for EmergencyStack {}

static EMERGENCY: EmergencyStack = EmergencyStack(UnsafeCell::new([0; EMERGENCY_STACK]));

/// An interrupt gate.
#[repr(C)]
#[derive(Clone, Copy)]
struct Gate(u64, u64);

/// The tables and where they lie.
pub(crate) struct DescriptorTables {
    gdt: Gdt,
    idt: [Gate; VECTORS],
}

static TASK_STATE: Once<Tss> = Once::new();
static TABLES: Once<DescriptorTables> = Once::new();

/// On which stack page faults and double faults of the monitor are handled.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum FaultStack {
    /// The emergency stack, that an overflow can be told. Every exit must load
    /// the monitor's task state segment.
    Emergency,
    /// The stack that was in use.
    Current,
}

/// Fills the tables.
pub(crate) fn init(faults: FaultStack) {
    let mut tss = [0; TSS_WORDS];
    let top = EMERGENCY.0.get() as u64 + EMERGENCY_STACK as u64;
    tss[TSS_IST1] = top as u32;
    tss[TSS_IST1 + 1] = (top >> 32) as u32;
    TASK_STATE.set(Tss(tss));
    let gate = |target: u64| {
        let low =
            (target & 0xffff) | u64::from(CODE) << 16 | 0x8e << 40 | (target >> 16 & 0xffff) << 48;
        Gate(low, target >> 32)
    };
    let mut idt = [Gate(0, 0); VECTORS];
    for (vector, entry) in idt.iter_mut().enumerate().take(EXCEPTIONS) {
        *entry = gate(boot::exception_stubs_address() + 8 * vector as u64);
    }
    if faults == FaultStack::Emergency {
        idt[DOUBLE_FAULT].0 |= IST1;
        idt[PAGE_FAULT].0 |= IST1;
    }
    idt[EXCEPTIONS..].fill(gate(boot::host_interrupt_address()));
    idt[NMI] = gate(boot::host_nmi_address());
    TABLES.set(DescriptorTables {
        gdt: Gdt::new(tss_base(), 103),
        idt,
    });
}

/// Address of the task state segment.
pub(crate) fn tss_base() -> u64 {
    TASK_STATE
        .get()
        .map_or(0, |tss| core::ptr::from_ref(tss) as u64)
}

/// Addresses of GDT and IDT; zero before [`init`].
pub(crate) fn bases() -> (u64, u64) {
    TABLES.get().map_or((0, 0), |tables| {
        (&raw const tables.gdt as u64, &raw const tables.idt as u64)
    })
}

/// Linux's GDT register.
pub(crate) fn sgdt() -> (u64, u16) {
    let mut pointer = DescriptorTablePointer::<u64> {
        limit: 0,
        base: core::ptr::null(),
    };
    // SAFETY: SGDT writes the pointer and nothing else.
    unsafe { x86::dtables::sgdt(&mut pointer) };
    (pointer.base as u64, pointer.limit)
}

/// Linux's IDT register.
pub(crate) fn sidt() -> (u64, u16) {
    let mut pointer = DescriptorTablePointer::<u64> {
        limit: 0,
        base: core::ptr::null(),
    };
    // SAFETY: SIDT writes the pointer and nothing else.
    unsafe { x86::dtables::sidt(&mut pointer) };
    (pointer.base as u64, pointer.limit)
}
