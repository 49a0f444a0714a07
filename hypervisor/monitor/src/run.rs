//! What a CPU does while the monitor is on: run its owner's code, serve
//! requests of other CPUs, handle exits.

use crate::cell::{self, Cell, count};
use crate::cpu::{apic, exceptions};
use crate::mem::map::Window;
use crate::percpu::{Activity, CpuShared, request};
use crate::vcpu::Vcpu;
use crate::{entry, exits, facts, handover, log};
use cellvisor_abi::call::{CellId, ExitKind, FailReason, Registers};
use cellvisor_core::exit::Exit;
use cellvisor_core::vcpu::{CpuState, Event, RDX, RSI, RSP, Regs};
use core::sync::atomic::Ordering;
use log::log;

/// This CPU: its guest, its owner, and what only it touches.
pub(crate) struct Cpu<'a> {
    pub(crate) vcpu: &'a mut dyn Vcpu,
    pub(crate) regs: Regs,
    pub(crate) shared: &'static CpuShared,
    pub(crate) cell: &'static Cell,
    pub(crate) window: Window,
    /// An NMI waits until the guest can take it.
    nmi_pending: bool,
    /// High half of an xAPIC interrupt command, as last written by the guest.
    pub(crate) icr_high: u32,
}

impl<'a> Cpu<'a> {
    /// A CPU of the root with its guest's state in place.
    pub(crate) fn new(
        vcpu: &'a mut dyn Vcpu,
        shared: &'static CpuShared,
        cell: &'static Cell,
        window: Window,
    ) -> Self {
        let regs = Regs::default();
        Self {
            vcpu,
            regs,
            shared,
            cell,
            window,
            nmi_pending: false,
            icr_high: 0,
        }
    }

    /// Virtual APIC id.
    pub(crate) fn virtual_id(&self) -> u32 {
        self.shared.virtual_id.load(Ordering::Relaxed)
    }

    /// True for a CPU of the root.
    pub(crate) fn is_root(&self) -> bool {
        self.cell.id == CellId::ROOT
    }
}

/// Runs until the monitor is left.
pub(crate) fn run(mut cpu: Cpu<'_>, regs: Regs) -> ! {
    cpu.regs = regs;
    cpu.shared.set_activity(Activity::Running);
    loop {
        cpu.serve();
        if cpu.shared.activity() != Activity::Running {
            cpu.vcpu.idle(cpu.shared);
            continue;
        }
        if cpu.nmi_pending && cpu.vcpu.try_inject_nmi() {
            cpu.nmi_pending = false;
        }
        let exit = cpu.vcpu.run(&mut cpu.regs, cpu.shared);
        if let Some(kind) = exit.kind() {
            cpu.shared.count(kind);
        }
        cpu.handle(exit);
    }
}

