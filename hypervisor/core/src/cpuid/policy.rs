//! What cells see of CPUID, as data: for each leaf the bits that are kept.
//!
//! Leaves without a rule read as zeros. The lists must agree with the MSRs that
//! cells may touch: a kernel that sees a feature uses its MSRs.

use super::{Lacks, Regs};
use crate::kvmclock;

/// The last basic leaf that is looked at.
pub(super) const LAST_BASIC: u32 = 0x24;

/// The last subleaf of leaf 7 that is looked at.
pub(super) const LAST_FEATURES: u32 = 2;

/// State components that a cell may switch on in XCR0: x87, SSE, AVX, AVX-512,
/// protection keys, AMX, APX. MPX is gone from kernels and compilers.
const XCR0: u32 = bits(&[0, 1, 2, 5, 6, 7, 9, 17, 18, 19]);

/// Components that a cell may switch on in IA32_XSS: none. With those of
/// processor trace or user interrupts XRSTORS would set what the MSR maps deny.
pub(super) const XSS: u64 = 0;

/// IA32_ARCH_CAPABILITIES as cells may see it: facts about the CPU, no promises
/// of MSRs that cells do not have.
pub const ARCH_CAPABILITIES: u64 = {
    let low = bits(&[
        0, 1, 2, 3, 4, 5, 6, 7, 8, 13, 14, 15, 17, 19, 20, 24, 26, 27, 28,
    ]);
    1 << 62 | low as u64
};

/// What the clock needs, no delays around port accesses, and message-signalled
/// interrupts for more than 255 CPUs.
pub(super) const KVM_FEATURES: u32 = kvmclock::FEATURE_CLOCKSOURCE
    | kvmclock::FEATURE_NOP_IO_DELAY
    | kvmclock::FEATURE_CLOCKSOURCE2
    | kvmclock::FEATURE_MSI_EXT_DEST_ID
    | kvmclock::FEATURE_CLOCKSOURCE_STABLE;

/// A register with these bits.
const fn bits(list: &[u32]) -> u32 {
    let mut value = 0;
    let mut i = 0;
    while i < list.len() {
        value |= 1 << list[i];
        i += 1;
    }
    value
}

/// Which subleaves a rule speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subleaf {
    /// ECX does not matter.
    Any,
    /// This one.
    One(u32),
    /// From the first, this many.
    First(u32),
    /// The bits of [`XCR0`] from 2 on.
    Components,
}

impl Subleaf {
    /// The subleaves themselves.
    pub(super) fn all(self) -> impl Iterator<Item = u32> {
        let (first, end) = match self {
            Self::Any => (0, 1),
            Self::One(one) => (one, one + 1),
            Self::First(count) => (0, count),
            Self::Components => (2, 32),
        };
        (first..end).filter(move |s| self != Self::Components || XCR0 >> s & 1 != 0)
    }
}

/// What is changed of an answer besides the bits that are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fix {
    /// Nothing.
    None,
    /// EAX is the last basic leaf.
    LastBasic,
    /// EAX is the last extended leaf.
    LastExtended,
    /// Count and id of CPUs, hypervisor, x2APIC, OSXSAVE.
    Identity,
    /// EAX is the last subleaf of leaf 7 that is looked at; OSPKE.
    Features,
    /// How many share a cache.
    Caches,
    /// The whole answer: CPUs, and which one this is.
    Topology,
    /// The same in AMD's leaf.
    AmdIds,
    /// How many CPUs, in AMD's leaf.
    AmdCores,
    /// Sizes of the state components in use.
    Xsave,
}

impl Fix {
    /// All that it changes is known when the table is made.
    pub(super) const fn is_early(self) -> bool {
        matches!(
            self,
            Self::None | Self::LastBasic | Self::LastExtended | Self::Caches | Self::AmdCores
        )
    }

    /// It makes something of zeros, when the leaf is asked for.
    pub(super) const fn is_late(self) -> bool {
        matches!(self, Self::Topology | Self::AmdIds)
    }
}

/// What is kept of one leaf.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) leaf: u32,
    pub(super) subleaf: Subleaf,
    pub(super) keep: Regs,
    pub(super) fix: Fix,
}

const ALL: u32 = u32::MAX;

/// A leaf without subleaves.
const fn plain(leaf: u32, keep: Regs) -> Rule {
    fixed(leaf, Subleaf::Any, keep, Fix::None)
}

const fn fixed(leaf: u32, subleaf: Subleaf, keep: Regs, fix: Fix) -> Rule {
    Rule {
        leaf,
        subleaf,
        keep,
        fix,
    }
}

