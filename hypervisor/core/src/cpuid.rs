//! What CPUID answers.
//!
//! A cell sees the features of its CPUs that belong to a CPU alone, under ids and
//! a topology of its own; everything that reaches the platform, other cells or
//! MSRs that the monitor keeps is hidden. Features are allow-lists (`policy.rs`),
//! so that what a future CPU brings is hidden until somebody looks at it.
//! The root sees its hardware, less what the monitor uses itself ([`root`]).
//!
//! Pure: the caller hands in what the hardware says. It must have cleared there
//! what its back end cannot carry, or say so with [`Table::without`].
//!
//! Spec: SDM 2A, "CPUID"; APM 3, "Obtaining Processor Information Via the CPUID
//! Instruction".

mod policy;
mod topology;
mod xsave;

use crate::kvmclock;
use bitflags::bitflags;
use heapless::Vec;
use policy::{Fix, Rule, Subleaf, Vendor};

pub use policy::ARCH_CAPABILITIES;

/// EAX, EBX, ECX, EDX.
pub type Regs = [u32; 4];

/// Leaf that tells a kernel or a tool that it runs under this monitor.
pub const LEAF_MONITOR: u32 = 0x4000_0100;

/// EBX, ECX and EDX of [`LEAF_MONITOR`].
pub const MONITOR_SIGNATURE: &[u8; 12] = b"cellvisor\0\0\0";

const CR4_OSXSAVE: u64 = 1 << 18;
const CR4_PKE: u64 = 1 << 22;

/// Leaf 1, ECX.
const VMX: u32 = 1 << 5;
const SMX: u32 = 1 << 6;
const X2APIC: u32 = 1 << 21;
const OSXSAVE: u32 = 1 << 27;
const HYPERVISOR: u32 = 1 << 31;
/// Leaf 1, EDX: more than one logical processor.
const HTT: u32 = 1 << 28;
/// Leaf 7, ECX.
const OSPKE: u32 = 1 << 4;
/// Leaf 80000001H, ECX.
const SVM: u32 = 1 << 2;

const FIRST_HYPERVISOR: u32 = 0x4000_0000;
const LAST_HYPERVISOR: u32 = 0x4fff_ffff;
const FIRST_EXTENDED: u32 = 0x8000_0000;
const LEAF_TOPOLOGY: u32 = 0xb;

/// What of a CPU's answer depends on its present state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dynamic {
    /// Its virtual APIC id.
    pub virtual_id: u32,
    /// CR4 as the guest sees it.
    pub cr4: u64,
    /// Its XCR0.
    pub xcr0: u64,
    /// Its IA32_XSS.
    pub xss: u64,
}

bitflags! {
    /// What a cell cannot have although its CPUs have it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Lacks: u32 {
        /// RDTSCP and RDPID.
        const RDTSCP = 1 << 0;
        /// INVPCID.
        const INVPCID = 1 << 1;
        /// XSAVES and XRSTORS.
        const XSAVES = 1 << 2;
        /// TPAUSE, UMONITOR and UMWAIT.
        const WAITPKG = 1 << 3;
        /// A third-level cache that all its CPUs share, as those on more than
        /// one node have none.
        const SHARED_L3 = 1 << 4;
    }
}

/// The answer for one leaf or subleaf.
#[derive(Clone, Copy, Debug)]
struct Entry {
    leaf: u32,
    /// `None`: ECX does not matter.
    subleaf: Option<u32>,
    fix: Fix,
    regs: Regs,
}

/// Most entries: all rules with all of their subleaves are fewer.
const CAPACITY: usize = 96;

/// Leaves of either range that an answer can have.
const BASIC: usize = policy::LAST_BASIC as usize + 1;
const EXTENDED: usize = 0x22;

/// The answers that a cell's CPUs get.
#[derive(Clone, Debug)]
pub struct Table {
    entries: Vec<Entry, CAPACITY>,
    /// Where in `entries` the first answer of each leaf is, basic ones first; their
    /// end if there is none. An answer is found in one step, or with some more
    /// for subleaves.
    first: [u8; BASIC + EXTENDED],
    /// Where those answers of basic leaves are that depend on nothing; [`CAPACITY`]
    /// for other leaves.
    fixed: [u8; BASIC],
    vendor: &'static Vendor,
    cpus: u32,
    last_basic: u32,
    last_extended: u32,
}

