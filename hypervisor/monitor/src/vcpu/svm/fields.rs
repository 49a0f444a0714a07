//! Fields of the VMCB, with width and kind in their types.
//!
//! Source: APM 2, "VMCB Layout".

use core::marker::PhantomData;

/// Controls the CPU.
pub(super) struct Control;
/// Tells about an exit; read-only.
pub(super) struct Info;
/// Guest state.
pub(super) struct Guest;

/// Parts of the VMCB that the CPU may keep between two runs.
#[derive(Clone, Copy)]
pub(super) struct Clean(pub(super) u32);

impl Clean {
    /// What the CPU always reads.
    pub(super) const NONE: Self = Self(0);
}

/// A field: where it is, and the clean bits of what the CPU keeps of it.
pub(super) struct Field<W, K> {
    /// Offset in bytes.
    pub(super) offset: u16,
    /// Bits of [`CLEAN`] that a change clears; none for what the CPU always reads.
    pub(super) clean: Clean,
    kind: PhantomData<(W, K)>,
}

impl<W, K> Clone for Field<W, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<W, K> Copy for Field<W, K> {}

impl<W, K> Field<W, K> {
    /// The same with other clean bits.
    pub(super) const fn with(self, clean: Clean) -> Self {
        field(self.offset, clean)
    }
}

const fn field<W, K>(offset: u16, clean: Clean) -> Field<W, K> {
    Field {
        offset,
        clean,
        kind: PhantomData,
    }
}

const INTERCEPTS: Clean = Clean(1 << 0);
const MAPS: Clean = Clean(1 << 1);
const ASIDS: Clean = Clean(1 << 2);
const INTERRUPTS: Clean = Clean(1 << 3);
const NESTED: Clean = Clean(1 << 4);
const CONTROL_REGISTERS: Clean = Clean(1 << 5);
const DEBUG_REGISTERS: Clean = Clean(1 << 6);
const OF_SEGMENTS: Clean = Clean(1 << 8);
const FAULT_ADDRESS: Clean = Clean(1 << 9);
const SHADOW_STACKS: Clean = Clean(1 << 12);
/// Nothing has changed since the last VMRUN.
pub(super) const ALL_CLEAN: Clean = Clean(0x1fff);

pub(super) const EXCEPTION_INTERCEPTS: Field<u32, Control> = field(0x008, INTERCEPTS);
pub(super) const INTERCEPTS_1: Field<u32, Control> = field(0x00c, INTERCEPTS);
pub(super) const INTERCEPTS_2: Field<u32, Control> = field(0x010, INTERCEPTS);
pub(super) const INTERCEPTS_3: Field<u32, Control> = field(0x014, INTERCEPTS);
pub(super) const IO_MAP: Field<u64, Control> = field(0x040, MAPS);
pub(super) const MSR_MAP: Field<u64, Control> = field(0x048, MAPS);
pub(super) const ASID: Field<u32, Control> = field(0x058, ASIDS);
pub(super) const TLB_CONTROL: Field<u8, Control> = field(0x05c, Clean::NONE);
pub(super) const INTERRUPT_CONTROL: Field<u64, Control> = field(0x060, INTERRUPTS);
pub(super) const INTERRUPT_SHADOW: Field<u64, Guest> = field(0x068, Clean::NONE);
pub(super) const EXIT_CODE: Field<u64, Info> = field(0x070, Clean::NONE);
pub(super) const EXIT_INFO_1: Field<u64, Info> = field(0x078, Clean::NONE);
pub(super) const EXIT_INFO_2: Field<u64, Info> = field(0x080, Clean::NONE);
pub(super) const EXIT_EVENT: Field<u64, Info> = field(0x088, Clean::NONE);
pub(super) const NESTED_CONTROL: Field<u64, Control> = field(0x090, NESTED);
pub(super) const ENTRY_EVENT: Field<u64, Control> = field(0x0a8, Clean::NONE);
pub(super) const NESTED_CR3: Field<u64, Control> = field(0x0b0, NESTED);
pub(super) const CLEAN: Field<u32, Control> = field(0x0c0, Clean::NONE);
pub(super) const NEXT_RIP: Field<u64, Info> = field(0x0c8, Clean::NONE);
/// How many bytes of the instruction were fetched.
pub(super) const FETCHED: Field<u8, Info> = field(0x0d0, Clean::NONE);

