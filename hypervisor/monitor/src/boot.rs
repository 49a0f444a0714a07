//! What the driver writes before the first instruction, and where the parts of
//! the image lie.

use cellvisor_abi::PAGE_SIZE;
use cellvisor_abi::image::{BASE, BootInfo};
use cellvisor_core::addr::Hva;
use core::cell::UnsafeCell;
use core::mem::MaybeUninit;

const PAGE: usize = PAGE_SIZE as usize;
const GIB: u64 = 1 << 30;

/// Bytes of stack, at the start of an area.
pub(crate) const STACK_SIZE: usize = 2 * PAGE;
/// Bytes of an area: stack, shared part, two hardware pages.
pub(crate) const AREA_SIZE: usize = STACK_SIZE + 3 * PAGE;
/// Stacks once more, each with an unmapped page before it and the shared part behind it.
pub(crate) const STACKS: Hva = Hva(BASE + 3 * GIB);
/// Where the shared part lies from there.
pub(crate) const SHARED_OFFSET: usize = PAGE + STACK_SIZE;
/// From one such stack to the next.
pub(crate) const STACK_STRIDE: u64 = (SHARED_OFFSET + PAGE) as u64;

const _: () = assert!(
    STACK_STRIDE.is_power_of_two(),
    "a stack pointer tells which it is"
);

/// Memory that something outside of Rust's sight writes.
#[repr(C, align(8192))]
pub(crate) struct Outside<T>(UnsafeCell<MaybeUninit<T>>);

// SAFETY: Rust only reads it, and only after the one write to it, which the
// driver makes before it calls the entry.
unsafe impl<T> Sync for Outside<T> {}

pub(crate) static BOOT_INFO: Outside<BootInfo> = Outside(UnsafeCell::new(MaybeUninit::zeroed()));

pub(crate) static BRIDGE_TABLES: Outside<[u64; 4 * 512]> =
    Outside(UnsafeCell::new(MaybeUninit::zeroed()));

/// What the driver told us.
pub(crate) fn boot_info() -> &'static BootInfo {
    // SAFETY: the driver has written it before the entry, nobody writes it
    // afterwards (the memory leaves Linux's view), and every bit pattern is a
    // valid `BootInfo`.
    unsafe { (*BOOT_INFO.0.get()).assume_init_ref() }
}

/// Rounds up to a page.
pub(crate) const fn page_up(va: Hva) -> Hva {
    Hva(va.0 + PAGE_SIZE - 1).align_down(PAGE_SIZE)
}

/// Where the areas begin.
pub(crate) fn areas_start() -> Hva {
    let info = boot_info();
    page_up(Hva(BASE) + info.plan_offset.saturating_add(info.plan_len))
}

/// Virtual address of the bridge tables (abi: `image::ImageHeader`).
pub(crate) fn bridge_tables() -> u64 {
    BRIDGE_TABLES.0.get() as u64
}

/// Symbols of `linker.ld` and of the assembly, of which only the address counts.
macro_rules! addresses {
    ($($(#[$doc:meta])* $name:ident = $symbol:ident,)*) => {
        unsafe extern "C" { $(safe static $symbol: u8;)* }
        $($(#[$doc])* pub(crate) fn $name() -> u64 { &raw const $symbol as u64 })*
    };
}

addresses! {
    /// First byte of text; read-only data lies before it.
    text_start = __text_start,
    /// First byte of writable data; text lies before it.
    data_start = __data_start,
    /// First byte behind the image and its zeroed part.
    image_end = __image_end,
    /// Where VM exits arrive.
    vmx_exit_address = vmx_exit,
    /// The NMI handler.
    host_nmi_address = host_nmi,
    /// The handler of interrupts that nobody wants any more.
    host_interrupt_address = host_interrupt,
    /// The first of the exception stubs, 16 bytes each.
    exception_stubs_address = exception_stubs,
}
