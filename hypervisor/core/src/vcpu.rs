//! State of a virtual CPU in a form that no vendor owns, and the states that
//! the architecture prescribes.

use cellvisor_abi::plan::Boot;

/// General registers in the order of their encoding: RAX, RCX, RDX, RBX, RSP,
/// RBP, RSI, RDI, R8 … R15. The place of RSP is unused while a guest runs: the
/// back end keeps it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Regs(pub [u64; 16]);

/// Index of RAX in [`Regs`].
pub const RAX: usize = 0;
/// Index of RCX.
pub const RCX: usize = 1;
/// Index of RDX.
pub const RDX: usize = 2;
/// Index of RBX.
pub const RBX: usize = 3;
/// Index of RSP.
pub const RSP: usize = 4;
/// Index of RBP.
pub const RBP: usize = 5;
/// Index of RSI.
pub const RSI: usize = 6;
/// Index of RDI.
pub const RDI: usize = 7;

impl Regs {
    /// EDX:EAX as one number.
    #[must_use]
    pub const fn edx_eax(&self) -> u64 {
        (self.0[RDX] << 32) | (self.0[RAX] & 0xffff_ffff)
    }

    /// Splits `value` over EDX:EAX, upper halves zero.
    pub const fn set_edx_eax(&mut self, value: u64) {
        self.0[RAX] = value & 0xffff_ffff;
        self.0[RDX] = value >> 32;
    }
}

/// A segment register with its hidden part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// Selector.
    pub selector: u16,
    /// Access rights: descriptor bits 47:40 in bits 7:0, bits 55:52 in bits
    /// 15:12. Zero for a segment that cannot be used.
    pub access: u16,
    /// Limit in bytes.
    pub limit: u32,
    /// Base.
    pub base: u64,
}

/// A descriptor table register.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Base.
    pub base: u64,
    /// Limit in bytes.
    pub limit: u16,
}

/// All of a CPU that a VM entry loads, besides the general registers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuState {
    /// Instruction pointer.
    pub rip: u64,
    /// Stack pointer.
    pub rsp: u64,
    /// Flags.
    pub rflags: u64,
    /// Control register 0.
    pub cr0: u64,
    /// Page tables.
    pub cr3: u64,
    /// Control register 4.
    pub cr4: u64,
    /// IA32_EFER.
    pub efer: u64,
    /// IA32_PAT.
    pub pat: u64,
    /// Debug register 7.
    pub dr7: u64,
    /// IA32_DEBUGCTL.
    pub debugctl: u64,
    /// IA32_SYSENTER_CS, _ESP, _EIP.
    pub sysenter: [u64; 3],
    /// Extra segment.
    pub es: Segment,
    /// Code segment.
    pub cs: Segment,
    /// Stack segment.
    pub ss: Segment,
    /// Data segment.
    pub ds: Segment,
    /// FS.
    pub fs: Segment,
    /// GS.
    pub gs: Segment,
    /// Local descriptor table.
    pub ldtr: Segment,
    /// Task state segment.
    pub tr: Segment,
    /// Global descriptor table.
    pub gdtr: Table,
    /// Interrupt descriptor table.
    pub idtr: Table,
}

/// EFER: long mode enabled.
pub const EFER_LME: u64 = 1 << 8;
/// EFER: long mode active.
pub const EFER_LMA: u64 = 1 << 10;
/// CR0: protection.
pub const CR0_PE: u64 = 1;
/// CR0: extension type, always set.
pub const CR0_ET: u64 = 1 << 4;
/// CR0: numeric error.
pub const CR0_NE: u64 = 1 << 5;
/// CR0: write protect.
pub const CR0_WP: u64 = 1 << 16;
/// CR0: not write-through.
pub const CR0_NW: u64 = 1 << 29;
/// CR0: cache disable.
pub const CR0_CD: u64 = 1 << 30;
/// CR0: paging.
pub const CR0_PG: u64 = 1 << 31;
/// CR4: physical address extension.
pub const CR4_PAE: u64 = 1 << 5;
/// CR4: machine check.
pub const CR4_MCE: u64 = 1 << 6;
/// CR4: five-level paging.
pub const CR4_LA57: u64 = 1 << 12;
/// CR4: VMX operation.
pub const CR4_VMXE: u64 = 1 << 13;
/// CR4: XSAVE.
pub const CR4_OSXSAVE: u64 = 1 << 18;
/// CR4: control-flow enforcement.
pub const CR4_CET: u64 = 1 << 23;

