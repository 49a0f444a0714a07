//! CPUID.
//!
//! Source: SDM 2A, "CPUID"; SDM 1, "XSAVE-Supported Features and State-Component
//! Bitmaps".

use crate::cell::cpu::Cpu;
use cellvisor_core::cpuid::{self, Dynamic};
use cellvisor_core::ids::Msr;
use cellvisor_core::vcpu::{CR4_OSXSAVE, RAX, RBX, RCX, RDX};

/// Handles the exit: from the cell's table, or the machine's own answer with
/// little changed for the root.
#[inline(never)] // Its own frame, and not that of all exits.
pub(crate) fn handle(cpu: &mut Cpu<'_>) {
    let question = Question {
        leaf: cpu.regs.0[RAX] as u32,
        subleaf: cpu.regs.0[RCX] as u32,
    };
    let [a, b, c, d] = answer(cpu, question);
    cpu.regs.0[RAX] = u64::from(a);
    cpu.regs.0[RBX] = u64::from(b);
    cpu.regs.0[RCX] = u64::from(c);
    cpu.regs.0[RDX] = u64::from(d);
    cpu.advance();
}

/// What CPUID is asked for.
#[derive(Clone, Copy)]
struct Question {
    leaf: u32,
    subleaf: u32,
}

fn answer(cpu: &Cpu<'_>, question: Question) -> [u32; 4] {
    let Question { leaf, subleaf } = question;
    let cr4 = cpu.vcpu.cr4();
    let Some(guest) = &cpu.cell.guest else {
        let native = raw_cpuid::native_cpuid::cpuid_count(leaf, subleaf);
        let regs = [native.eax, native.ebx, native.ecx, native.edx];
        return cpuid::root(leaf, subleaf, regs, cr4);
    };
    let (xcr0, xss) = if leaf == STATE_SIZES {
        state_components(cr4)
    } else {
        (0, 0)
    };
    let now = Dynamic {
        virtual_id: cpu.virtual_id().0,
        cr4,
        xcr0,
        xss,
    };
    guest.cpuid.lookup(leaf, subleaf, &now)
}

/// The leaf whose answer depends on XCR0 and IA32_XSS.
const STATE_SIZES: u32 = 0xd;
const XSS: u32 = 0xda0;

/// XCR0 and IA32_XSS, which stay the guest's while the monitor runs.
fn state_components(cr4: u64) -> (u64, u64) {
    if cr4 & CR4_OSXSAVE == 0 {
        return (1, 0);
    }
    // SAFETY: the guest has switched XSAVE on, so the CPU has it, and the
    // monitor's CR4 has OSXSAVE set.
    let xcr0 = unsafe { x86::controlregs::xcr0() };
    (
        xcr0.bits(),
        crate::cpu::msr::try_rdmsr(Msr(XSS)).unwrap_or(0),
    )
}
