//! Two cells with RAM of their own, and drivers that know the specification.

mod adapter;
mod frames;
mod nonsense;
mod typing;

use super::queue::{Queue, Ram, Side, Value};
use crate::addr::{Gpa, PAGE_SIZE};
use std::vec;
use std::vec::Vec;

/// Bytes of each cell's RAM.
const SIZE: usize = 1 << 20;
/// Where the drivers have their queues, and buffers from there on.
const TABLE: u64 = 0x1000;
const AVAILABLE: u64 = 0x8000;
const USED: u64 = 0xa000;
const BUFFERS: u64 = 0x10000;

const HAS_NEXT: u16 = 1;
const IS_WRITTEN: u16 = 2;

/// RAM of both, and what the device did there.
struct Machine {
    sender: Vec<u8>,
    receiver: Vec<u8>,
    /// Words that were read of each side, in their order.
    read: Vec<(Side, u64)>,
    /// How often anything was touched.
    touched: usize,
}

impl Machine {
    fn new() -> Self {
        Self {
            sender: vec![0; SIZE],
            receiver: vec![0; SIZE],
            read: Vec::new(),
            touched: 0,
        }
    }

    fn ram(&mut self, side: Side) -> &mut Vec<u8> {
        match side {
            Side::Sender => &mut self.sender,
            Side::Receiver => &mut self.receiver,
        }
    }

    /// So many bytes, which lie in one page; `None` beyond the RAM.
    fn bytes(&mut self, side: Side, at: Gpa, len: usize) -> Option<&mut [u8]> {
        self.touched += 1;
        assert!(
            at.page_offset() + len as u64 <= PAGE_SIZE,
            "leaves its page"
        );
        let start = usize::try_from(at.0).ok()?;
        self.ram(side).get_mut(start..start.checked_add(len)?)
    }

    fn short(&mut self, side: Side, at: u64) -> u16 {
        let bytes = self.bytes(side, Gpa(at), 2).expect("RAM");
        u16::from_le_bytes([bytes[0], bytes[1]])
    }

    fn set(&mut self, side: Side, at: u64, bytes: &[u8]) {
        let start = at as usize;
        self.ram(side)[start..start + bytes.len()].copy_from_slice(bytes);
    }

    /// A driver writes a descriptor.
    fn describe(&mut self, side: Side, index: u16, to: (u64, u32), flags: u16, next: u16) {
        let mut bytes = to.0.to_le_bytes().to_vec();
        bytes.extend(to.1.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
        bytes.extend(next.to_le_bytes());
        self.set(side, TABLE + 16 * u64::from(index), &bytes);
    }

    /// A driver gives the chain that begins with this descriptor.
    fn give(&mut self, side: Side, size: u16, head: u16) {
        let index = self.short(side, AVAILABLE + 2);
        let slot = u64::from(index % size);
        self.set(side, AVAILABLE + 4 + 2 * slot, &head.to_le_bytes());
        self.set(side, AVAILABLE + 2, &(index.wrapping_add(1)).to_le_bytes());
    }

    /// A receiver gives `count` buffers of so many bytes, one descriptor each.
    fn give_buffers(&mut self, size: u16, count: u16, len: u32) {
        for index in 0..count {
            let at = BUFFERS + u64::from(index) * u64::from(len);
            self.describe(Side::Receiver, index, (at, len), IS_WRITTEN, 0);
            self.give(Side::Receiver, size, index);
        }
    }

    /// A sender gives a frame in pieces of these lengths, the last of which has the rest.
    fn send(&mut self, size: u16, bytes: &[u8], pieces: &[usize]) {
        self.set(Side::Sender, BUFFERS, bytes);
        let mut start = 0;
        for (index, len) in pieces.iter().enumerate() {
            let end = (start + len).min(bytes.len());
            let to = (BUFFERS + start as u64, (end - start) as u32);
            self.describe(Side::Sender, index as u16, to, HAS_NEXT, index as u16 + 1);
            start = end;
        }
        let to = (BUFFERS + start as u64, (bytes.len() - start) as u32);
        self.describe(Side::Sender, pieces.len() as u16, to, 0, 0);
        self.give(Side::Sender, size, 0);
    }

    /// What the driver finds as given back, by number: a descriptor and a length.
    fn given_back(&mut self, side: Side, size: u16, number: u16) -> (u32, u32) {
        let at = USED + 4 + 8 * u64::from(number % size);
        let word = self.word(side, Gpa(at & !7)).expect("RAM");
        let next = self.word(side, Gpa((at & !7) + 8)).expect("RAM");
        match at % 8 {
            0 => (word as u32, (word >> 32) as u32),
            _ => ((word >> 32) as u32, next as u32),
        }
    }
}

impl Ram for Machine {
    fn word(&mut self, side: Side, at: Gpa) -> Option<u64> {
        assert!(at.is_aligned(8));
        self.read.push((side, at.0));
        let bytes = self.bytes(side, at, 8)?;
        bytes.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
    }

    fn put(&mut self, side: Side, at: Gpa, value: Value) -> Option<()> {
        let bytes = match value {
            Value::Short(value) => value.to_le_bytes().to_vec(),
            Value::Long(value) => value.to_le_bytes().to_vec(),
        };
        assert!(at.is_aligned(bytes.len() as u64));
        self.bytes(side, at, bytes.len())?.copy_from_slice(&bytes);
        Some(())
    }

    fn load(&mut self, at: Gpa, out: &mut [u8]) -> Option<()> {
        let len = out.len();
        out.copy_from_slice(self.bytes(Side::Sender, at, len)?);
        Some(())
    }

    fn store(&mut self, at: Gpa, bytes: &[u8]) -> Option<()> {
        self.bytes(Side::Receiver, at, bytes.len())?
            .copy_from_slice(bytes);
        Some(())
    }

    fn copy(&mut self, from: Gpa, to: Gpa, len: u64) -> Option<()> {
        let bytes = self.bytes(Side::Sender, from, len as usize)?.to_vec();
        self.bytes(Side::Receiver, to, len as usize)?
            .copy_from_slice(&bytes);
        Some(())
    }
}

/// A queue with its parts where the drivers have them.
fn queue(size: u16) -> Queue {
    let mut queue = Queue::new(size, 0);
    queue.table = TABLE;
    queue.available = AVAILABLE;
    queue.used = USED;
    assert!(queue.enable());
    queue
}