/// Instructions. Hidden: 64-bit debug store, VMX, SMX, SpeedStep, thermal
/// monitor, debug interface, performance capabilities, direct cache access.
const LEAF1_ECX: u32 = bits(&[
    0, 1, 3, 9, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 28, 29, 30,
]);
/// Hidden: machine checks, serial number, debug store, thermal control.
const LEAF1_EDX: u32 = bits(&[
    0, 1, 2, 3, 4, 5, 6, 8, 9, 11, 12, 13, 15, 16, 17, 19, 23, 24, 25, 26, 27, 28,
]);

/// Hidden: TSC_ADJUST, which a cell may not shift and Linux would read once a
/// second to see that nobody has; SGX, cache monitoring and allocation, MPX, processor trace.
const LEAF7_EBX: u32 = bits(&[
    0, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 16, 17, 18, 19, 20, 21, 23, 24, 26, 27, 28, 29, 30, 31,
]);
/// Hidden: shadow stacks, memory encryption, key locker, bus-lock detection,
/// ENQCMD, SGX launch control, supervisor protection keys.
const LEAF7_ECX: u32 = bits(&[0, 1, 2, 3, 5, 6, 8, 9, 10, 11, 12, 14, 16, 22, 25, 27, 28]);
/// Hidden: user interrupts, TSX force-abort, hybrid, PCONFIG, branch records,
/// branch tracking, core capabilities.
const LEAF7_EDX: u32 = bits(&[
    2, 3, 4, 8, 9, 10, 11, 14, 16, 22, 23, 24, 25, 26, 27, 28, 29, 31,
]);
/// Hidden: LASS, performance monitoring, FRED and what comes with it, HRESET.
const LEAF7_1_EAX: u32 = bits(&[0, 1, 2, 3, 4, 5, 7, 10, 11, 12, 21, 23, 26]);
/// Hidden: user MSRs, supervisor shadow stacks.
const LEAF7_1_EDX: u32 = bits(&[4, 5, 8, 10, 14, 19, 21]);
/// Speculation controls.
const LEAF7_2_EDX: u32 = bits(&[0, 1, 2, 3, 4, 5, 7]);

/// Hidden: SVM, extended APIC space, errata list, sampling, SKINIT, watchdog,
/// profiling, translation cache extension, node id MSR, performance counters,
/// breakpoint extensions.
const EXT1_ECX: u32 = bits(&[0, 1, 4, 5, 6, 7, 8, 11, 16, 21, 22, 29]);
/// Leaf 1's, where AMD repeats them, and what long mode needs.
const EXT1_EDX: u32 = LEAF1_EDX & 0x0183_f3ff | bits(&[11, 20, 22, 25, 26, 27, 29, 30, 31]);

/// CLZERO, error pointers, WBNOINVD, speculation controls. Hidden: INVLPGB,
/// which reaches other CPUs, and RDPRU, which reads what MSRs deny.
const EXT8_EBX: u32 = bits(&[0, 2, 9, 12, 14, 15, 16, 17, 18, 19, 20, 24, 26, 28, 29, 30]);
const WBNOINVD: u32 = bits(&[9]);

/// Facts about LFENCE, selectors and speculation, and automatic IBRS.
const EXT21_EAX: u32 = bits(&[0, 2, 5, 6, 8, 27, 28, 29]);
const EXT21_ECX: u32 = bits(&[1, 2]);

const BASIC: &[Rule] = &[
    fixed(0, Subleaf::Any, [ALL; 4], Fix::LastBasic),
    fixed(
        1,
        Subleaf::Any,
        [ALL, 0xff00, LEAF1_ECX, LEAF1_EDX],
        Fix::Identity,
    ),
    plain(2, [ALL; 4]),
    fixed(4, Subleaf::First(6), [ALL; 4], Fix::Caches),
    plain(5, [ALL; 4]),
    // The timer goes on in deep sleep; power and heat are the machine's.
    plain(6, [1 << 2, 0, 0, 0]),
    fixed(
        7,
        Subleaf::One(0),
        [ALL, LEAF7_EBX, LEAF7_ECX, LEAF7_EDX],
        Fix::Features,
    ),
    fixed(
        7,
        Subleaf::One(1),
        [LEAF7_1_EAX, 0, 0, LEAF7_1_EDX],
        Fix::None,
    ),
    fixed(7, Subleaf::One(2), [0, 0, 0, LEAF7_2_EDX], Fix::None),
    fixed(0xb, Subleaf::Any, [0; 4], Fix::Topology),
    fixed(0xd, Subleaf::One(0), [XCR0, 0, 0, 0], Fix::Xsave),
    fixed(0xd, Subleaf::One(1), [0x1f, 0, 0, 0], Fix::Xsave),
    fixed(0xd, Subleaf::Components, [ALL; 4], Fix::None),
    // Frequencies of the TSC, the core and the bus.
    plain(0x15, [ALL; 4]),
    plain(0x16, [ALL; 4]),
    // AMX tiles.
    fixed(0x1d, Subleaf::First(2), [ALL; 4], Fix::None),
    fixed(0x1e, Subleaf::First(2), [ALL; 4], Fix::None),
    fixed(0x1f, Subleaf::Any, [0; 4], Fix::Topology),
    // AVX10.
    fixed(0x24, Subleaf::First(1), [ALL; 4], Fix::None),
];

