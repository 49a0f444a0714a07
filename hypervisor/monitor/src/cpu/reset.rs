//! What a CPU carries from one owner to the next unless it is cleared: registers
//! that no VM entry loads.
//!
//! Source: SDM 3A, "Processor State After Reset"; APM 2, "Processor Initialization
//! State"; SDM 4, "Model-Specific Registers (MSRs)"; SDM 1, "XRSTOR".

use crate::cpu::leaf;
use crate::cpu::msr::{try_rdmsr, try_wrmsr, try_xsetbv};
use cellvisor_core::ids::Msr;
use cellvisor_core::vcpu::{CR0_CD, CR0_NW};
use core::sync::atomic::{AtomicU32, Ordering};

/// MSRs that guests write directly, or that the hardware fills for them, and
/// their values after a reset. Those that a CPU does not have refuse the write,
/// which is fine.
const CLEARED: &[(u32, u32)] = &[
    // Counters first: nothing is sampled or recorded any more.
    (0x38f, 0),       // PERF_GLOBAL_CTRL
    (0x3f1, 0),       // PEBS_ENABLE
    (0x600, 0),       // DS_AREA
    (0x38d, 0),       // FIXED_CTR_CTRL
    (0x14ce, 0),      // LBR_CTL
    (0x1c8, 0),       // LBR_SELECT
    (0xc000_0301, 0), // AMD: PERF_CNTR_GLOBAL_CTL
    (0xc000_010e, 0), // AMD: LBR_SELECT
    (0xc000_010f, 0), // AMD: DBG_EXTN_CFG, the last branches of version 2
    (0xc001_1030, 0), // AMD: IBS_FETCH_CTL
    (0xc001_1033, 0), // AMD: IBS_OP_CTL
    (0xc000_0081, 0), // STAR
    (0xc000_0082, 0), // LSTAR
    (0xc000_0083, 0), // CSTAR
    (0xc000_0084, 0), // FMASK
    (0xc000_0102, 0), // KERNEL_GS_BASE
    (0xc000_0103, 0), // TSC_AUX
    (0x48, 0),        // SPEC_CTRL
    (0x49, 1),        // PRED_CMD: forget branch predictions
    (0x10b, 1),       // FLUSH_CMD: forget L1 data
    (0xe1, 0),        // UMWAIT_CONTROL
    (0x1c4, 0),       // XFD
    (0x1c5, 0),       // XFD_ERR
    (0x6a0, 0),       // U_CET
    (0x6a2, 0),       // S_CET
    (0x6a4, 0),       // PL0_SSP
    (0x6a5, 0),       // PL1_SSP
    (0x6a6, 0),       // PL2_SSP
    (0x6a7, 0),       // PL3_SSP
    (0x6a8, 0),       // INTERRUPT_SSP_TABLE
    (0x6e0, 0),       // TSC_DEADLINE
    (0x6e1, 0),       // PKRS
    (0xd90, 0),       // BNDCFGS
    (0xd93, 0),       // PASID
    (0xda0, 0),       // XSS
    (0xc8f, 0),       // PQR_ASSOC
];

/// Counters and what selects their events: first MSR and how many.
const COUNTERS: &[(u32, u32)] = &[
    (0x186, 8),        // PERFEVTSEL
    (0xc1, 8),         // PMC
    (0x309, 4),        // FIXED_CTR
    (0xc001_0000, 8),  // AMD: PERF_CTL and PERF_CTR, the first four
    (0xc001_0200, 12), // AMD: those of the core, six pairs
];

/// MSRs in which a machine is set up as its firmware and its first kernel want
/// it; an owner may change them for as long as it has the CPU.
const KEPT: [u32; 9] = [
    0x3b,        // TSC_ADJUST: the TSC goes back with it
    0x122,       // TSX_CTRL
    0x123,       // MCU_OPT_CTRL
    0x140,       // MISC_FEATURES_ENABLES
    0x19a,       // CLOCK_MODULATION
    0x1a0,       // MISC_ENABLE
    0xc001_0015, // AMD: HWCR
    0xc001_1020, // AMD: LS_CFG
    0xc001_1029, // AMD: DE_CFG
];

/// HW_FEEDBACK_CONFIG: the table's address is a physical one, and pages change
/// their owners.
const HW_FEEDBACK_CONFIG: u32 = 0x17d1;
const PEBS_ENABLE: u32 = 0x3f1;

