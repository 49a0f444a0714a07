//! Handlers of exits: what the core decides, carried out on this CPU.
//!
//! Source: SDM 3C, "Basic VM-Exit Reasons"; APM 2, "Intercept Operation".

pub(crate) mod cpuid;
pub(crate) mod hypercall;
pub(crate) mod mmio;
pub(crate) mod msr;
pub(crate) mod port;
mod quick;

use crate::cell::cpu::Cpu;
use crate::cell::functions;
use crate::cpu::msr::{try_rdmsr, try_wrmsr, try_xsetbv};
use crate::sync::{Micros, wait_for};
use cellvisor_abi::call::{ExitKind, FailReason};
use cellvisor_core::exit::Exit;
use cellvisor_core::mce;
use cellvisor_core::text::Hex;
use cellvisor_core::vcpu::{Event, RSP};

/// Takes a machine check that a cell's CPU has told of; true if it is another CPU's.
fn machine_check_is_elsewhere() -> bool {
    let read = |index| try_rdmsr(index).unwrap_or(0);
    let banks = mce::banks(read(mce::MCG_CAP)).map(read);
    let elsewhere = mce::is_elsewhere(read(mce::MCG_STATUS), banks);
    // SAFETY: the check is over; a second one would else shut the machine down.
    unsafe { try_wrmsr(mce::MCG_STATUS, 0) };
    elsewhere
}

/// After a bus lock, for which all CPUs had to wait, this one waits for as long as some ten
/// of them take.
#[inline(never)]
fn hold_back() {
    const PAUSE: Micros = Micros(10);
    wait_for(PAUSE, || false);
}

impl Cpu<'_> {
    /// Counts an exit and carries out what it asks for. The handlers have frames of their own, so that
    /// this, which each exit comes through, needs none.
    pub(crate) fn handle(&mut self, exit: Exit) {
        if let Some(kind) = exit.kind() {
            self.shared.count(kind);
        }
        match exit {
            Exit::Aborted | Exit::NmiWindow | Exit::Notify => {}
            Exit::Nmi => self.nmi_arrived(),
            Exit::Cpuid => cpuid::handle(self),
            Exit::MsrRead => msr::read(self),
            Exit::MsrWrite => msr::write(self),
            Exit::Port(access) => port::handle(self, access),
            Exit::Memory(access) => mmio::handle(self, access),
            Exit::ControlRegister { register, source } => self.control_register(register, source),
            Exit::Xsetbv => self.xsetbv(),
            Exit::Hypercall => hypercall::handle(self),
            Exit::Exception(vector) => self.exception(vector),
            Exit::Cache => self.write_back_caches(),
            Exit::BusLock => hold_back(),
            Exit::Undefined => self.vcpu.inject(Event::InvalidOpcode),
            // INIT and SIPI are emulated where they are sent; what comes from
            // elsewhere is for no guest.
            Exit::Signal => {}
            Exit::TripleFault => self.triple_fault(),
            Exit::EntryFailed(code) => self.entry_failed(code),
            Exit::Unknown(code) => self.unknown(code),
        }
    }

    #[inline(never)]
    fn write_back_caches(&mut self) {
        // Memory of a cell without functions is coherent as it is, and its CPUs have no
        // right to empty the caches of others.
        if self.is_root() || functions::any(self.cell) {
            // SAFETY: writing back caches loses nothing, unlike INVD.
            unsafe { core::arch::asm!("wbinvd", options(nostack)) };
        }
        self.advance();
    }

    #[inline(never)]
    fn triple_fault(&mut self) {
        self.fail(FailReason::TripleFault);
    }

    /// The guest has brought itself into a state that the CPU does not enter.
    /// What it can have done without meaning it is mended, and it gets #GP; if
    /// that is not enough, its run is over.
    #[inline(never)]
    fn entry_failed(&mut self, code: u64) {
        const LOGGED: u64 = 8;
        self.vcpu.repair();
        self.refuse();
        let exit = self.run(None);
        if let Exit::EntryFailed(_) = exit {
            self.fail(FailReason::EntryFailed(code));
            return;
        }
        if self.shared.counted(ExitKind::Other) <= LOGGED {
            self.log(format_args!("entry failed code={}: mended", Hex(code)));
        }
        self.handle(exit);
    }

    /// An exit that the back end does not know: an instruction that the root
    /// does not have either, or the end of a cell.
    #[inline(never)]
    fn unknown(&mut self, code: u64) {
        if self.is_root() {
            self.log(format_args!(
                "unknown exit code={} rip={}",
                Hex(code),
                Hex(self.vcpu.rip())
            ));
            self.vcpu.inject(Event::InvalidOpcode);
        } else {
            self.fail(FailReason::UnknownExit(code));
        }
    }

    #[inline(never)]
    fn control_register(&mut self, register: u8, source: u8) {
        let value = if usize::from(source) == RSP {
            self.vcpu.rsp()
        } else {
            self.regs.0.get(usize::from(source)).copied().unwrap_or(0)
        };
        if self.vcpu.write_control_register(register, value) {
            self.advance();
        } else {
            self.refuse();
        }
    }

    #[inline(never)]
    fn xsetbv(&mut self) {
        let index = self.regs.0[cellvisor_core::vcpu::RCX] as u32;
        if self.vcpu.is_supervisor() && try_xsetbv(index, self.regs.edx_eax()) {
            self.advance();
        } else {
            self.refuse();
        }
    }

    #[inline(never)]
    fn exception(&mut self, vector: u8) {
        const DEBUG: u8 = 1;
        const ALIGNMENT_CHECK: u8 = 17;
        match vector {
            DEBUG => self.vcpu.inject(Event::Debug),
            ALIGNMENT_CHECK => self.vcpu.inject(Event::AlignmentCheck),
            _ if self.is_root() => self.vcpu.inject(Event::MachineCheck),
            _ if machine_check_is_elsewhere() => {}
            _ => self.fail(FailReason::MachineCheck),
        }
    }
}
