//! Accesses to I/O ports that do not reach the hardware.
//!
//! Source: ACPI 6.5, "Sleep Control and Status Registers", "Reset Register"; PCI
//! Local Bus 3.0, "Software Generation of Configuration Transactions".

use crate::cell::cpu::Cpu;
use crate::cell::{Cell, Guest, functions, ipi};
use crate::dev::pci;
use crate::lock;
use cellvisor_abi::call::StopReason;
use cellvisor_abi::plan::{
    CRASH_LOADED, Devices, EVENT_PORT, Inject, PANIC_PORT, PANICKED, POWER_OFF, RESET_VALUE,
};
use cellvisor_core::exit::{PortAccess, nothing, ones, port_result};
use cellvisor_core::ids::Port;
use cellvisor_core::life;
use cellvisor_core::pci::Access;
use cellvisor_core::text::{Dec, Hex, Word};
use cellvisor_core::uart;
use cellvisor_core::vcpu::{RAX, Regs};
use core::sync::atomic::{AtomicU32, Ordering};

/// Which virtual device a port belongs to.
enum Device {
    /// Register of the 16550.
    Uart(u16),
    /// ACPI sleep control.
    SleepControl,
    /// ACPI sleep status.
    SleepStatus,
    /// ACPI reset.
    Reset,
    /// Events, for the ACPI event device.
    Events,
    /// Where a kernel reports that it panicked.
    Panic,
    /// Configuration address.
    ConfigAddress,
    /// Configuration data.
    ConfigData,
    /// Keyboard controller command: Linux tries it for a reset when ACPI fails.
    Keyboard,
    /// None.
    Absent,
}

const KEYBOARD_COMMAND: Port = Port(0x64);
const CONFIG_END: Port = pci::DATA_PORT.plus(3);
const KEYBOARD_RESET: u8 = 0xfe;

fn is_config_data(port: Port) -> bool {
    (pci::DATA_PORT..=CONFIG_END).contains(&port)
}

fn device(layout: &Devices, port: Port) -> Device {
    let uart = port.0.wrapping_sub(layout.uart_port);
    if layout.uart_port != 0 && uart < uart::PORTS {
        return Device::Uart(uart);
    }
    if port == KEYBOARD_COMMAND {
        return Device::Keyboard;
    }
    if port == pci::ADDRESS_PORT {
        return Device::ConfigAddress;
    }
    if is_config_data(port) {
        return Device::ConfigData;
    }
    match port.0.wrapping_sub(layout.power_port) {
        _ if layout.power_port == 0 => Device::Absent,
        0 => Device::SleepControl,
        1 => Device::SleepStatus,
        2 => Device::Reset,
        EVENT_PORT => Device::Events,
        PANIC_PORT => Device::Panic,
        _ => Device::Absent,
    }
}

/// Carries out a usual access of a cell, to its console or to nobody's port; false, and
/// nothing is done, for all others.
#[inline(always)] // On the way of frequent exits.
pub(super) fn quick(cell: &Cell, guest: &Guest, regs: &mut Regs, access: PortAccess) -> bool {
    let (port, size, layout) = (access.port, access.size, &guest.layout);
    if access.string {
        return false;
    }
    let uart = port.0.wrapping_sub(layout.uart_port);
    if uart < uart::PORTS {
        let known = layout.uart_port != 0 && size == 1;
        if known {
            console(cell, guest, regs, uart, access.write);
        }
        return known;
    }
    let denied = &cell.denied.port;
    if may_be_known(layout, port, size)
        || is_faulty(port)
        || life::is_logged(denied.load(Ordering::Relaxed))
    {
        return false;
    }
    denied.fetch_add(1, Ordering::Relaxed);
    if !access.write {
        regs.0[RAX] = port_result(regs.0[RAX], size, u64::MAX);
    }
    true
}

/// False for ports for which [`device`] finds nothing and whose reads give ones; consoles
/// apart.
#[inline(always)] // As above.
fn may_be_known(layout: &Devices, port: Port, size: u8) -> bool {
    // With the port where a kernel asks what an NMI was for.
    let is_keyboard = port.0 & !7 == KEYBOARD_COMMAND.0 & !7;
    // The data ports follow the address port.
    let is_config = port.0 & !7 == pci::ADDRESS_PORT.0;
    port.0.wrapping_sub(layout.power_port) <= PANIC_PORT
        || is_keyboard
        || (is_config && (is_config_data(port) || size == 4))
}

/// A byte from or for the console.
#[inline(never)] // In one place, however it is reached.
fn console(cell: &Cell, guest: &Guest, regs: &mut Regs, offset: u16, write: bool) {
    let mut devices = guest.devices.lock();
    let rax = regs.0[RAX];
    if write {
        devices.uart_write(offset, rax as u8);
    } else {
        let value = devices.uart_read(offset);
        regs.0[RAX] = port_result(rax, 1, u64::from(value));
    }
    let message = devices.uart_settle();
    drop(devices);
    if message.is_some() {
        ipi::deliver_message(cell, message);
    }
}

