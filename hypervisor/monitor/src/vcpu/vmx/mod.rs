//! Intel VT-x.
//!
//! Source: SDM 3C, "Introduction to Virtual Machine Extensions" and the
//! chapters that follow it.

pub(crate) mod caps;
mod exit;
mod fields;
mod setup;
mod tlb;
mod vmcs;

use super::{Attachment, Backend, BitmapSizes, Code, Frequent, Itself, Run, Vcpu, Vendor};
use crate::cpu::gdt;
use crate::cpu::percpu::CpuShared;
use crate::mem::hpa_of;
use crate::mem::space::Space;
use crate::refusal::EnterError;
use crate::vcpu::run;
use caps::{Caps, NMI_WINDOW};
use cellvisor_abi::call;
use cellvisor_abi::status::EnterStatus;
use cellvisor_core::addr::{Gva, Hpa, Hva};
use cellvisor_core::cpuid::Lacks;
use cellvisor_core::exit::{Exit, PortAccess, next_rip};
use cellvisor_core::guest_walk::Paging;
use cellvisor_core::insn::CpuMode;
use cellvisor_core::msr::{self, Policy};
use cellvisor_core::vcpu::{CR0_NE, CR4_VMXE, CpuState, EFER_LMA, Event, Regs, Table};
use fields::*;
use tlb::{Extent, Vpid, invept, invvpid};
use vmcs::Vmcs;
use x86::bits64::vmx;

/// Valid bit of event fields.
const EVENT_VALID: u32 = 1 << 31;
const EVENT_HAS_CODE: u32 = 1 << 11;
const EVENT_NMI: u32 = EVENT_VALID | 2 << 8 | 2;
const EVENT_EXCEPTION: u32 = EVENT_VALID | 3 << 8;
/// A #DB that comes by INT1.
const EVENT_INT1: u32 = EVENT_VALID | 5 << 8;
/// Pending debug exception: a single step.
const PENDING_STEP: u64 = 1 << 14;
const RFLAGS_TF: u64 = 1 << 8;
/// DEBUGCTL: single steps are branches.
const DEBUGCTL_BTF: u64 = 1 << 1;
/// Reasons of no exit: a request came first, or VMLAUNCH or VMRESUME was refused.
const ABORTED: u32 = u32::MAX;
const REFUSED: u32 = u32::MAX - 1;
/// Interruptibility: by STI, by MOV SS, by NMI.
const BLOCKED_BY_STI_OR_SS: u64 = 3;
const BLOCKED_BY_NMI: u64 = 1 << 3;

/// VT-x on this CPU.
pub(crate) struct Vmx {
    vmcs: Vmcs,
    caps: Caps,
    /// VMLAUNCH has been done, VMRESUME is next.
    launched: bool,
    tag: u16,
}

/// Fills an owner's MSR bitmap.
fn fill_msr_bitmap(policy: Policy, bitmap: &mut [u8]) {
    if let Some(bitmap) = bitmap.first_chunk_mut() {
        msr::fill_bitmap(policy, bitmap);
    }
}

