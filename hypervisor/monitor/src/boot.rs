//! What the driver writes before the first instruction, and where the parts of
//! the image lie.

use cellvisor_abi::image::BootInfo;
use core::cell::UnsafeCell;
use core::mem::MaybeUninit;

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
    /// First byte of read-only data; text lies before it.
    rodata_start = __rodata_start,
    /// First byte of writable data; read-only data lies before it.
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
