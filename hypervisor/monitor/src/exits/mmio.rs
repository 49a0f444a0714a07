//! Second-level faults: device registers that are emulated, memory that is
//! mapped when it is first touched, and what a guest must not touch.

use crate::cell::code::instruction;
use crate::cell::cpu::Cpu;
use crate::cell::root::{self, Mapped};
use crate::cell::{Cell, DeniedCounters, functions, ipi};
use crate::cpu::apic;
use crate::dev::{ioapic, iommu, pci};
use crate::machine;
use crate::mem::map::Window;
use crate::mem::owners;
use cellvisor_abi::call::{ExitKind, FailReason, Owner};
use cellvisor_core::addr::PAGE_SIZE;
use cellvisor_core::exit::MemoryAccess;
use cellvisor_core::icr;
use cellvisor_core::insn::{self, Bus, MmioInsn, Op};
use cellvisor_core::ioapic::Output;
use cellvisor_core::pci::Access;
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
    let facts = machine::get();
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
    if !access.execute && (config || functions::is_table(cpu.cell, access.gpa)) {
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
        || access.gpa >= machine::get().physical_end
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
                functions::root_read(self.window, bdf, access)
            } else {
                functions::read(self.window, self.cell, bdf, access)
            };
            return u64::from(value);
        }
        let value = if is_root {
            ioapic::root_read(self.window, self.gpa).or_else(|| iommu::root_read(self.gpa, size))
        } else {
            functions::read_table(self.window, self.cell, self.gpa, size)
        };
        value.unwrap_or(u64::MAX)
    }

    fn write(&mut self, size: u8, value: u64) {
        let is_root = self.cell.guest.is_none();
        let done = if let Some((bdf, offset)) = pci::config_at(self.gpa) {
            Access::new(offset, size).is_some_and(|access| {
                if is_root {
                    functions::root_write(self.window, bdf, access, value as u32)
                } else {
                    functions::write(self.window, self.cell, bdf, access, value as u32)
                }
            })
        } else if is_root {
            ioapic::root_write(self.window, self.gpa, value)
                .unwrap_or_else(|| iommu::root_write(self.window, self.gpa, size, value))
        } else {
            functions::write_table(self.window, self.cell, self.gpa, size, value)
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
        apic::ICR_LOW => {
            ipi::command(cpu, icr::decode_xapic(cpu.icr_high, value));
        }
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
                        functions::refused(cell);
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
