//! Inter-processor interrupts: what a write to the interrupt command register
//! asks for, which CPUs of a cell it means, and the command that does it.
//!
//! A cell's CPUs have the virtual ids 0, 1, 2 …; the monitor decodes a command,
//! walks [`targets`] and sends each a physical one of its own.
//!
//! Spec: SDM 3A, "Issuing Interprocessor Interrupts" and "Extended XAPIC
//! (x2APIC)".

/// Destination that means every CPU in x2APIC mode.
pub const BROADCAST_X2APIC: u32 = u32::MAX;

/// Destination that means every CPU in xAPIC mode.
pub const BROADCAST_XAPIC: u8 = u8::MAX;

/// Bits of the x2APIC command that must be zero. Bit 12, which was the delivery
/// status, is left out: some CPUs let software set it, and it has no effect.
const RESERVED: u64 = 0xfff3_2000;

const LOGICAL: u32 = 1 << 11;
const ASSERT: u32 = 1 << 14;
const LEVEL: u32 = 1 << 15;

/// What an interrupt does to a CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Interrupt with this vector.
    Fixed(u8),
    /// The same, for the one with the lowest priority among the destinations.
    LowestPriority(u8),
    /// System management interrupt.
    Smi,
    /// Non-maskable interrupt.
    Nmi,
    /// INIT, or the old "de-assert" message that no CPU since the Pentium minds.
    Init {
        /// The message that matters.
        assert: bool,
    },
    /// Start-up at the 4 KiB page with this number.
    StartUp(u8),
    /// Interrupt of an 8259; no IPI, but an I/O APIC's entry can say so.
    ExtInt,
    /// A delivery mode that is none (3).
    Reserved,
}

impl Kind {
    /// From delivery mode, vector and whether it is an INIT de-assert.
    #[inline(always)] // As [`decode_x2apic`].
    pub(crate) const fn new(mode: u8, vector: u8, deassert: bool) -> Self {
        match mode & 7 {
            0 => Self::Fixed(vector),
            1 => Self::LowestPriority(vector),
            2 => Self::Smi,
            4 => Self::Nmi,
            5 => Self::Init { assert: !deassert },
            6 => Self::StartUp(vector),
            7 => Self::ExtInt,
            _ => Self::Reserved,
        }
    }

    /// Low half of a command: mode, vector, level and trigger.
    const fn bits(self) -> u32 {
        match self {
            Self::Fixed(vector) => ASSERT | vector as u32,
            Self::LowestPriority(vector) => ASSERT | 1 << 8 | vector as u32,
            Self::Smi => ASSERT | 2 << 8,
            Self::Reserved => ASSERT | 3 << 8,
            Self::Nmi => ASSERT | 4 << 8,
            Self::Init { assert: true } => ASSERT | 5 << 8,
            Self::Init { assert: false } => LEVEL | 5 << 8,
            Self::StartUp(page) => ASSERT | 6 << 8 | page as u32,
            Self::ExtInt => ASSERT | 7 << 8,
        }
    }
}

/// Whom an interrupt is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dest {
    /// The CPU with this APIC id.
    Physical(u32),
    /// CPUs of a cluster of 16, by x2APIC logical ids.
    LogicalX2 {
        /// Which cluster.
        cluster: u16,
        /// One bit for each CPU in it.
        mask: u16,
    },
    /// Up to 8 CPUs, by xAPIC logical ids in the flat model as Linux sets them
    /// up: bit n is CPU n.
    LogicalFlat(u8),
    /// The sender.
    SelfOnly,
    /// Every CPU.
    All,
    /// Every CPU but the sender.
    AllButSelf,
}

impl Dest {
    /// From the 32-bit destination of x2APIC mode.
    #[inline(always)] // As [`decode_x2apic`].
    pub(crate) const fn x2apic(dest: u32, logical: bool) -> Self {
        match (dest, logical) {
            (BROADCAST_X2APIC, _) => Self::All,
            (_, false) => Self::Physical(dest),
            (_, true) => Self::LogicalX2 {
                cluster: (dest >> 16) as u16,
                mask: dest as u16,
            },
        }
    }

    /// From the 8-bit destination of xAPIC mode.
    pub(crate) const fn xapic(dest: u8, logical: bool) -> Self {
        match (dest, logical) {
            (_, true) => Self::LogicalFlat(dest),
            (BROADCAST_XAPIC, false) => Self::All,
            (_, false) => Self::Physical(dest as u32),
        }
    }
}

/// One command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipi {
    /// What it does.
    pub kind: Kind,
    /// To whom.
    pub dest: Dest,
}

