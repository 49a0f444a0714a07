//! Shares of the L3 cache and of memory bandwidth: classes of service.
//!
//! A cell with a share has a class of its own where its CPUs are. The root, and cells
//! without a share, are in class 0 and have the ways that are left there.
//!
//! Source: SDM 3B, "Intel Resource Director Technology (Intel RDT) Allocation Features";
//! SDM 2A, "CPUID"; APM 2, "Platform Quality of Service (PQOS) Extension".

use cellvisor_abi::plan::Class;

/// The class of a CPU, and what it counts for monitoring, IA32_PQR_ASSOC.
pub const ASSOCIATION: u32 = 0xc8f;

/// IA32_L3_QOS_CFG: data and code have classes of their own, or not.
const L3_CONFIG: u32 = 0xc81;
/// IA32_L3_QOS_MASK_0.
const L3_MASK: u32 = 0xc90;
/// IA32_L2_QOS_EXT_BW_THRTL_0.
const DELAY: u32 = 0xd50;

/// Leaf of CPUID with what there is to allocate: kinds in EBX, a subleaf for each.
const ALLOCATION: u32 = 0x10;
const CACHE: u32 = 1;
const BANDWIDTH: u32 = 3;

/// Leaves of CPUID with the caches, Intel's and AMD's: one of the two is zeros. The L3
/// cache is in the same place of both.
const CACHES: [u32; 2] = [4, 0x8000_001d];
const L3: u32 = 3;

/// Most classes that are used.
const MOST: usize = 16;

/// What there is of the L3 cache to share out, which may be nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Classes {
    /// All ways, a bit for each.
    pub ways: u32,
    /// A class may have ways that do not follow each other.
    pub sparse: bool,
    /// Highest class.
    pub last: u8,
    /// CPUs whose APIC ids differ in these low bits only share the cache.
    pub shift: u8,
}

impl Classes {
    /// What CPUID says, which gives zeros for a leaf that there is not.
    #[must_use]
    pub fn find(cpuid: impl Fn(u32, u32) -> [u32; 4]) -> Self {
        const SPARSE: u32 = 1 << 3;
        if cpuid(ALLOCATION, 0)[1] & 1 << CACHE == 0 {
            return Self::default();
        }
        let [length, _, flags, last] = cpuid(ALLOCATION, CACHE);
        let [intel, amd] = CACHES.map(|leaf| cpuid(leaf, L3)[0]);
        let most = (intel | amd) >> 14 & 0xfff;
        Self {
            ways: u32::MAX >> (31 - length % 32),
            sparse: flags & SPARSE != 0,
            last: last as u8,
            shift: (u32::BITS - most.leading_zeros()) as u8,
        }
    }

    /// True if CPUs with these APIC ids share the L3 cache.
    #[must_use]
    pub const fn together(&self, a: u32, b: u32) -> bool {
        a >> self.shift == b >> self.shift
    }

    /// The ways of the root where `taken` are those of cells: all others, or the longest
    /// stretch of them; 0 if none is left.
    #[must_use]
    pub const fn rest(&self, taken: u32) -> u32 {
        let left = self.ways & !taken;
        if self.sparse {
            return left;
        }
        // Each step takes a way from each stretch: before the last one there are the
        // lowest ways of the longest ones.
        let (mut starts, mut more, mut length) = (0, left, 0);
        while more != 0 {
            starts = more;
            more &= more >> 1;
            length += 1;
        }
        match starts {
            0 => 0,
            _ => (u32::MAX >> (32 - length)) << starts.trailing_zeros(),
        }
    }

    /// True if a cell can have `class` beside those that share an L3 cache with it. Too
    /// long a delay the CPU refuses.
    #[must_use]
    pub fn allows(&self, shares: &Shares, class: Class) -> bool {
        let (number, ways) = (class.number(), class.l3_ways());
        number.wrapping_sub(1) < self.last
            && shares.of.get(usize::from(number)) == Some(&Class::ROOT)
            && ways & !(self.ways & !shares.taken) == 0
            && (self.sparse || is_stretch(ways))
            && self.rest(shares.taken | ways) != 0
    }

    /// Calls `write` with each register of an L3 cache that is shared so, and what is in
    /// it. Those that the machine does not have are among them.
    pub fn write(&self, shares: &Shares, mut write: impl FnMut(u32, u32)) {
        // Data and code have the same classes.
        write(L3_CONFIG, 0);
        for (number, class) in (0..=u32::from(self.last)).zip(&shares.of) {
            let ways = match class.l3_ways() {
                0 => self.rest(shares.taken),
                ways => ways,
            };
            write(L3_MASK + number, ways);
            write(DELAY + number, class.delay().into());
        }
    }
}

/// What delays there are: the plan keeps to them, and what is none the CPU refuses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delays {
    /// Longest one; 0 if there are none, or they follow no line.
    pub longest: u8,
    /// Highest class with one.
    pub last: u8,
}

impl Delays {
    /// What CPUID says, as for [`Classes::find`].
    #[must_use]
    pub fn find(cpuid: impl Fn(u32, u32) -> [u32; 4]) -> Self {
        const LINEAR: u32 = 1 << 2;
        if cpuid(ALLOCATION, 0)[1] & 1 << BANDWIDTH == 0 {
            return Self::default();
        }
        match cpuid(ALLOCATION, BANDWIDTH) {
            [longest, _, flags, last] if flags & LINEAR != 0 => Self {
                longest: (longest as u8).saturating_add(1),
                last: last as u8,
            },
            _ => Self::default(),
        }
    }
}

/// What cells have of an L3 cache and the bandwidth behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shares {
    taken: u32,
    /// By number.
    of: [Class; MOST],
}

impl Shares {
    /// Adds the class of a cell, which was allowed.
    pub fn add(&mut self, class: Class) {
        if let Some(place) = self.of.get_mut(usize::from(class.number())) {
            *place = class;
        }
        self.taken |= class.l3_ways();
    }
}

/// What a write of the root to one of these registers becomes while cells have classes:
/// `None` if it is dropped. Of a CPU's association what it counts is the root's.
#[must_use]
pub const fn filtered(msr: u32, value: u64) -> Option<u64> {
    match msr {
        ASSOCIATION => Some(value & u32::MAX as u64),
        _ => None,
    }
}

/// True if these ways follow each other, or are none.
const fn is_stretch(ways: u32) -> bool {
    // The lowest one added carries over all that follow it.
    ways & ways.wrapping_add(ways & ways.wrapping_neg()) == 0
}

#[cfg(test)]
mod tests;