const EXTENDED: &[Rule] = &[
    fixed(0x8000_0000, Subleaf::Any, [ALL; 4], Fix::LastExtended),
    plain(0x8000_0001, [ALL, ALL, EXT1_ECX, EXT1_EDX]),
    plain(0x8000_0002, [ALL; 4]),
    plain(0x8000_0003, [ALL; 4]),
    plain(0x8000_0004, [ALL; 4]),
    plain(0x8000_0005, [ALL; 4]),
    plain(0x8000_0006, [ALL; 4]),
    // The TSC counts at one speed.
    plain(0x8000_0007, [0, 0, 0, 1 << 8]),
];

const INTEL: &[Rule] = &[plain(0x8000_0008, [ALL, WBNOINVD, 0, 0])];

const AMD: &[Rule] = &[
    fixed(
        0x8000_0008,
        Subleaf::Any,
        [ALL, EXT8_EBX, 0, 0],
        Fix::AmdCores,
    ),
    plain(0x8000_0019, [ALL; 4]),
    plain(0x8000_001a, [ALL; 4]),
    fixed(0x8000_001d, Subleaf::First(5), [ALL; 4], Fix::Caches),
    fixed(0x8000_001e, Subleaf::Any, [0; 4], Fix::AmdIds),
    plain(0x8000_0021, [EXT21_EAX, 0, EXT21_ECX, 0]),
];

/// How makers of CPUs differ.
#[derive(Debug)]
pub(super) struct Vendor {
    /// Leaves that do not exist answer as the last basic one; else zeros.
    pub(super) repeats: bool,
    /// The last extended leaf that is looked at.
    pub(super) last_extended: u32,
    pub(super) rules: [&'static [Rule]; 3],
}

const INTEL_LIKE: Vendor = Vendor {
    repeats: true,
    last_extended: 0x8000_0008,
    rules: [BASIC, EXTENDED, INTEL],
};

const AMD_LIKE: Vendor = Vendor {
    repeats: false,
    last_extended: 0x8000_0021,
    rules: [BASIC, EXTENDED, AMD],
};

impl Vendor {
    /// By EBX, ECX and EDX of leaf 0. Hygon's CPUs are AMD's, and of unknown
    /// ones the plainer kind is assumed.
    pub(super) fn of(name: [u32; 3]) -> &'static Self {
        const GENUINE_INTEL: [u32; 3] = [0x756e_6547, 0x6c65_746e, 0x4965_6e69];
        match name {
            GENUINE_INTEL => &INTEL_LIKE,
            _ => &AMD_LIKE,
        }
    }
}

/// Bits that go when a cell lacks something.
pub(super) struct Lacking {
    pub(super) lacks: Lacks,
    pub(super) leaf: u32,
    pub(super) subleaf: u32,
    /// 0 to 3: EAX to EDX.
    pub(super) register: usize,
    pub(super) mask: u32,
}

const fn lacking(lacks: Lacks, leaf: u32, subleaf: u32, register: usize, bit: u32) -> Lacking {
    Lacking {
        lacks,
        leaf,
        subleaf,
        register,
        mask: 1 << bit,
    }
}

pub(super) static LACKING: [Lacking; 5] = [
    lacking(Lacks::RDTSCP, 0x8000_0001, 0, 3, 27),
    lacking(Lacks::RDTSCP, 7, 0, 2, 22),
    lacking(Lacks::INVPCID, 7, 0, 1, 10),
    lacking(Lacks::XSAVES, 0xd, 1, 0, 3),
    lacking(Lacks::WAITPKG, 7, 0, 2, 5),
];
