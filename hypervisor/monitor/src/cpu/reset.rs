//! What a CPU carries from one owner to the next unless it is cleared: registers
//! that no VM entry loads.

use crate::cpu::msr::{try_wrmsr, try_xsetbv};

/// MSRs that guests write directly, and their values after a reset. Those that a
/// CPU does not have refuse the write, which is fine.
const CLEARED: [(u32, u64); 22] = [
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
    (0xda0, 0),       // XSS
];

/// Legacy area and header of an XSAVE image: all components in their initial
/// state, MXCSR as after a reset.
#[repr(C, align(64))]
struct Initial([u32; 144]);

static INITIAL: Initial = {
    let mut area = [0; 144];
    area[6] = 0x1f80;
    Initial(area)
};

/// Clears what the last owner may have left in this CPU.
pub(crate) fn clear_cpu() {
    for (index, value) in CLEARED {
        // SAFETY: none of these matters to the monitor: it uses no SYSCALL, no
        // shadow stacks, no deadline timer and no protection keys.
        unsafe { try_wrmsr(index, value) };
    }
    let features = raw_cpuid::CpuId::new();
    let xsave = features.get_feature_info().is_some_and(|f| f.has_xsave());
    // SAFETY: the monitor uses no extended state and no debug registers; the
    // image is aligned and complete for an XRSTOR of initial states.
    unsafe {
        core::arch::asm!("clts", options(nostack));
        if xsave {
            core::arch::asm!("xrstor [{}]", in(reg) &raw const INITIAL,
                in("eax") u32::MAX, in("edx") u32::MAX, options(nostack));
            try_xsetbv(0, 1);
        } else {
            core::arch::asm!("fxrstor [{}]", in(reg) &raw const INITIAL, options(nostack));
        }
        core::arch::asm!("mov dr0, {0}", "mov dr1, {0}", "mov dr2, {0}", "mov dr3, {0}",
            "mov dr6, {1}", "mov cr2, {0}", in(reg) 0u64, in(reg) 0xffff_0ff0u64,
            options(nostack));
    }
}

/// Page-fault address of the guest: no VM exit touches it.
pub(crate) fn cr2() -> u64 {
    // SAFETY: reading has no effect.
    unsafe { x86::controlregs::cr2() as u64 }
}

/// Family, model and stepping, which a CPU has in EDX after a reset.
pub(crate) fn signature() -> u32 {
    raw_cpuid::cpuid!(1).eax
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
