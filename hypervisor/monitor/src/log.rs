//! The monitor's log: lines of `hv: …` in a ring that the root reads by
//! hypercall, repeated on a serial port if the plan names one.
//!
//! Source: PC16550D, "Registers" (the line status register).

use crate::lock::Mutex;
use crate::sync::Micros;
use crate::sync::wait_for;
use cellvisor_core::ids::Port;
use cellvisor_core::locks::Rank;
use cellvisor_core::ring::Ring;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU16, Ordering};

/// Bytes that are kept.
const SIZE: usize = 8 << 10;

static LOG: Mutex<Ring<[u8; SIZE]>, { Rank::Log as u8 }> = Mutex::new(Ring::new([0; SIZE]));
static PORT: AtomicU16 = AtomicU16::new(0);

/// Repeats the log on the 16550 at `port`.
pub(crate) fn set_port(port: Port) {
    PORT.store(port.0, Ordering::Relaxed);
}

/// The serial port in use; 0 for none.
pub(crate) fn port() -> u16 {
    PORT.load(Ordering::Relaxed)
}

/// Where a line goes.
struct Sink<'a>(&'a mut Ring<[u8; SIZE]>);

impl Write for Sink<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.0.push(byte);
            serial(byte);
        }
        Ok(())
    }
}

/// Sends a byte if the port takes it within 10 ms.
fn serial(byte: u8) {
    const LINE_STATUS: u16 = 5;
    const EMPTY: u8 = 1 << 5;
    let port = port();
    if port == 0 {
        return;
    }
    // SAFETY: the port belongs to the monitor while it is on: the root cannot
    // reach it.
    unsafe {
        if byte == b'\n'
            && wait_for(Micros(10_000), || {
                x86::io::inb(port + LINE_STATUS) & EMPTY != 0
            })
        {
            x86::io::outb(port, b'\r');
        }
        if wait_for(Micros(10_000), || {
            x86::io::inb(port + LINE_STATUS) & EMPTY != 0
        }) {
            x86::io::outb(port, byte);
        }
    }
}

/// Writes one line.
pub(crate) fn line(args: fmt::Arguments<'_>) {
    let mut ring = LOG.lock();
    // Writing to a ring cannot fail.
    let _ = writeln!(Sink(&mut ring), "hv: {args}");
}

/// Writes one line even if the CPU that faulted holds the log.
pub(crate) fn emergency(args: fmt::Arguments<'_>) {
    wait_for(Micros(100_000), || {
        LOG.try_lock().is_some_and(|mut ring| {
            let _ = writeln!(Sink(&mut ring), "hv: {args}");
            true
        })
    });
}

/// Copies what was written from byte `from` on; number of the first byte copied
/// and how many.
pub(crate) fn read(from: u64, out: &mut [u8]) -> (u64, usize) {
    LOG.lock().read(from, out)
}

/// Logs a line in the monitor's form: `log!("cell={} started", name)`.
macro_rules! log {
    ($($arg:tt)*) => { $crate::log::line(format_args!($($arg)*)) };
}
pub(crate) use log;
