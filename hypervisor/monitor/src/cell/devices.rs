//! A cell's virtual devices: console, I/O APIC, power, clock.

use crate::mem::page::PageVec;
use cellvisor_abi::PAGE_SIZE;
use cellvisor_abi::plan::POWER_BUTTON;
use cellvisor_core::events::Events;
use cellvisor_core::ioapic::{IoApic, Message, Output};
use cellvisor_core::kvmclock::Clock;
use cellvisor_core::ring::{Fifo, Ring};
use cellvisor_core::uart::{Effect, Uart};

/// Bytes that may be typed ahead.
const INPUT: usize = 512;

/// Bytes of a cell's console history.
const CONSOLE_SIZE: usize = 4 * PAGE_SIZE as usize;

/// Id of the virtual I/O APIC; its MADT entry says the same.
const IOAPIC_ID: u8 = 0;

/// The devices of one cell.
#[repr(C)] // What is small comes first, within a byte's reach of instructions.
pub(crate) struct Devices {
    uart_pin: u8,
    events: Events,
    uart: Uart,
    output: Ring<PageVec<u8>>,
    ioapic: IoApic,
    /// The cell's clock and the date: (nanoseconds since 1970, TSC then).
    pub(crate) clock: Option<(Clock, u64, u64)>,
    input: Fifo<INPUT>,
}

impl Devices {
    /// Devices after a reset, the console empty; `wired` has a bit for each pin
    /// of the I/O APIC that a function has, `pins` of which it tells. `None` if the pool is
    /// empty.
    pub(crate) fn new(uart_pin: u8, wired: u32, pins: u8) -> Option<Self> {
        Some(Self {
            uart: Uart::new(),
            ioapic: IoApic::new(IOAPIC_ID, wired).with_pins(pins),
            output: Ring::new(PageVec::zeros(CONSOLE_SIZE)?),
            input: Fifo::new(),
            uart_pin,
            events: Events::new(),
            clock: None,
        })
    }

    /// The cell starts anew: devices are reset, what was said is kept.
    pub(crate) fn reset(&mut self) {
        self.uart = Uart::new();
        self.ioapic.reset();
        self.input.clear();
        self.events = Events::new();
    }

    /// The power button is pressed; the interrupt that follows, if any.
    pub(crate) fn press(&mut self) -> Option<Message> {
        self.events.raise(POWER_BUTTON, &mut self.ioapic)
    }

    /// Reads the event register, which clears it.
    pub(crate) fn take_events(&mut self) -> u8 {
        self.events.take()
    }

    /// Reads a register of the 16550. [`Self::uart_settle`] comes next.
    pub(crate) fn uart_read(&mut self, offset: u16) -> u8 {
        self.uart.read(offset)
    }

    /// Writes a register of the 16550. [`Self::uart_settle`] comes next.
    pub(crate) fn uart_write(&mut self, offset: u16, value: u8) {
        if let Effect::Transmit(byte) = self.uart.write(offset, value) {
            self.output.push(byte);
        }
    }

    /// What the cell writes to its console by a buffer.
    pub(crate) fn written(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.output.push(*byte));
    }

    /// After an access to the 16550: it gets what was typed, and the interrupt that
    /// follows, if any, is the caller's.
    #[inline(always)] // On the way of each access to a console.
    pub(crate) fn uart_settle(&mut self) -> Option<Message> {
        self.feed();
        self.uart_line()
    }

    /// Types on the console: bytes taken, and the interrupt that follows.
    pub(crate) fn console_write(&mut self, bytes: &[u8]) -> (u32, Option<Message>) {
        let taken = bytes
            .iter()
            .take_while(|byte| self.input.push(**byte))
            .count();
        (taken as u32, self.uart_settle())
    }

    /// Copies console output from byte `from` on; number of the first byte
    /// copied and how many.
    pub(crate) fn console_read(&self, from: u64, out: &mut [u8]) -> (u64, usize) {
        self.output.read(from, out)
    }

    /// Bytes ever written to the console.
    pub(crate) fn console_written(&self) -> u64 {
        self.output.written()
    }

    /// Reads a register of the I/O APIC; `awaits` as in [`IoApic::read`].
    pub(crate) fn ioapic_read(&self, offset: u64, awaits: impl FnOnce(u8) -> bool) -> u32 {
        self.ioapic.read(offset, awaits)
    }

    /// Writes a register of the I/O APIC; what follows goes to `out`.
    pub(crate) fn ioapic_write(&mut self, offset: u64, value: u32, out: impl FnMut(Output)) {
        self.ioapic.write(offset, value, out);
    }

    /// An edge on a pin; the interrupt that follows, if any.
    pub(crate) fn pulse(&mut self, pin: u8) -> Option<Message> {
        self.ioapic.pulse(pin)
    }

    /// Moves typed bytes into the receiver as far as it has room.
    #[inline(always)] // Mostly nobody types.
    fn feed(&mut self) {
        if !self.input.is_empty() {
            self.feed_typed();
        }
    }

    #[inline(never)]
    fn feed_typed(&mut self) {
        while self.uart.room() > 0 {
            let Some(byte) = self.input.pop() else { break };
            self.uart.receive(byte);
        }
    }

    #[inline(always)] // As `uart_settle`.
    fn uart_line(&mut self) -> Option<Message> {
        let asserted = self.uart.interrupt();
        self.ioapic.set_line(self.uart_pin, asserted)
    }
}
