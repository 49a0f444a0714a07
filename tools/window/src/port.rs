//! The root's way into a network that the monitor carries: the driver's side of a virtio
//! network device whose queues lie in the link's memory.
//!
//! The monitor alone writes there besides this one, and what it writes is checked all the
//! same: nothing leads beyond the memory, to a panic or to a wait that does not end.
//!
//! Spec: Virtual I/O Device (VIRTIO) Version 1.2, "Split Virtqueues", "Network Device".

use crate::ring::Garbage;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

/// Bytes of the memory.
pub const BYTES: u64 = 4 << 20;

/// Bytes before each frame, which say what is left to do with it: `struct virtio_net_hdr_v1`,
/// as a TAP device has them too.
pub const HEADER: usize = 12;

/// Most bytes of a frame that is sent, with its header.
pub const MOST: usize = 17 * BUFFER as usize;

/// Buffers of a page for what is received, and room for what is sent: as many frames as
/// the monitor takes at once.
const RECEIVED: u16 = 512;
const SENT: u16 = 16;
const BUFFER: u64 = 4096;

/// Where all is, in bytes from the beginning.
const RECEIVE: Rings = Rings {
    size: RECEIVED,
    table: 0,
    available: 0x2000,
    used: 0x3000,
};
const SEND: Rings = Rings {
    size: SENT,
    table: 0x5000,
    available: 0x5400,
    used: 0x5800,
};
const RECEIVE_BUFFERS: u64 = 0x6000;
const SEND_BUFFERS: u64 = RECEIVE_BUFFERS + RECEIVED as u64 * BUFFER;
const _: () = assert!(SEND_BUFFERS + SENT as u64 * MOST as u64 <= BYTES);

/// Registers, by their offsets and sizes.
const TAKEN_SELECT: (u16, u8) = (0x08, 4);
const TAKEN: (u16, u8) = (0x0c, 4);
const STATUS: (u16, u8) = (0x14, 1);
const QUEUE_SELECT: (u16, u8) = (0x16, 2);
const QUEUE_SIZE: (u16, u8) = (0x18, 2);
const QUEUE_ENABLE: (u16, u8) = (0x1c, 2);
const QUEUE_TABLE: (u16, u8) = (0x20, 8);
const QUEUE_AVAILABLE: (u16, u8) = (0x28, 8);
const QUEUE_USED: (u16, u8) = (0x30, 8);
const BELL: (u16, u8) = (0x300, 2);

/// Bits of the device's status: it is noticed, has a driver, which has said what it takes,
/// and is ready.
const KNOWN: u64 = 1 | 2;
const AGREED: u64 = KNOWN | 8;
const READY: u64 = AGREED | 4;

/// What is taken of the device's features: unfinished checksums and large segments each
/// way, its address, and frames in several buffers; no interrupts by event indexes. The
/// upper half says that this is version 1.
const FEATURES: [u64; 2] = [0xbba3, 1];

/// Flags of an available ring: no interrupts; and of a descriptor: the device writes.
const NO_INTERRUPT: u16 = 1;
const WRITTEN: u64 = 2;

/// Who writes the device's registers.
pub trait Registers {
    /// Why they cannot be written.
    type Error;

    /// Writes `size` bytes at `offset` of the page of registers; false if the device has
    /// not done all that follows, and the same write goes on with it.
    ///
    /// # Errors
    ///
    /// There is no device any more.
    fn write(&mut self, offset: u16, size: u8, value: u64) -> Result<bool, Self::Error>;
}

/// Where the parts of a queue are.
struct Rings {
    size: u16,
    table: u64,
    available: u64,
    used: u64,
}

/// A queue as this side has it.
struct Queue {
    rings: Rings,
    /// Chains given to the device, and got back from it.
    given: u16,
    back: u16,
}

/// The device, set up.
pub struct Port<'a, R> {
    memory: &'a [AtomicU64],
    registers: R,
    receive: Queue,
    send: Queue,
    /// Frames were given that the device may not have looked at.
    is_due: bool,
}

