//! Message-signalled interrupts: what an address and its data mean.
//!
//! Spec: SDM 3A, "Message Signalled Interrupts"; VT-d, "Interrupt Requests in
//! Remappable Format".

use crate::icr::{Dest, Ipi, Kind};

const BASE: u64 = 0xfee0_0000;
const BASE_MASK: u64 = 0xfff0_0000;
const REMAPPABLE: u64 = 1 << 4;
const LOGICAL: u64 = 1 << 2;

/// Why a message is not let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The address is no interrupt's: the write would go to memory.
    Address,
    /// It is in remappable format already: a forged one.
    Remappable,
    /// It is not an ordinary interrupt with a vector from 16 on.
    Kind,
}

/// Decodes what a cell wrote as address and data. The destination has up to 15
/// bits (address bits 11:5 above the usual ones), as KVM offers it.
///
/// # Errors
///
/// See [`Refused`].
pub fn decode(address: u64, data: u32) -> Result<Ipi, Refused> {
    if address & !0xfffff != BASE {
        return Err(Refused::Address);
    }
    if address & REMAPPABLE != 0 {
        return Err(Refused::Remappable);
    }
    let dest = (address >> 12 & 0xff) as u32 | ((address >> 5 & 0x7f) as u32) << 8;
    let kind = Kind::new((data >> 8) as u8, data as u8, false);
    match kind {
        Kind::Fixed(16..) | Kind::LowestPriority(16..) => Ok(Ipi {
            kind,
            dest: Dest::x2apic(dest, address & LOGICAL != 0),
        }),
        _ => Err(Refused::Kind),
    }
}

/// Address and data in VT-d's remappable format for the entry `index` of the
/// interrupt remapping table.
#[must_use]
pub const fn vtd_remappable(index: u16) -> (u64, u32) {
    let low = (index & 0x7fff) as u64;
    let high = (index >> 15) as u64;
    (BASE | low << 5 | REMAPPABLE | high << 2, 0)
}

/// Address and data for a machine without interrupt remapping: vector to the
/// CPU with this physical APIC id, which has 8 bits there.
#[must_use]
pub const fn compatible(vector: u8, physical: u8) -> (u64, u32) {
    (BASE | (physical as u64) << 12, vector as u32)
}

/// True for addresses that interrupt requests go to.
#[must_use]
pub const fn is_interrupt(address: u64) -> bool {
    address & !0xfffff == BASE & BASE_MASK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_messages_are_understood() {
        assert_eq!(
            decode(0xfee0_3000, 0x0041),
            Ok(Ipi {
                kind: Kind::Fixed(0x41),
                dest: Dest::Physical(3)
            })
        );
        assert_eq!(
            decode(0xfee0_1020, 0x4141).map(|ipi| ipi.dest),
            Ok(Dest::Physical(0x101)),
            "extended destination"
        );
    }

    #[test]
    fn forged_messages_are_refused() {
        for (address, data, why) in [
            (0xfed0_3000, 0x41, Refused::Address),
            (0x1_fee0_3000, 0x41, Refused::Address),
            (0x0010_0000, 0x41, Refused::Address),
            (0xfee0_0010, 0, Refused::Remappable),
            (0xfee0_0000, 0x0200, Refused::Kind), // SMI
            (0xfee0_0000, 0x0400, Refused::Kind), // NMI
            (0xfee0_0000, 0x0500, Refused::Kind), // INIT
            (0xfee0_0000, 0x0700, Refused::Kind), // ExtINT
            (0xfee0_0000, 0x000f, Refused::Kind), // an exception's vector
        ] {
            assert_eq!(decode(address, data), Err(why), "{address:x} {data:x}");
        }
    }

    #[test]
    fn remappable_format_matches_the_manual() {
        assert_eq!(vtd_remappable(0x1234), (0xfee0_0010 | 0x1234 << 5, 0));
        assert_eq!(vtd_remappable(0x8001), (0xfee0_0034, 0));
        assert!(is_interrupt(vtd_remappable(u16::MAX).0));
        assert_eq!(compatible(0x41, 7), (0xfee0_7000, 0x41));
    }

    #[test]
    fn all_fields_of_a_message() {
        // Destination 5AH and 33H above it, logical; lowest priority.
        let ipi = decode(0xfee5_a664, 0x0141).expect("ordinary");
        assert_eq!(ipi.kind, Kind::LowestPriority(0x41));
        assert_eq!(ipi.dest, Dest::x2apic(0x335a, true));
        assert_eq!(
            decode(0xfee0_0000, 0x10).map(|ipi| ipi.kind),
            Ok(Kind::Fixed(16))
        );
        for address in [0, 0xfedf_ffff, 0xfef0_0000, 0x1_fee0_0000] {
            assert!(!is_interrupt(address), "{address:x}");
        }
        assert!(is_interrupt(0xfee0_0000) && is_interrupt(0xfeef_ffff));
    }
}
