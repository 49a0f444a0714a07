//! AMD-V.
//!
//! Source: APM 2, "Secure Virtual Machine".

mod caps;
mod exit;
mod fields;
mod host;
mod nmi;
mod state;
mod vmcb;

use super::{Attachment, Backend, BitmapSizes, Code, Frequent, Itself, Run, Vcpu, Vendor};
use crate::cpu::gdt::FaultStack;
use crate::cpu::percpu::CpuShared;
use crate::mem;
use crate::mem::space::Space;
use crate::refusal::EnterError;
use crate::vcpu::run;
use caps::{Caps, VM_CR, VM_CR_R_INIT};
use cellvisor_abi::{PAGE_SIZE, call};
use cellvisor_core::addr::{Gva, Hva};
use cellvisor_core::cpuid::Lacks;
use cellvisor_core::exit::{Exit, PortAccess, next_rip};
use cellvisor_core::guest_walk::Paging;
use cellvisor_core::ids::Msr;
use cellvisor_core::insn::{CpuMode, MAX_LEN};
use cellvisor_core::msr::{self, Policy};
use cellvisor_core::svm::{self, EFER_SVME, EVENT_HAS_CODE, EVENT_VALID, TYPE_EXCEPTION};
use cellvisor_core::vcpu::{self, CpuState, EFER_LMA, Event, Regs};
use core::sync::atomic::Ordering;
use fields::*;
use host::Host;
use nmi::Blocking;
use vmcb::Vmcb;
use x86::msr as registers;

/// #DB, #AC, #MC: a guest that makes one of the first two happen while the CPU
/// delivers it could keep the CPU in microcode for ever (CVE-2015-8104,
/// CVE-2015-5307); the last one is about the machine.
const EXCEPTIONS: u64 = 1 << 1 | 1 << 17 | 1 << 18;
/// NMI, INIT, CPUID, INVD, INVLPGA, ports, MSRs, shutdown.
const ALWAYS_1: u64 = 1 << 1 | 1 << 3 | 1 << 18 | 1 << 22 | 1 << 26 | 1 << 27 | 1 << 28 | 1 << 31;
/// IRET, while an NMI is handled.
const INTERCEPT_IRET: u64 = 1 << 20;
/// VMRUN, VMMCALL, VMLOAD, VMSAVE, STGI, CLGI, SKINIT, WBINVD, XSETBV.
const ALWAYS_2: u64 = 0x7f | 1 << 9 | 1 << 13;
/// Bus locks beyond the count.
const INTERCEPT_BUS_LOCK: u64 = 1 << 5;
/// Nested paging; INVLPGB and TLBSYNC.
const NESTED_PAGING: u64 = 1 << 0;
const ALLOW_INVLPGB: u64 = 1 << 7;

const FLUSH_ALL: u64 = 1;
const FLUSH_ASID: u64 = 3;

const SPEC_CTRL_MSR: u32 = 0x48;
const VM_HSAVE_PA: u32 = 0xc001_0117;

/// AMD-V on this CPU.
pub(crate) struct Svm {
    vmcb: Vmcb,
    caps: Caps,
    host: Host,
    /// Address of this CPU's shared part.
    shared: Hva,
    /// VM_HSAVE_PA and VM_CR as Linux had them.
    linux_hsave: u64,
    linux_vm_cr: u64,
    /// The monitor has taken Linux's place on this CPU.
    taken_over: bool,
    /// What VMLOAD loads is in the VMCB; otherwise it is in the CPU.
    to_load: bool,
    nmis: Blocking,
    /// An exit is wanted as soon as the event on its way is delivered.
    wants_exit: bool,
}

/// Fills an owner's MSR bitmap.
fn fill_msr_bitmap(policy: Policy, bitmap: &mut [u8]) {
    if let Some(bitmap) = bitmap.first_chunk_mut() {
        msr::fill_msrpm(policy, bitmap);
    }
}

