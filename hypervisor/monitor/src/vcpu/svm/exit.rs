//! From SVM's exit codes to [`Exit`].
//!
//! Source: APM 2, "SVM Intercept Exit Codes" and the sections that it names.

use super::fields::*;
use super::vmcb::Vmcb;
use super::{EVENT_VALID, TYPE_EXCEPTION, TYPE_INTERRUPT, TYPE_SOFTWARE, event_type};
use cellvisor_core::exit::{Exit, MemoryAccess, PortAccess};

pub(super) const DEBUG: u64 = 0x41;
const ALIGNMENT_CHECK: u64 = 0x51;
const MACHINE_CHECK: u64 = 0x52;
pub(super) const NMI: u64 = 0x61;
pub(super) const INIT: u64 = 0x63;
const CPUID: u64 = 0x72;
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
const XSETBV: u64 = 0x8d;
pub(super) const NESTED_FAULT: u64 = 0x400;
/// Codes that say why VMRUN did not run: negative numbers, of which some CPUs
/// write the low half only.
const FAILED: u32 = 0xffff_ff00;

/// Breakpoint and overflow, which come from instructions of their own.
const SOFTWARE_EXCEPTIONS: [u8; 2] = [3, 4];
const FIRST_INTERRUPT: u8 = 32;

/// Decodes the exit that just happened; `vectoring` tells that it interrupted
/// the delivery of an event. NMI, INIT, IRET and #DB are the
/// caller's.
pub(super) fn decode(vmcb: &Vmcb, vectoring: bool) -> Exit {
    let code = vmcb.read(EXIT_CODE);
    if code as u32 >= FAILED {
        return Exit::EntryFailed(code);
    }
    match code {
        DEBUG | ALIGNMENT_CHECK | MACHINE_CHECK => Exit::Exception((code & 0x1f) as u8),
        CPUID => Exit::Cpuid,
        INVD => Exit::Cache,
        IO => port(vmcb.read(EXIT_INFO_1) as u32),
        MSR if vmcb.read(EXIT_INFO_1) == 0 => Exit::MsrRead,
        MSR => Exit::MsrWrite,
        SHUTDOWN => Exit::TripleFault,
        VMMCALL => Exit::Hypercall,
        INVLPGA | VMRUN | VMLOAD..=SKINIT => Exit::Undefined,
        XSETBV => Exit::Xsetbv,
        NESTED_FAULT => memory(vmcb, vectoring),
        other => Exit::Unknown(other),
    }
}

fn port(info: u32) -> Exit {
    Exit::Port(PortAccess {
        port: (info >> 16) as u16,
        size: (info >> 4 & 7) as u8,
        write: info & 1 == 0,
        string: info & 4 != 0,
    })
}

fn memory(vmcb: &Vmcb, vectoring: bool) -> Exit {
    /// The access itself faulted, and not a walk on its way.
    const FINAL: u64 = 1 << 32;
    let info = vmcb.read(EXIT_INFO_1);
    Exit::Memory(MemoryAccess {
        gpa: vmcb.read(EXIT_INFO_2),
        write: info & 2 != 0,
        execute: info & 0x10 != 0,
        indirect: info & FINAL == 0 || vectoring,
    })
}

/// The event whose delivery the exit interrupted, as VMRUN takes it; `None` if
/// there was none, or if the guest comes to it by itself: events of
/// instructions, which begin anew, as RIP still points to them.
pub(super) fn interrupted_event(vmcb: &Vmcb) -> Option<u64> {
    let event = vmcb.read(EXIT_EVENT);
    if event & EVENT_VALID == 0 {
        return None;
    }
    let vector = event as u8;
    match event_type(event) {
        TYPE_SOFTWARE => None,
        TYPE_EXCEPTION if SOFTWARE_EXCEPTIONS.contains(&vector) => None,
        // QEMU calls all that it delivers exceptions; VMRUN would refuse these.
        TYPE_EXCEPTION if vector >= FIRST_INTERRUPT => {
            Some(u64::from(vector) | EVENT_VALID | TYPE_INTERRUPT)
        }
        _ => Some(event),
    }
}
