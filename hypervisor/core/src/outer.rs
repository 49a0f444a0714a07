//! The hypervisor around the machine, if the machine is virtual itself, and what
//! a root asks of it.
//!
//! A Linux that runs on KVM wakes, interrupts and yields to its CPUs by KVM's
//! hypercalls, and shares areas of its memory with KVM. Under the monitor these
//! calls arrive here; what they mean is looked at before the monitor carries them
//! out or passes them on.
//!
//! Spec: Linux, Documentation/virt/kvm/x86/hypercalls.rst, cpuid.rst and msr.rst.

use crate::cpuid::Regs;
use crate::icr::{self, Ipi};
use crate::kvmclock;

/// What a hypervisor calls itself: EBX, ECX and EDX, as the letters lie in them.
pub type Name = [u32; 3];

/// Who virtualizes the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outer {
    /// Nobody, or somebody who does not say so.
    #[default]
    None,
    /// KVM, with the features that it announces.
    Kvm {
        /// EAX of its leaf of features.
        features: u32,
    },
    /// QEMU without KVM, which offers nothing of its own.
    Tcg,
    /// One whose interfaces the monitor does not know; what it calls itself.
    Other(Name),
}

/// Leaves with a signature: the first one, and where KVM is if it also poses as
/// Hyper-V.
const SIGNATURES: [u32; 2] = [0x4000_0000, 0x4000_0100];
const TCG: Name = name(b"TCGTCGTCGTCG");
const KVM: Name = name(kvmclock::SIGNATURE);
/// Leaf 1, ECX.
const HYPERVISOR: u32 = 1 << 31;

/// Finds out from what `native` says of a leaf of CPUID. Linux takes KVM where
/// it finds it, whatever else is there.
pub fn detect(mut native: impl FnMut(u32) -> Regs) -> Outer {
    if native(1)[2] & HYPERVISOR == 0 {
        return Outer::None;
    }
    for leaf in SIGNATURES {
        let [_, name @ ..] = native(leaf);
        if name == KVM {
            let [features, ..] = native(leaf + 1);
            return Outer::Kvm { features };
        }
    }
    let [_, first @ ..] = native(SIGNATURES[0]);
    match first {
        TCG => Outer::Tcg,
        // Bochs sets the bit alone.
        [0, 0, 0] => Outer::None,
        _ => Outer::Other(first),
    }
}

/// The registers that hold these letters.
#[must_use]
pub const fn name(letters: &[u8; 12]) -> Name {
    let ([b, c, d], []) = letters.as_chunks::<4>() else {
        return [0; 3];
    };
    [
        u32::from_le_bytes(*b),
        u32::from_le_bytes(*c),
        u32::from_le_bytes(*d),
    ]
}

/// An MSR by which the root gives KVM an area of its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    /// The MSR.
    pub msr: u32,
    /// Bytes that KVM writes there.
    pub len: u64,
    /// Bits of the MSR that are no address.
    flags: u64,
    /// Features without which KVM has no such MSR.
    pub features: u32,
    /// KVM goes on writing as long as bit 0 is set; otherwise it writes once.
    pub lasts: bool,
}

/// Bit 0 of MSRs of areas that last.
const ENABLED: u64 = 1;

/// MSR of asynchronous page faults.
pub const ASYNC_PF: u32 = 0x4b56_4d02;

/// In [`ASYNC_PF`]: a fault of a guest's guest becomes a VM exit. The monitor
/// clears it: KVM then lets the CPU wait for the page, as it does for guests that
/// know nothing of all this.
pub const ASYNC_PF_AS_EXIT: u64 = 1 << 2;

/// The areas that there are, those that last first.
pub const AREAS: [Area; 7] = [
    lasting(kvmclock::MSR_SYSTEM_TIME, 32, 1, 1 << 3),
    lasting(ASYNC_PF, 64, 0x3f, 1 << 4),
    lasting(0x4b56_4d03, 64, 0x3f, 1 << 5),
    lasting(0x4b56_4d04, 4, 3, 1 << 6),
    lasting(kvmclock::MSR_SYSTEM_TIME_OLD, 32, 1, 1 << 0),
    once(kvmclock::MSR_WALL_CLOCK, 12, 1 << 3),
    once(kvmclock::MSR_WALL_CLOCK_OLD, 12, 1 << 0),
];

/// How many of [`AREAS`] last.
pub const LASTING: usize = 5;

const fn lasting(msr: u32, len: u64, flags: u64, features: u32) -> Area {
    Area {
        msr,
        len,
        flags,
        features,
        lasts: true,
    }
}

const fn once(msr: u32, len: u64, features: u32) -> Area {
    Area {
        msr,
        len,
        flags: 0,
        features,
        lasts: false,
    }
}

impl Area {
    /// First and last byte of the area that `value` of the MSR names; `None` if it
    /// names none.
    #[must_use]
    pub const fn bytes(&self, value: u64) -> Option<(u64, u64)> {
        if self.lasts && value & ENABLED == 0 {
            return None;
        }
        let first = value & !self.flags;
        Some((first, first.saturating_add(self.len - 1)))
    }
}

/// What a hypercall of KVM's asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Wake the CPU with this APIC id, which waits for a lock.
    Kick(u32),
    /// Let the CPU with this APIC id run first.
    Yield(u32),
    /// Interrupt CPUs.
    Interrupt(Interrupts),
    /// Nothing that the monitor knows.
    Unknown,
}

/// CPUs to interrupt, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupts {
    mask: u128,
    first: u32,
    command: u32,
}

/// Answers of KVM's.
pub const UNKNOWN_CALL: u64 = -1000i64 as u64;
/// An argument is none.
pub const BAD_ARGUMENT: u64 = -22i64 as u64;

/// Destination mode and shorthand of an interrupt command: the call has its own
/// way to name CPUs.
const NO_DESTINATION: u64 = 1 << 11 | 3 << 18;

/// Decodes a call: RAX, then RBX, RCX, RDX and RSI. Others write to memory of the
/// caller's (pairs of clocks) or encrypt it; no kernel depends on their success.
#[must_use]
pub const fn call(number: u64, [a, b, c, d]: [u64; 4]) -> Call {
    match number {
        5 => Call::Kick(b as u32),
        10 => Call::Interrupt(Interrupts {
            mask: (b as u128) << 64 | a as u128,
            first: c as u32,
            command: if d & NO_DESTINATION == 0 {
                d as u32
            } else {
                u32::MAX
            },
        }),
        11 => Call::Yield(a as u32),
        _ => Call::Unknown,
    }
}

impl Interrupts {
    /// One interrupt for each CPU that is meant; `None` if the command is none.
    #[must_use]
    pub fn each(self) -> Option<impl Iterator<Item = Ipi>> {
        icr::decode_rare(u64::from(self.command)).ok()?;
        let ids = (0..128).filter(move |bit| self.mask >> bit & 1 != 0);
        // The last id there is would mean all CPUs.
        let ids =
            ids.filter_map(move |bit| self.first.checked_add(bit).filter(|id| *id != u32::MAX));
        let command = move |id: u32| u64::from(id) << 32 | u64::from(self.command);
        Some(ids.filter_map(move |id| icr::decode_rare(command(id)).ok()))
    }
}

#[cfg(test)]
mod tests;