/// IA32_PAT after a reset.
pub const PAT_RESET: u64 = 0x0007_0406_0007_0406;
const DR7_RESET: u64 = 0x400;
const RFLAGS_RESET: u64 = 2;

const fn segment(selector: u16, base: u64, limit: u32, access: u16) -> Segment {
    Segment {
        selector,
        access,
        limit,
        base,
    }
}

impl CpuState {
    /// After INIT and a start-up IPI with `vector`: real mode at
    /// `vector << 12` (SDM 3A, "Processor State After Reset").
    #[must_use]
    #[inline(never)] // Once for all that begin with it.
    pub const fn start_up(vector: u8) -> Self {
        let data = segment(0, 0, 0xffff, 0x93);
        Self {
            rip: 0,
            rsp: 0,
            rflags: RFLAGS_RESET,
            cr0: CR0_ET | CR0_CD | CR0_NW,
            cr3: 0,
            cr4: 0,
            efer: 0,
            pat: PAT_RESET,
            dr7: DR7_RESET,
            debugctl: 0,
            sysenter: [0; 3],
            es: data,
            cs: segment((vector as u16) << 8, (vector as u64) << 12, 0xffff, 0x9b),
            ss: data,
            ds: data,
            fs: data,
            gs: data,
            ldtr: segment(0, 0, 0xffff, 0x82),
            tr: segment(0, 0, 0xffff, 0x8b),
            gdtr: Table {
                base: 0,
                limit: 0xffff,
            },
            idtr: Table {
                base: 0,
                limit: 0xffff,
            },
        }
    }

    /// As the 64-bit boot protocol of Linux wants its first CPU: long mode,
    /// flat segments, interrupts off. RSI is a general register and set by the
    /// caller (Linux, "The Linux/x86 Boot Protocol", "64-bit boot protocol").
    #[must_use]
    pub const fn boot64(boot: &Boot) -> Self {
        let data = segment(0x18, 0, 0xffff_ffff, 0xc093);
        let mut state = Self::start_up(0);
        state.rip = boot.rip;
        state.cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_WP | CR0_PG;
        state.cr3 = boot.cr3;
        state.cr4 = CR4_PAE;
        state.efer = EFER_LME | EFER_LMA;
        state.es = data;
        state.cs = segment(0x10, 0, 0xffff_ffff, 0xa09b);
        state.ss = data;
        state.ds = data;
        state.fs = data;
        state.gs = data;
        state.gdtr = Table {
            base: boot.gdt,
            limit: boot.gdt_limit,
        };
        state
    }
}

/// An event to deliver with the next VM entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// #UD.
    InvalidOpcode,
    /// #GP(0).
    GeneralProtection,
    /// #DB.
    Debug,
    /// #AC(0).
    AlignmentCheck,
    /// #MC.
    MachineCheck,
}