/// These bits of a command must be zero and are not: the write gets #GP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReservedBits(pub u64);

/// Decodes a write of the x2APIC register (MSR 830H).
///
/// # Errors
///
/// [`ReservedBits`], as the hardware would object.
#[inline(always)] // The exit that cells have most often while they work.
pub const fn decode_x2apic(value: u64) -> Result<Ipi, ReservedBits> {
    if value & RESERVED != 0 {
        return Err(ReservedBits(value & RESERVED));
    }
    let low = value as u32;
    Ok(decode(
        low,
        Dest::x2apic((value >> 32) as u32, low & LOGICAL != 0),
    ))
}

/// The same where it is rare, once in the image.
///
/// # Errors
///
/// As of [`decode_x2apic`].
pub const fn decode_rare(value: u64) -> Result<Ipi, ReservedBits> {
    if value & RESERVED != 0 {
        return Err(ReservedBits(value & RESERVED));
    }
    Ok(decode_apart(value as u32, (value >> 32) as u32, true))
}

/// A command by its low half and the destination of an x2APIC's or of another's.
#[inline(never)] // Once in the image.
const fn decode_apart(low: u32, id: u32, is_x2apic: bool) -> Ipi {
    let logical = low & LOGICAL != 0;
    let dest = match is_x2apic {
        true => Dest::x2apic(id, logical),
        false => Dest::xapic(id as u8, logical),
    };
    decode(low, dest)
}

/// Decodes a write of the low xAPIC register (offset 300H) while the high one
/// (310H) has the value `high`. Reserved bits are ignored there.
pub const fn decode_xapic(high: u32, low: u32) -> Ipi {
    decode_apart(low, high >> 24, false)
}

#[inline(always)] // As [`decode_x2apic`].
const fn decode(low: u32, dest: Dest) -> Ipi {
    let dest = match low >> 18 & 3 {
        0 => dest,
        1 => Dest::SelfOnly,
        2 => Dest::All,
        _ => Dest::AllButSelf,
    };
    // Without level trigger there is nothing to de-assert.
    let deassert = low & LEVEL != 0 && low & ASSERT == 0;
    Ipi {
        kind: Kind::new((low >> 8) as u8, low as u8, deassert),
        dest,
    }
}

/// Command that does `kind` to the CPU with this physical id, in x2APIC mode.
pub const fn encode_x2apic(kind: Kind, physical: u32) -> u64 {
    (physical as u64) << 32 | kind.bits() as u64
}

/// The same in xAPIC mode: values of the high and the low register, to be
/// written in this order.
pub const fn encode_xapic(kind: Kind, physical: u8) -> (u32, u32) {
    ((physical as u32) << 24, kind.bits())
}

/// Logical id of an x2APIC with this id, as its LDR reads.
pub const fn ldr(id: u32) -> u32 {
    (id << 12) & 0xffff_0000 | 1 << (id & 0xf)
}

/// Virtual ids that `dest` means when CPU `sender` of a cell with `cpus` CPUs
/// says it, in ascending order. Ids that the cell does not have are left out.
#[inline(always)] // As [`decode_x2apic`].
pub fn targets(dest: Dest, sender: u32, cpus: u32) -> Targets {
    let (first, end, mask, skip) = match dest {
        Dest::Physical(id) => (id, id.saturating_add(1), u16::MAX, None),
        Dest::SelfOnly => (sender, sender.saturating_add(1), u16::MAX, None),
        Dest::All => (0, u32::MAX, u16::MAX, None),
        Dest::AllButSelf => (0, u32::MAX, u16::MAX, Some(sender)),
        Dest::LogicalFlat(mask) => (0, 8, u16::from(mask), None),
        Dest::LogicalX2 { cluster, mask } => {
            let first = u32::from(cluster) << 4;
            (first, first + 16, mask, None)
        }
    };
    Targets {
        next: first,
        end: end.min(cpus),
        mask,
        skip,
    }
}

/// True if `dest`, in terms of physical ids, means the CPU with this APIC id, which
/// has `flat_ldr` in the logical destination register of its xAPIC. Short forms
/// mean the sender, which only an interrupt command has.
pub const fn means(dest: Dest, id: u32, flat_ldr: u32) -> bool {
    match dest {
        Dest::Physical(wanted) => id == wanted,
        Dest::All => true,
        Dest::SelfOnly | Dest::AllButSelf => false,
        Dest::LogicalX2 { cluster, mask } => {
            let own = ldr(id);
            own >> 16 == cluster as u32 && own & mask as u32 != 0
        }
        Dest::LogicalFlat(mask) => flat_ldr >> 24 & mask as u32 != 0,
    }
}

