//! The seam between the monitor and a CPU vendor's virtualization.
//!
//! A back end runs one guest on one CPU and translates: its exits become
//! [`Exit`], neutral state becomes its own. It decides nothing.

pub(crate) mod run;
pub(crate) mod svm;
pub(crate) mod vmx;

use crate::cpu::gdt::FaultStack;
use crate::cpu::percpu::CpuShared;
use crate::mem::space::Space;
use crate::refusal::EnterError;
use cellvisor_abi::call;
use cellvisor_core::addr::{Gva, Hpa, Hva};
use cellvisor_core::cpuid::Lacks;
use cellvisor_core::exit::{Exit, PortAccess};
use cellvisor_core::guest_walk::Paging;
use cellvisor_core::insn::{CpuMode, MAX_LEN};
use cellvisor_core::msr::Policy;
use cellvisor_core::paging::PageSize;
use cellvisor_core::vcpu::{CpuState, Event, Regs};

/// What ties a virtual CPU to its owner. All addresses are pages that the
/// monitor keeps for that owner.
#[derive(Clone, Copy)]
pub(crate) struct Attachment {
    /// Root of the second-level tables.
    pub(crate) tables: Hpa,
    /// Which MSRs reach the hardware, in the back end's layout.
    pub(crate) msr_bitmap: Hpa,
    /// Which ports do, in the back end's layout.
    pub(crate) io_bitmap: Hpa,
    /// Tag of cached translations: the owner's id plus one.
    pub(crate) tag: u16,
}

/// Pages that a back end needs for each owner.
pub(crate) struct BitmapSizes {
    /// Contiguous pages of the MSR bitmap.
    pub(crate) msr_pages: u64,
    /// Contiguous pages of the I/O bitmap.
    pub(crate) io_pages: u64,
}

/// What a back end needs and offers, whichever CPU it is on.
pub(crate) struct Vendor {
    /// Which one it is.
    pub(crate) kind: call::Backend,
    /// Pages for each owner.
    pub(crate) bitmaps: BitmapSizes,
    /// Where the monitor's own faults are handled, which depends on whose task
    /// state segment is loaded then.
    pub(crate) fault_stack: FaultStack,
    /// MSR policy of the root.
    pub(crate) root_msrs: Policy,
    /// MSR policy of cells.
    pub(crate) cell_msrs: Policy,
    /// True if second-level tables can map pages of 1 GiB. Only where the back
    /// end is present.
    pub(crate) has_1g_pages: fn() -> bool,
    /// Empty second-level tables. `None` if the pool is empty.
    pub(crate) new_space: fn(PageSize) -> Option<Space>,
    /// Fills an owner's MSR bitmap.
    pub(crate) fill_msr_bitmap: fn(Policy, &mut [u8]),
}

/// A back end.
pub(crate) trait Backend: Run + Sized {
    /// What is true of it on all CPUs.
    const VENDOR: &'static Vendor;

    /// True if this CPU has it.
    fn present() -> bool;

    /// Switches virtualization on, on this CPU. `pages` are the two hardware
    /// pages of its area. On an error the CPU is as it was.
    fn enable(pages: [Hva; 2], linux: &CpuState) -> Result<Self, EnterError>;
}

/// The back ends by their types: calls of these can be put into their callers.
pub(crate) enum Itself<'a> {
    Vmx(&'a mut vmx::Vmx),
    Svm(&'a mut svm::Svm),
}

/// Where a guest's instruction is, and how to read it.
pub(crate) struct Code {
    /// Bit width of the code segment.
    pub(crate) mode: CpuMode,
    /// Its linear address.
    pub(crate) at: Gva,
    /// What a walk of the guest's page tables needs.
    pub(crate) paging: Paging,
}

/// Running guests, which is the way of each exit.
pub(crate) trait Run: Vcpu {
    /// Why the guest does not run, in the back end's terms.
    type Reason: Copy;

    /// Runs the guest until it exits or `shared` has a request, before anything is
    /// entered then.
    fn run(&mut self, regs: &mut Regs, shared: &CpuShared) -> Self::Reason;

    /// True if it is this one of the frequent ones.
    fn is(&self, reason: Self::Reason, which: Frequent) -> bool;

    /// The access of an exit by IN or OUT.
    fn port(&self) -> PortAccess;

    /// What it is, whichever one: [`Exit::Aborted`] for a request. Asked once, of the
    /// last reason.
    fn exit(&mut self, reason: Self::Reason) -> Exit;
}

/// Exits that cells have most.
#[derive(Clone, Copy)]
pub(crate) enum Frequent {
    Cpuid,
    MsrRead,
    MsrWrite,
    Port,
}

/// Virtualization of one CPU.
pub(crate) trait Vcpu {
    /// What is true of its back end.
    fn vendor(&self) -> &'static Vendor;

    /// Switches it off. The CPU stays under the monitor's tables; the guest
    /// must not be run again.
    fn disable(&mut self);

    /// Makes this CPU part of an owner and forgets all cached translations.
    fn attach(&mut self, to: &Attachment);

    /// Replaces the guest's state.
    fn set_state(&mut self, state: &CpuState);

    /// The guest's state as the guest sees it.
    fn state(&self) -> CpuState;

    /// Which one it is, for those who run guests.
    fn itself(&mut self) -> Itself<'_>;

    /// Sleeps until an NMI comes, unless `shared` has a request or one has come.
    fn idle(&mut self, shared: &CpuShared);

    /// All the bytes that an instruction can have, from where the one is whose
    /// memory access exited, if the CPU keeps them.
    fn instruction_bytes(&self) -> Option<[u8; MAX_LEN]> {
        None
    }

    /// Steps over the `len` bytes of an instruction.
    fn advance_by(&mut self, len: u8);

    /// Steps over the instruction that exited; false if the CPU does not tell its
    /// length.
    fn advance(&mut self) -> bool;

    /// Delivers an exception with the next entry.
    fn inject(&mut self, event: Event);

    /// Brings what a guest may have led astray of its own state (instruction
    /// pointer, shadows, the event to deliver) back to where it can be entered.
    fn repair(&mut self);

    /// Delivers an NMI with the next entry if the guest can take it; otherwise
    /// asks for [`Exit::NmiWindow`] and returns false.
    fn try_inject_nmi(&mut self) -> bool;

    /// Carries out a move to a control register; false asks for #GP.
    fn write_control_register(&mut self, register: u8, value: u64) -> bool;

    /// Carries out a write of IA32_EFER, where it is intercepted; false asks for
    /// #GP.
    fn write_efer(&mut self, value: u64) -> bool;

    /// Runs `work`, which opens interrupts for a moment, where they would not
    /// come otherwise.
    fn interruptible(&mut self, work: fn()) {
        work();
    }

    /// The monitor faulted on this CPU, wherever it was, and goes on with its loop.
    fn regain(&mut self) {}

    /// Forgets cached second-level translations of this owner.
    fn flush(&mut self);

    /// What it takes to find the instruction that the guest is at.
    fn code(&self) -> Code;

    /// Instruction pointer.
    fn rip(&self) -> u64;

    /// Stack pointer.
    fn rsp(&self) -> u64;

    /// CR4 as the hardware has it for the guest.
    fn cr4(&self) -> u64;

    /// True if the guest runs in ring 0.
    fn is_supervisor(&self) -> bool;

    /// What cells cannot have for want of a control.
    fn lacks(&self) -> Lacks;
}