impl Event {
    /// Vector, and whether the exception has an error code (always zero here)
    /// for a guest with this CR0: in real mode none has.
    #[must_use]
    pub const fn vector(self, cr0: u64) -> (u8, bool) {
        let protected = cr0 & CR0_PE != 0;
        match self {
            Self::Debug => (1, false),
            Self::InvalidOpcode => (6, false),
            Self::GeneralProtection => (13, protected),
            Self::AlignmentCheck => (17, protected),
            Self::MachineCheck => (18, false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_up_vector_selects_its_page() {
        let state = CpuState::start_up(0x9a);
        assert_eq!(
            (state.cs.selector, state.cs.base, state.rip),
            (0x9a00, 0x9a000, 0)
        );
        assert_eq!(state.cr0 & (CR0_PE | CR0_PG), 0, "real mode");
    }

    #[test]
    fn boot_state_is_long_mode_with_the_given_tables() {
        let boot = Boot {
            rip: 0x100_0200,
            rsi: 0x7000,
            cr3: 0x9000,
            gdt: 0x8000,
            gdt_limit: 31,
        };
        let state = CpuState::boot64(&boot);
        assert_eq!(
            (state.rip, state.cr3, state.gdtr.base),
            (0x100_0200, 0x9000, 0x8000)
        );
        assert_eq!(state.efer & EFER_LMA, EFER_LMA);
        assert_eq!(state.cs.access & 0x2000, 0x2000, "64-bit code");
    }

    #[test]
    fn exceptions_have_no_error_code_in_real_mode() {
        assert_eq!(Event::GeneralProtection.vector(CR0_PE), (13, true));
        assert_eq!(Event::GeneralProtection.vector(CR0_ET), (13, false));
        assert_eq!(Event::AlignmentCheck.vector(CR0_ET), (17, false));
        assert_eq!(Event::Debug.vector(CR0_PE), (1, false));
    }

    #[test]
    fn edx_eax_drops_upper_halves() {
        let mut regs = Regs([u64::MAX; 16]);
        assert_eq!(regs.edx_eax(), u64::MAX);
        regs.set_edx_eax(0x1_0000_0002);
        assert_eq!((regs.0[RAX], regs.0[RDX]), (2, 1));
    }

    /// SDM 3A, "IA-32 and Intel 64 Processor States Following Power-up, Reset, or
    /// INIT", and the start-up vector.
    #[test]
    fn state_after_start_up_is_the_manuals() {
        let state = CpuState::start_up(0x12);
        let data = Segment {
            selector: 0,
            access: 0x93,
            limit: 0xffff,
            base: 0,
        };
        let table = Table {
            base: 0,
            limit: 0xffff,
        };
        let wanted = CpuState {
            rflags: 2,
            cr0: 0x6000_0010,
            pat: 0x0007_0406_0007_0406,
            dr7: 0x400,
            es: data,
            cs: Segment {
                selector: 0x1200,
                access: 0x9b,
                base: 0x1_2000,
                ..data
            },
            ss: data,
            ds: data,
            fs: data,
            gs: data,
            ldtr: Segment {
                access: 0x82,
                ..data
            },
            tr: Segment {
                access: 0x8b,
                ..data
            },
            gdtr: table,
            idtr: table,
            ..CpuState::default()
        };
        assert_eq!(state, wanted);
    }

    #[test]
    fn boot_state_has_the_protocols_registers() {
        let state = CpuState::boot64(&Boot {
            rip: 1,
            rsi: 2,
            cr3: 3,
            gdt: 4,
            gdt_limit: 5,
        });
        // PE, ET, NE, WP, PG; PAE; LME and LMA.
        let registers = (state.cr0, state.cr4, state.efer, state.rflags);
        assert_eq!(registers, (0x8001_0031, 0x20, 0x500, 2));
        assert_eq!((state.gdtr.base, state.gdtr.limit), (4, 5));
        // __BOOT_CS and __BOOT_DS.
        assert_eq!((state.cs.selector, state.cs.access), (0x10, 0xa09b));
        for data in [state.es, state.ss, state.ds, state.fs, state.gs] {
            assert_eq!((data.selector, data.access), (0x18, 0xc093));
        }
    }

    #[test]
    fn edx_eax_takes_lower_halves() {
        let mut regs = Regs([0; 16]);
        regs.0[RAX] = 0xffff_ffff_0000_0001;
        regs.0[RDX] = 2;
        assert_eq!(regs.edx_eax(), 0x2_0000_0001);
    }
}