impl Table {
    /// The table of a cell with `cpus` CPUs on hardware where `native` executes
    /// CPUID for a leaf (EAX) and a subleaf (ECX).
    pub fn build(mut native: impl FnMut(u32, u32) -> Regs, cpus: u32) -> Self {
        let [native_basic, name @ ..] = native(0, 0);
        let vendor = Vendor::of(name);
        let native_extended = match native(FIRST_EXTENDED, 0)[0] {
            last if last >= FIRST_EXTENDED => last,
            _ => FIRST_EXTENDED,
        };
        let mut table = Self {
            entries: Vec::new(),
            first: [CAPACITY as u8; BASIC + EXTENDED],
            fixed: [CAPACITY as u8; BASIC],
            vendor,
            cpus: cpus.max(1),
            // An x2APIC without the topology leaf would have no id to show.
            last_basic: native_basic.clamp(LEAF_TOPOLOGY, policy::LAST_BASIC),
            last_extended: native_extended.min(vendor.last_extended),
        };
        let exists = |leaf| match leaf < FIRST_EXTENDED {
            true => leaf <= native_basic,
            false => leaf <= native_extended,
        };
        for rules in vendor.rules {
            for rule in rules {
                for subleaf in rule.subleaf.all() {
                    let native = match exists(rule.leaf) {
                        true => native(rule.leaf, subleaf),
                        false => [0; 4],
                    };
                    table.add(rule, subleaf, native);
                }
            }
        }
        table
    }

    fn add(&mut self, rule: &Rule, subleaf: u32, native: Regs) {
        let mut regs: Regs = core::array::from_fn(|i| match (native.get(i), rule.keep.get(i)) {
            (Some(native), Some(keep)) => native & keep,
            _ => 0,
        });
        match rule.fix {
            Fix::LastBasic => regs[0] = self.last_basic,
            Fix::LastExtended => regs[0] = self.last_extended,
            Fix::Features => regs[0] = regs[0].min(policy::LAST_FEATURES),
            Fix::Identity => self.set_identity(&mut regs),
            Fix::Caches => topology::set_sharing(&mut regs, rule.leaf, self.cpus),
            Fix::AmdCores => topology::set_amd_cores(&mut regs, self.cpus),
            Fix::None | Fix::Topology | Fix::AmdIds | Fix::Xsave => {}
        }
        // An answer of zeros needs no entry, unless something is added later.
        if regs != [0; 4] || rule.fix.is_late() {
            let subleaf = (rule.subleaf != Subleaf::Any).then_some(subleaf);
            let entry = Entry {
                leaf: rule.leaf,
                subleaf,
                fix: rule.fix,
                regs,
            };
            let index = self.entries.len() as u8;
            if let Some(first) = slot(rule.leaf).and_then(|slot| self.first.get_mut(slot)) {
                *first = (*first).min(index);
            }
            if subleaf.is_none()
                && rule.fix.is_early()
                && rule.leaf <= self.last_basic
                && let Some(fixed) = self.fixed.get_mut(rule.leaf as usize)
            {
                *fixed = index;
            }
            // The rules fit, as a test shows; a leaf too many would be hidden.
            let _ = self.entries.push(entry);
        }
    }

    fn set_identity(&self, regs: &mut Regs) {
        regs[1] |= self.cpus.min(0xff) << 16;
        regs[2] |= HYPERVISOR | X2APIC;
        regs[3] &= !HTT;
        if self.cpus > 1 {
            regs[3] |= HTT;
        }
    }

    /// Hides what `lacks` names.
    #[must_use]
    pub fn without(mut self, lacks: Lacks) -> Self {
        for entry in &mut self.entries {
            for bits in policy::LACKING.iter().filter(|b| lacks.contains(b.lacks)) {
                if (entry.leaf, entry.subleaf.unwrap_or(0)) == (bits.leaf, bits.subleaf)
                    && let Some(reg) = entry.regs.get_mut(bits.register)
                {
                    *reg &= !bits.mask;
                }
            }
            if lacks.contains(Lacks::SHARED_L3) && entry.fix == Fix::Caches {
                topology::unshare(&mut entry.regs);
            }
        }
        self
    }

    /// What CPUID with EAX = `leaf` and ECX = `subleaf` answers on a CPU of the
    /// cell in the state `now`.
    pub fn lookup(&self, leaf: u32, subleaf: u32, now: &Dynamic) -> Regs {
        match leaf {
            FIRST_HYPERVISOR..=LAST_HYPERVISOR => hypervisor(leaf),
            _ if leaf <= self.last_basic => self.answer(leaf, subleaf, now),
            FIRST_EXTENDED.. if leaf <= self.last_extended => self.answer(leaf, subleaf, now),
            _ if self.vendor.repeats => self.answer(self.last_basic, subleaf, now),
            _ => [0; 4],
        }
    }

