//! From VT-x exit reasons to [`Exit`].
//!
//! Source: SDM 3D, "VMX Basic Exit Reasons"; SDM 3C, "Information for VM Exits".

use super::fields::*;
use super::vmcs::Vmcs;
use super::{BLOCKED_BY_NMI, EVENT_HAS_CODE, EVENT_VALID};
use crate::vcpu::Frequent;
use cellvisor_core::addr::Gpa;
use cellvisor_core::exit::{Exit, MemoryAccess, PortAccess};
use cellvisor_core::ids::Port;

const CPUID: u32 = 10;
const IO: u32 = 30;
const RDMSR: u32 = 31;
const WRMSR: u32 = 32;
pub(super) const ENTRY_FAILURE: u32 = 1 << 31;
const TYPE_NMI: u32 = 2;
const DEBUG: u8 = 1;
/// B0 to B3, BD, BS.
const DEBUG_BITS: u64 = 0x600f;
/// Event types that come from an instruction and carry its length: software
/// interrupt, privileged software exception, software exception.
const TYPE_SOFTWARE: [u32; 3] = [4, 5, 6];
/// EPT violation, instruction timeout: it happened on the way of an IRET that ended the
/// blocking of NMIs.
const UNBLOCKED_BY_IRET: u64 = 1 << 12;

/// Decodes the exit that just happened, with its reason, and queues again what was being
/// delivered when it did.
pub(super) fn decode(vmcs: &mut Vmcs, reason: u32) -> Exit {
    if reason & ENTRY_FAILURE != 0 {
        return Exit::EntryFailed(u64::from(reason));
    }
    let vectoring = requeue(vmcs);
    match reason & 0xffff {
        0 => exception(vmcs),
        2 => Exit::TripleFault,
        3 | 4 => Exit::Signal,
        8 => Exit::NmiWindow,
        CPUID => Exit::Cpuid,
        13 | 54 => Exit::Cache,
        18 => Exit::Hypercall,
        11 | 19..=27 | 50 | 53 | 59 => Exit::Undefined,
        28 => control_register(vmcs),
        IO => Exit::Port(port(vmcs)),
        RDMSR => Exit::MsrRead,
        WRMSR => Exit::MsrWrite,
        48 => memory(vmcs, vectoring),
        55 => Exit::Xsetbv,
        74 => Exit::BusLock,
        75 => notify(vmcs, vectoring),
        other => Exit::Unknown(u64::from(other)),
    }
}

/// True if it is this one of the frequent ones.
#[inline(always)] // Who runs the guest sees at once which one it is.
pub(super) fn is(reason: u32, which: Frequent) -> bool {
    reason
        == match which {
            Frequent::Port => IO,
            Frequent::MsrRead => RDMSR,
            Frequent::MsrWrite => WRMSR,
            Frequent::Cpuid => CPUID,
        }
}

/// An event whose delivery the exit interrupted is delivered again by the next
/// entry. True if there was one.
fn requeue(vmcs: &mut Vmcs) -> bool {
    let event = vmcs.info(VECTORING_EVENT);
    if event & EVENT_VALID == 0 {
        return false;
    }
    let kind = event >> 8 & 7;
    if kind == TYPE_NMI {
        let blocked = vmcs.read(GUEST_INTERRUPTIBILITY);
        vmcs.write(GUEST_INTERRUPTIBILITY, blocked & !BLOCKED_BY_NMI);
    }
    // SAFETY: the guest's own event, as the CPU reported it; bit 12 is
    // undefined there and must be clear here.
    unsafe {
        vmcs.control(ENTRY_EVENT, u64::from(event & !(1 << 12)));
        if event & EVENT_HAS_CODE != 0 {
            vmcs.control(ENTRY_ERROR_CODE, vmcs.read(VECTORING_ERROR_CODE));
        }
        if TYPE_SOFTWARE.contains(&kind) {
            vmcs.control(ENTRY_INSTRUCTION_LEN, vmcs.read(INSTRUCTION_LEN));
        }
    }
    true
}

