//! Addresses as types, so that guest-physical and host-physical ones do not mix.

/// Smallest page, in bytes.
pub const PAGE_SIZE: u64 = 4096;
/// Middle page, in bytes.
pub const SIZE_2M: u64 = 2 << 20;
/// Large page, in bytes.
pub const SIZE_1G: u64 = 1 << 30;

/// Makes an address type; all have the same arithmetic.
macro_rules! address {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// The address `bytes` further up; `None` past the end of the
            /// 64-bit space.
            #[must_use]
            pub const fn checked_add(self, bytes: u64) -> Option<Self> {
                match self.0.checked_add(bytes) {
                    Some(sum) => Some(Self(sum)),
                    None => None,
                }
            }

            /// Next multiple of `align` at or below; `align` is a power of two.
            #[must_use]
            pub const fn align_down(self, align: u64) -> Self {
                Self(self.0 & !(align - 1))
            }

            /// Next multiple of `align` at or above; `None` if there is none.
            #[must_use]
            pub const fn align_up(self, align: u64) -> Option<Self> {
                match self.checked_add(align - 1) {
                    Some(sum) => Some(sum.align_down(align)),
                    None => None,
                }
            }

            /// True for a multiple of `align`, a power of two.
            #[must_use]
            pub const fn is_aligned(self, align: u64) -> bool {
                self.0 & (align - 1) == 0
            }

            /// Number of the 4 KiB page that holds the address.
            #[must_use]
            pub const fn page(self) -> u64 {
                self.0 / PAGE_SIZE
            }

            /// Distance from the start of that page, in bytes.
            #[must_use]
            pub const fn page_offset(self) -> u64 {
                self.0 % PAGE_SIZE
            }
        }

        impl core::ops::Add<u64> for $name {
            type Output = Self;

            fn add(self, bytes: u64) -> Self {
                Self(self.0 + bytes)
            }
        }

        impl core::fmt::LowerHex for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

address! {
    /// A host-physical address: what the memory bus sees.
    Hpa
}
address! {
    /// A guest-physical address: what a cell takes for physical.
    Gpa
}

impl Gpa {
    /// Where an address is that is mapped at its own place: all of the root's, and
    /// registers of a cell's functions.
    #[must_use]
    pub const fn identity(self) -> Hpa {
        Hpa(self.0)
    }
}

impl Hpa {
    /// The same the other way round: see [`Gpa::identity`].
    #[must_use]
    pub const fn identity(self) -> Gpa {
        Gpa(self.0)
    }
}

address! {
    /// A guest-virtual (linear) address.
    Gva
}
address! {
    /// A virtual address of the monitor's own.
    Hva
}

impl Hva {
    /// Where something of the monitor's is.
    #[must_use]
    pub fn of<T>(place: *const T) -> Self {
        Self(place as u64)
    }

    /// The place as a pointer.
    #[must_use]
    pub const fn ptr<T>(self) -> *mut T {
        self.0 as *mut T
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alignment_at_the_end_of_the_space_does_not_wrap() {
        assert_eq!(Gpa(u64::MAX).align_up(PAGE_SIZE), None);
        assert_eq!(
            Gpa(0x1001).align_up(PAGE_SIZE),
            Some(Gpa(0x2000)),
            "up to the next page"
        );
        assert_eq!(Gpa(0x2000).align_up(PAGE_SIZE), Some(Gpa(0x2000)));
        assert_eq!(Hpa(0x1fff).align_down(PAGE_SIZE), Hpa(0x1000));
        assert_eq!(Hpa(u64::MAX).checked_add(1), None);
    }

    #[test]
    fn page_and_offset_make_up_the_address() {
        let address = Gva(0x1234_5678);
        assert_eq!(
            address.page() * PAGE_SIZE + address.page_offset(),
            address.0
        );
        assert!(!address.is_aligned(PAGE_SIZE));
    }
}
