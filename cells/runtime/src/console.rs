//! The cell's serial port.

use cellvisor_abi::plan::Devices;
use core::fmt::{self, Write};
use spin::Mutex;
use x86::io::{inb, outb};

/// Line status register: the transmitter is empty.
const THR_EMPTY: u8 = 1 << 5;

/// Looks at the transmitter before a byte is sent all the same.
const PATIENCE: u32 = 1_000_000;

struct Port;

static PORT: Mutex<Port> = Mutex::new(Port);

impl Write for Port {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        const PORT: u16 = Devices::STANDARD.uart_port;
        for byte in text.bytes() {
            // SAFETY: the ports are those of the cell's 16550; sending a byte does
            // nothing to memory.
            unsafe {
                let empty = |_: &u32| inb(PORT + 5) & THR_EMPTY != 0;
                let _ = (0..PATIENCE).find(empty);
                outb(PORT, byte);
            }
        }
        Ok(())
    }
}

/// Prints one line, whole, whatever other CPUs print.
pub fn line(args: fmt::Arguments<'_>) {
    let mut port = PORT.lock();
    // Writing to the port cannot fail.
    let _ = port.write_fmt(args);
    let _ = port.write_str("\r\n");
}
