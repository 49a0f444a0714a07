//! The monitor's own side of SVM: VMRUN saves little of it and loads little of
//! the guest's, so that the rest changes hands here, and as seldom as possible.
//!
//! FS, GS, TR, LDTR and the MSRs that belong to them stay the guest's while the
//! monitor runs: it needs none of them but GS, and that only when an NMI may
//! come. The global interrupt flag is clear from the first VMRUN to the last
//! exit, so an NMI waits for [`with_nmis`] or makes VMRUN exit at once.
//!
//! Source: APM 2, "VMRUN Instruction", "VMSAVE and VMLOAD Instructions", "Global
//! Interrupt Flag, STGI and CLGI Instructions".

use super::caps::{EFER_NXE, EFER_SCE};
use crate::cpu::gdt::{self, Gdt};
use crate::mem;
use cellvisor_core::addr::{Hpa, Hva};
use cellvisor_core::svm::EFER_SVME;
use cellvisor_core::vcpu::{
    CR0_NE, CR0_PE, CR0_PG, CR0_WP, CR4_LA57, CR4_MCE, CR4_OSXSAVE, CR4_PAE, CpuState, EFER_LMA,
    EFER_LME,
};
use x86::dtables::DescriptorTablePointer;
use x86::msr;

/// CR0 bits about the FPU that the monitor takes from Linux: MP, EM, TS, ET.
const CR0_EXTENSION: u64 = 0x1e;

/// Control registers of the monitor on this CPU.
#[derive(Clone, Copy)]
pub(super) struct Host {
    cr0: u64,
    cr4: u64,
}

impl Host {
    /// As far as they follow from Linux's.
    pub(super) fn new(linux: &CpuState) -> Self {
        Self {
            cr0: linux.cr0 & CR0_EXTENSION | CR0_PE | CR0_PG | CR0_NE | CR0_WP,
            cr4: CR4_PAE | CR4_MCE | CR4_OSXSAVE | linux.cr4 & CR4_LA57,
        }
    }

    /// Puts the monitor in Linux's place on this CPU: VMRUN saves what it finds,
    /// and exits lead back to it.
    ///
    /// # Safety
    ///
    /// SVM is on, and this CPU runs on its own stack in the monitor's memory.
    pub(super) unsafe fn take_over(self) {
        let (gdt_base, idt_base) = gdt::bases();
        let table = |base: u64, limit: u16| DescriptorTablePointer::<u64> {
            base: base as *const u64,
            limit,
        };
        let gdt = table(gdt_base, Gdt::LIMIT);
        let idt = table(idt_base, gdt::IDT_LIMIT);
        let efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE | EFER_SVME;
        // SAFETY: the monitor's tables map its memory where it is now; the
        // descriptors have the same selectors as Linux's. With the global
        // interrupt flag clear nothing comes in between.
        unsafe {
            core::arch::asm!(
                "clgi",
                "cli",
                "mov cr3, {cr3}",
                "lgdt [{gdt}]",
                "lidt [{idt}]",
                "mov ds, {data:x}",
                "mov es, {data:x}",
                "mov ss, {data:x}",
                "push {code}",
                "lea {cr3}, [rip + 2f]",
                "push {cr3}",
                "retfq",
                "2: mov cr0, {cr0}",
                "mov cr4, {cr4}",
                cr3 = inout(reg) mem::map::cr3() => _,
                gdt = in(reg) &raw const gdt,
                idt = in(reg) &raw const idt,
                data = in(reg) u64::from(gdt::DATA),
                code = in(reg) u64::from(gdt::CODE),
                cr0 = in(reg) self.cr0,
                cr4 = in(reg) self.cr4,
            );
            msr::wrmsr(msr::IA32_EFER, efer);
        }
    }
}

/// Loads what VMRUN leaves alone of a guest's state.
///
/// # Safety
///
/// SVM is on and `vmcb` is the address of this CPU's VMCB.
pub(super) unsafe fn vmload(vmcb: Hpa) {
    // SAFETY: the caller's duty; the monitor uses nothing of what is loaded.
    unsafe { core::arch::asm!("vmload rax", in("rax") vmcb.0, options(nostack)) };
}

/// Saves the same.
///
/// # Safety
///
/// As for [`vmload`].
pub(super) unsafe fn vmsave(vmcb: Hpa) {
    // SAFETY: the caller's duty.
    unsafe { core::arch::asm!("vmsave rax", in("rax") vmcb.0, options(nostack)) };
}

/// Runs `work` with NMIs open; the first to come is one that is pending.
///
/// # Safety
///
/// The monitor has taken over; `shared` is the address of this CPU's shared
/// part.
pub(super) unsafe fn with_nmis(shared: Hva, work: impl FnOnce()) {
    // SAFETY: the NMI handler finds its words behind GS, and the guest gets its
    // base back.
    unsafe {
        let guest = msr::rdmsr(msr::IA32_GS_BASE);
        msr::wrmsr(msr::IA32_GS_BASE, shared.0);
        core::arch::asm!("stgi", "nop");
        work();
        core::arch::asm!("clgi");
        msr::wrmsr(msr::IA32_GS_BASE, guest);
    }
}

/// Keeps NMIs waiting, wherever the CPU was.
pub(super) fn close_nmis() {
    // SAFETY: touches no memory; where SVM is off, an exception.
    unsafe { core::arch::asm!("clgi", options(nomem, nostack)) };
}

/// Opens NMIs for good: SVM is about to be switched off.
///
/// # Safety
///
/// As for [`with_nmis`]; Linux's GS base is loaded before its interrupt table.
pub(super) unsafe fn open_nmis(shared: Hva) {
    // SAFETY: the caller's duty.
    unsafe {
        msr::wrmsr(msr::IA32_GS_BASE, shared.0);
        core::arch::asm!("stgi");
    }
}
