//! The device as Linux's 8250 driver meets it, and as no driver should.

use super::*;
use proptest::prelude::*;
use std::vec::Vec;

const DATA: u16 = 0;
const IER: u16 = 1;
const IIR: u16 = 2;
const FCR: u16 = 2;
const LCR: u16 = 3;
const MCR: u16 = 4;
const LSR: u16 = 5;
const MSR: u16 = 6;
const SCR: u16 = 7;

/// A device as Linux leaves it when a terminal is open: FIFOs with a trigger of
/// 8, interrupts let through, receiver interrupts on.
fn open() -> Uart {
    let mut uart = Uart::new();
    for (offset, value) in [(FCR, 0x81), (LCR, 3), (MCR, 0x0b), (IER, 5)] {
        assert_eq!(uart.write(offset, value), Effect::None);
    }
    uart
}

#[test]
fn linux_finds_a_16550a() {
    let mut uart = Uart::new();
    // The interrupt enable register holds four bits, no more.
    uart.write(IER, 0);
    assert_eq!(uart.read(IER), 0);
    uart.write(IER, 0x0f);
    assert_eq!(uart.read(IER), 0x0f);
    uart.write(IER, 0x40);
    assert_eq!(uart.read(IER), 0, "no XScale");
    // Loopback: RTS and OUT2 come back as CTS and carrier.
    uart.write(MCR, 0x1a);
    assert_eq!(uart.read(MSR) & 0xf0, 0x90);
    uart.write(MCR, 0);
    // FIFOs answer with two bits; without them there are none.
    uart.write(FCR, 1);
    assert_eq!(uart.read(IIR) >> 6, 3);
    // Asked for 64 bytes, a 16750 would set bit 5.
    uart.write(FCR, 0x21);
    assert_eq!(uart.read(IIR) >> 5, 6);
    uart.write(FCR, 0);
    assert_eq!(uart.read(IIR) >> 6, 0);
    // Behind the divisor latch, offset 2 stays the identification: an extended
    // feature register would read 0.
    uart.write(FCR, 1);
    for mode in [0x80, 0xbf] {
        uart.write(LCR, mode);
        assert_ne!(uart.read(IIR), 0);
    }
}

#[test]
fn linux_measures_a_fifo_of_16() {
    let mut uart = Uart::new();
    uart.write(FCR, 7);
    uart.write(MCR, 0x10);
    for byte in 0..=255 {
        assert_eq!(
            uart.write(DATA, byte),
            Effect::None,
            "nothing leaves in loopback"
        );
    }
    let mut count = 0;
    while uart.read(LSR) & 1 != 0 {
        assert_eq!(usize::from(uart.read(DATA)), count);
        count += 1;
    }
    assert_eq!(count, 16);
}

#[test]
fn linux_trusts_the_transmitter_interrupt() {
    let mut uart = open();
    uart.write(IER, 0);
    // serial8250_startup: enabling raises it, reading clears it, enabling
    // raises it again. Else the driver polls (UART_BUG_THRE).
    uart.write(IER, 2);
    assert_eq!(uart.read(IIR) & 0x0f, 2);
    uart.write(IER, 0);
    uart.write(IER, 2);
    assert_eq!(uart.read(IIR) & 0x0f, 2);
    uart.write(IER, 0);
    // And again while the transmitter is idle (UART_BUG_TXEN).
    uart.write(IER, 2);
    assert_eq!(uart.read(LSR) & 0x40, 0x40);
    assert_eq!(uart.read(IIR) & 1, 0);
}

#[test]
fn sends_by_interrupt_and_falls_silent() {
    let mut uart = open();
    let mut left: Vec<u8> = (0..40).collect();
    let mut sent = Vec::new();
    uart.write(IER, 7);
    assert!(uart.interrupt(), "start_tx");
    // The handler: sixteen bytes for each interrupt, and off when all are out.
    while uart.interrupt() {
        assert_eq!(uart.read(IIR) & 0x0f, 2);
        assert!(!uart.interrupt(), "reading the cause clears it");
        for byte in left.drain(..left.len().min(16)) {
            match uart.write(DATA, byte) {
                Effect::Transmit(byte) => sent.push(byte),
                Effect::None => unreachable!("it was not in loopback"),
            }
        }
        if left.is_empty() {
            uart.write(IER, 5);
        }
    }
    assert_eq!(sent, (0..40).collect::<Vec<_>>());
    assert_eq!(uart.read(IIR) & 1, 1);
}

