//! Second-level faults: device registers that are emulated, memory that is
//! mapped when it is first touched, and what a guest must not touch.
//!
//! Source: SDM 3A, "Local APIC Registers", "Issuing Interprocessor Interrupts";
//! Intel 82093AA, "Register Description".

use crate::cell::code::instruction;
use crate::cell::cpu::Cpu;
use crate::cell::root::{self, Mapped};
use crate::cell::{Cell, DeniedCounters, functions, ipi, net, socket};
use crate::cpu::apic;
use crate::dev::{ioapic, iommu, pci};
use crate::machine;
use crate::mem::map::Window;
use crate::mem::owners;
use cellvisor_abi::call::{ExitKind, FailReason, Owner};
use cellvisor_core::addr::Gpa;
use cellvisor_core::exit::MemoryAccess;
use cellvisor_core::icr;
use cellvisor_core::insn::{self, Bus, MmioInsn, Op};
use cellvisor_core::ioapic::Output;
use cellvisor_core::net::Place;
use cellvisor_core::pci::{Access, Bdf};
use cellvisor_core::target::{self, CellTarget, RootTarget, Touch};
use cellvisor_core::text::{Hex, Word};
use core::sync::atomic::{AtomicU64, Ordering};

/// Handles the exit.
#[inline(never)] // Its own frame, and not that of all exits.
pub(crate) fn handle(cpu: &mut Cpu<'_>, access: MemoryAccess) {
    let touch = Touch {
        address: access.gpa,
        write: access.write,
        execute: access.execute,
    };
    if cpu.is_root() {
        root_access(cpu, access, target::of_root(touch, &Machine));
    } else {
        cell_access(cpu, access, target::of_cell(touch, &Devices(cpu.cell)));
    }
}

/// The machine as `cellvisor_core::target` asks for it.
struct Machine;

impl target::Map for Machine {
    fn xapic(&self) -> Option<Gpa> {
        let machine = machine::get();
        (machine.root_apic == apic::Mode::Xapic).then_some(machine.apic_page.identity())
    }

    fn end(&self) -> Gpa {
        machine::get().physical_end.identity()
    }

    fn owner(&self, address: Gpa) -> Option<Owner> {
        owners::of(address.identity())
    }

    fn config(&self, address: Gpa) -> Option<(Bdf, u16)> {
        pci::config_at(address.identity())
    }

    fn is_ioapic(&self, address: Gpa) -> bool {
        ioapic::is_register(address.identity())
    }

    fn is_iommu(&self, address: Gpa) -> bool {
        iommu::is_register(address.identity())
    }
}

/// The devices of a cell, likewise.
struct Devices<'a>(&'a Cell);

impl target::CellMap for Devices<'_> {
    fn ioapic(&self) -> Option<Gpa> {
        let layout = &self.0.guest.as_ref()?.layout;
        (layout.ioapic != 0).then_some(Gpa(layout.ioapic))
    }

    fn has_functions(&self) -> bool {
        functions::any(self.0)
    }

    fn config(&self, address: Gpa) -> Option<(Bdf, u16)> {
        pci::config_at(address.identity())
    }

    fn is_table(&self, address: Gpa) -> bool {
        functions::is_table(self.0, address)
    }

    fn adapters(&self) -> usize {
        let guest = self.0.guest.as_ref();
        guest.map_or(0, |guest| guest.adapters.len())
    }

    fn has_socket(&self) -> bool {
        let guest = self.0.guest.as_ref();
        guest.is_some_and(|guest| guest.socket.is_some())
    }
}

fn root_access(cpu: &mut Cpu<'_>, access: MemoryAccess, target: RootTarget) {
    let registers = match target {
        RootTarget::Xapic => return xapic_write(cpu, access),
        RootTarget::Config(bdf, offset) => Registers::Config(bdf, offset),
        RootTarget::IoApic => Registers::IoApic,
        RootTarget::Iommu => Registers::Iommu,
        RootTarget::Memory => return root_memory(cpu, access),
    };
    if !emulate(cpu, access, registers) {
        cpu.refuse();
    }
}

fn root_memory(cpu: &mut Cpu<'_>, access: MemoryAccess) {
    match root::map_on_touch(cpu.cell, access.gpa) {
        Mapped::Size(_) | Mapped::Already => {}
        Mapped::NotOwned | Mapped::NoMemory => {
            if cpu.denied(|denied| &denied.mmio) {
                cpu.log(format_args!(
                    "denied memory gpa={} write={} rip={}",
                    Hex(access.gpa.0),
                    Word(if access.write { "true" } else { "false" }),
                    Hex(cpu.vcpu.rip())
                ));
            }
            cpu.refuse();
        }
    }
}

fn cell_access(cpu: &mut Cpu<'_>, access: MemoryAccess, target: CellTarget) {
    let gpa = access.gpa;
    let registers = match target {
        CellTarget::IoApic => return ioapic_access(cpu, access),
        CellTarget::Config(bdf, offset) => Registers::Config(bdf, offset),
        CellTarget::Table => Registers::Table,
        CellTarget::Adapter(place) => Registers::Adapter(place),
        CellTarget::Socket(offset) => Registers::Socket(offset),
        CellTarget::Absent => Registers::Absent,
        CellTarget::Nothing => {
            return cpu.fail(FailReason::Memory {
                gpa: gpa.0,
                write: access.write,
                execute: access.execute,
            });
        }
    };
    if !emulate(cpu, access, registers) {
        cpu.fail(FailReason::Instruction { gpa: gpa.0 });
    }
}

