//! Which MSRs a guest may touch, as data.
//!
//! Allow-lists: what no rule names gives the guest #GP. The maps that the CPU
//! looks at are filled from the same rules as the exit handler asks, so they
//! cannot disagree.

mod cell;
mod maps;
mod root;

pub use maps::{fill_bitmap, fill_msrpm};

/// What happens on an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It reaches the hardware, without an exit where the maps cover the MSR;
    /// elsewhere the monitor does it on the guest's behalf.
    Direct,
    /// The monitor emulates the MSR.
    Emulate(Which),
    /// #GP.
    Deny,
}

/// How the monitor emulates an MSR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// A read gives this.
    Constant(Value),
    /// A write is dropped.
    Ignore,
    /// A write of 0 is dropped, any other gives #GP.
    ZeroOnly,
    /// IA32_APIC_BASE.
    ApicBase,
    /// x2APIC id register.
    X2apicId,
    /// x2APIC logical destination register.
    X2apicLdr,
    /// x2APIC interrupt command register.
    Icr,
    /// IA32_EFER, with SVME hidden and kept.
    Efer,
    /// IA32_ARCH_CAPABILITIES without what names MSRs that cells lack.
    ArchCapabilities,
    /// IA32_BIOS_SIGN_ID or the AMD patch level: the microcode's revision.
    MicrocodeRevision,
    /// IA32_XSS: bits of [`ROOT_XSS`] reach the hardware, others give #GP.
    Xss,
    /// IA32_MISC_ENABLE: what a write leaves alone, [`misc_enable`] says.
    MiscEnable,
    /// An entry of the local vector table with a delivery mode, see [`lvt`].
    Lvt,
    /// KVM's wall clock: the guest writes an address.
    KvmWallClock,
    /// KVM's system time: the guest writes an address and an enable bit.
    KvmSystemTime,
    /// An area that the root shares with an outer hypervisor: the hardware's
    /// MSR, once the address in it is seen to be the root's.
    OuterArea,
    /// Classes of service: the hardware's MSR, as long as no cell has a class, see
    /// [`crate::classes::filtered`].
    Classes,
}

/// What is read where nothing is behind it: few values, so that a byte names one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// Nothing.
    Zero,
    /// FEATURE_CONTROL: locked, all off.
    Locked,
    /// MTRR_DEF_TYPE: on, no ranges, everything write-back: the second-level tables
    /// decide.
    MtrrDefType,
    /// MISC_ENABLE: fast strings on; branch traces and PEBS unavailable.
    MiscEnable,
    /// HWCR: the TSC counts at the P0 frequency, which Linux insists on.
    Hwcr,
    /// DE_CFG: LFENCE is serializing, as Linux on the root has set it.
    DeCfg,
    /// VM_CR: locked with SVM off.
    VmCr,
}

impl Value {
    /// What is read.
    #[must_use]
    pub const fn get(self) -> u64 {
        match self {
            Self::Zero => 0,
            Self::Locked => 1,
            Self::MtrrDefType => 1 << 11 | 6,
            Self::MiscEnable => 1 << 0 | 1 << 11 | 1 << 12,
            Self::Hwcr => 1 << 24,
            Self::DeCfg => 1 << 1,
            Self::VmCr => 1 << 3 | 1 << 4,
        }
    }
}

/// State components that the root may switch on in IA32_XSS: PASID, shadow
/// stacks, last branches. With that of processor trace XRSTORS would set output
/// addresses in physical memory, with that of user interrupts it would let
/// programs interrupt any CPU.
pub const ROOT_XSS: u64 = 1 << 10 | 1 << 11 | 1 << 12 | 1 << 15;

/// IA32_MISC_ENABLE: CPUID limited to leaf 3, no execute-disable. The monitor
/// needs both off: with the second, a VM exit could not load its EFER.
const MISC_ENABLE_KEPT: u64 = 1 << 22 | 1 << 34;

/// What IA32_MISC_ENABLE becomes when the root, with `hardware` in it, writes
/// `value`.
#[must_use]
pub const fn misc_enable(hardware: u64, value: u64) -> u64 {
    hardware & MISC_ENABLE_KEPT | value & !MISC_ENABLE_KEPT
}

/// What an entry of the local vector table becomes when a cell writes `value`;
/// `None` for #GP.
///
/// An SMI would take the CPU to the firmware, an INIT away from its owner. What
/// comes by ExtINT is the interrupt controller's of old, which cells do not have:
/// such an entry stays masked.
///
/// Spec: SDM 3A, "Local Vector Table".
#[must_use]
pub const fn lvt(value: u64) -> Option<u64> {
    const MASKED: u64 = 1 << 16;
    match value >> 8 & 7 {
        0 | 4 => Some(value),
        7 => Some(value | MASKED),
        _ => None,
    }
}

/// MSRs of one part, as in the maps.
const PART: u32 = 0x2000;

/// The place of an MSR among those that rules can name, which are in five parts. It
/// keeps their order.
#[inline(always)] // Most are of the first part: one comparison on the way of an exit.
const fn place(msr: u32) -> Option<u16> {
    let part = match msr / PART {
        0 => 0,
        0x2_5ab2 => 1, // KVM's, 4B564D00H
        0x6_0000 => 2, // C0000000H
        0x6_0001 => 3, // C0002000H
        0x6_0008 => 4, // C0010000H
        _ => return None,
    };
    Some((part * PART + msr % PART) as u16)
}

