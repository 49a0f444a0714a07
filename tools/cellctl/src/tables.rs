//! A cell's ACPI tables and virtual devices, from its assignment.

use crate::error::{Error, Result};
use acpi_tables::{CellAcpi, Tables};
use cellvisor_abi::plan::Devices;
use cellvisor_planner::config::Console;
use cellvisor_planner::plan::CellAssignment;

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

/// The tables, each with its name.
pub(crate) fn build(cell: &CellAssignment) -> Result<Tables> {
    let what = format!("cannot make the ACPI tables of cell \"{}\"", cell.name);
    let cpus = u32::try_from(cell.cpus.len()).map_err(|e| Error::internal(&what, e))?;
    let uart = match cell.console {
        Console::UartPort(port) => Some(port),
        Console::Virtual | Console::UartPci(_) => None,
    };
    acpi_tables::build(&CellAcpi {
        devices: devices(cell),
        uarts: uart.as_slice(),
        ..CellAcpi::new(cpus)
    })
    .map_err(|e| {
        let help = "give the cell fewer CPUs or PCI functions";
        Error::new(&what, e.to_string(), help)
    })
}

/// The bytes that go to [`crate::loader::layout::ACPI`]: RSDP first, code for
/// a reset last.
pub(crate) fn image(cell: &CellAssignment) -> Result<Vec<u8>> {
    Ok(build(cell)?.with_reset_code(&devices(cell)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::record;

    #[test]
    fn tables_begin_with_the_rsdp_and_fill_the_first_mib() {
        let image = image(&record("a").assignment).expect("builds");
        assert!(image.starts_with(b"RSD PTR "));
        let room = crate::loader::layout::HIGH - crate::loader::layout::ACPI;
        assert_eq!(image.len() as u64, room);
    }

    #[test]
    fn physical_uart_replaces_the_virtual_one_at_the_same_ports() {
        let mut cell = record("a").assignment;
        for (port, left) in [(0x3f8, 0), (0x2f8, 0x3f8)] {
            cell.console = Console::UartPort(port);
            assert_eq!(devices(&cell).uart_port, left);
            let tables = build(&cell).expect("builds");
            let dsdt = tables.table(b"DSDT").expect("a DSDT");
            let bytes = port.to_le_bytes();
            assert!(dsdt.windows(2).any(|w| w == bytes), "{port:#x}");
        }
    }
}
