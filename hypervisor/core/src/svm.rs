//! SVM: what VMCB fields mean, and what a guest may do to EFER.
//!
//! Source: APM 2, "Secure Virtual Machine".

use crate::addr::Gpa;
use crate::exit::{MemoryAccess, PortAccess};
use crate::ids::Port;
use crate::vcpu::{CR0_PG, EFER_LMA, EFER_LME};

/// EFER: SVM is on. Always set while a guest runs, and never shown to it.
pub const EFER_SVME: u64 = 1 << 12;

/// Event fields: there is one.
pub const EVENT_VALID: u64 = 1 << 31;
/// Event fields: an error code follows in the upper half.
pub const EVENT_HAS_CODE: u64 = 1 << 11;
/// Event fields: an interrupt.
pub const TYPE_INTERRUPT: u64 = 0;
/// Event fields: an exception.
pub const TYPE_EXCEPTION: u64 = 3 << 8;
const TYPE_SOFTWARE: u64 = 4 << 8;
const TYPES: u64 = 7 << 8;

const BREAKPOINT: u8 = 3;
const OVERFLOW: u8 = 4;
const FIRST_INTERRUPT: u8 = 32;

/// What VMRUN shall deliver after an exit with this EXITINTINFO; `None` if
/// nothing was being delivered, or if the guest comes to it by itself: an event
/// of an instruction begins anew, as RIP still points to that.
#[must_use]
pub const fn requeue(interrupted: u64) -> Option<u64> {
    if interrupted & EVENT_VALID == 0 {
        return None;
    }
    let vector = interrupted as u8;
    match (interrupted & TYPES, vector) {
        (TYPE_SOFTWARE, _) | (TYPE_EXCEPTION, BREAKPOINT | OVERFLOW) => None,
        // QEMU calls all that it delivers exceptions; VMRUN would refuse these.
        (TYPE_EXCEPTION, FIRST_INTERRUPT..) => Some(vector as u64 | TYPE_INTERRUPT | EVENT_VALID),
        _ => Some(interrupted),
    }
}

/// A port access, from EXITINFO1.
#[must_use]
pub const fn port(info: u64) -> PortAccess {
    PortAccess {
        port: Port((info >> 16) as u16),
        size: (info >> 4 & 7) as u8,
        write: info & 1 == 0,
        string: info & 4 != 0,
    }
}

/// An access that nested paging refused, from EXITINFO1 and EXITINFO2. While an
/// event was delivered there is no instruction to look at.
#[must_use]
pub const fn memory(info: u64, gpa: Gpa, delivering: bool) -> MemoryAccess {
    const WRITE: u64 = 1 << 1;
    const FETCH: u64 = 1 << 4;
    /// The access itself faulted, and not a walk on its way.
    const FINAL: u64 = 1 << 32;
    MemoryAccess {
        gpa,
        write: info & WRITE != 0,
        execute: info & FETCH != 0,
        indirect: info & FINAL == 0 || delivering,
    }
}

/// EFER after a guest has written `value`; `None` asks for #GP. VMRUN fails on
/// bits that are not in `allowed`, which the CPU has.
#[must_use]
pub const fn efer(old: u64, value: u64, allowed: u64, cr0: u64) -> Option<u64> {
    let switches_mode = (value ^ old) & EFER_LME != 0 && cr0 & CR0_PG != 0;
    if value & !allowed != 0 || switches_mode {
        return None;
    }
    Some(value & !EFER_LMA | old & EFER_LMA | EFER_SVME)
}

/// The ASID for an owner's tag, from 1 on, on a CPU with `asids` of them, at
/// least 2; 0 is the monitor's. Owners share one where there are few: a CPU runs
/// one owner at a time, and forgets all translations when that changes.
#[must_use]
pub const fn asid(tag: u16, asids: u32) -> u32 {
    let others = if asids > 2 { asids - 1 } else { 1 };
    1 + (tag as u32).saturating_sub(1) % others
}

/// Access rights of a [`crate::vcpu::Segment`] as the VMCB has them: without
/// the gap between type and flags.
#[must_use]
pub const fn access_to_vmcb(access: u16) -> u16 {
    access & 0xff | access >> 4 & 0xf00
}

