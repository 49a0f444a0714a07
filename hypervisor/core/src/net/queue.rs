//! Queues of descriptors in a guest's RAM.
//!
//! Spec: VIRTIO 1.2, "The Virtqueue Descriptor Table", "Available Buffer Notification
//! Suppression", "The Virtqueue Used Ring".

use crate::addr::{Gpa, PAGE_SIZE};
use core::sync::atomic::{Ordering, fence};

/// Whose RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The cell that sends.
    Sender,
    /// The cell that is to have the frame.
    Receiver,
}

/// RAM of the two cells between which a frame goes. What is not their own RAM is not
/// there. Ranges of bytes stay within a page.
pub trait Ram {
    /// The eight bytes at a multiple of eight, read once and together.
    fn word(&mut self, side: Side, at: Gpa) -> Option<u64>;
    /// Stores two or four bytes at a multiple of their number, together.
    fn put(&mut self, side: Side, at: Gpa, value: Value) -> Option<()>;
    /// Reads the sender's bytes.
    fn load(&mut self, at: Gpa, out: &mut [u8]) -> Option<()>;
    /// Writes to the receiver's.
    fn store(&mut self, at: Gpa, bytes: &[u8]) -> Option<()>;
    /// Copies the sender's bytes to the receiver's RAM.
    fn copy(&mut self, from: Gpa, to: Gpa, len: u64) -> Option<()>;
}

/// What [`Ram::put`] stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// Two bytes.
    Short(u16),
    /// Four bytes.
    Long(u32),
}

/// Bits of a descriptor's flags: another follows, the device writes, it leads to a table.
const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

/// Bit of the available ring's flags: no interrupts, without an event index.
const NO_INTERRUPT: u16 = 1;

/// Guest-physical addresses that a queue's parts may have.
const ADDRESSES: u64 = 1 << 52;

/// The guest's queue says what it must not: nothing more is done with it for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// A queue, as its driver has set it up, and how far the device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Descriptors, a power of two.
    pub size: u16,
    /// The driver has said that all of it is there.
    pub enabled: bool,
    /// Descriptor table.
    pub table: u64,
    /// Available ring: what the driver gives.
    pub available: u64,
    /// Used ring: what it gets back.
    pub used: u64,
    /// Vector of its interrupts.
    pub vector: u16,
    /// Chains given back so far. All that were taken are, in their order.
    done: u16,
}

impl Queue {
    /// One that is not there.
    pub const NONE: Self = Self::new(0, 0);

    pub(super) const fn new(size: u16, vector: u16) -> Self {
        Self {
            size,
            enabled: false,
            table: 0,
            available: 0,
            used: 0,
            vector,
            done: 0,
        }
    }

    /// Enables it, from the start; false if its parts cannot be where the driver says.
    pub(super) fn enable(&mut self) -> bool {
        let aligned = self.table.is_multiple_of(16)
            && self.available.is_multiple_of(2)
            && self.used.is_multiple_of(4);
        let low = self.table | self.available | self.used;
        self.done = 0;
        self.enabled = aligned && low < ADDRESSES && self.size.is_power_of_two();
        self.enabled
    }

    /// How many chains the driver has given that were not taken yet.
    pub(super) fn waiting(&self, ram: &mut impl Ram, side: Side) -> Result<u16, Broken> {
        if !self.enabled {
            // Its parts may be anywhere, and not even aligned.
            return Err(Broken);
        }
        let given = short(ram, side, self.available + 2).ok_or(Broken)?;
        // What the driver wrote before is read after.
        fence(Ordering::Acquire);
        let waiting = given.wrapping_sub(self.done);
        (waiting <= self.size).then_some(waiting).ok_or(Broken)
    }

    /// The chain `number` behind the last one given back, which is waiting; it may have
    /// so many descriptors.
    pub(super) fn chain(
        &self,
        ram: &mut impl Ram,
        side: Side,
        number: u16,
        most: u16,
    ) -> Result<Chain, Broken> {
        let slot = self.slot(number);
        let head = short(ram, side, self.available + 4 + 2 * slot).ok_or(Broken)?;
        Ok(Chain {
            side,
            table: self.table,
            size: self.size,
            head,
            next: Some(head),
            left: most,
            at: Gpa(0),
            len: 0,
        })
    }

