//! Values of every type for tests, made from a seed.

use crate::wire::ListBuf;
use alloc::vec::Vec;

/// Makes numbers that look random (splitmix64).
#[derive(Debug)]
pub(crate) struct Seed(pub(crate) u64);

impl Seed {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub(crate) fn below(&mut self, count: u8) -> u8 {
        (self.next() % u64::from(count)) as u8
    }

    /// Up to three items.
    pub(crate) fn list<T: Any + crate::wire::Put>(&mut self) -> (Vec<T>, ListBuf) {
        let items: Vec<T> = (0..self.below(4)).map(|_| T::any(self)).collect();
        let list = ListBuf::new(&items);
        (items, list)
    }
}

/// Has values that a seed picks.
pub(crate) trait Any {
    fn any(seed: &mut Seed) -> Self;
}

macro_rules! numbers {
    ($($type:ty)*) => {$(
        impl Any for $type {
            /// Of any length, so that each number of bytes comes up.
            fn any(seed: &mut Seed) -> Self {
                let bits = u32::from(seed.below(Self::BITS as u8 + 1));
                let number = (seed.next() as Self).checked_shr(bits);
                number.unwrap_or_default()
            }
        }
    )*};
}
numbers!(u8 u16 u32 u64);

impl Any for bool {
    fn any(seed: &mut Seed) -> Self {
        seed.below(2) == 1
    }
}

impl<A: Any, B: Any> Any for (A, B) {
    fn any(seed: &mut Seed) -> Self {
        (A::any(seed), B::any(seed))
    }
}

impl<T: Any> Any for Option<T> {
    fn any(seed: &mut Seed) -> Self {
        bool::any(seed).then(|| T::any(seed))
    }
}

impl<T: Any, const N: usize> Any for [T; N] {
    fn any(seed: &mut Seed) -> Self {
        core::array::from_fn(|_| T::any(seed))
    }
}