impl Backend for Vmx {
    const VENDOR: &'static Vendor = &Vendor {
        kind: call::Backend::Vmx,
        bitmaps: BitmapSizes {
            msr_pages: 1,
            io_pages: 2,
        },
        fault_stack: gdt::FaultStack::Emergency,
        root_msrs: Policy::ROOT_VMX,
        cell_msrs: Policy::CELL_VMX,
        has_1g_pages: caps::has_1g_pages,
        new_space: Space::ept,
        fill_msr_bitmap,
    };

    fn present() -> bool {
        caps::present()
    }

    fn enable(pages: [Hva; 2], linux: &CpuState) -> Result<Self, EnterError> {
        let caps = caps::probe(linux)?;
        caps::lock_feature_control();
        for page in pages {
            // SAFETY: the area's hardware pages are ours alone until VMCLEAR;
            // the first word of both is the revision.
            unsafe { page.ptr::<u32>().write_volatile(caps.revision) };
        }
        let cr4 = read_cr4();
        let cr0_fixed = linux.cr0 | CR0_NE;
        // SAFETY: Linux runs with NE set anyway; VMXE was clear and is what
        // VMXON needs. The pages hold the right revision.
        unsafe {
            write_cr4(cr4 | CR4_VMXE);
            core::arch::asm!("mov cr0, {}", in(reg) cr0_fixed, options(nostack));
            if vmx::vmxon(hpa_of(pages[0]).0).is_err() {
                write_cr4(cr4);
                return Err(EnterStatus::InUse.into());
            }
        }
        let region = hpa_of(pages[1]).0;
        // SAFETY: VMX operation is on, the region is this CPU's.
        let loaded = unsafe { vmx::vmclear(region).and_then(|()| vmx::vmptrld(region)) };
        if loaded.is_err() {
            // SAFETY: on since a moment ago.
            unsafe {
                let _ = vmx::vmxoff();
                write_cr4(cr4);
            }
            return Err(EnterStatus::InstructionFailed.into());
        }
        // SAFETY: the VMCS is current now and stays so until `disable`.
        let vmcs = unsafe { Vmcs::new() };
        let mut this = Self {
            vmcs,
            caps,
            launched: false,
            tag: 1,
        };
        this.write_controls();
        this.write_host(linux, pages);
        Ok(this)
    }
}

