//! What of a bus a cell sees.

use super::{ABSENT, Bdf};

/// What stands at an address, as a cell sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The cell's function with this place in its list.
    Function(usize),
    /// Nothing of its own, but it owns a higher function of the same device,
    /// which a kernel looks for only if there is a function 0.
    Placeholder,
    /// Nothing: reads give [`ABSENT`], writes vanish.
    Nothing,
}

/// What the owner of the functions `owned` sees at `at`.
pub fn seen(owned: impl IntoIterator<Item = Bdf>, at: Bdf) -> Seen {
    let mut found = Seen::Nothing;
    for (index, bdf) in owned.into_iter().enumerate() {
        if bdf == at {
            return Seen::Function(index);
        }
        if at.function() == 0 && is_same_device(bdf, at) {
            found = Seen::Placeholder;
        }
    }
    found
}

fn is_same_device(a: Bdf, b: Bdf) -> bool {
    a.segment == b.segment && a.requester >> 3 == b.requester >> 3
}

/// True if `bdf` has to say that its device has more functions.
pub fn has_siblings(owned: impl IntoIterator<Item = Bdf>, bdf: Bdf) -> bool {
    let mut others = owned.into_iter().filter(|other| *other != bdf);
    others.any(|other| is_same_device(other, bdf))
}

/// Vendor and device of the placeholder: none that was ever given out.
const PLACEHOLDER_ID: u32 = 0x0001_fffe;
/// Class "does not fit any other", which no driver claims.
const PLACEHOLDER_CLASS: u32 = 0xff00_0000;
/// Ordinary header, more functions follow.
const PLACEHOLDER_HEADER: u32 = 0x80 << 16;

/// What a placeholder reads at the offset `dword`, a multiple of 4.
#[must_use]
pub const fn placeholder(dword: u16) -> u32 {
    match dword {
        0x00 => PLACEHOLDER_ID,
        0x08 => PLACEHOLDER_CLASS,
        0x0c => PLACEHOLDER_HEADER,
        0x100.. => ABSENT,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(requester: u16) -> Bdf {
        Bdf {
            segment: 0,
            requester,
        }
    }

    #[test]
    fn a_cell_sees_its_own_functions_only() {
        // 01:10.2, 01:10.4, 02:00.1
        let owned = [at(0x182), at(0x184), at(0x201)];
        assert_eq!(seen(owned, at(0x184)), Seen::Function(1));
        assert_eq!(seen(owned, at(0x180)), Seen::Placeholder);
        assert_eq!(seen(owned, at(0x200)), Seen::Placeholder, "the PF's place");
        assert_eq!(seen(owned, at(0x181)), Seen::Nothing);
        assert_eq!(seen(owned, at(0x188)), Seen::Nothing, "next device");
        let other_segment = Bdf {
            segment: 1,
            requester: 0x182,
        };
        assert_eq!(seen(owned, other_segment), Seen::Nothing);
        assert!(has_siblings(owned, at(0x182)) && !has_siblings(owned, at(0x201)));
    }
}
