//! The instruction that a guest is at.

use crate::cell::cpu::Cpu;
use crate::cell::memory;
use cellvisor_core::addr::{Gpa, Gva, PAGE_SIZE};
use cellvisor_core::exit::MemoryAccess;
use cellvisor_core::guest_walk;
use cellvisor_core::insn::{self, MAX_LEN, MmioInsn};
use cellvisor_core::vcpu::RSP;

/// The instruction that made the access; `None` if it cannot be read or is none
/// that we know.
pub(crate) fn instruction(cpu: &mut Cpu<'_>, access: MemoryAccess) -> Option<MmioInsn> {
    if access.indirect {
        return None;
    }
    let mut bytes = [0; MAX_LEN];
    let (mode, len) = current_instruction(cpu, &mut bytes);
    let mut regs = cpu.regs.0;
    regs[RSP] = cpu.vcpu.rsp();
    insn::decode(bytes.get(..len)?, mode, &regs)
}

/// Length in bytes of the intercepted instruction that the guest is at; `None`
/// if it cannot be read or is none that is intercepted.
pub(crate) fn instruction_len(cpu: &mut Cpu<'_>) -> Option<u8> {
    let mut bytes = [0; MAX_LEN];
    let (mode, len) = current_instruction(cpu, &mut bytes);
    insn::length(bytes.get(..len)?, mode)
}

/// Reads the code that the guest is at; how many bytes could be read.
fn current_instruction(cpu: &mut Cpu<'_>, bytes: &mut [u8; MAX_LEN]) -> (insn::CpuMode, usize) {
    let mode = cpu.vcpu.code_width();
    let len = match cpu.vcpu.instruction_bytes() {
        Some(kept) => {
            *bytes = kept;
            MAX_LEN
        }
        None => {
            let base = match mode {
                insn::CpuMode::Bits64 => 0,
                _ => cpu.vcpu.code_base(),
            };
            let at = Gva(base.wrapping_add(cpu.vcpu.rip()));
            fetch(cpu, at, bytes)
        }
    };
    (mode, len)
}

/// Copies instruction bytes from the guest's linear address; how many could be
/// read. They may end at a page that is not there.
fn fetch(cpu: &mut Cpu<'_>, linear: Gva, out: &mut [u8]) -> usize {
    let paging = cpu.vcpu.paging();
    let mut done = 0;
    while done < out.len() {
        let at = linear.0.wrapping_add(done as u64);
        let left = (PAGE_SIZE - at % PAGE_SIZE) as usize;
        let end = out.len().min(done + left);
        let gpa = guest_walk::walk(&paging, at, |gpa| memory::word(cpu, Gpa(gpa)));
        let Some(part) = out.get_mut(done..end) else {
            break;
        };
        if !gpa.is_some_and(|gpa| memory::read(cpu, Gpa(gpa), part)) {
            break;
        }
        done = end;
    }
    done
}