/// One of them, by its place; there are 15.
pub(super) const fn fetched_byte(n: u16) -> Field<u8, Info> {
    field(0x0d1 + n % 15, Clean::NONE)
}
/// How many bus locks there may be before the next one exits.
pub(super) const BUS_LOCKS: Field<u16, Control> = field(0x120, Clean::NONE);

pub(super) const GDTR: Segments = Segments(0x460);
pub(super) const IDTR: Segments = Segments(0x480);
pub(super) const CPL: Field<u8, Guest> = field(0x4cb, OF_SEGMENTS);
pub(super) const EFER: Field<u64, Guest> = field(0x4d0, CONTROL_REGISTERS);
pub(super) const CR4: Field<u64, Guest> = field(0x548, CONTROL_REGISTERS);
pub(super) const CR3: Field<u64, Guest> = field(0x550, CONTROL_REGISTERS);
pub(super) const CR0: Field<u64, Guest> = field(0x558, CONTROL_REGISTERS);
pub(super) const DR7: Field<u64, Guest> = field(0x560, DEBUG_REGISTERS);
pub(super) const DR6: Field<u64, Guest> = field(0x568, DEBUG_REGISTERS);
pub(super) const RFLAGS: Field<u64, Guest> = field(0x570, Clean::NONE);
pub(super) const RIP: Field<u64, Guest> = field(0x578, Clean::NONE);
pub(super) const RSP: Field<u64, Guest> = field(0x5d8, Clean::NONE);
pub(super) const S_CET: Field<u64, Guest> = field(0x5e0, SHADOW_STACKS);
pub(super) const SSP: Field<u64, Guest> = field(0x5e8, SHADOW_STACKS);
pub(super) const SSP_TABLE: Field<u64, Guest> = field(0x5f0, SHADOW_STACKS);
pub(super) const RAX: Field<u64, Guest> = field(0x5f8, Clean::NONE);
pub(super) const SYSENTER: [Field<u64, Guest>; 3] = [
    field(0x628, Clean::NONE),
    field(0x630, Clean::NONE),
    field(0x638, Clean::NONE),
];
pub(super) const CR2: Field<u64, Guest> = field(0x640, FAULT_ADDRESS);
pub(super) const PAT: Field<u64, Guest> = field(0x668, NESTED);
pub(super) const SPEC_CTRL: Field<u64, Guest> = field(0x6e0, Clean::NONE);

/// A segment or descriptor table register, of four parts. They are written together with
/// all other state alone, so they have no clean bits.
#[derive(Clone, Copy)]
pub(super) struct Segments(u16);

impl Segments {
    pub(super) const fn selector(self) -> Field<u16, Guest> {
        field(self.0, Clean::NONE)
    }

    pub(super) const fn access(self) -> Field<u16, Guest> {
        field(self.0 + 2, Clean::NONE)
    }

    pub(super) const fn limit(self) -> Field<u32, Guest> {
        field(self.0 + 4, Clean::NONE)
    }

    pub(super) const fn base(self) -> Field<u64, Guest> {
        field(self.0 + 8, Clean::NONE)
    }
}

pub(super) const ES: Segments = Segments(0x400);
pub(super) const CS: Segments = Segments(0x410);
pub(super) const SS: Segments = Segments(0x420);
pub(super) const DS: Segments = Segments(0x430);
pub(super) const FS: Segments = Segments(0x440);
pub(super) const GS: Segments = Segments(0x450);
pub(super) const LDTR: Segments = Segments(0x470);
pub(super) const TR: Segments = Segments(0x490);
