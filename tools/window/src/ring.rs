//! Rings of frames between two members of a link: one writes, the other reads.
//!
//! ```text
//! word 0   how many words were ever written; the writer's
//! word 8   how many words were ever read; the reader's
//! word 9   not 0 while the reader sleeps and wants to be rung; the reader's
//! word 16  the frames: a word with the length in bytes, then the bytes, to a whole word
//! ```
//!
//! Each side trusts its own position alone, which it keeps, and checks what it reads of
//! the other's. A peer that writes nonsense costs frames, which are counted, no more.

use crate::wait;
use alloc::vec::Vec;
#[cfg(not(feature = "loom"))]
use core::sync::atomic::{AtomicU64, Ordering, fence};
#[cfg(feature = "loom")]
use loom::sync::atomic::{AtomicU64, Ordering, fence};

/// Words before the frames: each position has a cache line of its own.
const HEAD: usize = 0;
const TAIL: usize = 8;
const ASLEEP: usize = 9;
const FRAMES: usize = 16;

/// Bytes of a word.
const WORD: usize = 8;

/// Longest frame in bytes.
pub const MOST: usize = 65_536;

/// Least words of a ring: two of the longest frames fit.
pub const LEAST_WORDS: usize = FRAMES + 2 * (1 + MOST / WORD);

/// What a peer wrote makes no sense; what was in the ring is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Garbage;

/// Words that a frame of `len` bytes takes.
const fn words(len: usize) -> usize {
    1 + len.div_ceil(WORD)
}

fn word(memory: &[AtomicU64], at: usize) -> Option<&AtomicU64> {
    memory.get(at)
}

/// The words from the `n`-th ever written on, once around the ring.
fn slots(memory: &[AtomicU64], n: u64) -> impl Iterator<Item = &AtomicU64> {
    let frames = memory.get(FRAMES..).unwrap_or_default();
    let at = n.checked_rem(frames.len() as u64);
    let at = at.and_then(|at| usize::try_from(at).ok()).unwrap_or(0);
    let (first, later) = frames.split_at_checked(at).unwrap_or_default();
    later.iter().chain(first)
}

fn capacity(memory: &[AtomicU64]) -> u64 {
    memory.len().saturating_sub(FRAMES) as u64
}

/// The writing end.
#[derive(Debug)]
pub struct Writer<'a> {
    memory: &'a [AtomicU64],
    head: u64,
    /// The reader's position when it was last looked at.
    read: u64,
}

impl<'a> Writer<'a> {
    /// Goes on where the last writer of the ring has stopped.
    #[must_use]
    pub fn new(memory: &'a [AtomicU64]) -> Self {
        let read = |at| word(memory, at).map_or(0, |w| w.load(Ordering::Acquire));
        let (head, tail) = (read(HEAD), read(TAIL));
        // Before the first reader, or after nonsense: an empty ring.
        let head = if head.wrapping_sub(tail) > capacity(memory) {
            tail
        } else {
            head
        };
        Self {
            memory,
            head,
            read: tail,
        }
    }

    /// Writes a frame; false if there is no room for it now, or ever (it is empty or
    /// longer than [`MOST`]).
    ///
    /// # Errors
    ///
    /// The reader's position makes no sense. The ring goes on from where the reader
    /// says that it is.
    pub fn push(&mut self, frame: &[u8]) -> Result<bool, Garbage> {
        let (Some(head), Some(tail)) = (word(self.memory, HEAD), word(self.memory, TAIL)) else {
            return Ok(false);
        };
        let read = tail.load(Ordering::Acquire);
        self.read = read;
        let Some(room) = capacity(self.memory).checked_sub(self.head.wrapping_sub(read)) else {
            self.head = read;
            head.store(read, Ordering::Release);
            return Err(Garbage);
        };
        if frame.is_empty() || frame.len() > MOST || words(frame.len()) as u64 > room {
            return Ok(false);
        }
        let chunks = frame.chunks(WORD).map(|chunk| {
            let mut bytes = [0; WORD];
            for (to, from) in bytes.iter_mut().zip(chunk) {
                *to = *from;
            }
            u64::from_le_bytes(bytes)
        });
        let values = core::iter::once(frame.len() as u64).chain(chunks);
        for (slot, value) in slots(self.memory, self.head).zip(values) {
            slot.store(value, Ordering::Relaxed);
        }
        self.head = self.head.wrapping_add(words(frame.len()) as u64);
        head.store(self.head, Ordering::Release);
        Ok(true)
    }

