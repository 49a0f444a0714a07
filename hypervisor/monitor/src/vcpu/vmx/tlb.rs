//! Translations that the CPU remembers.
//!
//! Source: SDM 3C, "INVEPT—Invalidate Translations Derived from EPT", "INVVPID—Invalidate
//! Translations Based on VPID".

/// How much INVEPT and INVVPID forget.
#[derive(Clone, Copy)]
#[repr(u64)]
pub(super) enum Extent {
    SingleContext = 1,
    AllContexts = 2,
}

/// A virtual-processor identifier.
#[derive(Clone, Copy)]
pub(super) struct Vpid(pub(super) u16);

/// Forgets translations through second-level tables.
///
/// # Safety
///
/// VMX operation is on.
pub(super) unsafe fn invept(extent: Extent) {
    let descriptor = [0u64; 2];
    // SAFETY: the descriptor has its 16 bytes; `caps` has checked the type.
    unsafe {
        core::arch::asm!("invept {}, [{}]", in(reg) extent as u64, in(reg) &raw const descriptor,
            options(nostack, readonly));
    }
}

/// Forgets translations with a tag.
///
/// # Safety
///
/// VMX operation is on.
pub(super) unsafe fn invvpid(extent: Extent, vpid: Vpid) {
    let descriptor = [u64::from(vpid.0), 0];
    // SAFETY: the descriptor has its 16 bytes; `caps` has checked the type.
    unsafe {
        core::arch::asm!("invvpid {}, [{}]", in(reg) extent as u64, in(reg) &raw const descriptor,
            options(nostack, readonly));
    }
}
