//! Status codes of the entry and of hypercalls.
//!
//! Codes are never reused. The tools turn them into sentences; what stands
//! here says what is true afterwards.

/// Makes an enum of codes with lossless conversion in both directions.
macro_rules! codes {
    ($(#[$outer:meta])* $name:ident { $($(#[$inner:meta])* $variant:ident = $code:literal,)* }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum $name { $($(#[$inner])* $variant = $code,)* }

        impl $name {
            /// Every code, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The status with this number.
            #[must_use]
            pub const fn from_code(code: u32) -> Option<Self> {
                match code {
                    $($code => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// Its number on the wire.
            #[must_use]
            pub const fn code(self) -> u32 {
                self as u32
            }
        }
    };
}

codes! {
    /// Outcome of entering the monitor on one CPU. With anything but `Ok` every
    /// CPU is back in Linux as it was and the monitor is off.
    EnterStatus {
        /// The CPU runs as a guest now.
        Ok = 0,
        /// Driver and image were built for different ABI versions.
        AbiMismatch = 1,
        /// The CPU has neither VT-x nor AMD-V.
        NoVirtualization = 2,
        /// The firmware locked VT-x (or AMD-V) off.
        LockedByFirmware = 3,
        /// A control that the monitor needs is missing; detail:
        /// [`MissingFeature`].
        MissingFeature = 4,
        /// Virtualization is in use on this CPU already (by KVM, say).
        InUse = 5,
        /// Not all CPUs arrived in time; detail: how many did.
        CpusMissing = 6,
        /// The system plan cannot be decoded.
        BadPlan = 7,
        /// A CPU that the plan does not name; detail: its APIC id.
        UnknownCpu = 8,
        /// The monitor's memory is too small; detail: pages that were missing.
        NoMemory = 9,
        /// Another CPU failed; that one says why. Never the only reason.
        OtherCpuFailed = 10,
        /// A VMX or SVM instruction failed; detail: VM-instruction error.
        InstructionFailed = 11,
        /// The first VM entry failed; detail: exit reason or error.
        EntryFailed = 12,
        /// Linux has something switched on that the monitor cannot carry;
        /// detail: [`Unsupported`].
        Unsupported = 13,
        /// The plan asked for this failure (tests of the roll-back).
        Injected = 14,
        /// The monitor cannot leave: cells exist. Detail: how many.
        CellsExist = 15,
        /// Another call is under way.
        Busy = 16,
        /// The platform's APIC state is one that the monitor cannot carry
        /// (APIC off, or CPUs in different modes).
        ApicMode = 17,
        /// Not every CPU that entered is there to leave; detail: how many are
        /// missing.
        CpusOffline = 18,
        /// The driver could not pin or map what the monitor needs.
        Driver = 19,
        /// The image is none, or not for this ABI version.
        BadImage = 20,
        /// The rate of the TSC is none that a machine can have; detail: what
        /// Linux takes it for, in kHz.
        TscRate = 21,
        /// This CPU did not get ready as soon as others would wait, or waited in
        /// vain itself; detail: how many were ready, or 0 on the way out.
        Late = 22,
    }
}

codes! {
    /// What a CPU lacks ([`EnterStatus::MissingFeature`]).
    MissingFeature {
        /// Secondary processor-based controls.
        SecondaryControls = 1,
        /// Extended page tables or nested paging.
        NestedPaging = 2,
        /// Guests in real mode.
        UnrestrictedGuest = 3,
        /// NMI exiting with virtual NMIs.
        VirtualNmis = 4,
        /// The VMX preemption timer.
        PreemptionTimer = 5,
        /// MSR bitmaps.
        MsrBitmaps = 6,
        /// I/O bitmaps.
        IoBitmaps = 7,
        /// Loading and saving of IA32_EFER and IA32_PAT.
        EferPat = 8,
        /// 2 MiB pages in nested page tables.
        LargePages = 9,
        /// x2APIC.
        X2apic = 10,
        /// INVEPT of a single context.
        Invept = 11,
        /// Write-back memory type for VMCS and page walks.
        WriteBack = 12,
        /// VPID with single-context INVVPID.
        Vpid = 13,
        /// The true control capability MSRs.
        TrueControls = 14,
    }
}

codes! {
    /// What Linux uses and the monitor cannot carry
    /// ([`EnterStatus::Unsupported`]).
    Unsupported {
        /// CR4 has a bit that VMX operation does not allow on this CPU.
        Cr4 = 1,
        /// Flexible return and event delivery is on.
        Fred = 2,
        /// Long mode is off.
        NoLongMode = 3,
        /// Physical addresses are wider than the nested tables can reach.
        PhysicalWidth = 4,
        /// Linux encrypts memory with AMD's SME.
        MemoryEncryption = 5,
        /// The machine is virtual, and its hypervisor is one whose calls the
        /// monitor does not know.
        OuterHypervisor = 6,
        /// The machine is a guest of KVM, and the image was built without what its root
        /// asks of it ([`crate::parts::Parts::KVM`]).
        KvmLeftOut = 7,
    }
}

codes! {
    /// Outcome of a hypercall. With anything but `Ok`, `Again` and `Damaged` the
    /// state is what it was before the call.
    CallStatus {
        /// Done; the response follows.
        Ok = 0,
        /// Some of the work is done: call again with the same request.
        Again = 1,
        /// No such hypercall.
        UnknownCall = 2,
        /// The request cannot be decoded.
        Malformed = 3,
        /// The caller is no root cell in ring 0, or the cell's plan does not allow
        /// it.
        Denied = 4,
        /// No cell with this id.
        NoSuchCell = 5,
        /// The cell's state does not allow it; response: `CellStatus`.
        WrongState = 6,
        /// A resource has another owner; response: [`crate::call::Conflict`].
        NotOwned = 7,
        /// The monitor's pool is empty.
        NoMemory = 8,
        /// Another management call is under way: try again.
        Busy = 9,
        /// A CPU did not answer in time; response: its index as u32.
        CpuStuck = 10,
        /// A name is taken, empty or too long.
        BadName = 11,
        /// A resource is misaligned, empty or out of range; response:
        /// [`crate::call::Conflict`].
        BadResource = 12,
        /// The response does not fit the buffer.
        TooLong = 13,
        /// All cell ids are taken.
        TooManyCells = 14,
        /// The monitor has no such feature on this machine; response:
        /// [`crate::call::Conflict`] where a resource is concerned.
        NotSupported = 15,
        /// Cells exist.
        CellsExist = 16,
        /// The monitor met a fault of its own in this call, or in another one before
        /// it: what it knows of owners may be half changed, and it gives nothing to
        /// anybody any more. Cells that run go on.
        Damaged = 17,
        /// The plan's class of service, or something in it, is another cell's or not
        /// there.
        NoClass = 18,
        /// The image was built without a part of the monitor that this needs
        /// ([`crate::parts`]).
        LeftOut = 19,
    }
}
