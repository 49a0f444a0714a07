//! The instruction that a guest is at.

use crate::cell::cpu::Cpu;
use crate::cell::memory;
use crate::vcpu::Code;
use cellvisor_core::addr::{Gpa, PAGE_SIZE};
use cellvisor_core::exit::MemoryAccess;
use cellvisor_core::guest_walk;
use cellvisor_core::insn::{self, MAX_LEN, MmioInsn};
use cellvisor_core::vcpu::RSP;

/// The bytes at which an instruction begins.
type Bytes = [u8; MAX_LEN];

/// The instruction that made the access; `None` if it cannot be read or is none
/// that we know.
pub(crate) fn instruction(cpu: &mut Cpu<'_>, access: MemoryAccess) -> Option<MmioInsn> {
    if access.indirect {
        return None;
    }
    let mut bytes = [0; MAX_LEN];
    let (mode, len) = match cpu.vcpu.instruction_bytes() {
        Some(kept) => {
            bytes = kept;
            (cpu.vcpu.code().mode, MAX_LEN)
        }
        None => read(cpu, &mut bytes),
    };
    // Nobody else uses its place while the monitor runs.
    cpu.regs.0[RSP] = cpu.vcpu.rsp();
    insn::decode(bytes.get(..len)?, mode, &cpu.regs.0)
}

/// Length in bytes of the intercepted instruction that the guest is at; `None`
/// if it cannot be read or is none that is intercepted.
pub(crate) fn instruction_len(cpu: &mut Cpu<'_>) -> Option<u8> {
    let mut bytes = [0; MAX_LEN];
    let (mode, len) = read(cpu, &mut bytes);
    insn::length(bytes.get(..len)?, mode)
}

/// Reads the code that the guest is at, its width, and how many bytes could be read.
fn read(cpu: &mut Cpu<'_>, bytes: &mut Bytes) -> (insn::CpuMode, usize) {
    let code = cpu.vcpu.code();
    // Mostly all of them are in one page.
    if let Some(gpa) = at(cpu, &code, 0)
        && let Some(all) = memory::array(cpu, gpa)
    {
        *bytes = all;
        return (code.mode, MAX_LEN);
    }
    let len = read_in_parts(cpu, &code, bytes);
    (code.mode, len)
}

/// The same page by page; it may end at one that is not there.
#[cold]
#[inline(never)]
fn read_in_parts(cpu: &mut Cpu<'_>, code: &Code, bytes: &mut Bytes) -> usize {
    let mut done = 0;
    while done < bytes.len() {
        let Some(gpa) = at(cpu, code, done) else {
            break;
        };
        let left = (PAGE_SIZE - gpa.page_offset()) as usize;
        let end = bytes.len().min(done + left);
        let Some(part) = bytes.get_mut(done..end) else {
            break;
        };
        if !memory::read(cpu, gpa, part) {
            break;
        }
        done = end;
    }
    done
}

/// Where the byte of the instruction with this number is.
fn at(cpu: &mut Cpu<'_>, code: &Code, number: usize) -> Option<Gpa> {
    let linear = code.at.0.wrapping_add(number as u64);
    guest_walk::walk(&code.paging, linear, |gpa| memory::word(cpu, Gpa(gpa))).map(Gpa)
}
