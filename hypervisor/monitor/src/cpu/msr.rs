//! Registers whose access may fault.
//!
//! Source: SDM 2, "RDMSR", "WRMSR", "XSETBV"; SDM 4, "Model-Specific Registers
//! (MSRs)".

use cellvisor_core::ids::Msr;

unsafe extern "C" {
    fn rdmsr_checked(index: Msr, value: *mut u64) -> u64;
    fn wrmsr_checked(index: Msr, value: u64) -> u64;
    safe fn xsetbv_checked(index: u32, value: u64) -> u64;
}

/// Reads an MSR that is there. One that is not ends in `exceptions::fatal`, or in
/// Linux's own handler before the first VM entry.
#[inline(always)] // Two of them are on the way of each interrupt command.
pub(crate) fn read(index: Msr) -> u64 {
    // SAFETY: reading has no effect but the fault, which goes no further.
    unsafe { x86::msr::rdmsr(index.0) }
}

/// Reads an MSR that may not exist. Only with the monitor's own interrupt table
/// loaded, that is, after the first VM entry.
pub(crate) fn try_rdmsr(index: Msr) -> Option<u64> {
    let mut value = 0;
    // SAFETY: reading has no side effect on the monitor; #GP is turned into a
    // result by the exception stub.
    (unsafe { rdmsr_checked(index, &raw mut value) } == 0).then_some(value)
}

/// Writes an MSR; false if the CPU refuses.
///
/// # Safety
///
/// The value must not change what the monitor itself relies on.
pub(crate) unsafe fn try_wrmsr(index: Msr, value: u64) -> bool {
    // SAFETY: the caller vouches for the effect; #GP becomes a result.
    unsafe { wrmsr_checked(index, value) == 0 }
}

/// Sets an extended control register for the guest; false if the CPU refuses.
pub(crate) fn try_xsetbv(index: u32, value: u64) -> bool {
    xsetbv_checked(index, value) == 0
}

/// Sets DEBUGCTL unless it is so already: a KVM around the machine has none for
/// guests on AMD's CPUs, and complains of every write.
///
/// # Safety
///
/// `value` is what the guest or Linux had there.
pub(crate) unsafe fn set_debugctl(value: u64) {
    // SAFETY: every CPU has it; the caller vouches for the value.
    unsafe {
        if x86::msr::rdmsr(x86::msr::IA32_DEBUGCTL) != value {
            x86::msr::wrmsr(x86::msr::IA32_DEBUGCTL, value);
        }
    }
}