    /// What CPUID with EAX = `leaf` answers if that is one of the basic leaves that have
    /// no subleaves and depend on nothing; `None` for all others.
    #[must_use]
    #[inline(always)] // An exit asks this first of all.
    pub fn fixed(&self, leaf: u32) -> Option<&Regs> {
        let index = *self.fixed.get(leaf as usize)?;
        Some(&self.entries.get(usize::from(index))?.regs)
    }

    fn answer(&self, leaf: u32, subleaf: u32, now: &Dynamic) -> Regs {
        let Some(entry) = self.find(leaf, subleaf) else {
            return [0; 4];
        };
        let mut regs = entry.regs;
        match entry.fix {
            Fix::Identity => {
                regs[1] |= (now.virtual_id & 0xff) << 24;
                regs[2] = mirror(regs[2], OSXSAVE, now.cr4, CR4_OSXSAVE);
            }
            Fix::Features => regs[2] = mirror(regs[2], OSPKE, now.cr4, CR4_PKE),
            Fix::Topology => regs = topology::level(subleaf, now.virtual_id, self.cpus),
            Fix::AmdIds => regs = topology::amd_ids(now.virtual_id),
            Fix::Xsave => self.set_xsave_size(subleaf, now, &mut regs),
            Fix::None | Fix::LastBasic | Fix::LastExtended | Fix::Caches | Fix::AmdCores => {}
        }
        regs
    }

    fn find(&self, leaf: u32, subleaf: u32) -> Option<&Entry> {
        let first = *self.first.get(slot(leaf)?)?;
        self.entries
            .get(usize::from(first)..)?
            .iter()
            .take_while(|e| e.leaf == leaf)
            .find(|e| e.subleaf.is_none_or(|s| s == subleaf))
    }

    /// State components that the cell may switch on in XCR0.
    pub fn xcr0(&self) -> u64 {
        self.find(xsave::LEAF, 0)
            .map_or(0, |e| u64::from(e.regs[3]) << 32 | u64::from(e.regs[0]))
    }

    /// Sizes that follow the components in use, in bytes.
    fn set_xsave_size(&self, subleaf: u32, now: &Dynamic, regs: &mut Regs) {
        let component = |index| self.find(xsave::LEAF, index).map(|e| e.regs);
        let allowed = self.xcr0();
        match subleaf {
            0 => {
                regs[1] = xsave::standard_size(now.xcr0 & allowed, component);
                regs[2] = xsave::standard_size(allowed, component);
            }
            1 if regs[0] & (xsave::XSAVEC | xsave::XSAVES) != 0 => {
                let used = now.xcr0 & allowed | now.xss & policy::XSS;
                regs[1] = xsave::compacted_size(used, component);
            }
            _ => {}
        }
    }
}

/// Place of a leaf in [`Table::first`].
const fn slot(leaf: u32) -> Option<usize> {
    match leaf.checked_sub(FIRST_EXTENDED) {
        Some(extended) if (extended as usize) < EXTENDED => Some(BASIC + extended as usize),
        None if (leaf as usize) < BASIC => Some(leaf as usize),
        _ => None,
    }
}

/// `reg` with `feature` as the control register has `control`, if the CPU has
/// what it belongs to.
const fn mirror(reg: u32, feature: u32, cr4: u64, control: u64) -> u32 {
    if cr4 & control != 0 {
        reg | feature
    } else {
        reg & !feature
    }
}

/// Leaves that hypervisors answer.
fn hypervisor(leaf: u32) -> Regs {
    let signed = |last, name: &[u8; 12]| {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = *name;
        let word = u32::from_le_bytes;
        [
            last,
            word([a, b, c, d]),
            word([e, f, g, h]),
            word([i, j, k, l]),
        ]
    };
    match leaf {
        kvmclock::LEAF_SIGNATURE => signed(kvmclock::LEAF_FEATURES, kvmclock::SIGNATURE),
        kvmclock::LEAF_FEATURES => [policy::KVM_FEATURES, 0, 0, 0],
        LEAF_MONITOR => signed(LEAF_MONITOR, MONITOR_SIGNATURE),
        _ => [0; 4],
    }
}

/// What the root gets where the hardware answers `native`: no virtualization
/// extensions, which the monitor has taken, and the two bits that mirror the
/// root's CR4 and not the monitor's.
pub fn root(leaf: u32, subleaf: u32, native: Regs, cr4: u64) -> Regs {
    let mut regs = native;
    match (leaf, subleaf) {
        (1, _) => {
            regs[2] = mirror(regs[2], OSXSAVE, cr4, CR4_OSXSAVE) & !(VMX | SMX);
        }
        (7, 0) => regs[2] = mirror(regs[2], OSPKE, cr4, CR4_PKE),
        (0x8000_0001, _) => regs[2] &= !SVM,
        (0x8000_000a, _) => regs = [0; 4],
        _ => {}
    }
    regs
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;