impl Backend for Svm {
    const VENDOR: &'static Vendor = &Vendor {
        kind: call::Backend::Svm,
        bitmaps: BitmapSizes {
            msr_pages: 2,
            io_pages: 3,
        },
        // The guest's task state segment stays loaded: a stack that it names is
        // none for the monitor.
        fault_stack: FaultStack::Current,
        root_msrs: Policy::ROOT_SVM,
        cell_msrs: Policy::CELL_SVM,
        has_1g_pages: caps::has_1g_pages,
        new_space: Space::npt,
        fill_msr_bitmap,
    };

    fn present() -> bool {
        caps::present()
    }

    fn enable(pages: [Hva; 2], linux: &CpuState) -> Result<Self, EnterError> {
        let caps = caps::probe(linux)?;
        // SAFETY: `probe` saw that SVM is there and off; the save area and the
        // VMCB are this CPU's own pages.
        let (linux_hsave, linux_vm_cr, vmcb) = unsafe {
            registers::wrmsr(registers::IA32_EFER, linux.efer | EFER_SVME);
            let linux_hsave = registers::rdmsr(VM_HSAVE_PA);
            registers::wrmsr(VM_HSAVE_PA, mem::hpa_of(pages[0]).0);
            let linux_vm_cr = registers::rdmsr(VM_CR);
            (linux_hsave, linux_vm_cr, Vmcb::new(pages[1]))
        };
        let mut this = Self {
            vmcb,
            caps,
            host: Host::new(linux),
            // The area's shared part lies before its hardware pages.
            shared: Hva(pages[0].0 - PAGE_SIZE),
            linux_hsave,
            linux_vm_cr,
            taken_over: false,
            to_load: false,
            nmis: Blocking::Open,
            wants_exit: false,
        };
        this.write_controls();
        Ok(this)
    }
}

impl Vcpu for Svm {
    fn vendor(&self) -> &'static Vendor {
        Self::VENDOR
    }

    fn disable(&mut self) {
        // SAFETY: the guest's state has been saved by the caller, and nothing
        // uses the VMCB after this. SVM must not be switched off with the global
        // interrupt flag clear.
        unsafe {
            if self.taken_over {
                host::open_nmis(self.shared);
                registers::wrmsr(VM_CR, self.linux_vm_cr);
                if self.caps.spec_ctrl {
                    registers::wrmsr(SPEC_CTRL_MSR, self.vmcb.read(SPEC_CTRL));
                }
            }
            registers::wrmsr(VM_HSAVE_PA, self.linux_hsave);
            let efer = registers::rdmsr(registers::IA32_EFER);
            registers::wrmsr(registers::IA32_EFER, efer & !EFER_SVME);
        }
    }

    fn attach(&mut self, to: &Attachment) {
        let asid = svm::asid(to.tag, self.caps.asids);
        // SAFETY: the attachment names pages that the monitor keeps for the
        // owner as long as CPUs are attached to it.
        unsafe {
            self.vmcb.control(NESTED_CR3, to.tables.0);
            self.vmcb.control(MSR_MAP, to.msr_bitmap.0);
            self.vmcb.control(IO_MAP, to.io_bitmap.0);
            self.vmcb.control(ASID, u64::from(asid));
            self.vmcb.control(TLB_CONTROL, FLUSH_ALL);
        }
        // What the last owner left in the CPU was cleared there.
        self.to_load = false;
        // No kernel uses these for itself: Intel's branch tracking is the only
        // one that Linux knows, and its shadow stacks are for programs.
        for field in [S_CET, SSP, SSP_TABLE] {
            self.vmcb.write(field, 0);
        }
        if self.taken_over {
            self.vmcb.write(SPEC_CTRL, 0);
        }
    }

    fn set_state(&mut self, state: &CpuState) {
        self.save_rest();
        state::write(&mut self.vmcb, state);
        // SAFETY: no event is pending for a new state. DEBUGCTL is the guest's
        // even while the monitor runs, which has no branches to hide.
        unsafe {
            self.vmcb.control(ENTRY_EVENT, 0);
            crate::cpu::msr::set_debugctl(state.debugctl);
        }
        self.open_nmis();
        self.to_load = true;
    }

    fn state(&self) -> CpuState {
        self.save_rest();
        CpuState {
            debugctl: crate::cpu::msr::read(Msr(registers::IA32_DEBUGCTL)),
            ..state::read(&self.vmcb)
        }
    }

    fn itself(&mut self) -> Itself<'_> {
        Itself::Svm(self)
    }

    fn idle(&mut self, shared: &CpuShared) {
        // SAFETY: a CPU has run its guest before it is stopped.
        unsafe { host::with_nmis(self.shared, || run::idle_wait(shared)) };
    }

    fn interruptible(&mut self, work: fn()) {
        // SAFETY: as in `idle`.
        unsafe { host::with_nmis(self.shared, work) };
    }

    fn regain(&mut self) {
        // What GS was the guest's is lost if this cut `with_nmis` short, which is while
        // a CPU waits or an NMI is taken.
        host::close_nmis();
    }

    fn advance(&mut self) -> bool {
        let next = match self.vmcb.read(EXIT_CODE) {
            exit::IO => self.vmcb.read(EXIT_INFO_2),
            _ if self.caps.next_rip => self.vmcb.read(NEXT_RIP),
            _ => return false,
        };
        self.advance_by(next.wrapping_sub(self.vmcb.read(RIP)) as u8);
        true
    }

    fn instruction_bytes(&self) -> Option<[u8; MAX_LEN]> {
        // Fewer were fetched where the code segment or a mapping ends.
        let all = self.caps.decode_assists
            && self.vmcb.read(EXIT_CODE) == exit::NESTED_FAULT
            && self.vmcb.read(FETCHED) as usize == MAX_LEN;
        all.then(|| core::array::from_fn(|n| self.vmcb.read(fetched_byte(n as u16)) as u8))
    }

    fn advance_by(&mut self, len: u8) {
        let rip = self.vmcb.read(RIP);
        let next = rip.wrapping_add(u64::from(len));
        // The width is asked for only where it makes a difference.
        if next >> 32 != rip >> 32 {
            return self.advance_across(Gva(rip), len);
        }
        self.go_on_at(Gva(next));
    }

    fn repair(&mut self) {
        if self.code_width() != CpuMode::Bits64 {
            let rip = self.vmcb.read(RIP);
            self.vmcb.write(RIP, next_rip(rip, 0, false));
        }
        self.vmcb.write(INTERRUPT_SHADOW, 0);
        // SAFETY: nothing to deliver is always allowed.
        unsafe { self.vmcb.control(ENTRY_EVENT, 0) };
    }

    fn inject(&mut self, event: Event) {
        let (vector, has_code) = event.vector(self.vmcb.read(CR0));
        let code = if has_code { EVENT_HAS_CODE } else { 0 };
        // SAFETY: an exception for the guest; nothing else is affected.
        unsafe {
            let event = u64::from(vector) | TYPE_EXCEPTION | code | EVENT_VALID;
            self.vmcb.control(ENTRY_EVENT, event);
        }
    }

    fn try_inject_nmi(&mut self) -> bool {
        self.inject_nmi()
    }

    fn write_control_register(&mut self, _register: u8, _value: u64) -> bool {
        // Never intercepted: SVM restricts no bits.
        false
    }

    fn write_efer(&mut self, value: u64) -> bool {
        let (old, cr0) = (self.vmcb.read(EFER), self.vmcb.read(CR0));
        let new = svm::efer(old, value, self.caps.efer, cr0);
        new.is_some_and(|new| {
            self.vmcb.write(EFER, new);
            true
        })
    }

    fn flush(&mut self) {
        if self.vmcb.read(TLB_CONTROL) == FLUSH_ALL {
            return;
        }
        let what = if self.caps.flush_by_asid {
            FLUSH_ASID
        } else {
            FLUSH_ALL
        };
        // SAFETY: flushing is always allowed, and comes before the guest's next
        // instruction.
        unsafe { self.vmcb.control(TLB_CONTROL, what) };
    }

    fn code(&self) -> Code {
        let mode = self.code_width();
        let base = match mode {
            CpuMode::Bits64 => 0,
            _ => self.vmcb.read(CS.base()),
        };
        Code {
            mode,
            at: Gva(base.wrapping_add(self.vmcb.read(RIP))),
            paging: Paging {
                cr0: self.vmcb.read(CR0),
                cr3: self.vmcb.read(CR3),
                cr4: self.cr4(),
                efer: self.vmcb.read(EFER),
            },
        }
    }

    fn rip(&self) -> u64 {
        self.vmcb.read(RIP)
    }

    fn rsp(&self) -> u64 {
        self.vmcb.read(RSP)
    }

    fn cr4(&self) -> u64 {
        self.vmcb.read(CR4)
    }

    fn is_supervisor(&self) -> bool {
        self.vmcb.read(CPL) == 0
    }

    fn lacks(&self) -> Lacks {
        // Instructions need no controls of their own.
        Lacks::empty()
    }
}

