//! One CPU of a cell: its guest, its owner, and what only it touches.

use crate::cell::memory::{Reach, Translations};
use crate::cell::{self, Cell, Guest, code, count};
use crate::cpu::percpu::{Activity, CpuShared};
use crate::cpu::reset::{self, Machine};
use crate::mem::map::Window;
use crate::vcpu::Vcpu;
use cellvisor_abi::call::{CellId, ExitKind, FailReason, Registers};
use cellvisor_core::fault::Faults;
use cellvisor_core::ids::VirtualId;
use cellvisor_core::msr::Policy;
use cellvisor_core::text::Hex;
use cellvisor_core::vcpu::{Event, RSP, Regs};
use core::sync::atomic::Ordering;

/// This CPU: its guest, its owner, and what only it touches. What many places use comes
/// first: an instruction reaches it by one byte instead of four.
#[repr(C)]
pub(crate) struct Cpu<'a> {
    pub(crate) vcpu: &'a mut dyn Vcpu,
    pub(crate) shared: &'static CpuShared,
    pub(crate) cell: &'static Cell,
    /// What only a cell has; `None` for the root.
    pub(crate) guest: Option<&'static Guest>,
    /// What its owner may do with MSRs.
    pub(crate) msrs: &'static Policy,
    /// High half of an xAPIC interrupt command, as last written by the guest.
    pub(crate) icr_high: u32,
    /// An NMI waits until the guest can take it.
    pub(crate) nmi_pending: bool,
    /// An exit is being carried out.
    pub(crate) in_exit: bool,
    pub(crate) regs: Regs,
    /// Faults of the monitor on this CPU.
    pub(crate) faults: Faults,
    /// MSRs as they were when the monitor came.
    pub(crate) machine: Option<Machine>,
    pub(crate) window: Window,
    /// Where memory of its cell is.
    pub(crate) translations: Translations,
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
        let msrs = &vcpu.vendor().root_msrs;
        Self {
            vcpu,
            regs,
            shared,
            cell,
            msrs,
            guest: None,
            window,
            translations: Translations::new(),
            nmi_pending: false,
            machine: None,
            in_exit: false,
            faults: Faults::default(),
            icr_high: 0,
        }
    }

    /// Virtual APIC id.
    pub(crate) fn virtual_id(&self) -> VirtualId {
        self.shared.virtual_id()
    }

    /// True for a CPU of the root.
    pub(crate) fn is_root(&self) -> bool {
        self.cell.id == CellId::ROOT
    }
}

impl Cpu<'_> {
    /// Belongs to `cell` from now on.
    pub(crate) fn belong_to(&mut self, cell: &'static Cell) {
        self.cell = cell;
        let vendor = self.vcpu.vendor();
        self.msrs = if self.is_root() {
            &vendor.root_msrs
        } else {
            &vendor.cell_msrs
        };
        self.guest = cell.guest.as_ref();
        // What it knows of memory is the last owner's.
        self.translations.forget();
        self.window.close();
    }

    /// An NMI came: another CPU's request, or one for the guest.
    pub(crate) fn nmi_arrived(&mut self) {
        if self.shared.kick_sent.swap(false, Ordering::AcqRel) {
            self.shared.count(ExitKind::Kick);
        } else if self.shared.activity() == Activity::Running {
            self.shared.count(ExitKind::Nmi);
            self.nmi_pending = true;
        }
    }

    /// Steps over the instruction that exited.
    pub(crate) fn advance(&mut self) {
        if !self.vcpu.advance() {
            let Self {
                vcpu,
                cell,
                window,
                translations,
                ..
            } = self;
            let reach = Reach {
                cell,
                window,
                translations,
            };
            code::step_over(*vcpu, reach);
        }
    }

    /// What it reaches the memory of its guest by.
    pub(crate) fn reach(&mut self) -> Reach<'_> {
        Reach {
            cell: self.cell,
            window: &mut self.window,
            translations: &mut self.translations,
        }
    }

    /// Answers with #GP.
    pub(crate) fn refuse(&mut self) {
        self.vcpu.inject(Event::GeneralProtection);
    }

    /// Ends the guest's run: a cell fails, a CPU of the root waits for a start-up
    /// IPI and still does what other CPUs ask it for.
    pub(crate) fn fail(&mut self, reason: FailReason) {
        let state = self.vcpu.state();
        let mut general = self.regs.0;
        general[RSP] = state.rsp;
        let regs = Registers {
            general,
            rip: state.rip,
            rflags: state.rflags,
            cr0: state.cr0,
            cr2: reset::cr2(),
            cr3: state.cr3,
            cr4: state.cr4,
            cs: state.cs.selector,
        };
        if self.is_root() {
            self.log(format_args!(
                "failed: {} rip={}",
                cell::Reason(&reason),
                Hex(regs.rip)
            ));
            if reason == FailReason::TripleFault {
                reset::reset_machine();
            }
            self.shared.set_activity(Activity::WaitForSipi);
            return;
        }
        self.shared.set_activity(Activity::Stopped);
        self.cell.fail(reason, self.virtual_id(), regs);
    }

    /// Writes a line about what this CPU does, in the form of all of them.
    #[inline(never)]
    pub(crate) fn log(&self, what: core::fmt::Arguments<'_>) {
        self.cell.log_of(Some(self.virtual_id()), what);
    }

    /// Counts a refused access; true for the first few, which are logged.
    pub(crate) fn denied(
        &self,
        which: impl Fn(&cell::DeniedCounters) -> &core::sync::atomic::AtomicU64,
    ) -> bool {
        count(which(&self.cell.denied))
    }
}