    /// True if the reader sleeps: who has written a frame rings it then.
    #[must_use]
    pub fn is_to_ring(&self) -> bool {
        // After the frame: either this sees that the reader sleeps, or that has seen the
        // frame before it went to sleep.
        fence(Ordering::SeqCst);
        word(self.memory, ASLEEP).is_some_and(|w| w.load(Ordering::Relaxed) != 0)
    }

    /// Waits a moment for the reader, after a frame had no room.
    pub fn wait(&self) {
        if let Some(tail) = word(self.memory, TAIL) {
            wait::for_change(tail, self.read);
        }
    }
}

/// The reading end.
#[derive(Debug)]
pub struct Reader<'a> {
    memory: &'a [AtomicU64],
    tail: u64,
}

impl<'a> Reader<'a> {
    /// Begins with what is written from now on.
    #[must_use]
    pub fn new(memory: &'a [AtomicU64]) -> Self {
        let mut reader = Self { memory, tail: 0 };
        let head = word(memory, HEAD).map_or(0, |w| w.load(Ordering::Acquire));
        reader.move_to(head);
        reader.wake_up();
        reader
    }

    /// Says that it is about to sleep until it is rung; false if there is something to read
    /// instead, and nothing was said.
    #[must_use]
    pub fn fall_asleep(&self) -> bool {
        let (Some(head), Some(asleep)) = (word(self.memory, HEAD), word(self.memory, ASLEEP))
        else {
            return false;
        };
        asleep.store(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let is_empty = head.load(Ordering::Relaxed) == self.tail;
        if !is_empty {
            self.wake_up();
        }
        is_empty
    }

    /// Says that it sleeps no more.
    pub fn wake_up(&self) {
        if let Some(asleep) = word(self.memory, ASLEEP) {
            asleep.store(0, Ordering::Relaxed);
        }
    }

    fn move_to(&mut self, tail: u64) {
        self.tail = tail;
        if let Some(word) = word(self.memory, TAIL) {
            word.store(tail, Ordering::Release);
        }
    }

    /// Reads a frame into `out`, whose former content is gone; false if there is none.
    ///
    /// # Errors
    ///
    /// The writer's position or a length makes no sense. What was in the ring is
    /// skipped.
    pub fn pop(&mut self, out: &mut Vec<u8>) -> Result<bool, Garbage> {
        out.clear();
        let Some(head) = word(self.memory, HEAD) else {
            return Ok(false);
        };
        let head = head.load(Ordering::Acquire);
        let there = head.wrapping_sub(self.tail);
        if there == 0 {
            return Ok(false);
        }
        let mut slots = slots(self.memory, self.tail);
        let length = slots.next().map_or(0, |w| w.load(Ordering::Relaxed));
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let fits = (1..=MOST).contains(&length) && words(length) as u64 <= there;
        if there > capacity(self.memory) || !fits {
            self.move_to(head);
            return Err(Garbage);
        }
        for slot in slots.take(length.div_ceil(WORD)) {
            out.extend(slot.load(Ordering::Relaxed).to_le_bytes());
        }
        out.truncate(length);
        self.move_to(self.tail.wrapping_add(words(length) as u64));
        Ok(true)
    }

    /// Waits a moment for the writer, after there was no frame.
    pub fn wait(&self) {
        if let Some(head) = word(self.memory, HEAD) {
            wait::for_change(head, self.tail);
        }
    }
}

/// Least bytes of a link whose members have rings to each other.
#[must_use]
pub const fn least_bytes(members: usize) -> u64 {
    const PAGE: u64 = 2 << 20;
    let rings = members as u64 * members as u64;
    rings
        .saturating_mul((LEAST_WORDS.next_multiple_of(WORD) * WORD) as u64)
        .next_multiple_of(PAGE)
}

/// The ring from member `from` to member `to` of `members`: each pair has two, all of
/// one size. `None` if there is no such pair, or its ring would be too small.
#[must_use]
pub fn between(
    memory: &[AtomicU64],
    members: usize,
    from: usize,
    to: usize,
) -> Option<&[AtomicU64]> {
    if from >= members || to >= members || from == to {
        return None;
    }
    // Whole cache lines, so that no two rings share one.
    let size = memory.len() / (members * members) / WORD * WORD;
    let start = (from * members + to) * size;
    let ring = memory.get(start..start + size)?;
    (size >= LEAST_WORDS).then_some(ring)
}

#[cfg(all(test, feature = "loom"))]
mod model;
#[cfg(all(test, not(feature = "loom")))]
mod tests;