impl Run for Svm {
    type Reason = Exit;

    #[inline(always)] // As `run`.
    fn is(&self, reason: Exit, which: Frequent) -> bool {
        match which {
            Frequent::Cpuid => matches!(reason, Exit::Cpuid),
            Frequent::MsrRead => matches!(reason, Exit::MsrRead),
            Frequent::MsrWrite => matches!(reason, Exit::MsrWrite),
            Frequent::Port => matches!(reason, Exit::Port(_)),
        }
    }

    #[inline(always)] // As `run`.
    fn port(&self) -> PortAccess {
        svm::port(self.vmcb.read(EXIT_INFO_1))
    }

    fn exit(&mut self, reason: Exit) -> Exit {
        reason
    }

    #[inline(always)] // Each exit comes this way.
    fn run(&mut self, regs: &mut Regs, shared: &CpuShared) -> Exit {
        if !self.taken_over {
            self.take_over();
        }
        // A request that comes after this comes with an NMI, which makes VMRUN
        // exit at once.
        let asked =
            shared.requests.load(Ordering::Acquire) | shared.nmi_seen.load(Ordering::Acquire);
        if asked != 0 {
            return Exit::Aborted;
        }
        if core::mem::take(&mut self.wants_exit) {
            crate::cpu::kick::send(shared, cellvisor_core::requests::Request::NONE);
        }
        let vmcb = self.vmcb.address();
        self.vmcb.write(RAX, regs.0[vcpu::RAX]);
        // SAFETY: the VMCB is complete and its guest attached; the monitor has
        // taken over; `regs` outlives the call.
        unsafe {
            if core::mem::take(&mut self.to_load) {
                host::vmload(vmcb);
            }
            run::svm_run(regs, vmcb);
        }
        regs.0[vcpu::RAX] = self.vmcb.read(RAX);
        self.exited(shared)
    }
}

