//! A virtual 16550A, as far as software can see one that sends at once.
//!
//! Pure state: the caller routes port accesses here, feeds what is typed, writes
//! what is sent to the cell's ring, and after each call hands
//! [`Uart::interrupt`] to the cell's I/O APIC, which finds the edges.
//!
//! Spec: PC16550D, "Registers"; the tests act as Linux's 8250 driver.

use crate::ring::Fifo;

/// How many ports it has.
pub const PORTS: u16 = 8;

/// Bytes that the receiver holds.
const DEPTH: usize = 16;

/// Interrupt enable bits.
const IER_RECEIVED: u8 = 1 << 0;
const IER_EMPTY: u8 = 1 << 1;
const IER_LINE: u8 = 1 << 2;
const IER_MODEM: u8 = 1 << 3;

/// Interrupt identification.
const IIR_MODEM: u8 = 0x00;
const IIR_NONE: u8 = 0x01;
const IIR_EMPTY: u8 = 0x02;
const IIR_RECEIVED: u8 = 0x04;
const IIR_LINE: u8 = 0x06;
const IIR_TIMEOUT: u8 = 0x0c;
const IIR_FIFOS: u8 = 0xc0;

const FCR_ENABLE: u8 = 1 << 0;
const FCR_CLEAR_RECEIVER: u8 = 1 << 1;

const LCR_DIVISOR: u8 = 1 << 7;

const MCR_DTR: u8 = 1 << 0;
const MCR_RTS: u8 = 1 << 1;
const MCR_OUT1: u8 = 1 << 2;
const MCR_OUT2: u8 = 1 << 3;
const MCR_LOOP: u8 = 1 << 4;

const LSR_DATA: u8 = 1 << 0;
const LSR_OVERRUN: u8 = 1 << 1;
/// Holding register and transmitter are empty: always.
const LSR_EMPTY: u8 = 1 << 5 | 1 << 6;

const MSR_CTS: u8 = 1 << 4;
const MSR_DSR: u8 = 1 << 5;
const MSR_RING: u8 = 1 << 6;
const MSR_CARRIER: u8 = 1 << 7;

/// What the other end of the line shows: always there, always ready.
const PEER: u8 = MSR_CTS | MSR_DSR | MSR_CARRIER;

/// What a write does outside of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// This byte is sent.
    Transmit(u8),
}

/// The device.
#[derive(Clone, Debug)]
pub struct Uart {
    enabled: u8,
    line_control: u8,
    modem_control: u8,
    scratch: u8,
    divisor: [u8; 2],
    fifos: bool,
    /// Bytes from which on the receiver interrupts without a time-out.
    trigger: usize,
    receiver: Fifo<DEPTH>,
    overrun: bool,
    /// The holding register became empty and nobody was told yet.
    emptied: bool,
    /// Modem lines that changed since they were read, in the low half.
    modem_changes: u8,
}

impl Default for Uart {
    fn default() -> Self {
        Self::new()
    }
}

impl Uart {
    /// After a reset, at 115200 baud.
    pub const fn new() -> Self {
        Self {
            enabled: 0,
            line_control: 0,
            modem_control: 0,
            scratch: 0,
            divisor: [1, 0],
            fifos: false,
            trigger: 1,
            receiver: Fifo::new(),
            overrun: false,
            emptied: false,
            modem_changes: 0,
        }
    }

    /// Reads the register at `offset` (0 to 7); ones beyond.
    pub fn read(&mut self, offset: u16) -> u8 {
        let latch = self.line_control & LCR_DIVISOR != 0;
        match offset {
            0 if latch => self.divisor[0],
            1 if latch => self.divisor[1],
            0 => self.receiver.pop().unwrap_or(0),
            1 => self.enabled,
            2 => self.identify(),
            3 => self.line_control,
            4 => self.modem_control,
            5 => {
                let status = self.line_status();
                self.overrun = false;
                status
            }
            6 => {
                let status = self.modem_lines() | self.modem_changes;
                self.modem_changes = 0;
                status
            }
            7 => self.scratch,
            _ => 0xff,
        }
    }

    /// Writes the register at `offset` (0 to 7).
    pub fn write(&mut self, offset: u16, value: u8) -> Effect {
        let latch = self.line_control & LCR_DIVISOR != 0;
        match offset {
            0 if latch => self.divisor[0] = value,
            1 if latch => self.divisor[1] = value,
            0 => return self.transmit(value),
            1 => self.enable(value & 0x0f),
            2 => self.control_fifos(value),
            3 => self.line_control = value,
            4 => self.control_modem(value & 0x1f),
            // The status registers are for reading.
            7 => self.scratch = value,
            _ => {}
        }
        Effect::None
    }

