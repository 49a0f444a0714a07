//! What a CPU does while the monitor is on: run its owner's code, serve
//! requests of other CPUs, handle exits.

use crate::cell::cpu::Cpu;
use crate::cell::{self, classes, watch};
use crate::cpu::percpu::Activity;
use crate::cpu::{apic, exceptions, outer, reset, stack};
use crate::machine;
use crate::mem::map;
use cellvisor_abi::call::{CellId, ExitKind, FailReason};
use cellvisor_abi::status::CallStatus;
use cellvisor_core::exit::Exit;
use cellvisor_core::fault::{self, Consequence};
use cellvisor_core::locks::Ranks;
use cellvisor_core::requests::{Requests, Step};
use cellvisor_core::vcpu::{CpuState, RAX, RDX, RSI, Regs};
use core::sync::atomic::Ordering;

/// Runs until the monitor is left, which it is by leaving this stack.
pub(crate) fn run(mut cpu: Cpu<'_>, regs: Regs) -> ! {
    cpu.regs = regs;
    outer::enter(cpu.shared);
    cpu.shared.set_activity(Activity::Running);
    let shared = cpu.shared;
    let distance = map::guarded_stack(shared.area());
    let mut cut_short = None;
    loop {
        let work = || cpu.work(cut_short);
        // SAFETY: `map::init` has mapped this CPU's stack there; areas and guarded
        // stacks are whole pages apart. After a fault `work` begins by mending `cpu`.
        cut_short = Some(unsafe { stack::on_guarded_stack(distance, shared, work) });
    }
}

impl Cpu<'_> {
    /// Serves requests and carries out exits, until the monitor is left or faults. What
    /// was cut short by a fault held these locks.
    fn work(&mut self, cut_short: Option<Ranks>) -> ! {
        if let Some(held) = cut_short {
            self.recover(held);
        }
        loop {
            if self.shared.activity() != Activity::Running {
                self.serve();
                if self.shared.activity() != Activity::Running {
                    self.vcpu.idle(self.shared);
                }
                continue;
            }
            if self.nmi_pending && self.vcpu.try_inject_nmi() {
                self.nmi_pending = false;
            }
            let exit = self.run(self.guest);
            // The back end has looked for requests: one look for each exit is enough.
            if exit == Exit::Aborted {
                self.serve();
                continue;
            }
            // From the first exit on the monitor's own interrupt table is loaded, and
            // an MSR that does not exist can be asked for.
            self.machine.get_or_insert_with(reset::Machine::take);
            self.in_exit = true;
            self.handle(exit);
            self.in_exit = false;
        }
    }

    /// The monitor faulted on this CPU, which held these locks. Its cell fails; the root
    /// is told where it asked for something.
    fn recover(&mut self, held: Ranks) {
        self.vcpu.regain();
        // What it was about to note of memory may be half noted.
        self.translations.forget();
        self.window.close();
        let counted = self.shared.exits.iter();
        let exits = counted.fold(0, |sum: u64, counter| {
            sum.wrapping_add(counter.load(Ordering::Relaxed))
        });
        if !self.faults.goes_on(exits) {
            self.log(format_args!("failed: this CPU stops for good"));
            exceptions::stop();
        }
        let in_exit = core::mem::take(&mut self.in_exit);
        match fault::consequence(self.is_root(), in_exit, held) {
            Consequence::CellFails => self.fail(FailReason::Monitor),
            Consequence::Status => {
                self.regs.0[RAX] = u64::from(CallStatus::Damaged.code());
                self.advance();
            }
            Consequence::Exception => self.refuse(),
            Consequence::Log => {}
        }
    }

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
            Step::Flush => {
                self.translations.forget();
                self.vcpu.flush();
                classes::confine(self.guest);
            }
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
        let left = self.guest;
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
        classes::settle(self, left);
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
