//! Second-level faults: device registers that are emulated, memory that is
//! mapped when it is first touched, and what a guest must not touch.

use crate::cell::{Cell, DeniedCounters};
use crate::cpu::apic;
use crate::mem::map::Window;
use crate::root::{self, Mapped};
use crate::run::Cpu;
use crate::{facts, ioapic, iommu, ipi, owners, pci};
use cellvisor_abi::call::{ExitKind, FailReason, Owner};
use cellvisor_core::addr::{Gpa, PAGE_SIZE};
use cellvisor_core::exit::MemoryAccess;
use cellvisor_core::insn::{self, Bus, MAX_LEN, MmioInsn, Op};
use cellvisor_core::ioapic::Output;
use cellvisor_core::pci::Access;
use cellvisor_core::vcpu::{CpuState, RSP};
use cellvisor_core::{icr, walk};
use core::sync::atomic::{AtomicU64, Ordering};

/// Handles the exit.
pub(crate) fn handle(cpu: &mut Cpu<'_>, access: MemoryAccess) {
    if cpu.is_root() {
        root_access(cpu, access);
    } else {
        cell_access(cpu, access);
    }
}

fn root_access(cpu: &mut Cpu<'_>, access: MemoryAccess) {
    let facts = facts::get();
    let page = access.gpa & !(PAGE_SIZE - 1);
    if page == facts.apic_page && facts.root_apic == apic::Mode::Xapic && access.write {
        xapic_write(cpu, access);
        return;
    }
    if guarded_access(cpu, access) {
        return;
    }
    match root::map_on_touch(cpu.cell, access.gpa) {
        Mapped::Size(_) | Mapped::Already => {}
        Mapped::NotOwned | Mapped::NoMemory => {
            if cpu.denied(|denied| &denied.mmio) {
                crate::log::line(format_args!(
                    "root denied memory gpa={:#x} write={} rip={:#x}",
                    access.gpa,
                    access.write,
                    cpu.vcpu.rip()
                ));
            }
            cpu.refuse();
        }
    }
}

fn cell_access(cpu: &mut Cpu<'_>, access: MemoryAccess) {
    let ioapic = cpu
        .cell
        .guest
        .as_ref()
        .map_or(0, |guest| guest.layout.ioapic);
    let page = access.gpa & !(PAGE_SIZE - 1);
    if ioapic != 0 && page == ioapic && !access.execute {
        ioapic_access(cpu, access);
        return;
    }
    let config = pci::config_at(access.gpa).is_some() && has_functions(cpu.cell);
    if !access.execute && (config || pci::is_table(cpu.cell, access.gpa)) {
        if !emulate(cpu, access) {
            cpu.fail(FailReason::Instruction { gpa: access.gpa });
        }
        return;
    }
    cpu.fail(FailReason::Memory {
        gpa: access.gpa,
        write: access.write,
        execute: access.execute,
    });
}

fn has_functions(cell: &Cell) -> bool {
    let guest = cell.guest.as_ref();
    guest.is_some_and(|guest| guest.functions.lock().len() != 0)
}

/// The root touches registers that the monitor plays, or configuration space
/// that is guarded. False if it is something else.
fn guarded_access(cpu: &mut Cpu<'_>, access: MemoryAccess) -> bool {
    let page = access.gpa / PAGE_SIZE;
    let own = access.execute
        || access.gpa >= facts::get().physical_end
        || owners::with(|o| o.pages.owner(page)) == Some(Owner::Root);
    if own || !is_played(access.gpa) {
        return false;
    }
    if !emulate(cpu, access) {
        cpu.refuse();
    }
    true
}

fn is_played(gpa: u64) -> bool {
    iommu::is_register(gpa) || ioapic::is_register(gpa) || pci::config_at(gpa).is_some()
}

