//! The instruction that a guest is at.

use crate::cell::cpu::Cpu;
use crate::cell::memory::Reach;
use crate::mem::map::End;
use crate::vcpu::{Code, Vcpu};
use cellvisor_core::addr::{Gpa, Gva};
use cellvisor_core::exit::MemoryAccess;
use cellvisor_core::guest_walk;
use cellvisor_core::insn::{self, MAX_LEN, MmioInsn};
use cellvisor_core::vcpu::{Event, RSP};

/// The bytes at which an instruction begins.
type Bytes = [u8; MAX_LEN];

/// The instruction that made the access; `None` if it cannot be read or is none
/// that we know.
pub(crate) fn instruction(cpu: &mut Cpu<'_>, access: MemoryAccess) -> Option<MmioInsn> {
    if access.indirect {
        return None;
    }
    let code = cpu.vcpu.code();
    let (bytes, len) = match cpu.vcpu.instruction_bytes() {
        Some(kept) => (kept, MAX_LEN),
        None => read(&code, &mut cpu.reach()),
    };
    // Nobody else uses its place while the monitor runs.
    cpu.regs.0[RSP] = cpu.vcpu.rsp();
    insn::decode(bytes.get(..len)?, code.mode, &cpu.regs.0)
}

/// Steps over the intercepted instruction that the guest is at, where its CPU does not
/// tell the length. One that cannot be found any more was changed while it ran: the guest
/// gets #UD.
#[inline(never)] // Not where the CPU tells.
pub(crate) fn step_over(vcpu: &mut dyn Vcpu, mut reach: Reach<'_>) {
    let code = vcpu.code();
    let (bytes, len) = read(&code, &mut reach);
    let bytes = bytes.get(..len);
    match bytes.and_then(|bytes| insn::length(bytes, code.mode)) {
        Some(len) => vcpu.advance_by(len),
        None => vcpu.inject(Event::InvalidOpcode),
    }
}

/// Reads the code that the guest is at, and how many bytes could be read.
fn read(code: &Code, reach: &mut Reach<'_>) -> (Bytes, usize) {
    match reach.window.retrace(&code.paging, code.at) {
        Some(bytes) => (bytes, MAX_LEN),
        None => read_anew(code, reach),
    }
}

/// The same by a walk of the guest's tables, page by page; it may end at one that is not
/// there.
#[cold]
#[inline(never)]
fn read_anew(code: &Code, reach: &mut Reach<'_>) -> (Bytes, usize) {
    let mut bytes = [0; MAX_LEN];
    let mut done = 0;
    while let Some(rest) = bytes.get_mut(done..)
        && !rest.is_empty()
    {
        let at = Gva(code.at.0.wrapping_add(done as u64));
        match read_part(code, at, reach, rest) {
            Some(read) => done += read,
            None => break,
        }
    }
    (bytes, done)
}

/// Reads code at `at`, as far as its page goes; how many bytes.
fn read_part(code: &Code, at: Gva, reach: &mut Reach<'_>, out: &mut [u8]) -> Option<usize> {
    reach.window.begin_trail();
    let gpa = guest_walk::walk(&code.paging, at.0, &mut |gpa| {
        let hpa = reach.find(Gpa(gpa))?;
        reach.window.step(hpa)
    })?;
    let hpa = reach.find(Gpa(gpa))?;
    let end = End {
        paging: &code.paging,
        at,
        lasts: reach.lasts(),
    };
    Some(reach.window.end_trail(&end, hpa, out))
}
