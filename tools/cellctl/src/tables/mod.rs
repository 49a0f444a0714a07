//! A cell's ACPI tables and virtual devices, from its assignment.

mod places;
mod surroundings;
#[cfg(test)]
mod tests;

use crate::error::{Error, Result};
use crate::state::Window;
use acpi_tables::{CellAcpi, RootBridge, Shared, Tables};
use cellvisor_abi::PAGE_SIZE;
use cellvisor_abi::plan::{
    ADAPTER_CONFIG, ADAPTER_REGISTERS, ADAPTER_SEGMENT, Devices, Ecam, SOCKET_GSI,
};
use cellvisor_planner::config::Console;
use cellvisor_planner::plan::CellAssignment;
pub(crate) use places::places;
pub(crate) use surroundings::{Surroundings, stands_alone};

/// A cell's virtual devices: a physical UART takes the place of the virtual
/// one when it has the same ports.
pub(crate) fn devices(cell: &CellAssignment) -> Devices {
    let standard = Devices::STANDARD;
    match cell.console {
        Console::UartPort(port) if port == standard.uart_port => Devices {
            uart_port: 0,
            ..standard
        },
        _ => standard,
    }
}

/// What programs in a cell are told of a link.
fn note(cell: &CellAssignment, window: &Window) -> String {
    let link = cell.links.iter().find(|link| link.name == window.link);
    link.map_or_else(String::new, |link| link.note(&cell.name))
}

fn shared<'a>((window, note): (&'a Window, &'a String)) -> Shared<'a> {
    Shared {
        note,
        name: &window.link,
        base: window.start(),
        size: window.size(),
        writable: window.is_writable(),
    }
}

/// Configuration space of the network adapters, and of a console, that the monitor plays.
const ADAPTERS: Ecam = Ecam {
    base: ADAPTER_CONFIG,
    segment: ADAPTER_SEGMENT,
    first_bus: 0,
    last_bus: 0,
};

/// The registers of so many of them.
const fn registers(adapters: usize) -> acpi_tables::Window {
    acpi_tables::Window::Memory {
        first: ADAPTER_REGISTERS,
        last: ADAPTER_REGISTERS + adapters as u64 * PAGE_SIZE - 1,
        prefetchable: false,
    }
}

/// The root bridge above them.
const fn bridge(registers: &[acpi_tables::Window]) -> RootBridge<'_> {
    RootBridge {
        segment: ADAPTER_SEGMENT,
        first_bus: 0,
        last_bus: 0,
        express: true,
        node: None,
        windows: registers,
        intx: &[],
    }
}

/// The tables of a cell in its surroundings, with what it shares, each with its name.
pub(crate) fn build(
    cell: &CellAssignment,
    around: &Surroundings,
    windows: &[Window],
) -> Result<Tables> {
    let what = format!("cannot make the ACPI tables of cell \"{}\"", cell.name);
    let cpus = u32::try_from(cell.cpus.len()).map_err(|e| Error::internal(&what, e))?;
    let uart = match cell.console {
        Console::UartPort(port) => Some(port),
        Console::Virtual | Console::Virtio | Console::UartPci(_) => None,
    };
    let notes: Vec<String> = windows.iter().map(|window| note(cell, window)).collect();
    let shared: Vec<Shared<'_>> = windows.iter().zip(&notes).map(shared).collect();
    let mut ecam = around.ecam.clone();
    let mut bridges = around.bridges();
    let links = cell.links.iter();
    let of_links = links.filter_map(|link| link.adapter_of(&cell.name)).count();
    let adapters = of_links + usize::from(cell.console == Console::Virtio);
    let registers = [registers(adapters)];
    if adapters > 0 {
        ecam.push(ADAPTERS);
        bridges.push(bridge(&registers));
    }
    acpi_tables::build(&CellAcpi {
        devices: devices(cell),
        uarts: uart.as_slice(),
        ecam: &ecam,
        bridges: &bridges,
        numa: around.numa(),
        shared: &shared,
        socket: cell
            .links
            .iter()
            .any(|link| link.is_socket())
            .then_some(SOCKET_GSI),
        ..CellAcpi::new(cpus)
    })
    .map_err(|e| {
        let help = "give the cell fewer CPUs or PCI functions";
        Error::new(&what, e.to_string(), help)
    })
}

/// The bytes that go to [`crate::loader::layout::ACPI`]: RSDP first, code for
/// a reset last.
pub(crate) fn image(
    cell: &CellAssignment,
    around: &Surroundings,
    windows: &[Window],
) -> Result<Vec<u8>> {
    Ok(build(cell, around, windows)?.with_reset_code(&devices(cell)))
}