    /// Place in the rings of the chain `number` behind the last one given back.
    const fn slot(&self, number: u16) -> u64 {
        (self.done.wrapping_add(number) & self.size.wrapping_sub(1)) as u64
    }

    /// Writes that `len` bytes are in the chain `number` behind the last one given back,
    /// which the driver does not see before [`Self::give_back`].
    pub(super) fn note(
        &self,
        ram: &mut impl Ram,
        side: Side,
        number: u16,
        (head, len): (u16, u32),
    ) -> Option<()> {
        let at = Gpa(self.used + 4 + 8 * self.slot(number));
        ram.put(side, at, Value::Long(u32::from(head)))?;
        ram.put(side, at + 4, Value::Long(len))
    }

    /// Gives so many chains back, which are noted; whether the driver wants to be
    /// interrupted for it.
    pub(super) fn give_back(
        &mut self,
        ram: &mut impl Ram,
        side: Side,
        chains: u16,
        event: bool,
    ) -> Option<bool> {
        let before = self.done;
        self.done = before.wrapping_add(chains);
        // All that is in the buffers is there before they are given.
        fence(Ordering::Release);
        ram.put(side, Gpa(self.used + 2), Value::Short(self.done))?;
        // The driver asks for an interrupt and looks once more; here it is the other way.
        fence(Ordering::SeqCst);
        if event {
            let wanted = short(ram, side, self.available + 4 + 2 * u64::from(self.size))?;
            let since = self.done.wrapping_sub(wanted).wrapping_sub(1);
            return Some(since < chains);
        }
        let flags = short(ram, side, self.available)?;
        Some(flags & NO_INTERRUPT == 0)
    }

    /// Asks to be told of the next chain that the driver gives.
    pub(super) fn await_next(&self, ram: &mut impl Ram, side: Side) -> Option<()> {
        let at = Gpa(self.used + 4 + 8 * u64::from(self.size));
        ram.put(side, at, Value::Short(self.done))?;
        fence(Ordering::SeqCst);
        Some(())
    }
}

/// Two bytes at a multiple of two.
fn short(ram: &mut impl Ram, side: Side, at: u64) -> Option<u16> {
    let word = ram.word(side, Gpa(at & !7))?;
    Some((word >> (at % 8 * 8)) as u16)
}

/// A chain of descriptors, as far as it has been walked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chain {
    side: Side,
    table: u64,
    size: u16,
    /// Its first descriptor, by which it is given back.
    pub(super) head: u16,
    next: Option<u16>,
    /// Descriptors that may follow.
    pub(super) left: u16,
    /// What is left of the last one that was read.
    at: Gpa,
    len: u32,
}

impl Chain {
    /// What comes next of it, within a page; `None` at its end.
    pub(super) fn piece(&mut self, ram: &mut impl Ram) -> Result<Option<(Gpa, u64)>, Broken> {
        while self.len == 0 {
            let Some(index) = self.next else {
                return Ok(None);
            };
            self.read(ram, index).ok_or(Broken)?;
        }
        let in_page = PAGE_SIZE - self.at.page_offset();
        Ok(Some((self.at, in_page.min(u64::from(self.len)))))
    }

    /// So many bytes of the last piece are done.
    pub(super) fn advance(&mut self, bytes: u64) {
        self.at = Gpa(self.at.0.wrapping_add(bytes));
        self.len = self.len.saturating_sub(bytes as u32);
    }

    /// Reads a descriptor, once.
    fn read(&mut self, ram: &mut impl Ram, index: u16) -> Option<()> {
        self.left = self.left.checked_sub(1)?;
        let at = Gpa(self.table + 16 * u64::from(index));
        if index >= self.size {
            return None;
        }
        let (start, rest) = (ram.word(self.side, at)?, ram.word(self.side, at + 8)?);
        let flags = (rest >> 32) as u16;
        let is_written = flags & WRITE != 0;
        if flags & INDIRECT != 0 || is_written != (self.side == Side::Receiver) {
            return None;
        }
        (self.at, self.len) = (Gpa(start), rest as u32);
        self.next = (flags & NEXT != 0).then_some((rest >> 48) as u16);
        Some(())
    }
}
