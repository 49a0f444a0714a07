//! NMIs: those that arrive, and those that the guest gets.
//!
//! SVM does not keep track of a guest's NMIs. An NMI is delivered as an
//! interrupt with vector 2, which is the same for the guest and leaves the
//! CPU's own blocking of NMIs alone: a guest that never returns from its handler
//! must not hold off the monitor's. Until the guest's next IRET it gets no
//! other. That IRET exits before it is done, so the guest takes one step, and
//! is ready after the #DB that this brings.
//!
//! Source: APM 2, "Event Injection", "Interrupt Shadows", "Exceptions and
//! Interrupts".

use super::fields::*;
use super::{ALWAYS_1, INTERCEPT_IRET, Svm, host};
use crate::cpu::percpu::CpuShared;
use cellvisor_core::exit::Exit;
use cellvisor_core::svm::{EVENT_VALID, TYPE_INTERRUPT};
use core::sync::atomic::Ordering;

/// Whether the guest can take an NMI.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Blocking {
    /// It can.
    Open,
    /// It handles one: IRET exits.
    Handler,
    /// It is about to return from one, by a single step.
    Stepping,
}

const NMI_VECTOR: u64 = 2;
const RFLAGS_TF: u64 = 1 << 8;
const DR6_SINGLE_STEP: u64 = 1 << 14;
const DR6_BREAKPOINTS: u64 = 0xf;

impl Svm {
    /// Delivers an NMI with the next entry if the guest can take it. Shadows of
    /// STI and MOV SS do not hold it back: neither has a meaning for NMIs in
    /// 64-bit code, and SVM does not tell them apart.
    pub(super) fn inject_nmi(&mut self) -> bool {
        // An IRET that faulted has ended the handler as well; the fault's delivery
        // ended the step.
        let stepping = self.vmcb.read(RFLAGS) & RFLAGS_TF != 0;
        match self.nmis {
            Blocking::Handler => return false,
            Blocking::Stepping if stepping => return false,
            Blocking::Stepping | Blocking::Open => {}
        }
        if self.vmcb.read(ENTRY_EVENT) & EVENT_VALID != 0 {
            self.wants_exit = true;
            return false;
        }
        // SAFETY: an NMI for the guest, and an exit more.
        unsafe {
            let event = NMI_VECTOR | TYPE_INTERRUPT | EVENT_VALID;
            self.vmcb.control(ENTRY_EVENT, event);
            self.vmcb.control(INTERCEPTS_1, ALWAYS_1 | INTERCEPT_IRET);
        }
        self.vmcb.write(INTERRUPT_SHADOW, 0);
        self.nmis = Blocking::Handler;
        true
    }

    /// Lets NMIs through again.
    pub(super) fn open_nmis(&mut self) {
        // SAFETY: IRET needs no exit.
        unsafe { self.vmcb.control(INTERCEPTS_1, ALWAYS_1) };
        self.nmis = Blocking::Open;
        self.wants_exit = false;
    }

    /// An NMI made the guest exit and is still pending: takes it.
    pub(super) fn take_nmi(&self, shared: &CpuShared) -> Exit {
        self.take_pending();
        if shared.nmi_seen.swap(0, Ordering::AcqRel) == 0 {
            return Exit::Aborted;
        }
        Exit::Nmi
    }

    /// An INIT made the guest exit and is still pending: takes it, as an
    /// exception.
    pub(super) fn take_init(&self) -> Exit {
        self.take_pending();
        Exit::Signal
    }

    /// Lets the monitor's handlers have what is pending on this CPU.
    fn take_pending(&self) {
        // SAFETY: VMRUN was executed, so the monitor has taken over.
        unsafe { host::with_nmis(self.shared, || {}) };
    }

    /// The guest is at the IRET that ends its NMI handler.
    pub(super) fn step_over_iret(&mut self) -> Exit {
        self.open_nmis();
        self.nmis = Blocking::Stepping;
        let rflags = self.vmcb.read(RFLAGS);
        self.vmcb.write(RFLAGS, rflags | RFLAGS_TF);
        Exit::NmiWindow
    }

    /// A #DB: the end of our step, or the guest's own, or both.
    pub(super) fn debug_exception(&mut self) -> Exit {
        const DEBUG: u8 = 1;
        let dr6 = self.vmcb.read(DR6);
        if self.nmis != Blocking::Stepping || dr6 & DR6_SINGLE_STEP == 0 {
            return Exit::Exception(DEBUG);
        }
        // IRET has loaded the flags anew, without ours.
        self.vmcb.write(DR6, dr6 & !DR6_SINGLE_STEP);
        self.nmis = Blocking::Open;
        if dr6 & DR6_BREAKPOINTS != 0 {
            Exit::Exception(DEBUG)
        } else {
            Exit::NmiWindow
        }
    }
}
