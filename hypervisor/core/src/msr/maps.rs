//! The maps in which the CPU looks up whether an access exits.

use super::{Action, PART, Policy, Rule, place};

/// Fills an MSR bitmap of VT-x: four parts of 1 KiB (reads of low MSRs, reads of
/// high ones from C0000000H, writes of low, writes of high), a set bit exits.
///
/// Spec: SDM 3C, "MSR-Bitmap Address".
pub fn fill_bitmap(policy: Policy, map: &mut [u8; 4096]) {
    map.fill(0xff);
    for (base, first_byte) in [(0, 0), (0xc000_0000, 1024)] {
        for (rule, index) in direct_msrs(policy, base) {
            if rule.read == Action::Direct {
                clear(map, first_byte * 8 + index);
            }
            if rule.write == Action::Direct {
                clear(map, (2048 + first_byte) * 8 + index);
            }
        }
    }
}

/// Fills an MSR permission map of AMD-V: three parts of 2 KiB (from 0,
/// C0000000H and C0010000H) with two bits for each MSR, of which the lower is for
/// reads; a set bit exits. The last quarter is reserved.
///
/// Spec: APM 2, "MSR Intercepts".
pub fn fill_msrpm(policy: Policy, map: &mut [u8; 8192]) {
    map.fill(0xff);
    for (base, first_byte) in [(0, 0), (0xc000_0000, 2048), (0xc001_0000, 4096)] {
        for (rule, index) in direct_msrs(policy, base) {
            if rule.read == Action::Direct {
                clear(map, first_byte * 8 + 2 * index);
            }
            if rule.write == Action::Direct {
                clear(map, first_byte * 8 + 2 * index + 1);
            }
        }
    }
}

/// The MSRs from `base` on that a part covers and a rule names, by their place
/// in the part.
fn direct_msrs(policy: Policy, base: u32) -> impl Iterator<Item = (&'static Rule, usize)> {
    const LAST: u16 = PART as u16 - 1;
    // All parts of the maps are among those of rules.
    let base = place(base).unwrap_or(0);
    policy.rules().flat_map(move |rule| {
        // Empty where they do not meet.
        let places = rule.first.max(base)..=rule.last.min(base + LAST);
        places.map(move |place| (rule, usize::from(place - base)))
    })
}

fn clear(map: &mut [u8], bit: usize) {
    if let Some(byte) = map.get_mut(bit / 8) {
        *byte &= !(1 << (bit % 8));
    }
}