impl Cpu<'_> {
    /// Does what other CPUs asked for.
    fn serve(&mut self) {
        if self.shared.nmi_seen.swap(0, Ordering::AcqRel) != 0 {
            self.nmi_arrived();
        }
        let requests = self.shared.requests.load(Ordering::Acquire);
        if requests == 0 {
            return;
        }
        let asked = |bit: u32| requests & bit != 0;
        if asked(request::STOP) {
            self.shared.set_activity(Activity::Stopped);
        }
        if asked(request::ASSIGN) {
            self.assign();
        }
        if asked(request::INIT) && self.shared.activity() != Activity::Stopped {
            self.shared.set_activity(Activity::WaitForSipi);
        }
        if asked(request::SIPI) && self.shared.activity() == Activity::WaitForSipi {
            let vector = self.shared.sipi_vector.load(Ordering::Relaxed);
            self.start(&CpuState::start_up(vector), Regs::default());
        }
        if asked(request::BOOT) && self.shared.activity() == Activity::WaitForSipi {
            self.boot();
        }
        if asked(request::FLUSH) {
            self.vcpu.flush();
        }
        if asked(request::NMI) && self.shared.activity() == Activity::Running {
            self.shared.count(ExitKind::Nmi);
            self.nmi_pending = true;
        }
        self.shared.requests.fetch_and(!requests, Ordering::AcqRel);
    }

    /// An NMI came: another CPU's request, or one for the guest.
    fn nmi_arrived(&mut self) {
        if self.shared.kick_sent.swap(false, Ordering::AcqRel) {
            self.shared.count(ExitKind::Kick);
        } else if self.shared.activity() == Activity::Running {
            self.shared.count(ExitKind::Nmi);
            self.nmi_pending = true;
        }
    }

    /// Becomes a CPU of another cell, or of the same one once more.
    fn assign(&mut self) {
        let owner = CellId(self.shared.next_owner.load(Ordering::Acquire));
        let Some(cell) = cell::get(owner) else { return };
        self.cell = cell;
        self.shared.owner.store(owner.0, Ordering::Release);
        let virtual_id = self.shared.next_virtual_id.load(Ordering::Acquire);
        self.shared.virtual_id.store(virtual_id, Ordering::Release);
        self.shared
            .exits
            .iter()
            .for_each(|counter| counter.store(0, Ordering::Relaxed));
        let mode = if self.is_root() {
            facts::get().root_apic
        } else {
            apic::Mode::X2apic
        };
        apic::hand_over(mode, |work| self.vcpu.interruptible(work));
        handover::clear_cpu();
        self.nmi_pending = false;
        self.icr_high = 0;
        self.vcpu.attach(&cell.attachment());
        self.shared.set_activity(Activity::WaitForSipi);
    }

    fn start(&mut self, state: &CpuState, regs: Regs) {
        self.nmi_pending = false;
        self.vcpu.set_state(state);
        self.regs = regs;
        self.regs.0[RDX] = u64::from(handover::signature());
        self.shared.set_activity(Activity::Running);
    }

    /// Starts as the first CPU of its cell.
    fn boot(&mut self) {
        let boot = self
            .cell
            .guest
            .as_ref()
            .and_then(|guest| *guest.boot.lock());
        let Some(boot) = boot else { return };
        let mut regs = Regs::default();
        regs.0[RSI] = boot.rsi;
        self.start(&CpuState::boot64(&boot), regs);
    }

    fn handle(&mut self, exit: Exit) {
        match exit {
            Exit::Aborted | Exit::NmiWindow => {}
            Exit::Nmi => self.nmi_arrived(),
            Exit::Cpuid => exits::cpuid::handle(self),
            Exit::MsrRead => exits::msr::read(self),
            Exit::MsrWrite => exits::msr::write(self),
            Exit::Port(access) => exits::port::handle(self, access),
            Exit::Memory(access) => exits::memory::handle(self, access),
            Exit::ControlRegister { register, source } => self.control_register(register, source),
            Exit::Xsetbv => self.xsetbv(),
            Exit::Hypercall => exits::hypercall::handle(self),
            Exit::Exception(vector) => self.exception(vector),
            Exit::Cache => {
                // SAFETY: writing back caches loses nothing, unlike INVD.
                unsafe { core::arch::asm!("wbinvd", options(nostack)) };
                self.advance();
            }
            Exit::Undefined => self.vcpu.inject(Event::InvalidOpcode),
            // INIT and SIPI are emulated where they are sent; what comes from
            // elsewhere is for no guest.
            Exit::Signal => {}
            Exit::TripleFault => self.fail(FailReason::TripleFault),
            Exit::EntryFailed(code) => self.fail(FailReason::EntryFailed(code)),
            Exit::Unknown(code) => self.fail(FailReason::UnknownExit(code)),
        }
    }

    /// Steps over the instruction that exited. One that cannot be found any more
    /// was changed while it ran: the guest gets #UD.
    pub(crate) fn advance(&mut self) {
        let told = self.vcpu.instruction_len();
        match told.or_else(|| exits::memory::instruction_len(self)) {
            Some(len) => self.vcpu.advance_by(len),
            None => self.vcpu.inject(Event::InvalidOpcode),
        }
    }

    /// Answers with #GP.
    pub(crate) fn refuse(&mut self) {
        self.vcpu.inject(Event::GeneralProtection);
    }

    fn control_register(&mut self, register: u8, source: u8) {
        let value = if usize::from(source) == RSP {
            self.vcpu.state().rsp
        } else {
            self.regs.0.get(usize::from(source)).copied().unwrap_or(0)
        };
        if self.vcpu.write_control_register(register, value) {
            self.advance();
        } else {
            self.refuse();
        }
    }

    fn xsetbv(&mut self) {
        let index = self.regs.0[cellvisor_core::vcpu::RCX] as u32;
        if self.vcpu.is_supervisor() && entry::try_xsetbv(index, self.regs.edx_eax()) {
            self.advance();
        } else {
            self.refuse();
        }
    }

    fn exception(&mut self, vector: u8) {
        const DEBUG: u8 = 1;
        const ALIGNMENT_CHECK: u8 = 17;
        match vector {
            DEBUG => self.vcpu.inject(Event::Debug),
            ALIGNMENT_CHECK => self.vcpu.inject(Event::AlignmentCheck),
            _ if self.is_root() => self.vcpu.inject(Event::MachineCheck),
            _ => self.fail(FailReason::MachineCheck),
        }
    }

    /// Ends the guest's run: a cell fails, the root cannot go on.
    pub(crate) fn fail(&mut self, reason: FailReason) {
        let state = self.vcpu.state();
        let mut general = self.regs.0;
        general[RSP] = state.rsp;
        let regs = Registers {
            general,
            rip: state.rip,
            rflags: state.rflags,
            cr0: state.cr0,
            cr2: handover::cr2(),
            cr3: state.cr3,
            cr4: state.cr4,
            cs: state.cs.selector,
        };
        if self.is_root() {
            log!(
                "root failed: {} cpu={} rip={:#x}",
                cell::Reason(&reason),
                self.virtual_id(),
                regs.rip
            );
            if reason == FailReason::TripleFault {
                handover::reset_machine();
            }
            exceptions::stop();
        }
        self.shared.set_activity(Activity::Stopped);
        self.cell.fail(reason, self.virtual_id(), regs);
    }

    /// Counts a refused access; true for the first few, which are logged.
    pub(crate) fn denied(
        &self,
        which: impl Fn(&cell::DeniedCounters) -> &core::sync::atomic::AtomicU64,
    ) -> bool {
        count(which(&self.cell.denied))
    }
}