impl Vcpu for Vmx {
    fn vendor(&self) -> &'static Vendor {
        Self::VENDOR
    }

    fn disable(&mut self) {
        // SAFETY: VMX operation is on; the guest's state has been saved by the
        // caller, and nothing uses the VMCS after this.
        unsafe {
            let _ = vmx::vmxoff();
            write_cr4(read_cr4() & !CR4_VMXE);
        }
    }

    fn attach(&mut self, to: &Attachment) {
        self.tag = to.tag;
        let page = cellvisor_abi::PAGE_SIZE;
        // SAFETY: the attachment names pages that the monitor keeps for the
        // owner as long as CPUs are attached to it.
        unsafe {
            self.vmcs.control(EPT_POINTER, ept_pointer(to.tables));
            self.vmcs.control(MSR_BITMAP, to.msr_bitmap.0);
            self.vmcs.control(IO_BITMAP_A, to.io_bitmap.0);
            self.vmcs.control(IO_BITMAP_B, to.io_bitmap.0 + page);
            self.vmcs.control(VPID, u64::from(to.tag));
            invept(Extent::AllContexts);
            invvpid(Extent::AllContexts, Vpid(0));
        }
    }

    fn set_state(&mut self, state: &CpuState) {
        let cr0 = self.caps.registers.cr0(state.cr0);
        self.write_control_fields(0, cr0.real, cr0.shadow);
        self.set_cr4(state.cr4);
        self.set_long_mode(state.efer & EFER_LMA != 0);
        let v = &mut self.vmcs;
        v.write(GUEST_CR3, state.cr3);
        v.write(GUEST_RIP, state.rip);
        v.write(GUEST_RSP, state.rsp);
        v.write(GUEST_RFLAGS, state.rflags | 2);
        v.write(GUEST_EFER, state.efer);
        v.write(GUEST_PAT, state.pat);
        v.write(GUEST_DR7, state.dr7);
        v.write(GUEST_DEBUGCTL, state.debugctl);
        v.write(GUEST_SYSENTER_CS, state.sysenter[0]);
        v.write(GUEST_SYSENTER_ESP, state.sysenter[1]);
        v.write(GUEST_SYSENTER_EIP, state.sysenter[2]);
        v.write(GUEST_GDTR_BASE, state.gdtr.base);
        v.write(GUEST_GDTR_LIMIT, u64::from(state.gdtr.limit));
        v.write(GUEST_IDTR_BASE, state.idtr.base);
        v.write(GUEST_IDTR_LIMIT, u64::from(state.idtr.limit));
        v.write(GUEST_INTERRUPTIBILITY, 0);
        v.write(GUEST_ACTIVITY, 0);
        v.write(GUEST_PENDING_DEBUG, 0);
        v.write(GUEST_LINK_POINTER, u64::MAX);
        let segments = [
            (Register::Es, &state.es),
            (Register::Cs, &state.cs),
            (Register::Ss, &state.ss),
            (Register::Ds, &state.ds),
            (Register::Fs, &state.fs),
            (Register::Gs, &state.gs),
            (Register::Ldtr, &state.ldtr),
            (Register::Tr, &state.tr),
        ];
        for (register, segment) in segments {
            self.set_segment(register, segment);
        }
        // SAFETY: no event is pending for a new state, and no window is open.
        unsafe {
            self.vmcs.control(ENTRY_EVENT, 0);
            self.vmcs
                .control(PRIMARY_CONTROLS, u64::from(self.caps.primary));
        }
    }

    fn state(&self) -> CpuState {
        let v = &self.vmcs;
        let mixed = |real: u64, shadow: u64, mask: u64| real & !mask | shadow & mask;
        let table = |base: u64, limit: u64| Table {
            base,
            limit: limit as u16,
        };
        CpuState {
            rip: v.read(GUEST_RIP),
            rsp: v.read(GUEST_RSP),
            rflags: v.read(GUEST_RFLAGS),
            cr0: mixed(
                v.read(GUEST_CR0),
                v.read(CR0_SHADOW),
                self.caps.registers.cr0_mask(),
            ),
            cr3: v.read(GUEST_CR3),
            cr4: mixed(
                v.read(GUEST_CR4),
                v.read(CR4_SHADOW),
                self.caps.registers.cr4_mask(),
            ),
            efer: v.read(GUEST_EFER),
            pat: v.read(GUEST_PAT),
            dr7: v.read(GUEST_DR7),
            debugctl: v.read(GUEST_DEBUGCTL),
            sysenter: [
                v.read(GUEST_SYSENTER_CS),
                v.read(GUEST_SYSENTER_ESP),
                v.read(GUEST_SYSENTER_EIP),
            ],
            es: self.segment(Register::Es),
            cs: self.segment(Register::Cs),
            ss: self.segment(Register::Ss),
            ds: self.segment(Register::Ds),
            fs: self.segment(Register::Fs),
            gs: self.segment(Register::Gs),
            ldtr: self.segment(Register::Ldtr),
            tr: self.segment(Register::Tr),
            gdtr: table(v.read(GUEST_GDTR_BASE), v.read(GUEST_GDTR_LIMIT)),
            idtr: table(v.read(GUEST_IDTR_BASE), v.read(GUEST_IDTR_LIMIT)),
        }
    }

    fn itself(&mut self) -> Itself<'_> {
        Itself::Vmx(self)
    }

    fn idle(&mut self, shared: &CpuShared) {
        run::idle_wait(shared);
    }

    fn advance_by(&mut self, len: u8) {
        self.step(len);
    }

    #[inline(always)] // As `step`.
    fn advance(&mut self) -> bool {
        self.step(self.vmcs.info(INSTRUCTION_LEN) as u8);
        true
    }

    fn inject(&mut self, event: Event) {
        let (vector, has_code) = event.vector(self.vmcs.read(GUEST_CR0));
        let code = if has_code { EVENT_HAS_CODE } else { 0 };
        let kind = if event == Event::Debug && exit::came_by_int1(&self.vmcs) {
            // The guest goes on behind the instruction.
            let len = self.vmcs.read(INSTRUCTION_LEN);
            // SAFETY: the length that the CPU has reported.
            unsafe { self.vmcs.control(ENTRY_INSTRUCTION_LEN, len) };
            EVENT_INT1
        } else {
            EVENT_EXCEPTION
        };
        // SAFETY: an exception for the guest; nothing else is affected.
        unsafe {
            self.vmcs
                .control(ENTRY_EVENT, u64::from(kind | code | u32::from(vector)));
            self.vmcs.control(ENTRY_ERROR_CODE, 0);
        }
        self.settle_single_step();
    }

    fn repair(&mut self) {
        if self.code_width() != CpuMode::Bits64 {
            let rip = self.vmcs.read(GUEST_RIP);
            self.vmcs.write(GUEST_RIP, next_rip(rip, 0, false));
        }
        let blocked = self.vmcs.read(GUEST_INTERRUPTIBILITY);
        self.vmcs
            .write(GUEST_INTERRUPTIBILITY, blocked & BLOCKED_BY_NMI);
        self.vmcs.write(GUEST_ACTIVITY, 0);
        self.vmcs.write(GUEST_PENDING_DEBUG, 0);
        // SAFETY: nothing to deliver is always allowed.
        unsafe { self.vmcs.control(ENTRY_EVENT, 0) };
    }

    fn try_inject_nmi(&mut self) -> bool {
        let blocked = self.vmcs.read(GUEST_INTERRUPTIBILITY);
        let busy = self.vmcs.read(ENTRY_EVENT) as u32 & EVENT_VALID != 0;
        let ready = blocked & (BLOCKED_BY_STI_OR_SS | BLOCKED_BY_NMI) == 0 && !busy;
        let window = if ready { 0 } else { NMI_WINDOW };
        // SAFETY: an NMI for the guest, or an exit when it can take one.
        unsafe {
            if ready {
                self.vmcs.control(ENTRY_EVENT, u64::from(EVENT_NMI));
            }
            self.vmcs
                .control(PRIMARY_CONTROLS, u64::from(self.caps.primary | window));
        }
        ready
    }

    fn write_control_register(&mut self, register: u8, value: u64) -> bool {
        match register {
            0 => self.write_cr0(value),
            4 => self.caps.registers.cr4(value).is_some_and(|_| {
                self.set_cr4(value);
                true
            }),
            _ => false,
        }
    }

    fn write_efer(&mut self, _value: u64) -> bool {
        // Never intercepted: the VMCS keeps the guest's own.
        false
    }

    fn flush(&mut self) {
        // SAFETY: invalidation is always allowed.
        unsafe {
            invept(Extent::AllContexts);
            invvpid(Extent::SingleContext, Vpid(self.tag));
        }
    }

    fn code(&self) -> Code {
        let mode = self.code_width();
        let base = match mode {
            CpuMode::Bits64 => 0,
            _ => self.vmcs.read(GUEST_CS_BASE),
        };
        Code {
            mode,
            at: Gva(base.wrapping_add(self.vmcs.read(GUEST_RIP))),
            paging: Paging {
                cr0: self.vmcs.read(GUEST_CR0),
                cr3: self.vmcs.read(GUEST_CR3),
                cr4: self.cr4(),
                efer: self.vmcs.read(GUEST_EFER),
            },
        }
    }

    fn rip(&self) -> u64 {
        self.vmcs.read(GUEST_RIP)
    }

    fn rsp(&self) -> u64 {
        self.vmcs.read(GUEST_RSP)
    }

    fn cr4(&self) -> u64 {
        self.vmcs.read(GUEST_CR4)
    }

    fn is_supervisor(&self) -> bool {
        self.vmcs.read(GUEST_SS_ACCESS) >> 5 & 3 == 0
    }

    fn lacks(&self) -> Lacks {
        let controls = [
            (caps::RDTSCP, Lacks::RDTSCP),
            (caps::INVPCID, Lacks::INVPCID),
            (caps::XSAVES, Lacks::XSAVES),
            (caps::USER_WAIT, Lacks::WAITPKG),
        ];
        let missing = controls
            .into_iter()
            .filter(|(bit, _)| self.caps.secondary & bit == 0);
        missing.fold(Lacks::empty(), |all, (_, lacks)| all | lacks)
    }
}

