//! Exits of CPUs, by kind.

use crate::call::CellId;
use crate::wire::wire;

wire! {
    /// [`crate::call::Code::Stats`]: which CPU, by its index in the system plan.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct StatsRequest {
        /// The index.
        pub cpu: u32,
    }
}

wire! {
    /// Exit counters of one CPU since it got its present owner.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Stats {
        /// Its physical APIC id.
        pub apic_id: u32,
        /// Who owns it.
        pub owner: CellId,
        /// Its virtual APIC id there.
        pub virtual_id: u32,
        /// True while it runs its owner's code.
        pub running: bool,
        /// Exits, in the order of [`ExitKind::ALL`].
        pub exits: [u64; ExitKind::COUNT],
    }
}

/// Makes [`ExitKind`] with its names.
macro_rules! exit_kinds {
    ($($(#[$doc:meta])* $variant:ident => $name:literal,)*) => {
        /// Kinds of exits, the same for all vendors; each exit is counted once.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum ExitKind { $($(#[$doc])* $variant,)* }

        impl ExitKind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$variant),*];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// Name in tables and JSON.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

exit_kinds! {
    /// CPUID.
    Cpuid => "cpuid",
    /// A write to the interrupt command register.
    Icr => "icr",
    /// A read of an intercepted MSR.
    MsrRead => "msr-read",
    /// A write of an intercepted MSR.
    MsrWrite => "msr-write",
    /// An intercepted port read.
    PortRead => "port-read",
    /// An intercepted port write.
    PortWrite => "port-write",
    /// A move to CR0 or CR4 that the monitor must see.
    ControlRegister => "control-register",
    /// XSETBV.
    Xsetbv => "xsetbv",
    /// An access to an emulated device's memory.
    Mmio => "mmio",
    /// A second-level fault that is no device access.
    MemoryFault => "memory-fault",
    /// An NMI for the guest.
    Nmi => "nmi",
    /// An NMI by which another CPU asked for attention.
    Kick => "kick",
    /// The guest can take an NMI now.
    NmiWindow => "nmi-window",
    /// A hypercall.
    Hypercall => "hypercall",
    /// An intercepted exception (#DB, #AC, #MC).
    Exception => "exception",
    /// INVD, WBINVD and the like.
    Cache => "cache",
    /// A virtualization instruction or another that does not exist for guests.
    Undefined => "undefined",
    /// INIT or SIPI from outside.
    Signal => "signal",
    /// Triple fault.
    TripleFault => "triple-fault",
    /// A locked access that held up the memory of all CPUs.
    BusLock => "bus-lock",
    /// The guest kept the CPU in microcode too long.
    Notify => "notify",
    /// Anything else.
    Other => "other",
}