/// Carries out an access to what the monitor plays. False for instructions that
/// it does not know.
fn emulate(cpu: &mut Cpu<'_>, access: MemoryAccess) -> bool {
    let Some(insn) = instruction(cpu, access) else {
        return false;
    };
    let rip = cpu.vcpu.rip();
    let mut regs = cpu.regs.0;
    match insn.op {
        Op::Load { .. } | Op::Store { .. } | Op::Exchange { .. } => {}
        // Drivers do not compute on registers; their flags would have to be set.
        _ => return false,
    }
    let mut played = Played {
        cell: cpu.cell,
        window: &mut cpu.window,
        gpa: access.gpa,
        refused: false,
    };
    insn::execute(&insn, &mut regs, &mut 0, &mut played);
    let refused = played.refused;
    cpu.regs.0 = regs;
    if refused && cpu.denied(|denied| played_counter(denied, access.gpa)) {
        crate::log::line(format_args!(
            "cell={} denied write gpa={:#x} rip={rip:#x}",
            cpu.cell.name.as_str(),
            access.gpa
        ));
    }
    finish(cpu, &insn);
    true
}

fn played_counter(denied: &DeniedCounters, gpa: u64) -> &AtomicU64 {
    if pci::config_at(gpa).is_some() {
        &denied.config
    } else {
        &denied.mmio
    }
}

/// What stands behind an access to a page that the monitor plays.
struct Played<'a> {
    cell: &'a Cell,
    window: &'a mut Window,
    gpa: u64,
    refused: bool,
}

impl Bus for Played<'_> {
    fn read(&mut self, size: u8) -> u64 {
        let is_root = self.cell.guest.is_none();
        if let Some((bdf, offset)) = pci::config_at(self.gpa) {
            let Some(access) = Access::new(offset, size) else {
                return u64::MAX;
            };
            let value = if is_root {
                pci::root_read(self.window, bdf, access)
            } else {
                pci::read(self.window, self.cell, bdf, access)
            };
            return u64::from(value);
        }
        let value = if is_root {
            ioapic::root_read(self.window, self.gpa).or_else(|| iommu::root_read(self.gpa, size))
        } else {
            pci::read_table(self.window, self.cell, self.gpa, size)
        };
        value.unwrap_or(u64::MAX)
    }

    fn write(&mut self, size: u8, value: u64) {
        let is_root = self.cell.guest.is_none();
        let done = if let Some((bdf, offset)) = pci::config_at(self.gpa) {
            Access::new(offset, size).is_some_and(|access| {
                if is_root {
                    pci::root_write(self.window, bdf, access, value as u32)
                } else {
                    pci::write(self.window, self.cell, bdf, access, value as u32)
                }
            })
        } else if is_root {
            ioapic::root_write(self.window, self.gpa, value)
                .unwrap_or_else(|| iommu::root_write(self.window, self.gpa, size, value))
        } else {
            pci::write_table(self.window, self.cell, self.gpa, size, value)
        };
        self.refused |= !done;
    }
}

/// A write to the root's memory-mapped APIC.
fn xapic_write(cpu: &mut Cpu<'_>, access: MemoryAccess) {
    let Some(insn) = instruction(cpu, access) else {
        cpu.refuse();
        return;
    };
    let (Op::Store { value } | Op::Exchange { value, .. }) = insn.op else {
        cpu.refuse();
        return;
    };
    let value = value as u32;
    let register = (access.gpa & 0xff0) as u32;
    if let Op::Exchange { target, .. } = insn.op {
        target.set(&mut cpu.regs.0, u64::from(apic::read(register)));
    }
    match register {
        apic::ICR_LOW => ipi::command(cpu, icr::decode_xapic(cpu.icr_high, value)),
        apic::ICR_HIGH => cpu.icr_high = value,
        _ => {
            if register == apic::LDR {
                cpu.shared.ldr.store(value, Ordering::Relaxed);
            }
            // SAFETY: all registers but the interrupt command concern this CPU
            // alone, which is the root's.
            unsafe { apic::write(register, value) };
        }
    }
    finish(cpu, &insn);
}

fn ioapic_access(cpu: &mut Cpu<'_>, access: MemoryAccess) {
    let (Some(insn), Some(guest)) = (instruction(cpu, access), &cpu.cell.guest) else {
        cpu.fail(FailReason::Instruction { gpa: access.gpa });
        return;
    };
    let offset = access.gpa % PAGE_SIZE;
    match insn.op {
        Op::Load { target, .. } => {
            let window = &mut cpu.window;
            let awaits = |gsi| ioapic::awaits(window, cpu.cell.id, gsi);
            let value = guest.devices.lock().ioapic_read(offset, awaits);
            target.set(&mut cpu.regs.0, u64::from(value));
        }
        Op::Store { value } => {
            let (cell, window) = (cpu.cell, &mut cpu.window);
            let mut devices = guest.devices.lock();
            devices.ioapic_write(offset, value as u32, |out| match out {
                Output::Send(message) => ipi::deliver_message(cell, Some(message)),
                Output::Wire(change) => {
                    if !ioapic::program(window, cell.id, cell.cpu_indexes(), &change) {
                        pci::refused(cell);
                    }
                }
            });
        }
        _ => {
            cpu.fail(FailReason::Instruction { gpa: access.gpa });
            return;
        }
    }
    finish(cpu, &insn);
}

