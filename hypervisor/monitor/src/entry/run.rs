//! What a CPU does while the monitor is on: run its owner's code, serve
//! requests of other CPUs, handle exits.

use crate::cell::cpu::Cpu;
use crate::cell::{self, watch};
use crate::cpu::percpu::Activity;
use crate::cpu::{apic, outer, reset};
use crate::machine;
use cellvisor_abi::call::{CellId, ExitKind};
use cellvisor_core::exit::Exit;
use cellvisor_core::requests::{Requests, Step};
use cellvisor_core::vcpu::{CpuState, RDX, RSI, Regs};
use core::sync::atomic::Ordering;

/// Runs until the monitor is left.
pub(crate) fn run(mut cpu: Cpu<'_>, regs: Regs) -> ! {
    cpu.regs = regs;
    outer::enter(cpu.shared);
    cpu.shared.set_activity(Activity::Running);
    loop {
        if cpu.shared.activity() != Activity::Running {
            cpu.serve();
            if cpu.shared.activity() != Activity::Running {
                cpu.vcpu.idle(cpu.shared);
            }
            continue;
        }
        if cpu.nmi_pending && cpu.vcpu.try_inject_nmi() {
            cpu.nmi_pending = false;
        }
        let exit = cpu.vcpu.run(&mut cpu.regs, cpu.shared, cpu.answers);
        // The back end has looked for requests: one look for each exit is enough.
        if exit == Exit::Aborted {
            cpu.serve();
            continue;
        }
        // From the first exit on the monitor's own interrupt table is loaded, and
        // an MSR that does not exist can be asked for.
        cpu.machine.get_or_insert_with(reset::Machine::take);
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
        let mut left = Requests::new(requests);
        while let Some(step) = left.next(self.shared.activity()) {
            self.carry_out(step);
        }
        let served = left.served();
        self.shared.requests.fetch_and(!served, Ordering::AcqRel);
    }

    fn carry_out(&mut self, step: Step) {
        match step {
            Step::Stop => self.shared.set_activity(Activity::Stopped),
            Step::Assign => self.assign(),
            Step::WaitForSipi => self.shared.set_activity(Activity::WaitForSipi),
            Step::StartUp => {
                let vector = self.shared.sipi_vector.load(Ordering::Relaxed);
                self.start(&CpuState::start_up(vector), Regs::default());
            }
            Step::Boot => self.boot(),
            Step::Flush => self.vcpu.flush(),
            Step::Nmi => {
                self.shared.count(ExitKind::Nmi);
                self.nmi_pending = true;
            }
        }
    }

    /// Becomes a CPU of another cell, or of the same one once more.
    fn assign(&mut self) {
        let owner = CellId(self.shared.next_owner.load(Ordering::Acquire));
        let Some(cell) = cell::get(owner) else { return };
        self.belong_to(cell);
        self.shared.owner.store(owner.0, Ordering::Release);
        watch::settle();
        let virtual_id = self.shared.next_virtual_id.load(Ordering::Acquire);
        self.shared.virtual_id.store(virtual_id, Ordering::Release);
        self.shared
            .exits
            .iter()
            .for_each(|counter| counter.store(0, Ordering::Relaxed));
        let mode = if self.is_root() {
            machine::get().root_apic
        } else {
            apic::Mode::X2apic
        };
        apic::hand_over(mode, |work| self.vcpu.interruptible(work));
        outer::clear(self.shared);
        reset::clear_cpu();
        if let Some(machine) = &self.machine {
            machine.restore();
        }
        self.nmi_pending = false;
        self.icr_high = 0;
        self.vcpu.attach(&cell.attachment());
        self.shared.set_activity(Activity::WaitForSipi);
    }

    fn start(&mut self, state: &CpuState, regs: Regs) {
        self.nmi_pending = false;
        self.vcpu.set_state(state);
        self.regs = regs;
        self.regs.0[RDX] = u64::from(reset::signature());
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
}
