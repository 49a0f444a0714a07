//! I/O ports for slices.

use super::PortRange;
use super::pool::{Owner, Pool};
use crate::config::{Console, Slice};
use crate::host::Region;

/// I/O ports of a 16550.
const UART_PORTS: u16 = 8;

/// Claims the ports of a legacy UART.
pub(super) fn claim(pool: &mut Pool<'_>, slice: &Slice) -> Vec<PortRange> {
    const KEY: &str = "console.port";
    let Console::UartPort(first) = slice.console else {
        return Vec::new();
    };
    let message = format!("slice `{}` cannot have the UART at {first:#x}", slice.name);
    let ports = first..=first.saturating_add(UART_PORTS - 1);
    if let Some(owner) = ports.clone().find_map(|p| pool.port_owners.get(&p)) {
        let cause = owner.sentence();
        pool.wrong(
            slice,
            KEY,
            message,
            cause,
            "name another UART, or take a virtual console",
        );
        return Vec::new();
    }
    let serial = |r: &&Region| r.name.contains("serial");
    let mut uarts = pool.host.ioports.iter().filter(serial);
    if !uarts.any(|r| r.start == u64::from(first)) {
        let all: Vec<String> = pool
            .host
            .ioports
            .iter()
            .filter(serial)
            .map(|r| format!("{:#x}", r.start))
            .collect();
        let help = match all.is_empty() {
            true => "take a virtual console, or a UART on PCI".to_owned(),
            false => format!("the UARTs of this machine are at {}", all.join(", ")),
        };
        pool.wrong(slice, KEY, message, "there is none", help);
        return Vec::new();
    }
    for port in ports {
        pool.port_owners.insert(port, Owner::slice(slice, KEY));
    }
    vec![PortRange {
        first,
        count: UART_PORTS,
    }]
}
