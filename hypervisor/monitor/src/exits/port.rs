//! Accesses to I/O ports that do not reach the hardware.

use crate::ipi;
use crate::run::Cpu;
use crate::vcpu::Backend;
use cellvisor_abi::call::StopReason;
use cellvisor_abi::plan::{Devices, POWER_OFF, RESET_VALUE};
use cellvisor_core::exit::{PortAccess, ones, port_result};
use cellvisor_core::uart;
use cellvisor_core::vcpu::RAX;

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
    /// Keyboard controller command: Linux tries it for a reset when ACPI fails.
    Keyboard,
    /// None.
    Absent,
}

const KEYBOARD_COMMAND: u16 = 0x64;
const KEYBOARD_RESET: u8 = 0xfe;

fn device(layout: &Devices, port: u16) -> Device {
    let uart = port.wrapping_sub(layout.uart_port);
    if layout.uart_port != 0 && uart < uart::PORTS {
        return Device::Uart(uart);
    }
    if port == KEYBOARD_COMMAND {
        return Device::Keyboard;
    }
    match port.wrapping_sub(layout.power_port) {
        _ if layout.power_port == 0 => Device::Absent,
        0 => Device::SleepControl,
        1 => Device::SleepStatus,
        2 => Device::Reset,
        _ => Device::Absent,
    }
}

/// Handles the exit: reads of nobody's ports give ones, writes vanish.
pub(crate) fn handle<B: Backend>(cpu: &mut Cpu<B>, access: PortAccess) {
    if access.string {
        // Devices of ours have no use for it, and others are not there.
        refused(cpu, access);
        cpu.refuse();
        return;
    }
    let found = match &cpu.cell.guest {
        Some(guest) => device(&guest.layout, access.port),
        None => Device::Absent,
    };
    // The step comes first: what is written may stop this CPU for good.
    cpu.advance();
    if access.write {
        let value = cpu.regs.0[RAX];
        write(cpu, &found, access, value as u8);
    } else {
        let value = read(cpu, &found, access);
        cpu.regs.0[RAX] = port_result(cpu.regs.0[RAX], access.size, value);
    }
}

fn read<B: Backend>(cpu: &mut Cpu<B>, device: &Device, access: PortAccess) -> u64 {
    match (device, &cpu.cell.guest) {
        (Device::Uart(offset), Some(guest)) if access.size == 1 => {
            let (value, message) = guest.devices.lock().uart_read(*offset);
            ipi::deliver_message(cpu.cell, message);
            u64::from(value)
        }
        (Device::SleepControl | Device::SleepStatus | Device::Reset, _) => 0,
        _ => {
            refused(cpu, access);
            ones(access.size)
        }
    }
}

fn write<B: Backend>(cpu: &mut Cpu<B>, device: &Device, access: PortAccess, value: u8) {
    match (device, &cpu.cell.guest) {
        (Device::Uart(offset), Some(guest)) if access.size == 1 => {
            let message = guest.devices.lock().uart_write(*offset, value);
            ipi::deliver_message(cpu.cell, message);
        }
        (Device::SleepControl, _) if value == POWER_OFF => {
            cpu.cell.halt(StopReason::PowerOff);
        }
        (Device::Reset, _) if value == RESET_VALUE => {
            cpu.cell.halt(StopReason::Reset);
        }
        (Device::Keyboard, _) if value == KEYBOARD_RESET => {
            cpu.cell.halt(StopReason::Reset);
        }
        (Device::SleepControl | Device::SleepStatus, _) => {}
        _ => refused(cpu, access),
    }
}

fn refused<B: Backend>(cpu: &Cpu<B>, access: PortAccess) {
    if cpu.denied(|denied| &denied.port) {
        let what = if access.write { "write" } else { "read" };
        crate::log::line(format_args!(
            "cell={} denied port {what} port={:#x} size={}",
            cpu.cell.name.as_str(),
            access.port,
            access.size
        ));
    }
}