impl<'a, R: Registers> Port<'a, R> {
    /// Sets the device up anew, whatever somebody else has left. `None` if the memory is
    /// too small.
    ///
    /// # Errors
    ///
    /// Of the registers.
    pub fn new(memory: &'a [AtomicU64], registers: R) -> Result<Option<Self>, R::Error> {
        if (size_of_val(memory) as u64) < BYTES {
            return Ok(None);
        }
        let queue = |rings| Queue {
            rings,
            given: 0,
            back: 0,
        };
        let mut port = Self {
            memory,
            registers,
            receive: queue(RECEIVE),
            send: queue(SEND),
            is_due: false,
        };
        // From here on the device touches nothing.
        port.write(STATUS, 0)?;
        port.clear();
        port.write(STATUS, KNOWN)?;
        for (half, features) in (0..).zip(FEATURES) {
            port.write(TAKEN_SELECT, half)?;
            port.write(TAKEN, features)?;
        }
        port.write(STATUS, AGREED)?;
        for (number, rings) in (0..).zip([RECEIVE, SEND]) {
            port.write(QUEUE_SELECT, number)?;
            port.write(QUEUE_SIZE, rings.size.into())?;
            port.write(QUEUE_TABLE, rings.table)?;
            port.write(QUEUE_AVAILABLE, rings.available)?;
            port.write(QUEUE_USED, rings.used)?;
            port.write(QUEUE_ENABLE, 1)?;
        }
        port.write(STATUS, READY)?;
        Ok(Some(port))
    }

    fn write(&mut self, (offset, size): (u16, u8), value: u64) -> Result<bool, R::Error> {
        self.registers.write(offset, size, value)
    }

    /// Empty rings, and all buffers given for what is received.
    fn clear(&mut self) {
        for word in self.memory.iter().take(RECEIVE_BUFFERS as usize / 8) {
            word.store(0, Ordering::Relaxed);
        }
        for rings in [RECEIVE, SEND] {
            self.set_short(rings.available, NO_INTERRUPT, Ordering::Relaxed);
        }
        for number in 0..RECEIVED {
            let at = RECEIVE_BUFFERS + u64::from(number) * BUFFER;
            self.describe(RECEIVE.table, number, at, BUFFER | WRITTEN << 32);
            self.give_buffer(number);
        }
        self.publish_received();
    }

    /// Takes the next frame, with its header, into `out`, whose former content is gone;
    /// false if there is none.
    ///
    /// # Errors
    ///
    /// What stands in the rings makes no sense. The device is to be set up anew.
    pub fn receive(&mut self, out: &mut Vec<u8>) -> Result<bool, Garbage> {
        out.clear();
        let there = self.back(&self.receive)?;
        if there == 0 {
            return Ok(false);
        }
        self.take_buffer(out)?;
        let count = out.get(HEADER - 2..).and_then(<[u8]>::first_chunk);
        let count = count.map_or(0, |bytes| u16::from_le_bytes(*bytes));
        if count == 0 || count > there {
            return Err(Garbage);
        }
        for _ in 1..count {
            self.take_buffer(out)?;
        }
        self.publish_received();
        Ok(true)
    }

    /// How many chains of the queue the device has given back that were not looked at.
    fn back(&self, queue: &Queue) -> Result<u16, Garbage> {
        let done = self.short(queue.rings.used + 2, Ordering::Acquire);
        let there = done.wrapping_sub(queue.back);
        let out = queue.given.wrapping_sub(queue.back);
        (there <= out).then_some(there).ok_or(Garbage)
    }

    /// Appends the next buffer that the device has filled, and gives it again.
    fn take_buffer(&mut self, out: &mut Vec<u8>) -> Result<(), Garbage> {
        let slot = u64::from(self.receive.back % RECEIVED);
        let entry = RECEIVE.used + 4 + 8 * slot;
        let (number, len) = (self.long(entry), u64::from(self.long(entry + 4)));
        if number >= u32::from(RECEIVED) || len > BUFFER {
            return Err(Garbage);
        }
        let start = RECEIVE_BUFFERS + u64::from(number) * BUFFER;
        let end = out.len() + len as usize;
        for word in self.words(start, len) {
            out.extend(word.load(Ordering::Relaxed).to_le_bytes());
        }
        out.truncate(end);
        self.receive.back = self.receive.back.wrapping_add(1);
        self.give_buffer(number as u16);
        Ok(())
    }

