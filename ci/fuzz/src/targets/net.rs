//! Two cells with network adapters, whose drivers write anything to registers and rings.

use crate::input::Numbers;
use cellvisor_core::addr::{Gpa, PAGE_SIZE};
use cellvisor_core::net::{Adapter, Effect, Line, Queue, Queues, Ram, Side, Value, frame, typing};
use cellvisor_core::pci::Access;

/// Bytes of each cell's RAM.
const SIZE: usize = 1 << 16;

/// Where the drivers have their queues at first: tables, available and used rings of what
/// is received, and of what is sent as much higher.
const PARTS: [u64; 3] = [0x1000, 0x2000, 0x3000];
const SENT: u64 = 0x4000;

/// Most accesses to RAM for a frame, and most bytes that arrive with it: itself, and twice
/// the header.
const MOST_ACCESSES: usize = 2000;
const MOST_BYTES: u64 = 65_536 + 14 + 4 + 14 + 2 * 12;

/// Frames that are sent while a guest waits.
const AT_ONCE: usize = 16;

/// Whatever the drivers do, nothing is touched but RAM, piece by piece within a page; of
/// the sender's nothing is written but its used ring; and each frame ends.
pub(crate) fn frames(bytes: &[u8]) {
    let mut numbers = Numbers::new(bytes);
    let mut devices = [Device::new(), Device::new()];
    for device in &mut devices {
        device.set_up(&mut numbers);
    }
    while !numbers.is_over() {
        let choice = numbers.byte();
        let [first, second] = &mut devices;
        let (this, other) = match choice & 0x80 {
            0 => (first, second),
            _ => (second, first),
        };
        match choice % 8 {
            0 => this.set_up(&mut numbers),
            1 => this.write_register(&mut numbers),
            2 => this.write_config(&mut numbers),
            3 => this.write_ram(&mut numbers),
            4 => this.describe(&mut numbers),
            5 | 6 => this.give(&mut numbers),
            _ => send(this, other),
        }
    }
    let [first, second] = &mut devices;
    send(first, second);
    send(second, first);
}

struct Device {
    adapter: Adapter,
    queues: [Queue; 2],
    lines: [Line; 2],
    ram: Vec<u8>,
}

impl Device {
    fn new() -> Self {
        let mut device = Self {
            adapter: Adapter::NONE,
            queues: [Queue::NONE; 2],
            lines: [Line::NONE; 2],
            ram: vec![0; SIZE],
        };
        device.with(|adapter, queues| adapter.reset(0, Some([2, 0, 0, 0, 0, 1]), queues));
        device
    }