    /// Bytes that [`Self::receive`] would take now.
    pub fn room(&self) -> usize {
        match (self.loops(), self.fifos) {
            (true, _) => 0,
            (false, true) => self.receiver.room(),
            (false, false) => usize::from(self.receiver.is_empty()),
        }
    }

    /// A byte arrives; false, and nothing happens, if there is no room for it.
    pub fn receive(&mut self, byte: u8) -> bool {
        self.room() > 0 && self.receiver.push(byte)
    }

    /// True while the interrupt line is asserted.
    pub fn interrupt(&self) -> bool {
        // On a PC, OUT2 opens the way to the interrupt controller; in loopback
        // mode the pin itself is off.
        let open = self.modem_control & (MCR_OUT2 | MCR_LOOP) == MCR_OUT2;
        open && self.cause() != IIR_NONE
    }

    fn loops(&self) -> bool {
        self.modem_control & MCR_LOOP != 0
    }

    /// The pending interrupt of the highest priority.
    fn cause(&self) -> u8 {
        let wants = |bit| self.enabled & bit != 0;
        if wants(IER_LINE) && self.overrun {
            IIR_LINE
        } else if wants(IER_RECEIVED) && !self.receiver.is_empty() {
            // The line is idle at once, so the time-out of four characters is
            // over as soon as the last byte is there.
            match self.receiver.len() >= self.trigger {
                true => IIR_RECEIVED,
                false => IIR_TIMEOUT,
            }
        } else if wants(IER_EMPTY) && self.emptied {
            IIR_EMPTY
        } else if wants(IER_MODEM) && self.modem_changes != 0 {
            IIR_MODEM
        } else {
            IIR_NONE
        }
    }

    fn identify(&mut self) -> u8 {
        let cause = self.cause();
        if cause == IIR_EMPTY {
            self.emptied = false;
        }
        cause | if self.fifos { IIR_FIFOS } else { 0 }
    }

    fn line_status(&self) -> u8 {
        let data = if self.receiver.is_empty() {
            0
        } else {
            LSR_DATA
        };
        let overrun = if self.overrun { LSR_OVERRUN } else { 0 };
        LSR_EMPTY | data | overrun
    }

    /// Modem lines, in the high half: in loopback mode the device's own.
    fn modem_lines(&self) -> u8 {
        if !self.loops() {
            return PEER;
        }
        let wires = [
            (MCR_RTS, MSR_CTS),
            (MCR_DTR, MSR_DSR),
            (MCR_OUT1, MSR_RING),
            (MCR_OUT2, MSR_CARRIER),
        ];
        wires
            .iter()
            .filter(|(from, _)| self.modem_control & from != 0)
            .fold(0, |lines, (_, to)| lines | to)
    }

    fn transmit(&mut self, byte: u8) -> Effect {
        self.emptied = true;
        if !self.loops() {
            return Effect::Transmit(byte);
        }
        let depth = if self.fifos { DEPTH } else { 1 };
        if self.receiver.len() >= depth || !self.receiver.push(byte) {
            self.overrun = true;
        }
        Effect::None
    }

    fn enable(&mut self, value: u8) {
        if value & !self.enabled & IER_EMPTY != 0 {
            // The holding register is empty: enabling tells so, every time.
            self.emptied = true;
        }
        self.enabled = value;
    }

    fn control_fifos(&mut self, value: u8) {
        let fifos = value & FCR_ENABLE != 0;
        if fifos != self.fifos || value & FCR_CLEAR_RECEIVER != 0 {
            self.receiver.clear();
        }
        self.fifos = fifos;
        self.trigger = match (fifos, value >> 6) {
            (false, _) | (true, 0) => 1,
            (true, 1) => 4,
            (true, 2) => 8,
            (true, _) => 14,
        };
    }

    fn control_modem(&mut self, value: u8) {
        let before = self.modem_lines();
        self.modem_control = value;
        let now = self.modem_lines();
        // The ring indicator counts when it ends, the others when they change.
        let ended = before & !now & MSR_RING;
        let changed = (before ^ now) & !MSR_RING;
        self.modem_changes |= (changed | ended) >> 4;
    }
}

#[cfg(test)]
mod tests;