/// True if the #DB that just exited came by INT1.
pub(super) fn came_by_int1(vmcs: &Vmcs) -> bool {
    const TYPE_INT1: u32 = 5;
    vmcs.info(EXIT_REASON) & 0xffff == 0 && vmcs.info(EXIT_EVENT) >> 8 & 7 == TYPE_INT1
}

fn exception(vmcs: &Vmcs) -> Exit {
    let event = vmcs.info(EXIT_EVENT);
    if event >> 8 & 7 == TYPE_NMI {
        unblock_nmis();
        return Exit::Nmi;
    }
    let vector = event as u8;
    if vector == DEBUG {
        // The exit leaves DR6 as it was and tells what it would have become.
        let bits = vmcs.read(QUALIFICATION) & DEBUG_BITS;
        // SAFETY: DR6 is the guest's; the monitor sets no breakpoints.
        unsafe {
            core::arch::asm!("mov {0}, dr6", "or {0}, {1}", "mov dr6, {0}",
                out(reg) _, in(reg) bits, options(nomem, nostack));
        }
    }
    Exit::Exception(vector)
}

/// Ends the blocking of NMIs that the exit has begun, by an IRET to the next
/// instruction. The next entry would do as well, but not on Bochs 2.7, where the
/// CPU would be deaf from then on.
fn unblock_nmis() {
    // SAFETY: it returns to where it is, with the same stack and flags; an NMI
    // that comes now finds the monitor's handler, as at any other time.
    unsafe {
        core::arch::asm!(
            "mov {0}, ss",
            "mov {1}, rsp",
            "push {0}",
            "push {1}",
            "pushfq",
            "mov {0}, cs",
            "push {0}",
            "lea {0}, [rip + 2f]",
            "push {0}",
            "iretq",
            "2:",
            out(reg) _,
            out(reg) _,
        );
    }
}

fn control_register(vmcs: &Vmcs) -> Exit {
    let qualification = vmcs.info(QUALIFICATION);
    match qualification >> 4 & 3 {
        0 => Exit::ControlRegister {
            register: (qualification & 0xf) as u8,
            source: (qualification >> 8 & 0xf) as u8,
        },
        // Reads, CLTS and LMSW do not touch the bits that we own.
        _ => Exit::Unknown(28 | u64::from(qualification) << 16),
    }
}

#[inline(always)] // As `is`.
pub(super) fn port(vmcs: &Vmcs) -> PortAccess {
    let qualification = vmcs.info(QUALIFICATION);
    PortAccess {
        port: Port((qualification >> 16) as u16),
        size: (qualification & 7) as u8 + 1,
        write: qualification & 8 == 0,
        string: qualification & 16 != 0,
    }
}

/// The guest's state may be beyond help: then it cannot be entered.
fn notify(vmcs: &mut Vmcs, vectoring: bool) -> Exit {
    const CONTEXT_INVALID: u64 = 1 << 0;
    let qualification = qualification(vmcs, vectoring);
    if qualification & CONTEXT_INVALID != 0 {
        return Exit::Unknown(75);
    }
    Exit::Notify
}

/// The exit's qualification, where it tells of an IRET as well: NMIs are blocked again.
fn qualification(vmcs: &mut Vmcs, vectoring: bool) -> u64 {
    let qualification = vmcs.read(QUALIFICATION);
    if qualification & UNBLOCKED_BY_IRET != 0 && !vectoring {
        let blocked = vmcs.read(GUEST_INTERRUPTIBILITY);
        vmcs.write(GUEST_INTERRUPTIBILITY, blocked | BLOCKED_BY_NMI);
    }
    qualification
}

fn memory(vmcs: &mut Vmcs, vectoring: bool) -> Exit {
    let qualification = qualification(vmcs, vectoring);
    // Bit 7: the linear address is valid; bit 8: the access itself faulted and
    // not a walk on its way.
    let direct = qualification & 0x180 == 0x180 && !vectoring;
    Exit::Memory(MemoryAccess {
        gpa: Gpa(vmcs.read(GUEST_PHYSICAL_ADDRESS)),
        write: qualification & 2 != 0,
        execute: qualification & 4 != 0,
        indirect: !direct,
    })
}