/// The reverse; zero for a segment that cannot be used.
#[must_use]
pub const fn access_from_vmcb(access: u16) -> u16 {
    const PRESENT: u16 = 1 << 7;
    if access & PRESENT == 0 {
        return 0;
    }
    access & 0xff | (access & 0xf00) << 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_instructions_begin_anew_and_others_are_delivered_again() {
        let page_fault = 0x0000_0002_8000_0b0e;
        assert_eq!(requeue(page_fault), Some(page_fault), "with its code");
        assert_eq!(requeue(0x8000_0202), Some(0x8000_0202), "NMI");
        assert_eq!(requeue(0x8000_0480), None, "INT 80H");
        assert_eq!(requeue(0x8000_0303), None, "INT3");
        assert_eq!(requeue(0x0000_030e), None, "nothing");
        assert_eq!(requeue(0x8000_03ec), Some(0x8000_00ec), "QEMU's timer");
    }

    #[test]
    fn exit_information_is_split_as_the_manual_says() {
        // OUT DX, AX to 2F8H; REP INSB from 60H.
        let out = port(0x02f8_0020);
        assert_eq!((out.port, out.size, out.write), (Port(0x2f8), 2, true));
        let ins = port(0x0060_001d);
        assert_eq!((ins.size, ins.write, ins.string), (1, false, true));

        let write = memory(0x1_0000_0006, Gpa(0xfee0_0300), false);
        assert!(write.write && !write.execute && !write.indirect);
        assert!(
            memory(0x1_0000_0006, Gpa(0), true).indirect,
            "an event's stack"
        );
        let walk = memory(0x2_0000_0007, Gpa(0x1000), false);
        assert!(walk.indirect, "the guest's tables");
        assert!(memory(0x1_0000_0014, Gpa(0), false).execute);
    }

    #[test]
    fn efer_keeps_svme_and_lma_and_refuses_what_the_cpu_lacks() {
        let allowed = 1 | EFER_LME | EFER_LMA | 1 << 11;
        let long = EFER_SVME | EFER_LME | EFER_LMA;
        assert_eq!(efer(long, EFER_LME | 1, allowed, CR0_PG), Some(long | 1));
        assert_eq!(efer(EFER_SVME, EFER_LMA, allowed, 0), Some(EFER_SVME));
        assert_eq!(efer(long, 0, allowed, CR0_PG), None, "LME under paging");
        assert_eq!(
            efer(EFER_SVME, EFER_LME, allowed, 0),
            Some(EFER_SVME | EFER_LME)
        );
        assert_eq!(efer(EFER_SVME, 1 << 15, allowed, 0), None, "no such bit");
        assert_eq!(
            efer(EFER_SVME, EFER_SVME, allowed, 0),
            None,
            "not for guests"
        );
    }

    #[test]
    fn asids_are_never_the_monitors_and_always_there() {
        for asids in [2, 16, 32_768] {
            for tag in [0, 1, 2, 15, 16, 257] {
                let asid = asid(tag, asids);
                assert!(asid > 0 && asid < asids, "{tag} of {asids}: {asid}");
            }
        }
        assert_eq!((asid(1, 16), asid(15, 16), asid(16, 16)), (1, 15, 1));
    }

    #[test]
    fn access_rights_survive_the_vmcb() {
        for access in [0xa09b, 0xc093, 0x008b, 0x0093, 0x0082] {
            assert_eq!(access_from_vmcb(access_to_vmcb(access)), access);
        }
        assert_eq!(access_to_vmcb(0xa09b), 0xa9b);
        assert_eq!(access_from_vmcb(0xc13), 0, "not present");
    }

    #[test]
    fn each_bit_of_the_exit_information_says_one_thing() {
        // IN, 4 bytes, port 70H: type 0, size bit 6.
        let access = port(0x0070_0041);
        assert_eq!(
            access,
            PortAccess {
                port: Port(0x70),
                size: 4,
                write: false,
                string: false
            }
        );
        // A read of a page that is not there.
        let read = memory(0x1_0000_0004, Gpa(0x7000), false);
        assert_eq!(
            read,
            MemoryAccess {
                gpa: Gpa(0x7000),
                write: false,
                execute: false,
                indirect: false
            }
        );
    }
}