/// This CPU's MSRs of [`KEPT`] as the monitor found them.
pub(crate) struct Machine([Option<u64>; KEPT.len()]);

impl Machine {
    /// Notes them, and ends what writes to memory behind the monitor's back.
    pub(crate) fn take() -> Self {
        for index in [HW_FEEDBACK_CONFIG, PEBS_ENABLE] {
            // Nothing is written to memory any more; Linux loses a hint about its
            // scheduling, and samples.
            set(Msr(index), 0);
        }
        Self(KEPT.map(|index| try_rdmsr(Msr(index))))
    }

    /// Makes them so again.
    pub(crate) fn restore(&self) {
        for (index, value) in KEPT.iter().zip(self.0) {
            if let Some(value) = value {
                set(Msr(*index), value);
            }
        }
    }
}

const CR0_TS: u64 = 1 << 3;

/// Legacy area and header of an XSAVE image. Its place of MXCSR is filled when it is
/// used: an area of zeros takes no room in the image.
#[repr(C, align(64))]
struct Initial([AtomicU32; 144]);

static INITIAL: Initial = Initial([const { AtomicU32::new(0) }; 144]);

/// MXCSR in such an area, and its value after a reset.
const MXCSR: (usize, u32) = (6, 0x1f80);

/// The area with all components in their initial state.
fn initial() -> *const Initial {
    let (at, value) = MXCSR;
    INITIAL.0[at].store(value, Ordering::Relaxed);
    &raw const INITIAL
}

/// Sets one of the MSRs above, if the CPU has it.
fn set(index: Msr, value: u64) {
    // SAFETY: none of them matters to the monitor: it uses no SYSCALL, no shadow
    // stacks, no deadline timer, no protection keys and no counters; with the values
    // that are kept it has run before.
    unsafe { try_wrmsr(index, value) };
}

/// Clears what the last owner may have left in this CPU.
pub(crate) fn clear_cpu() {
    for (index, value) in CLEARED {
        set(Msr(*index), (*value).into());
    }
    for (first, count) in COUNTERS {
        for index in *first..first + count {
            set(Msr(index), 0);
        }
    }
    let xsave = leaf::features()[2] & leaf::ECX_XSAVE != 0;
    // SAFETY: the monitor uses no extended state and no debug registers; the
    // image is aligned and complete for an XRSTOR of initial states.
    unsafe {
        // TS, and the caches' switches CD and NW, which no VM entry or exit loads.
        core::arch::asm!("mov {0}, cr0", "and {0}, {1}", "mov cr0, {0}",
            out(reg) _, in(reg) !(CR0_TS | CR0_CD | CR0_NW), options(nostack));
        if xsave {
            // State in components that the last owner has switched off again
            // would stay.
            try_xsetbv(0, all_components());
            core::arch::asm!("xrstor [{}]", in(reg) initial(),
                in("eax") u32::MAX, in("edx") u32::MAX, options(nostack));
            try_xsetbv(0, 1);
        } else {
            core::arch::asm!("fxrstor [{}]", in(reg) initial(), options(nostack));
        }
        core::arch::asm!("mov dr0, {0}", "mov dr1, {0}", "mov dr2, {0}", "mov dr3, {0}",
            "mov dr6, {1}", "mov cr2, {0}", in(reg) 0u64, in(reg) 0xffff_0ff0u64,
            options(nostack));
    }
}

/// All components of XCR0 that the CPU has.
fn all_components() -> u64 {
    let [low, _, _, high] = leaf::leaf(0xd);
    u64::from(high) << 32 | u64::from(low)
}

/// Page-fault address of the guest: no VM exit touches it.
pub(crate) fn cr2() -> u64 {
    // SAFETY: reading has no effect.
    unsafe { x86::controlregs::cr2() as u64 }
}

/// Family, model and stepping, which a CPU has in EDX after a reset.
pub(crate) fn signature() -> u32 {
    leaf::features()[0]
}

/// Resets the machine, which is what a triple fault of the root means.
pub(crate) fn reset_machine() {
    const RESET_CONTROL: u16 = 0xcf9;
    // SAFETY: the root's Linux, which owns the machine, asked for this.
    unsafe {
        x86::io::outb(RESET_CONTROL, 0x02);
        x86::io::outb(RESET_CONTROL, 0x06);
    }
}