#[test]
fn receives_by_trigger_and_by_timeout() {
    let mut uart = open();
    assert!(uart.receive(b'a'));
    assert!(uart.interrupt());
    assert_eq!(uart.read(IIR), 0xcc, "below the trigger: time-out");
    for byte in b"bcdefgh" {
        assert!(uart.receive(*byte));
    }
    assert_eq!(uart.read(IIR), 0xc4, "eight bytes: trigger");
    for byte in b"abcdefgh" {
        assert!(uart.interrupt());
        assert_eq!(uart.read(LSR), 0x61);
        assert_eq!(uart.read(DATA), *byte);
    }
    assert!(!uart.interrupt());
    assert_eq!(
        (uart.read(LSR), uart.read(IIR), uart.read(DATA)),
        (0x60, 0xc1, 0)
    );
}

#[test]
fn takes_no_more_than_it_holds() {
    let mut uart = open();
    for byte in 0..16 {
        assert!(uart.receive(byte));
    }
    assert_eq!(uart.room(), 0);
    assert!(!uart.receive(16));
    assert_eq!(
        uart.read(LSR) & 2,
        0,
        "the ring waits, so nothing is overrun"
    );
    uart.write(FCR, 0x83);
    assert_eq!(uart.room(), 16, "cleared");
    uart.write(FCR, 0);
    assert_eq!(uart.room(), 1, "without FIFOs");
    assert!(uart.receive(1) && !uart.receive(2));
}

#[test]
fn interrupt_needs_out2_and_no_loopback() {
    let mut uart = open();
    assert!(uart.receive(b'x'));
    for (control, passes) in [(0x0b, true), (0x03, false), (0x1b, false), (0x08, true)] {
        uart.write(MCR, control);
        assert_eq!(uart.interrupt(), passes, "{control:#x}");
    }
}

#[test]
fn overrun_comes_first_and_reading_the_status_clears_it() {
    let mut uart = Uart::new();
    uart.write(IER, 0x0f);
    uart.write(MCR, 0x10);
    uart.write(DATA, 1);
    uart.write(DATA, 2);
    assert_eq!(uart.read(IIR), 6);
    assert_eq!(uart.read(LSR), 0x63);
    assert_eq!(uart.read(LSR), 0x61);
    assert_eq!(uart.read(IIR), 4, "the byte that was there");
    assert_eq!(uart.read(DATA), 1);
    assert_eq!(uart.read(IIR), 2, "then the transmitter");
    assert_eq!(
        uart.read(IIR),
        0,
        "then the modem lines, which loopback changed"
    );
    assert_eq!(uart.read(MSR), 0x0b, "CTS, DSR and carrier went away");
    assert_eq!(uart.read(IIR), 1);
    // Ring counts when it ends.
    uart.write(MCR, 0x14);
    assert_eq!(uart.read(MSR), 0x40);
    uart.write(MCR, 0x10);
    assert_eq!(uart.read(MSR), 0x04);
}

#[test]
fn divisor_latch_hides_data_and_enables() {
    let mut uart = open();
    assert!(uart.receive(b'q'));
    uart.write(LCR, 0x83);
    assert_eq!((uart.read(0), uart.read(1)), (1, 0), "115200 baud");
    assert_eq!(uart.write(0, 12), Effect::None, "a divisor is not sent");
    uart.write(1, 0xff);
    assert_eq!((uart.read(0), uart.read(1)), (12, 0xff));
    uart.write(LCR, 3);
    assert_eq!((uart.read(DATA), uart.read(IER)), (b'q', 5));
}

#[test]
fn scratch_and_offsets_that_do_not_exist() {
    let mut uart = Uart::new();
    uart.write(SCR, 0xa5);
    assert_eq!(uart.read(SCR), 0xa5);
    assert_eq!(uart.write(8, 1), Effect::None);
    assert_eq!(uart.read(8), 0xff);
}

