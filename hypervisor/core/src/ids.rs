//! Numbers as types, so that those of different kinds do not mix.

/// Makes a type for a number.
macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(transparent)]
        pub struct $name(pub $inner);

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl core::fmt::LowerHex for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// Id of a local APIC, as the hardware has it.
    ApicId(u32)
}
number! {
    /// Id of a local APIC, as its owner sees it: cells count from 0, the root has
    /// the hardware's.
    VirtualId(u32)
}
number! {
    /// Place of a CPU in the system plan.
    PlanIndex(u16)
}
number! {
    /// An I/O port.
    Port(u16)
}
number! {
    /// Address of a model-specific register.
    Msr(u32)
}

impl Port {
    /// The port that is `distance` further up.
    #[must_use]
    pub const fn plus(self, distance: u16) -> Self {
        Self(self.0.wrapping_add(distance))
    }
}