    /// Gives a buffer, which the device sees with [`Self::publish_received`].
    fn give_buffer(&mut self, number: u16) {
        let slot = u64::from(self.receive.given % RECEIVED);
        let at = RECEIVE.available + 4 + 2 * slot;
        self.set_short(at, number, Ordering::Relaxed);
        self.receive.given = self.receive.given.wrapping_add(1);
    }

    fn publish_received(&self) {
        let given = self.receive.given;
        self.set_short(RECEIVE.available + 2, given, Ordering::Release);
    }

    /// Whether a frame can be [sent](Self::send) now.
    ///
    /// # Errors
    ///
    /// As [`Self::send`].
    pub fn has_room(&mut self) -> Result<bool, Garbage> {
        let back = self.back(&self.send)?;
        self.send.back = self.send.back.wrapping_add(back);
        Ok(self.send.given.wrapping_sub(self.send.back) < SENT)
    }

    /// Gives a frame, with its header, which the device sends when it is [told](Self::tell);
    /// false if there is no room for it now, or ever (it is longer than [`MOST`]).
    ///
    /// # Errors
    ///
    /// What stands in the rings makes no sense. The device is to be set up anew.
    pub fn send(&mut self, frame: &[u8]) -> Result<bool, Garbage> {
        if !self.has_room()? || frame.len() > MOST {
            return Ok(false);
        }
        let given = self.send.given;
        let slot = given % SENT;
        let start = SEND_BUFFERS + u64::from(slot) * MOST as u64;
        for (word, chunk) in self.words(start, frame.len() as u64).zip(frame.chunks(8)) {
            let mut bytes = [0; 8];
            for (to, from) in bytes.iter_mut().zip(chunk) {
                *to = *from;
            }
            word.store(u64::from_le_bytes(bytes), Ordering::Relaxed);
        }
        self.describe(SEND.table, slot, start, frame.len() as u64);
        let at = SEND.available + 4 + 2 * u64::from(slot);
        self.set_short(at, slot, Ordering::Relaxed);
        self.send.given = given.wrapping_add(1);
        self.set_short(SEND.available + 2, self.send.given, Ordering::Release);
        self.is_due = true;
        Ok(true)
    }

    /// Tells the device of frames that were given, if there are any; false if it has not
    /// sent them all yet.
    ///
    /// # Errors
    ///
    /// Of the registers.
    pub fn tell(&mut self) -> Result<bool, R::Error> {
        if self.is_due {
            self.is_due = !self.write(BELL, 1)?;
        }
        Ok(!self.is_due)
    }

    /// Writes a descriptor: an address, and what follows it.
    fn describe(&self, table: u64, number: u16, at: u64, rest: u64) {
        let entry = table + 16 * u64::from(number);
        for (word, value) in self.words(entry, 16).zip([at, rest]) {
            word.store(value, Ordering::Relaxed);
        }
    }

    /// The words of so many bytes from a multiple of eight on.
    fn words(&self, at: u64, len: u64) -> impl Iterator<Item = &'a AtomicU64> + use<'a, R> {
        let (first, count) = ((at / 8) as usize, len.div_ceil(8) as usize);
        self.memory.iter().skip(first).take(count)
    }

    /// Two bytes at a multiple of two.
    fn short(&self, at: u64, order: Ordering) -> u16 {
        let word = self.memory.get((at / 8) as usize);
        word.map_or(0, |word| (word.load(order) >> (at % 8 * 8)) as u16)
    }

    /// Four bytes at a multiple of four.
    fn long(&self, at: u64) -> u32 {
        let word = self.memory.get((at / 8) as usize);
        word.map_or(0, |word| {
            (word.load(Ordering::Relaxed) >> (at % 8 * 8)) as u32
        })
    }

    /// Stores two bytes at a multiple of two, in a word that nobody else writes.
    fn set_short(&self, at: u64, value: u16, order: Ordering) {
        if let Some(word) = self.memory.get((at / 8) as usize) {
            let shift = at % 8 * 8;
            let others = word.load(Ordering::Relaxed) & !(0xffff << shift);
            word.store(others | u64::from(value) << shift, order);
        }
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests;
