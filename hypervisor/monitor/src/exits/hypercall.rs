//! VMCALL and VMMCALL: the monitor's calls, and those of a KVM around the
//! machine.

use crate::call;
use crate::cell::cpu::Cpu;
use crate::cell::{count, ipi};
use crate::cpu::outer::{self, Kvm};
use cellvisor_abi::call::Code;
use cellvisor_core::ids::VirtualId;
use cellvisor_core::outer::{BAD_ARGUMENT, Call, Interrupts, UNKNOWN_CALL};
use cellvisor_core::text::Dec;
use cellvisor_core::vcpu::{Event, RAX, RBX, RCX, RDX, RSI};

/// Handles the exit.
#[inline(never)] // Its own frame, and not that of all exits.
pub(crate) fn handle(cpu: &mut Cpu<'_>) {
    if !cpu.vcpu.is_supervisor() {
        cpu.vcpu.inject(Event::InvalidOpcode);
        return;
    }
    let result = if !cpu.is_root() {
        // Cells believe that they run under KVM, and ask for nothing that we
        // announce.
        UNKNOWN_CALL
    } else {
        let ours = Code::from_code(cpu.regs.0[RAX]).is_some();
        match outer::kvm().filter(|_| !ours) {
            Some(kvm) => outer_call(cpu, kvm),
            None => call::dispatch(cpu),
        }
    };
    cpu.regs.0[RAX] = result;
    cpu.advance();
}

/// A call of the root to the hypervisor around the machine. It may reach the
/// root's own CPUs and memory.
fn outer_call(cpu: &mut Cpu<'_>, kvm: Kvm) -> u64 {
    let number = cpu.regs.0[RAX];
    let regs = &cpu.regs.0;
    let args = [regs[RBX], regs[RCX], regs[RDX], regs[RSI]];
    let backend = cpu.vcpu.vendor().kind;
    // SAFETY: each use below has seen whom the call reaches.
    let pass_on = || unsafe { kvm.call(backend, number, args) };
    match cellvisor_core::outer::call(number, args) {
        Call::Kick(id) | Call::Yield(id) if cpu.cell.cpu(VirtualId(id)).is_some() => pass_on(),
        Call::Kick(id) | Call::Yield(id) => {
            if count(&cpu.cell.denied.ipi) {
                cpu.log(format_args!(
                    "denied hypercall number={} apic-id={}",
                    Dec(number),
                    Dec(u64::from(id))
                ));
            }
            // As KVM answers where no such CPU is.
            0
        }
        Call::Interrupt(interrupts) => interrupt(cpu, interrupts),
        Call::Unknown => UNKNOWN_CALL,
    }
}

/// Interrupts CPUs as the interrupt command register would, one by one; how many
/// of the root's there were.
fn interrupt(cpu: &mut Cpu<'_>, interrupts: Interrupts) -> u64 {
    let Some(each) = interrupts.each() else {
        return BAD_ARGUMENT;
    };
    let mut sent = 0;
    for interrupt in each {
        sent += u64::from(ipi::command(cpu, interrupt));
    }
    sent
}
