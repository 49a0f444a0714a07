//! From SVM's exit codes to [`Exit`].
//!
//! Source: APM 2, "SVM Intercept Exit Codes" and the sections that it names.

use super::fields::*;
use super::vmcb::Vmcb;
use cellvisor_core::addr::Gpa;
use cellvisor_core::exit::Exit;
use cellvisor_core::svm;

pub(super) const DEBUG: u64 = 0x41;
const ALIGNMENT_CHECK: u64 = 0x51;
const MACHINE_CHECK: u64 = 0x52;
pub(super) const NMI: u64 = 0x61;
pub(super) const INIT: u64 = 0x63;
pub(super) const CPUID: u64 = 0x72;
pub(super) const IRET: u64 = 0x74;
const INVD: u64 = 0x76;
const INVLPGA: u64 = 0x7a;
pub(super) const IO: u64 = 0x7b;
const MSR: u64 = 0x7c;
const SHUTDOWN: u64 = 0x7f;
const VMRUN: u64 = 0x80;
const VMMCALL: u64 = 0x81;
const VMLOAD: u64 = 0x82;
const SKINIT: u64 = 0x86;
const WBINVD: u64 = 0x89;
const XSETBV: u64 = 0x8d;
const BUS_LOCK: u64 = 0xa5;
pub(super) const NESTED_FAULT: u64 = 0x400;
/// Codes that say why VMRUN did not run: negative numbers, of which some CPUs
/// write the low half only.
const FAILED: u32 = 0xffff_ff00;

/// Decodes the exit that just happened, with its code; `delivering` says that it
/// interrupted the delivery of an event. NMI, INIT, IRET and #DB are the caller's.
pub(super) fn decode(vmcb: &mut Vmcb, code: u64, delivering: bool) -> Exit {
    if code as u32 >= FAILED {
        return Exit::EntryFailed(code);
    }
    match code {
        DEBUG | ALIGNMENT_CHECK | MACHINE_CHECK => Exit::Exception((code & 0x1f) as u8),
        CPUID => Exit::Cpuid,
        INVD | WBINVD => Exit::Cache,
        IO => Exit::Port(svm::port(vmcb.read(EXIT_INFO_1))),
        MSR if vmcb.read(EXIT_INFO_1) == 0 => Exit::MsrRead,
        MSR => Exit::MsrWrite,
        SHUTDOWN => Exit::TripleFault,
        VMMCALL => Exit::Hypercall,
        INVLPGA | VMRUN | VMLOAD..=SKINIT => Exit::Undefined,
        XSETBV => Exit::Xsetbv,
        BUS_LOCK => {
            // It exits before the instruction, which is to get on.
            // SAFETY: how many bus locks the guest may have.
            unsafe { vmcb.control(BUS_LOCKS, 1) };
            Exit::BusLock
        }
        NESTED_FAULT => Exit::Memory(svm::memory(
            vmcb.read(EXIT_INFO_1),
            Gpa(vmcb.read(EXIT_INFO_2)),
            delivering,
        )),
        other => Exit::Unknown(other),
    }
}
