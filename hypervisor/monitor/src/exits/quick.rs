//! Exits that a cell has while it works, done where its guest is entered: CPUID that
//! answers always the same, MSRs with fixed values, interrupts among its CPUs, its
//! console, ports of nobody.
//!
//! What is not quite as usual stays as it was and takes the long way, `Cpu::handle`.
//!
//! Source: as of that one.

use crate::cell::cpu::Cpu;
use crate::cell::memory::{Reach, Translations};
use crate::cell::{Cell, Guest, code, ipi};
use crate::cpu::percpu::CpuShared;
use crate::exits::{msr, port};
use crate::mem::map::Window;
use crate::vcpu::{Frequent, Itself, Run};
use cellvisor_abi::call::ExitKind;
use cellvisor_core::exit::{Exit, PortAccess};
use cellvisor_core::msr::{Action, Policy, Which};
use cellvisor_core::vcpu::{RAX, RBX, RCX, RDX, Regs};

impl Cpu<'_> {
    /// Runs the guest until there is something to do that is not done here; without
    /// `guest`, nothing is.
    pub(crate) fn run(&mut self, guest: Option<&'static Guest>) -> Exit {
        let mut own = Own {
            regs: &mut self.regs,
            shared: self.shared,
            cell: self.cell,
            msrs: self.msrs,
            window: &mut self.window,
            translations: &mut self.translations,
        };
        match self.vcpu.itself() {
            Itself::Vmx(vmx) => own.run(vmx, guest),
            Itself::Svm(svm) => own.run(svm, guest),
        }
    }
}

/// What of a CPU the frequent exits need.
struct Own<'a> {
    regs: &'a mut Regs,
    shared: &'static CpuShared,
    cell: &'static Cell,
    msrs: &'static Policy,
    window: &'a mut Window,
    translations: &'a mut Translations,
}

impl Own<'_> {
    #[inline(always)] // Once for each back end.
    fn run(&mut self, vcpu: &mut impl Run, guest: Option<&'static Guest>) -> Exit {
        loop {
            let reason = vcpu.run(self.regs, self.shared);
            let done = guest.is_some_and(|guest| {
                if vcpu.is(reason, Frequent::Port) {
                    self.port(guest, vcpu.port())
                } else if vcpu.is(reason, Frequent::MsrWrite) {
                    self.write_msr(guest)
                } else if vcpu.is(reason, Frequent::Cpuid) {
                    self.cpuid(guest)
                } else {
                    vcpu.is(reason, Frequent::MsrRead) && self.read_msr()
                }
            });
            if !done {
                return vcpu.exit(reason);
            }
            if !vcpu.advance() {
                let reach = Reach {
                    cell: self.cell,
                    window: &mut *self.window,
                    translations: &mut *self.translations,
                };
                code::step_over(vcpu, reach);
            }
        }
    }

    #[inline(always)] // As `run`, like the other three.
    fn cpuid(&mut self, guest: &Guest) -> bool {
        let regs = &mut self.regs.0;
        let Some(&[a, b, c, d]) = guest.cpuid.fixed(regs[RAX] as u32) else {
            return false;
        };
        regs[RAX] = u64::from(a);
        regs[RBX] = u64::from(b);
        regs[RCX] = u64::from(c);
        regs[RDX] = u64::from(d);
        self.shared.count(ExitKind::Cpuid);
        true
    }

    #[inline(always)]
    fn read_msr(&mut self) -> bool {
        let Action::Emulate(which) = self.msrs.read(self.regs.0[RCX] as u32) else {
            return false;
        };
        let Some(value) = msr::fixed(which, self.shared.virtual_id()) else {
            return false;
        };
        self.regs.set_edx_eax(value);
        self.shared.count(ExitKind::MsrRead);
        true
    }

    #[inline(always)]
    fn write_msr(&mut self, guest: &Guest) -> bool {
        let is_command = self.msrs.write(self.regs.0[RCX] as u32) == Action::Emulate(Which::Icr);
        let done = is_command && ipi::usual(guest, self.shared, self.regs.edx_eax());
        if done {
            self.shared.count(ExitKind::Icr);
        }
        done
    }

    #[inline(always)]
    fn port(&mut self, guest: &Guest, access: PortAccess) -> bool {
        let done = port::quick(self.cell, guest, self.regs, access);
        if done {
            let write = access.write;
            self.shared.count(match write {
                true => ExitKind::PortWrite,
                false => ExitKind::PortRead,
            });
        }
        done
    }
}