/// Handles the exit: reads of nobody's ports give ones, writes vanish.
#[inline(never)] // Its own frame, and not that of all exits.
pub(crate) fn handle(cpu: &mut Cpu<'_>, access: PortAccess) {
    if access.string {
        // Devices of ours have no use for it, and others are not there.
        refused(cpu, access);
        cpu.refuse();
        return;
    }
    let found = match &cpu.cell.guest {
        Some(guest) => device(&guest.layout, access.port),
        None if access.port == pci::ADDRESS_PORT => Device::ConfigAddress,
        None if is_config_data(access.port) => Device::ConfigData,
        None => Device::Absent,
    };
    // The step comes first: what is written may stop this CPU for good.
    cpu.advance();
    if let (Device::Uart(offset), Some(guest), 1) = (&found, &cpu.cell.guest, access.size) {
        return console(cpu.cell, guest, &mut cpu.regs, *offset, access.write);
    }
    if access.write {
        let value = cpu.regs.0[RAX];
        write(cpu, &found, access, value);
    } else {
        let value = read(cpu, &found, access);
        cpu.regs.0[RAX] = port_result(cpu.regs.0[RAX], access.size, value);
    }
}

fn read(cpu: &mut Cpu<'_>, device: &Device, access: PortAccess) -> u64 {
    match (device, &cpu.cell.guest) {
        (Device::SleepControl | Device::SleepStatus | Device::Reset, _) => 0,
        (Device::Panic, _) if access.size == 1 => u64::from(PANICKED | CRASH_LOADED),
        (Device::Events, Some(guest)) if access.size == 1 => {
            u64::from(guest.devices.lock().take_events())
        }
        (Device::ConfigAddress, Some(guest)) if access.size == 4 => {
            u64::from(guest.config_address.load(Ordering::Relaxed))
        }
        (Device::ConfigAddress, None) if access.size == 4 => {
            u64::from(pci::config::root_address(None))
        }
        (Device::ConfigData, Some(guest)) => {
            let address = guest.config_address.load(Ordering::Relaxed);
            match Access::from_ports(address, access.port.0, access.size) {
                Some((bdf, part)) => {
                    u64::from(functions::read(&mut cpu.window, cpu.cell, bdf, part))
                }
                None => ones(access.size),
            }
        }
        (Device::ConfigData, None) => {
            functions::root_port_read(&mut cpu.window, access.port, access.size)
        }
        _ => {
            refused(cpu, access);
            nothing(access.port)
        }
    }
}

fn write(cpu: &mut Cpu<'_>, device: &Device, access: PortAccess, value: u64) {
    let byte = value as u8;
    match (device, &cpu.cell.guest) {
        (Device::SleepControl, _) if byte == POWER_OFF => {
            cpu.cell.halt(StopReason::PowerOff);
        }
        (Device::Reset, _) if byte == RESET_VALUE => {
            cpu.cell.halt(StopReason::Reset);
        }
        (Device::Keyboard, _) if byte == KEYBOARD_RESET => {
            cpu.cell.halt(StopReason::Reset);
        }
        (Device::Panic, _) if byte & PANICKED != 0 => {
            cpu.cell.halt(StopReason::Panic);
        }
        (Device::SleepControl | Device::SleepStatus | Device::Panic, _) => {}
        (Device::ConfigAddress, Some(guest)) if access.size == 4 => {
            guest.config_address.store(value as u32, Ordering::Relaxed);
        }
        (Device::ConfigAddress, None) if access.size == 4 => {
            pci::config::root_address(Some(value as u32));
        }
        (Device::ConfigData, Some(guest)) => {
            let address = guest.config_address.load(Ordering::Relaxed);
            let target = Access::from_ports(address, access.port.0, access.size);
            let written = target.is_some_and(|(bdf, part)| {
                functions::write(&mut cpu.window, cpu.cell, bdf, part, value as u32)
            });
            if !written {
                config_refused(cpu);
            }
        }
        (Device::ConfigData, None) => {
            if !functions::root_port_write(&mut cpu.window, access.port, access.size, value as u32)
            {
                config_refused(cpu);
            }
        }
        _ => refused(cpu, access),
    }
}

/// The port at which a test wants a fault, plus one; 0 for none.
static FAULTY: AtomicU32 = AtomicU32::new(0);

/// Notes what a test has asked for.
pub(crate) fn init(inject: Option<Inject>) {
    if let Some(Inject::FaultAtPort(port)) = inject {
        FAULTY.store(u32::from(port) + 1, Ordering::Relaxed);
    }
}

#[inline(always)] // As `quick`.
fn is_faulty(port: Port) -> bool {
    FAULTY.load(Ordering::Relaxed) == u32::from(port.0) + 1
}

/// A test may have asked for a fault here. It finds a lock held.
fn fault_if_asked(cpu: &Cpu<'_>, port: Port) {
    if is_faulty(port) {
        let devices = cpu.cell.guest.as_ref().map(|guest| guest.devices.lock());
        if devices.is_some() || cpu.is_root() {
            lock::give_up_work();
        }
    }
}

/// Counts a write to configuration space that was dropped.
pub(super) fn config_refused(cpu: &Cpu<'_>) {
    if cpu.denied(|denied| &denied.config) {
        cpu.log(format_args!(
            "denied configuration write rip={}",
            Hex(cpu.vcpu.rip())
        ));
    }
}

fn refused(cpu: &Cpu<'_>, access: PortAccess) {
    fault_if_asked(cpu, access.port);
    if cpu.denied(|denied| &denied.port) {
        let what = if access.write { "write" } else { "read" };
        cpu.log(format_args!(
            "denied port {} port={} size={}",
            Word(what),
            Hex(u64::from(access.port.0)),
            Dec(u64::from(access.size))
        ));
    }
}