impl Run for Vmx {
    type Reason = u32;

    #[inline(always)] // Each exit comes this way.
    fn run(&mut self, regs: &mut Regs, shared: &CpuShared) -> u32 {
        let failed = self.enter(regs, shared);
        if failed != 0 {
            return not_entered(failed);
        }
        let reason = self.vmcs.info(EXIT_REASON);
        if !self.launched {
            // An entry that fails leaves the VMCS as it was.
            self.launched = reason & exit::ENTRY_FAILURE == 0;
        }
        reason
    }

    #[inline(always)] // As `run`.
    fn is(&self, reason: u32, which: Frequent) -> bool {
        exit::is(reason, which)
    }

    #[inline(always)] // As `run`.
    fn port(&self) -> PortAccess {
        exit::port(&self.vmcs)
    }

    fn exit(&mut self, reason: u32) -> Exit {
        match reason {
            ABORTED => Exit::Aborted,
            REFUSED => self.instruction_failed(),
            _ => exit::decode(&mut self.vmcs, reason),
        }
    }
}

impl Vmx {
    /// Bit width of the code segment.
    fn code_width(&self) -> CpuMode {
        let access = self.vmcs.read(GUEST_CS_ACCESS);
        if self.vmcs.read(GUEST_EFER) & EFER_LMA != 0 && access & 1 << 13 != 0 {
            CpuMode::Bits64
        } else if access & 1 << 14 != 0 {
            CpuMode::Bits32
        } else {
            CpuMode::Bits16
        }
    }
    #[inline(always)] // Nearly each exit ends with it.
    fn step(&mut self, len: u8) {
        let rip = self.vmcs.read(GUEST_RIP);
        let next = rip.wrapping_add(u64::from(len));
        // The width is asked for only where it makes a difference.
        if next >> 32 == rip >> 32 {
            self.go_on_at(Gva(next));
        } else {
            self.advance_across(Gva(rip), len);
        }
    }