impl Svm {
    /// Bit width of the code segment.
    fn code_width(&self) -> CpuMode {
        const LONG: u64 = 1 << 9;
        const DEFAULT: u64 = 1 << 10;
        let access = self.vmcb.read(CS.access());
        let long_mode = self.vmcb.read(EFER) & EFER_LMA != 0;
        CpuMode::from_flags(long_mode, access & LONG != 0, access & DEFAULT != 0)
    }
    fn write_controls(&mut self) {
        let invlpgb = if self.caps.invlpgb { ALLOW_INVLPGB } else { 0 };
        // SAFETY: what the monitor relies on is intercepted; addresses follow
        // with `attach`, before the first entry. Interrupts are the guest's own,
        // masked by its flag.
        unsafe {
            self.vmcb.control(EXCEPTION_INTERCEPTS, EXCEPTIONS);
            self.vmcb.control(INTERCEPTS_1, ALWAYS_1);
            self.vmcb.control(INTERCEPTS_2, ALWAYS_2);
            if self.caps.bus_locks {
                self.vmcb.control(INTERCEPTS_3, INTERCEPT_BUS_LOCK);
            }
            self.vmcb.control(INTERRUPT_CONTROL, 0);
            self.vmcb.control(NESTED_CONTROL, NESTED_PAGING | invlpgb);
        }
        if self.caps.spec_ctrl {
            let value = crate::cpu::msr::read(Msr(SPEC_CTRL_MSR));
            self.vmcb.write(SPEC_CTRL, value);
        }
    }

    /// The guest goes on behind `len` bytes at `rip`, over the end of 4 GiB.
    #[inline(never)]
    fn advance_across(&mut self, rip: Gva, len: u8) {
        let is_64_bit = self.code_width() == CpuMode::Bits64;
        self.go_on_at(Gva(next_rip(rip.0, len, is_64_bit)));
    }

    #[inline(always)] // As `advance_by`.
    fn go_on_at(&mut self, next: Gva) {
        self.vmcb.write(RIP, next.0);
        self.vmcb.write(INTERRUPT_SHADOW, 0);
    }

    /// Before the first VMRUN on this CPU: from here on there is no way back but
    /// by leaving.
    #[inline(never)] // Done once, and not a part of each entry.
    fn take_over(&mut self) {
        // SAFETY: SVM is on, and `run` is called on the area's own stack.
        unsafe {
            self.host.take_over();
            registers::wrmsr(VM_CR, self.linux_vm_cr | VM_CR_R_INIT);
            if self.caps.spec_ctrl {
                // The guest runs with both ORed together.
                registers::wrmsr(SPEC_CTRL_MSR, 0);
            }
        }
        self.taken_over = true;
    }

    /// Brings what stays in the CPU between exits into the VMCB.
    fn save_rest(&self) {
        if !self.to_load {
            // SAFETY: SVM is on as long as this value is in use.
            unsafe { host::vmsave(self.vmcb.address()) };
        }
    }

    /// After an exit: the event that it interrupted is delivered again by the
    /// next entry, all else is as the CPU has left it.
    fn exited(&mut self, shared: &CpuShared) -> Exit {
        let interrupted = self.vmcb.read(EXIT_EVENT);
        let event = svm::requeue(interrupted).unwrap_or(0);
        // SAFETY: the guest's own event, as the CPU reported it.
        unsafe {
            self.vmcb.control(ENTRY_EVENT, event);
            self.vmcb.control(TLB_CONTROL, 0);
        }
        let clean = if self.caps.clean_bits {
            ALL_CLEAN
        } else {
            Clean::NONE
        };
        self.vmcb.set_clean(clean);
        let code = self.vmcb.read(EXIT_CODE);
        // Below the frequent ones.
        if code < exit::CPUID || code == exit::IRET {
            match code {
                exit::NMI => return self.take_nmi(shared),
                exit::INIT => return self.take_init(),
                exit::IRET => return self.step_over_iret(),
                exit::DEBUG => return self.debug_exception(),
                _ => {}
            }
        }
        exit::decode(&mut self.vmcb, code, interrupted & EVENT_VALID != 0)
    }
}