/// Iterator of [`targets`].
#[derive(Clone, Debug)]
pub struct Targets {
    next: u32,
    end: u32,
    /// Which of 16 neighbours, by the low bits of the id.
    mask: u16,
    skip: Option<u32>,
}

impl Iterator for Targets {
    type Item = u32;

    #[inline(always)] // As [`decode_x2apic`].
    fn next(&mut self) -> Option<u32> {
        while self.next < self.end {
            let id = self.next;
            self.next += 1;
            if self.mask >> (id & 0xf) & 1 != 0 && self.skip != Some(id) {
                return Some(id);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn ids(dest: Dest, sender: u32, cpus: u32) -> Vec<u32> {
        targets(dest, sender, cpus).collect()
    }

    #[test]
    fn decodes_what_linux_writes() {
        // Reschedule IPI to CPU 3, physical.
        let sent = decode_x2apic(0x0000_0003_0000_00fd);
        assert_eq!(
            sent,
            Ok(Ipi {
                kind: Kind::Fixed(0xfd),
                dest: Dest::Physical(3)
            })
        );
        // Function call to CPUs 17 and 18, x2APIC cluster mode.
        let sent = decode_x2apic(0x0001_0006_0000_08fb);
        let dest = Dest::LogicalX2 {
            cluster: 1,
            mask: 6,
        };
        assert_eq!(
            sent,
            Ok(Ipi {
                kind: Kind::Fixed(0xfb),
                dest
            })
        );
        // INIT assert, INIT de-assert, SIPI at 0x99000, as smpboot does it.
        let kinds = [0xc500, 0x8500, 0x699].map(|low| decode_xapic(0x0100_0000, low).kind);
        let init = |assert| Kind::Init { assert };
        assert_eq!(kinds, [init(true), init(false), Kind::StartUp(0x99)]);
        // All-CPU backtrace: NMI with the shorthand "all but self".
        let sent = decode_xapic(0, 0xc_0400);
        assert_eq!(
            sent,
            Ipi {
                kind: Kind::Nmi,
                dest: Dest::AllButSelf
            }
        );
    }

    #[test]
    fn a_physical_destination_means_one_cpu() {
        assert!(means(Dest::Physical(5), 5, 0));
        assert!(!means(Dest::Physical(5), 4, u32::MAX));
    }

    #[test]
    fn all_means_every_cpu_and_short_forms_mean_none() {
        assert!(means(Dest::All, 1000, 0));
        assert!(!means(Dest::SelfOnly, 0, u32::MAX));
        assert!(!means(Dest::AllButSelf, 0, u32::MAX));
    }

    #[test]
    fn a_cluster_means_those_of_its_mask() {
        let dest = Dest::LogicalX2 {
            cluster: 2,
            mask: 0b101,
        };
        let meant: Vec<u32> = (0..64).filter(|id| means(dest, *id, u32::MAX)).collect();
        assert_eq!(meant, [32, 34]);
    }

    #[test]
    fn a_flat_destination_means_who_has_the_bit() {
        assert!(means(Dest::LogicalFlat(0b10), 7, 0x0200_0000));
        assert!(!means(Dest::LogicalFlat(0b10), 1, 0x0100_0000));
        assert!(!means(Dest::LogicalFlat(0), 1, 0xff00_0000));
    }

    #[test]
    fn shorthand_beats_the_destination_field() {
        let sent = decode_x2apic(0x0000_0007_0004_0030);
        assert_eq!(
            sent,
            Ok(Ipi {
                kind: Kind::Fixed(0x30),
                dest: Dest::SelfOnly
            })
        );
    }

    /// SDM 3A, "Interrupt Command Register (ICR)".
    #[test]
    fn modes_and_shorthands_are_the_manuals() {
        let kinds = [0u32, 1, 2, 3, 4, 5, 6, 7].map(|mode| {
            let low = ASSERT | mode << 8 | 0x99;
            decode_xapic(0, low).kind
        });
        let assert = true;
        assert_eq!(
            kinds,
            [
                Kind::Fixed(0x99),
                Kind::LowestPriority(0x99),
                Kind::Smi,
                Kind::Reserved,
                Kind::Nmi,
                Kind::Init { assert },
                Kind::StartUp(0x99),
                Kind::ExtInt,
            ]
        );
        let dests = [0u32, 1, 2, 3].map(|shorthand| {
            let low = ASSERT | shorthand << 18;
            decode_xapic(0x0500_0000, low).dest
        });
        let physical = Dest::Physical(5);
        assert_eq!(
            dests,
            [physical, Dest::SelfOnly, Dest::All, Dest::AllButSelf]
        );
        // De-assert needs the level trigger.
        let init = |low| decode_xapic(0, 5 << 8 | low).kind;
        let assert = true;
        assert_eq!(init(0), Kind::Init { assert });
        assert_eq!(init(LEVEL | ASSERT), Kind::Init { assert });
        assert_eq!(init(LEVEL), Kind::Init { assert: false });
    }

    #[test]
    fn reserved_bits_of_the_x2apic_command_are_refused() {
        for bit in (13..14).chain(16..18).chain(20..32) {
            assert_eq!(
                decode_x2apic(1 << bit),
                Err(ReservedBits(1 << bit)),
                "bit {bit}"
            );
        }
        for bit in [8, 11, 12, 14, 15, 18, 19, 32, 63] {
            assert!(decode_x2apic(1 << bit).is_ok(), "bit {bit}");
        }
    }

    #[test]
    fn broadcast_ids_mean_all() {
        assert_eq!(
            decode_x2apic(0xffff_ffff_0000_0040).map(|i| i.dest),
            Ok(Dest::All)
        );
        assert_eq!(
            decode_x2apic(0xffff_ffff_0000_0840).map(|i| i.dest),
            Ok(Dest::All)
        );
        assert_eq!(decode_xapic(0xff00_0000, 0x40).dest, Dest::All);
        // In the flat model 0xff is no special value: it is eight CPUs.
        assert_eq!(
            decode_xapic(0xff00_0000, 0x840).dest,
            Dest::LogicalFlat(0xff)
        );
    }

    #[test]
    fn targets_stay_inside_the_cell() {
        assert_eq!(ids(Dest::Physical(2), 0, 3), [2]);
        assert_eq!(ids(Dest::Physical(3), 0, 3), [0; 0], "one above the last");
        assert_eq!(ids(Dest::Physical(u32::MAX), 0, 3), [0; 0]);
        assert_eq!(ids(Dest::AllButSelf, 1, 3), [0, 2]);
        assert_eq!(ids(Dest::All, 1, 3), [0, 1, 2]);
        assert_eq!(ids(Dest::SelfOnly, 1, 3), [1]);
        assert_eq!(
            ids(Dest::LogicalFlat(0b1010_0001), 1, 6),
            [0, 5],
            "7 is not there"
        );
        let last = Dest::LogicalX2 {
            cluster: u16::MAX,
            mask: u16::MAX,
        };
        assert_eq!(ids(last, 0, 40), [0; 0]);
        let third = Dest::LogicalX2 {
            cluster: 2,
            mask: 0x8181,
        };
        assert_eq!(ids(third, 0, 40), [32, 39], "40 and 47 are not there");
    }

    #[test]
    fn physical_commands_have_the_documented_bits() {
        assert_eq!(encode_x2apic(Kind::Nmi, 0x1234_5678), 0x1234_5678_0000_4400);
        assert_eq!(encode_xapic(Kind::StartUp(0x9a), 7), (0x0700_0000, 0x469a));
        assert_eq!(encode_xapic(Kind::Init { assert: false }, 0), (0, 0x8500));
    }

    fn kind() -> impl Strategy<Value = Kind> {
        (0u8..8, any::<u8>(), any::<bool>())
            .prop_map(|(mode, vector, low)| Kind::new(mode, vector, low))
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(kind in kind(), id in any::<u32>()) {
            let dest = if id == BROADCAST_X2APIC { Dest::All } else { Dest::Physical(id) };
            prop_assert_eq!(decode_x2apic(encode_x2apic(kind, id)), Ok(Ipi { kind, dest }));
            let (high, low) = encode_xapic(kind, id as u8);
            prop_assert_eq!(decode_xapic(high, low).kind, kind);
        }

        /// No command of a guest reaches a CPU that it does not have, and the
        /// walk ends.
        #[test]
        fn any_command_stays_inside(value in any::<u64>(), cpus in 1u32..2000, sender in any::<u32>()) {
            let both = [decode_x2apic(value & !RESERVED).ok(), Some(decode_xapic((value >> 32) as u32, value as u32))];
            for ipi in both.into_iter().flatten() {
                prop_assert!(targets(ipi.dest, sender, cpus).all(|id| id < cpus));
            }
        }

        /// A CPU is meant by exactly the logical destinations that share its
        /// cluster and its bit.
        #[test]
        fn ldr_and_targets_agree(id in 0u32..1 << 20) {
            let own = ldr(id);
            let dest = Dest::LogicalX2 { cluster: (own >> 16) as u16, mask: own as u16 };
            prop_assert_eq!(ids(dest, 0, u32::MAX), [id]);
        }
    }
}