/// One line of a table: MSRs that follow each other, by their places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rule {
    first: u16,
    last: u16,
    /// What RDMSR does.
    read: Action,
    /// What WRMSR does.
    write: Action,
}

// There are many, and the monitor's image is small.
const _: () = assert!(size_of::<Rule>() == 6);

impl Rule {
    const fn is_emulated(&self) -> bool {
        matches!(self.read, Action::Emulate(_)) || matches!(self.write, Action::Emulate(_))
    }
}

/// The rules for one kind of guest under one back end.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Tables, each sorted; together they name each MSR at most once.
    tables: [&'static [Rule]; 2],
    /// Where the rule for an MSR probably is, by its low bits.
    hints: &'static [Hint; HINTS],
}

/// A line of the first table, or, with [`SECOND`], of the second.
type Hint = u8;

const SECOND: Hint = 0x80;

const HINTS: usize = 64;

/// The first MSR of each rule has a hint, unless another with the same low bits takes
/// its place; those that exit go before those that do not.
const fn hints(tables: [&[Rule]; 2]) -> [Hint; HINTS] {
    let mut hints = [0; HINTS];
    let mut emulated = false;
    loop {
        let mut number = 0;
        while number < tables.len() {
            assert!(tables[number].len() <= SECOND as usize);
            let mut line = 0;
            while line < tables[number].len() {
                let rule = &tables[number][line];
                if rule.is_emulated() == emulated {
                    hints[rule.first as usize % HINTS] = (number as Hint * SECOND) | line as Hint;
                }
                line += 1;
            }
            number += 1;
        }
        if emulated {
            return hints;
        }
        emulated = true;
    }
}

impl Policy {
    /// A cell under VT-x.
    pub const CELL_VMX: Self = Self {
        tables: [cell::COMMON, cell::INTEL],
        hints: &const { hints([cell::COMMON, cell::INTEL]) },
    };
    /// A cell under AMD-V.
    pub const CELL_SVM: Self = Self {
        tables: [cell::COMMON, cell::AMD],
        hints: &const { hints([cell::COMMON, cell::AMD]) },
    };
    /// The root under VT-x.
    pub const ROOT_VMX: Self = Self {
        tables: [root::COMMON, root::INTEL],
        hints: &const { hints([root::COMMON, root::INTEL]) },
    };
    /// The root under AMD-V.
    pub const ROOT_SVM: Self = Self {
        tables: [root::COMMON, root::AMD],
        hints: &const { hints([root::COMMON, root::AMD]) },
    };

    /// What a read of `msr` does.
    #[must_use]
    #[inline(always)] // The search is a call; what it gives is told from its memory.
    pub fn read(&self, msr: u32) -> Action {
        match self.rule(msr) {
            Some(rule) => rule.read,
            None => Action::Deny,
        }
    }

    /// What a write of `msr` does.
    #[must_use]
    #[inline(always)] // As [`Policy::read`].
    pub fn write(&self, msr: u32) -> Action {
        match self.rule(msr) {
            Some(rule) => rule.write,
            None => Action::Deny,
        }
    }

    fn rule(&self, msr: u32) -> Option<&'static Rule> {
        let place = place(msr)?;
        match self.hinted(place) {
            // Rules do not overlap: one that has the MSR is the one.
            Some(rule) if rule.first <= place && place <= rule.last => Some(rule),
            _ => self.search(place),
        }
    }

    fn hinted(&self, place: u16) -> Option<&'static Rule> {
        let hint = *self.hints.get(usize::from(place) % HINTS)?;
        let [first, second] = self.tables;
        let table = if hint < SECOND { first } else { second };
        table.get(usize::from(hint % SECOND))
    }

    #[inline(never)] // Exits mostly find the rule without.
    fn search(&self, place: u16) -> Option<&'static Rule> {
        self.tables.iter().find_map(|table| {
            let after = table.partition_point(|rule| rule.first <= place);
            let rule = table.get(after.checked_sub(1)?)?;
            (place <= rule.last).then_some(rule)
        })
    }

    #[cfg(test)]
    fn rules(&self) -> impl Iterator<Item = &'static Rule> + use<> {
        self.tables.into_iter().flat_map(|table| table.iter())
    }
}

/// A rule for a range.
const fn rule(first: u32, last: u32, read: Action, write: Action) -> Rule {
    let (Some(first), Some(last)) = (place(first), place(last)) else {
        unreachable!();
    };
    Rule {
        first,
        last,
        read,
        write,
    }
}

/// A range that reaches the hardware.
const fn direct(first: u32, last: u32) -> Rule {
    rule(first, last, Action::Direct, Action::Direct)
}

/// A range that may only be read.
const fn read_only(first: u32, last: u32) -> Rule {
    rule(first, last, Action::Direct, Action::Deny)
}

/// One MSR of which both directions are emulated.
const fn emulate(msr: u32, which: Which) -> Rule {
    rule(msr, msr, Action::Emulate(which), Action::Emulate(which))
}

/// A range that reads as `value` and takes any write.
const fn constant(first: u32, last: u32, value: Value) -> Rule {
    rule(
        first,
        last,
        Action::Emulate(Which::Constant(value)),
        Action::Emulate(Which::Ignore),
    )
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;
