//! Asking other CPUs for something.
//!
//! Source: SDM 3A, "Nonmaskable Interrupt (NMI)", "Issuing Interprocessor
//! Interrupts".

use crate::cpu::apic;
use crate::cpu::percpu::{CpuShared, request};
use crate::provoke::{self, Step};
use crate::sync::Micros;
use crate::sync::wait_for;
use cellvisor_core::requests::Request;
use core::sync::atomic::Ordering;

/// How long a CPU may take to answer, in microseconds. It answers from any
/// guest state within microseconds; emulated CPUs are at times not run at all.
const PATIENCE: Micros = Micros(3_000_000);

/// Asks `cpu` for something, and does not wait.
///
/// One NMI is under way at a time, so that it can be told from NMIs that are
/// meant for the guest.
pub(crate) fn send(cpu: &CpuShared, request: Request) {
    cpu.requests.fetch_or(request.0, Ordering::AcqRel);
    if !cpu.kick_sent.swap(true, Ordering::AcqRel) {
        apic::send_nmi(cpu.apic_id());
    }
}

/// Waits until `cpu` has done what was asked; false if it takes too long.
pub(crate) fn wait(cpu: &CpuShared, request: Request) -> bool {
    wait_for(PATIENCE, || cpu.is_done(request)) && !provoke::fails(Step::Answer)
}

/// Makes all `cpus` but `own` forget second-level translations, and waits for
/// them. The caller flushes its own. The CPU that did not answer, if any.
pub(crate) fn flush<'a>(
    cpus: impl Iterator<Item = &'a CpuShared> + Clone,
    own: &CpuShared,
) -> Result<(), &'a CpuShared> {
    let others = cpus.filter(|cpu| !core::ptr::eq(*cpu, own));
    others.clone().for_each(|cpu| send(cpu, request::FLUSH));
    let mut others = others;
    others
        .find(|cpu| !wait(cpu, request::FLUSH))
        .map_or(Ok(()), Err)
}