    fn with<T>(&mut self, f: impl FnOnce(&mut Adapter, &mut Queues<'_>) -> T) -> T {
        let [receive, send] = &mut self.queues;
        let [received, sent] = &mut self.lines;
        f(
            &mut self.adapter,
            &mut Queues {
                receive,
                received,
                send,
                sent,
            },
        )
    }

    fn write(&mut self, at: u64, size: u8, value: u64) -> Effect {
        self.with(|adapter, queues| adapter.write(at, size, value, queues))
    }

    /// As a driver does that has some sense.
    fn set_up(&mut self, numbers: &mut Numbers<'_>) {
        self.write(0x14, 1, 0);
        self.write(0x14, 1, 3);
        self.write(0x0c, 4, u64::from(numbers.word() & 0x2001_bba3));
        self.write(0x08, 4, 1);
        self.write(0x0c, 4, 1);
        self.write(0x14, 1, 11);
        for (queue, higher) in [(0, 0), (1, SENT)] {
            let choice = numbers.byte();
            self.write(0x16, 2, queue);
            self.write(0x18, 2, 1 << (choice % 11));
            for (part, place) in (0..).zip(PARTS) {
                // Now and then anywhere, over others or at the end of the RAM.
                let place = match choice >> 4 {
                    0 => numbers.long(),
                    1 => (u64::from(numbers.word()) % (SIZE as u64 + 64)) & !15,
                    _ => place + higher,
                };
                self.write(0x20 + 8 * part, 8, place);
            }
            self.write(0x1c, 2, 1);
        }
        self.write(0x14, 1, 15);
    }

    fn write_register(&mut self, numbers: &mut Numbers<'_>) {
        let at = u64::from(numbers.word()) % PAGE_SIZE;
        let (size, value) = (numbers.byte() % 9, numbers.long());
        self.write(at, size, value);
        self.with(|adapter, queues| adapter.read(at, size, queues));
    }

    fn write_config(&mut self, numbers: &mut Numbers<'_>) {
        let at = numbers.word() as u16 % 0x200;
        let Some(access) = Access::new(at, numbers.byte() % 9) else {
            return;
        };
        let value = numbers.word();
        self.with(|adapter, queues| adapter.write_config(access, value, queues));
        std::hint::black_box(self.adapter.read_config(access));
    }

    fn write_ram(&mut self, numbers: &mut Numbers<'_>) {
        let at = numbers.word() as usize % (SIZE - 8);
        self.put(at as u64, &numbers.long().to_le_bytes());
    }

    /// Writes what fits.
    fn put(&mut self, at: u64, bytes: &[u8]) {
        let at = usize::try_from(at).unwrap_or(SIZE);
        let place = self
            .ram
            .get_mut(at..)
            .and_then(|ram| ram.get_mut(..bytes.len()));
        if let Some(place) = place {
            place.copy_from_slice(bytes);
        }
    }

    fn queue(&self, numbers: &mut Numbers<'_>) -> (Queue, bool) {
        let sends = numbers.byte() & 1 != 0;
        (self.queues[usize::from(sends)], sends)
    }

    /// Writes a descriptor that could be one.
    fn describe(&mut self, numbers: &mut Numbers<'_>) {
        let (queue, sends) = self.queue(numbers);
        let choice = numbers.byte();
        let index = u64::from(numbers.byte() % 8);
        let mut flags = u16::from(choice & 1) | if sends { 0 } else { 2 };
        if choice & 0xf0 == 0 {
            flags ^= 1 << (choice & 0xf);
        }
        let at = u64::from(numbers.word()) % (SIZE as u64 + 64);
        let len = match choice & 6 {
            0 => numbers.word(),
            _ => u32::from(numbers.byte()) * 16,
        };
        let entry = queue.table.wrapping_add(16 * index);
        self.put(entry, &at.to_le_bytes());
        self.put(entry.wrapping_add(8), &len.to_le_bytes());
        self.put(entry.wrapping_add(12), &flags.to_le_bytes());
        self.put(entry.wrapping_add(14), &[numbers.byte() % 9, 0]);
    }

    /// Gives a chain, and says so.
    fn give(&mut self, numbers: &mut Numbers<'_>) {
        let (queue, _) = self.queue(numbers);
        let head = u16::from(numbers.byte() % 9);
        let index = usize::try_from(queue.available.wrapping_add(2)).unwrap_or(SIZE);
        let given = self.ram.get(index..).and_then(|ram| ram.first_chunk());
        let given = given.map_or(0, |bytes| u16::from_le_bytes(*bytes));
        let slot = u64::from(given.checked_rem(queue.size).unwrap_or(0));
        let entry = queue.available.wrapping_add(4 + 2 * slot);
        self.put(entry, &head.to_le_bytes());
        self.put(index as u64, &given.wrapping_add(1).to_le_bytes());
    }
}

/// Sends what is there, as the monitor does.
fn send(sender: &mut Device, receiver: &mut Device) {
    let Some(features) = sender.adapter.features() else {
        return;
    };
    let (sent, received) = (sender.queues[1], receiver.queues[0]);
    let mut both = Both {
        rams: [&mut sender.ram, &mut receiver.ram],
        rings: [ring(&sent), ring(&received)],
        accesses: 0,
        bytes: 0,
    };
    // The same rings as those of a console.
    let mut text = 0;
    let _written = typing::next(&sent, &mut both, |part| text += part.len());
    assert!(text <= 3 * PAGE_SIZE as usize, "a line has no end");
    let _typed = typing::deliver(&[b'x'; 40], &mut both, &mut receiver.queues[0]);
    for _ in 0..AT_ONCE {
        (both.accesses, both.bytes) = (0, 0);
        let number = match frame::next(&sender.queues[1], &mut both) {
            Ok(Some((number, frame))) => {
                if let (Some(frame), Some(features)) = (frame, receiver.adapter.features()) {
                    let _lost = frame.deliver(&mut both, &mut receiver.queues[0], features);
                }
                number
            }
            Ok(None) if !frame::rest(&sender.queues[1], &mut both, features) => continue,
            _ => return,
        };
        if frame::done(&mut sender.queues[1], &mut both, number, features).is_none() {
            return;
        }
    }
}

/// Where the used ring of a queue is, with what the device writes behind it.
const fn ring(queue: &Queue) -> (u64, u64) {
    (queue.used, 6 + 8 * queue.size as u64)
}

/// RAM of both, and what may happen there.
struct Both<'a> {
    rams: [&'a mut Vec<u8>; 2],
    rings: [(u64, u64); 2],
    accesses: usize,
    bytes: u64,
}

impl Both<'_> {
    fn piece(&mut self, side: Side, at: Gpa, len: u64) -> Option<&mut [u8]> {
        self.accesses += 1;
        assert!(self.accesses < MOST_ACCESSES, "a frame has no end");
        assert!(at.page_offset() + len <= PAGE_SIZE, "it leaves its page");
        let start = usize::try_from(at.0).ok()?;
        self.rams[side as usize].get_mut(start..start.checked_add(len as usize)?)
    }

    fn arrives(&mut self, len: u64) {
        self.bytes += len;
        assert!(self.bytes <= MOST_BYTES, "a frame is too long");
    }
}

impl Ram for Both<'_> {
    fn word(&mut self, side: Side, at: Gpa) -> Option<u64> {
        assert!(at.is_aligned(8));
        let bytes = self.piece(side, at, 8)?;
        bytes.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
    }

    fn put(&mut self, side: Side, at: Gpa, value: Value) -> Option<()> {
        let (value, len) = match value {
            Value::Short(value) => (u32::from(value), 2),
            Value::Long(value) => (value, 4),
        };
        assert!(at.is_aligned(len));
        let (start, size) = self.rings[side as usize];
        let inside =
            at.0.checked_sub(start)
                .is_some_and(|from| from + len <= size);
        assert!(inside, "{side:?} {:x}: no used ring", at.0);
        let bytes = self.piece(side, at, len)?;
        bytes.copy_from_slice(&value.to_le_bytes()[..len as usize]);
        Some(())
    }

    fn load(&mut self, at: Gpa, out: &mut [u8]) -> Option<()> {
        out.copy_from_slice(self.piece(Side::Sender, at, out.len() as u64)?);
        Some(())
    }

    fn store(&mut self, at: Gpa, bytes: &[u8]) -> Option<()> {
        self.arrives(bytes.len() as u64);
        self.piece(Side::Receiver, at, bytes.len() as u64)?
            .copy_from_slice(bytes);
        Some(())
    }

    fn copy(&mut self, from: Gpa, to: Gpa, len: u64) -> Option<()> {
        self.arrives(len);
        let bytes = self.piece(Side::Sender, from, len)?.to_vec();
        self.piece(Side::Receiver, to, len)?.copy_from_slice(&bytes);
        Some(())
    }
}