fn finish(cpu: &mut Cpu<'_>, insn: &MmioInsn) {
    cpu.shared.recount(ExitKind::MemoryFault, ExitKind::Mmio);
    cpu.vcpu.advance_by(insn.len);
}

/// The instruction that made the access; `None` if it cannot be read or is none
/// that we know.
fn instruction(cpu: &mut Cpu<'_>, access: MemoryAccess) -> Option<MmioInsn> {
    if access.indirect {
        return None;
    }
    let mut bytes = [0; MAX_LEN];
    let (state, mode, len) = current_instruction(cpu, &mut bytes);
    let mut regs = cpu.regs.0;
    regs[RSP] = state.rsp;
    insn::decode(bytes.get(..len)?, mode, &regs)
}

/// Length in bytes of the intercepted instruction that the guest is at; `None`
/// if it cannot be read or is none that is intercepted.
pub(crate) fn instruction_len(cpu: &mut Cpu<'_>) -> Option<u8> {
    let mut bytes = [0; MAX_LEN];
    let (_, mode, len) = current_instruction(cpu, &mut bytes);
    insn::length(bytes.get(..len)?, mode)
}

/// Reads the code that the guest is at; how many bytes could be read.
fn current_instruction(
    cpu: &mut Cpu<'_>,
    bytes: &mut [u8; MAX_LEN],
) -> (CpuState, insn::CpuMode, usize) {
    let state = cpu.vcpu.state();
    let mode = cpu.vcpu.code_width();
    let base = if mode == insn::CpuMode::Bits64 {
        0
    } else {
        state.cs.base
    };
    let len = match cpu.vcpu.instruction_bytes() {
        Some(kept) => {
            *bytes = kept;
            MAX_LEN
        }
        None => fetch(cpu, base.wrapping_add(state.rip), bytes),
    };
    (state, mode, len)
}

/// Copies instruction bytes from the guest's linear address; how many could be
/// read. They may end at a page that is not there.
fn fetch(cpu: &mut Cpu<'_>, linear: u64, out: &mut [u8]) -> usize {
    let paging = cpu.vcpu.paging();
    let mut done = 0;
    while done < out.len() {
        let at = linear.wrapping_add(done as u64);
        let left = (PAGE_SIZE - at % PAGE_SIZE) as usize;
        let end = out.len().min(done + left);
        let (cell, window) = (cpu.cell, &mut cpu.window);
        let gpa = walk::walk(&paging, at, |gpa| read_word(cell, window, gpa));
        let Some(part) = out.get_mut(done..end) else {
            break;
        };
        if !gpa.is_some_and(|gpa| read(cell, window, gpa, part)) {
            break;
        }
        done = end;
    }
    done
}

fn read_word(cell: &Cell, window: &mut Window, gpa: u64) -> Option<u64> {
    let mut word = [0; 8];
    read(cell, window, gpa, &mut word).then(|| u64::from_le_bytes(word))
}

/// Copies from guest-physical memory of `cell`, within a page. False if it is
/// not there.
pub(crate) fn read(cell: &Cell, window: &mut Window, gpa: u64, out: &mut [u8]) -> bool {
    let mapping = cell
        .space
        .lock()
        .as_ref()
        .and_then(|space| space.translate(Gpa(gpa)));
    mapping.is_some_and(|mapping| {
        window.read(mapping.hpa, out);
        true
    })
}

/// Copies to guest-physical memory of `cell`, within a page. False if it is not
/// there.
pub(crate) fn write(cell: &Cell, window: &mut Window, gpa: u64, bytes: &[u8]) -> bool {
    let mapping = cell
        .space
        .lock()
        .as_ref()
        .and_then(|space| space.translate(Gpa(gpa)));
    mapping.is_some_and(|mapping| {
        window.write(mapping.hpa, bytes);
        true
    })
}