proptest! {
    /// Any driver, however odd: bytes leave unchanged and in order, the line
    /// agrees with the identification, and nothing panics.
    #[test]
    fn line_and_identification_agree(
        ops in proptest::collection::vec((0u8..3, 0u16..9, any::<u8>()), 0..300),
    ) {
        let mut uart = Uart::new();
        for (op, offset, value) in ops {
            match op {
                0 => {
                    uart.read(offset);
                }
                1 => {
                    let latch = uart.read(LCR) & 0x80 != 0;
                    let loops = uart.read(MCR) & 0x10 != 0;
                    let sends = offset == 0 && !latch && !loops;
                    let want = if sends { Effect::Transmit(value) } else { Effect::None };
                    prop_assert_eq!(uart.write(offset, value), want);
                }
                _ => {
                    let room = uart.room();
                    prop_assert_eq!(uart.receive(value), room > 0);
                    prop_assert_eq!(uart.room(), room.saturating_sub(1));
                }
            }
            let open = uart.read(MCR) & 0x18 == 0x08;
            let line = uart.interrupt();
            let pending = uart.clone().read(IIR) & 1 == 0;
            prop_assert_eq!(line, open && pending);
        }
    }
}

/// A UART whose interrupt pin is connected.
fn connected(enabled: u8) -> Uart {
    let mut uart = Uart::new();
    uart.write(4, MCR_OUT2);
    uart.write(1, enabled);
    uart
}

#[test]
fn what_is_not_enabled_does_not_interrupt() {
    let mut uart = connected(0);
    assert!(uart.receive(b'a'));
    uart.write(0, b'b');
    assert!(!uart.interrupt());
    assert_eq!(uart.read(2), IIR_NONE);
    uart.write(1, IER_RECEIVED);
    assert!(uart.interrupt());
}

#[test]
fn an_empty_transmitter_is_told_once_until_it_is_enabled_anew() {
    let mut uart = connected(IER_EMPTY);
    assert_eq!(uart.read(2), IIR_EMPTY);
    assert_eq!(uart.read(2), IIR_NONE, "reading it is enough");
    uart.write(1, IER_EMPTY);
    assert_eq!(uart.read(2), IIR_NONE, "it was enabled before");
    uart.write(1, IER_RECEIVED);
    assert_eq!(uart.read(2), IIR_NONE);
    uart.write(1, IER_EMPTY | IER_RECEIVED);
    assert_eq!(uart.read(2), IIR_EMPTY);
}

#[test]
fn received_bytes_stay_unless_they_are_cleared() {
    let mut uart = connected(0);
    uart.write(2, FCR_ENABLE);
    assert!(uart.receive(1) && uart.receive(2));
    uart.write(2, FCR_ENABLE | 0x40);
    assert_eq!(uart.read(0), 1, "another trigger level only");
    uart.write(2, FCR_ENABLE | FCR_CLEAR_RECEIVER);
    assert_eq!(uart.read(5) & LSR_DATA, 0);
    assert!(uart.receive(3));
    uart.write(2, 0);
    assert_eq!(uart.read(5) & LSR_DATA, 0, "switching clears, too");
}

#[test]
fn loopback_overruns_beyond_its_depth() {
    for (fifo, depth) in [(0, 1), (FCR_ENABLE, 16)] {
        let mut uart = connected(0);
        uart.write(2, fifo);
        uart.write(4, MCR_LOOP);
        for byte in 0..depth {
            uart.write(0, byte);
            assert_eq!(uart.read(5) & LSR_OVERRUN, 0, "{byte} of {depth}");
        }
        uart.write(0, 0xff);
        assert_eq!(uart.read(5) & LSR_OVERRUN, LSR_OVERRUN);
        assert_eq!(uart.read(5) & LSR_OVERRUN, 0, "told once");
        assert_eq!(uart.read(0), 0, "the oldest is kept");
    }
}

#[test]
fn changes_of_modem_lines_are_told_by_the_line() {
    let mut uart = connected(0);
    uart.write(4, MCR_LOOP | MCR_RTS);
    uart.read(6);
    uart.write(4, MCR_LOOP | MCR_RTS | MCR_DTR);
    assert_eq!(uart.read(6), MSR_CTS | MSR_DSR | MSR_DSR >> 4);
    uart.write(4, MCR_LOOP | MCR_RTS | MCR_DTR | MCR_OUT1);
    assert_eq!(uart.read(6) & 0xf, 0, "a ring counts when it ends");
    uart.write(4, MCR_LOOP | MCR_RTS | MCR_DTR);
    assert_eq!(uart.read(6) & 0xf, MSR_RING >> 4);
}
