//! VMCALL and VMMCALL.

use crate::call;
use crate::cell::cpu::Cpu;
use cellvisor_core::vcpu::{Event, RAX};

/// What a KVM host answers to a hypercall that it does not know: cells believe
/// that they run under KVM, and ask for nothing that we announce.
const KVM_UNKNOWN_CALL: u64 = -1000i64 as u64;

/// Handles the exit.
pub(crate) fn handle(cpu: &mut Cpu<'_>) {
    if !cpu.vcpu.is_supervisor() {
        cpu.vcpu.inject(Event::InvalidOpcode);
        return;
    }
    let result = if cpu.is_root() {
        call::dispatch(cpu)
    } else {
        KVM_UNKNOWN_CALL
    };
    cpu.regs.0[RAX] = result;
    cpu.advance();
}