/// Registers that are emulated.
#[derive(Clone, Copy)]
enum Registers {
    /// Configuration space of a function, from this offset on.
    Config(Bdf, u16),
    /// An I/O APIC of the machine, for the root.
    IoApic,
    /// An IOMMU, for the root.
    Iommu,
    /// An MSI-X table, for its cell.
    Table,
    /// A network adapter of a cell.
    Adapter(Place),
    /// The Extended Socket of a cell, from this offset on.
    Socket(u64),
    /// What a cell lacks and stock kernels ask for: ones, and writes are refused.
    Absent,
}

/// Carries out an access to registers that are emulated. False for instructions
/// that it does not know.
fn emulate(cpu: &mut Cpu<'_>, access: MemoryAccess, registers: Registers) -> bool {
    let Some(insn) = instruction(cpu, access) else {
        return false;
    };
    let rip = cpu.vcpu.rip();
    match insn.op {
        Op::Load { .. } | Op::Store { .. } | Op::Exchange { .. } => {}
        // Drivers do not compute on registers; their flags would have to be set.
        _ => return false,
    }
    let mut emulated = Emulated {
        cell: cpu.cell,
        window: &mut cpu.window,
        gpa: access.gpa,
        registers,
        refused: false,
        again: false,
    };
    insn::execute(&insn, &mut cpu.regs.0, &mut 0, &mut emulated);
    let (refused, again) = (emulated.refused, emulated.again);
    if again {
        // The guest does it again when others have had their turn.
        cpu.shared.recount(ExitKind::MemoryFault, ExitKind::Mmio);
        return true;
    }
    if refused && cpu.denied(|denied| registers.counter(denied)) {
        log_denied(cpu, access, rip);
    }
    finish(cpu, &insn);
    true
}

fn log_denied(cpu: &Cpu<'_>, access: MemoryAccess, rip: u64) {
    cpu.log(format_args!(
        "denied write gpa={} rip={}",
        Hex(access.gpa.0),
        Hex(rip)
    ));
}

impl Registers {
    fn counter(self, denied: &DeniedCounters) -> &AtomicU64 {
        match self {
            Self::Config(..) => &denied.config,
            _ => &denied.mmio,
        }
    }
}

/// What stands behind an access to registers that are emulated.
struct Emulated<'a> {
    cell: &'static Cell,
    window: &'a mut Window,
    gpa: Gpa,
    registers: Registers,
    refused: bool,
    /// There is more to do than is done at once.
    again: bool,
}

impl Bus for Emulated<'_> {
    fn read(&mut self, size: u8) -> u64 {
        let (window, cell, gpa) = (&mut *self.window, self.cell, self.gpa);
        let value = match self.registers {
            Registers::Config(bdf, offset) => Access::new(offset, size).map(|access| {
                u64::from(match cell.guest {
                    None => functions::root_read(window, bdf, access),
                    Some(_) => functions::read(window, cell, bdf, access),
                })
            }),
            Registers::IoApic => ioapic::root_read(window, gpa.identity()),
            Registers::Iommu => iommu::root_read(gpa.identity(), size),
            Registers::Table => functions::read_table(window, cell, gpa, size),
            Registers::Adapter(place) => Some(net::read(cell, place, size)),
            Registers::Socket(offset) => Some(socket::read(window, cell, offset, size)),
            Registers::Absent => None,
        };
        value.unwrap_or(u64::MAX)
    }

    fn write(&mut self, size: u8, value: u64) {
        let (window, cell, gpa) = (&mut *self.window, self.cell, self.gpa);
        let done = match self.registers {
            Registers::Config(bdf, offset) => {
                Access::new(offset, size).is_some_and(|access| match cell.guest {
                    None => functions::root_write(window, bdf, access, value as u32),
                    Some(_) => functions::write(window, cell, bdf, access, value as u32),
                })
            }
            Registers::IoApic => ioapic::root_write(window, gpa.identity(), value) == Some(true),
            Registers::Iommu => iommu::root_write(window, gpa.identity(), size, value),
            Registers::Table => functions::write_table(window, cell, gpa, size, value),
            Registers::Adapter(place) => {
                self.again |= !net::write(window, cell, place, size, value);
                true
            }
            Registers::Socket(offset) => {
                socket::write(window, cell, offset, size, value);
                true
            }
            Registers::Absent => false,
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
    let register = apic::Register((access.gpa.page_offset() & 0xff0) as u32);
    if let Op::Exchange { target, .. } = insn.op {
        target.set(&mut cpu.regs.0, u64::from(apic::read(register)));
    }
    match register {
        apic::ICR_LOW => {
            ipi::command(cpu, icr::decode_xapic(cpu.icr_high, value));
        }
        apic::ICR_HIGH => cpu.icr_high = value,
        // No kernel writes it, and the monitor would not find the CPU any more.
        apic::ID => {
            if cpu.denied(|denied| &denied.mmio) {
                log_denied(cpu, access, cpu.vcpu.rip());
            }
        }
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
        cpu.fail(FailReason::Instruction { gpa: access.gpa.0 });
        return;
    };
    let offset = access.gpa.page_offset();
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
            cpu.fail(FailReason::Instruction { gpa: access.gpa.0 });
            return;
        }
    }
    finish(cpu, &insn);
}

fn finish(cpu: &mut Cpu<'_>, insn: &MmioInsn) {
    cpu.shared.recount(ExitKind::MemoryFault, ExitKind::Mmio);
    cpu.vcpu.advance_by(insn.len);
}