    /// The guest goes on behind `len` bytes at `rip`, over the end of 4 GiB.
    #[inline(never)]
    fn advance_across(&mut self, rip: Gva, len: u8) {
        let is_64_bit = self.code_width() == CpuMode::Bits64;
        self.go_on_at(Gva(next_rip(rip.0, len, is_64_bit)));
    }

    #[inline(always)] // As `step`.
    fn go_on_at(&mut self, next: Gva) {
        self.vmcs.write(GUEST_RIP, next.0);
        let blocked = self.vmcs.read(GUEST_INTERRUPTIBILITY);
        if blocked & BLOCKED_BY_STI_OR_SS != 0 {
            self.vmcs
                .write(GUEST_INTERRUPTIBILITY, blocked & !BLOCKED_BY_STI_OR_SS);
        }
    }

    #[inline(always)] // Each exit comes this way.
    fn enter(&self, regs: &mut Regs, shared: &CpuShared) -> u64 {
        // SAFETY: the VMCS is complete; host state leads back into `vmx_run`'s
        // frame; `regs` outlives the call.
        unsafe { run::vmx_run(regs, u64::from(self.launched), &raw const shared.requests) }
    }

    /// VMLAUNCH or VMRESUME was refused.
    #[inline(never)]
    fn instruction_failed(&self) -> Exit {
        Exit::EntryFailed(1 << 32 | u64::from(self.vmcs.info(INSTRUCTION_ERROR)))
    }

    /// While STI or MOV SS hold exceptions back, an entry with TF wants to be told
    /// that a single step waits, and one without TF that none does. An exit by a
    /// debug exception has taken the step from the pending ones (SDM 3C, "Checks
    /// on Guest Non-Register State").
    fn settle_single_step(&mut self) {
        let blocked = self.vmcs.read(GUEST_INTERRUPTIBILITY);
        if blocked & BLOCKED_BY_STI_OR_SS == 0 {
            return;
        }
        let steps = self.vmcs.read(GUEST_RFLAGS) & RFLAGS_TF != 0
            && self.vmcs.read(GUEST_DEBUGCTL) & DEBUGCTL_BTF == 0;
        let pending = self.vmcs.read(GUEST_PENDING_DEBUG);
        let step = if steps { PENDING_STEP } else { 0 };
        self.vmcs
            .write(GUEST_PENDING_DEBUG, pending & !PENDING_STEP | step);
    }
}

/// Why the guest was not entered, from what `vmx_run` says.
#[cold]
#[inline(never)] // Off the way of each exit.
const fn not_entered(why: u64) -> u32 {
    match why {
        1 => ABORTED,
        _ => REFUSED,
    }
}

/// Write-back tables, four levels.
const fn ept_pointer(root: Hpa) -> u64 {
    root.0 | 6 | 3 << 3
}

fn read_cr4() -> u64 {
    let value: u64;
    // SAFETY: reading a control register has no effect.
    unsafe { core::arch::asm!("mov {}, cr4", out(reg) value, options(nomem, nostack)) };
    value
}

/// # Safety
///
/// The bits must be ones that the CPU has and that the code around needs.
unsafe fn write_cr4(value: u64) {
    // SAFETY: the caller's duty.
    unsafe { core::arch::asm!("mov cr4, {}", in(reg) value, options(nostack)) };
}
