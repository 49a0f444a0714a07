//! The maps in which the CPU looks up whether an access exits.

use super::{Action, PART, Policy, place};

/// A part of a map: a range of MSRs that follow each other.
struct Part {
    /// The first of them.
    base: u32,
    /// The bits of its reads and of its writes.
    read: usize,
    write: usize,
    /// How many bits behind are those of the next one.
    step: usize,
}

/// Fills an MSR bitmap of VT-x: four parts of 1 KiB (reads of low MSRs, reads of
/// high ones from C0000000H, writes of low, writes of high), a set bit exits.
///
/// Spec: SDM 3C, "MSR-Bitmap Address".
pub fn fill_bitmap(policy: Policy, map: &mut [u8; 4096]) {
    let part = |base, first_byte: usize| Part {
        base,
        read: first_byte * 8,
        write: (2048 + first_byte) * 8,
        step: 1,
    };
    fill(policy, map, &[part(0, 0), part(0xc000_0000, 1024)]);
}

/// Fills an MSR permission map of AMD-V: three parts of 2 KiB (from 0,
/// C0000000H and C0010000H) with two bits for each MSR, of which the lower is for
/// reads; a set bit exits. The last quarter is reserved.
///
/// Spec: APM 2, "MSR Intercepts".
pub fn fill_msrpm(policy: Policy, map: &mut [u8; 8192]) {
    let part = |base, first_byte: usize| Part {
        base,
        read: first_byte * 8,
        write: first_byte * 8 + 1,
        step: 2,
    };
    let parts = [part(0, 0), part(0xc000_0000, 2048), part(0xc001_0000, 4096)];
    fill(policy, map, &parts);
}

/// Sets all bits but those of MSRs that a rule lets the guest have itself.
fn fill(policy: Policy, map: &mut [u8], parts: &[Part]) {
    const LAST: u16 = PART as u16 - 1;
    map.fill(0xff);
    for part in parts {
        // All parts of the maps are among those of rules.
        let base = place(part.base).unwrap_or(0);
        for table in policy.tables {
            for rule in table {
                // Empty where they do not meet.
                for place in rule.first.max(base)..=rule.last.min(base + LAST) {
                    let bits = usize::from(place - base) * part.step;
                    if rule.read == Action::Direct {
                        clear(map, part.read + bits);
                    }
                    if rule.write == Action::Direct {
                        clear(map, part.write + bits);
                    }
                }
            }
        }
    }
}

fn clear(map: &mut [u8], bit: usize) {
    if let Some(byte) = map.get_mut(bit / 8) {
        *byte &= !(1 << (bit % 8));
    }
}
