//! Byte rings: output that is kept for later readers, input that waits.
//!
//! A [`Ring`] never refuses a byte and forgets the oldest; readers name bytes by
//! their number since the first, so that any number of them can follow without a
//! place of their own in the ring. A [`Fifo`] refuses what does not fit.

use heapless::Deque;

/// The last bytes of a stream, over any memory that is a byte slice: an array,
/// or `&mut [u8]`.
#[derive(Debug)]
pub struct Ring<B> {
    store: B,
    written: u64,
}

impl<B> Ring<B> {
    /// An empty ring that keeps as many bytes as `store` has.
    pub const fn new(store: B) -> Self {
        Self { store, written: 0 }
    }

    /// Bytes pushed since the beginning.
    pub const fn written(&self) -> u64 {
        self.written
    }
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> Ring<B> {
    /// Adds a byte.
    pub fn push(&mut self, byte: u8) {
        let index = slot(self.written, self.store.as_ref().len());
        if let Some(place) = self.store.as_mut().get_mut(index) {
            *place = byte;
        }
        self.written += 1;
    }

    /// Adds bytes.
    pub fn extend(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.push(*byte);
        }
    }

    /// Number of the oldest byte that is still there.
    pub fn oldest(&self) -> u64 {
        self.written
            .saturating_sub(self.store.as_ref().len() as u64)
    }

    /// Copies bytes from number `from` on to `out`: as many as there are and fit.
    ///
    /// Returns the number of the first byte copied, which is above `from` if
    /// that one is forgotten and below it if it was never written, and how many
    /// were copied.
    pub fn read(&self, from: u64, out: &mut [u8]) -> (u64, usize) {
        let store = self.store.as_ref();
        let start = from.max(self.oldest()).min(self.written);
        let mut copied = 0;
        for (number, place) in (start..self.written).zip(out) {
            if let Some(byte) = store.get(slot(number, store.len())) {
                *place = *byte;
                copied += 1;
            }
        }
        (start, copied)
    }
}

/// Where byte `number` lies in a store of `len` bytes; 0 in an empty one.
fn slot(number: u64, len: usize) -> usize {
    number
        .checked_rem(len as u64)
        .map_or(0, |slot| slot as usize)
}

/// A queue of at most `N` bytes.
#[derive(Clone, Debug, Default)]
pub struct Fifo<const N: usize> {
    queue: Deque<u8, N>,
}

impl<const N: usize> Fifo<N> {
    /// An empty queue.
    pub const fn new() -> Self {
        Self {
            queue: Deque::new(),
        }
    }

    /// Adds a byte; false if there is no room for it.
    pub fn push(&mut self, byte: u8) -> bool {
        self.queue.push_back(byte).is_ok()
    }

    /// Takes the oldest byte.
    pub fn pop(&mut self) -> Option<u8> {
        self.queue.pop_front()
    }

    /// Bytes in it.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// True without bytes.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Bytes that still fit.
    pub fn room(&self) -> usize {
        N - self.queue.len()
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.queue.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    #[test]
    fn forgets_the_oldest_and_says_where_it_starts() {
        let mut ring = Ring::new([0; 4]);
        ring.extend(b"abcdef");
        let mut out = [0; 8];
        assert_eq!(ring.read(0, &mut out), (2, 4), "a and b are gone");
        assert_eq!(&out[..4], b"cdef");
        assert_eq!(ring.read(4, &mut out[..1]), (4, 1), "only one fits");
        assert_eq!(out[0], b'e');
        assert_eq!(ring.read(6, &mut out), (6, 0), "nothing new");
        assert_eq!(ring.read(99, &mut out), (6, 0), "never written");
    }

    #[test]
    fn works_over_borrowed_memory_and_over_none() {
        let mut memory = [0; 3];
        let mut ring = Ring::new(&mut memory[..]);
        ring.extend(b"xyz!");
        let mut out = [0; 3];
        assert_eq!(ring.read(0, &mut out), (1, 3));
        assert_eq!(&out, b"yz!");

        assert_eq!(ring.written(), 4);
        let mut none = Ring::new([0; 0]);
        none.push(b'a');
        assert_eq!((none.written(), none.read(0, &mut out)), (1, (1, 0)));
    }

    #[test]
    fn fifo_refuses_what_does_not_fit() {
        let mut fifo = Fifo::<2>::new();
        assert!(fifo.push(1) && fifo.push(2));
        assert!(!fifo.push(3));
        assert_eq!((fifo.room(), fifo.pop(), fifo.room()), (0, Some(1), 1));
        fifo.clear();
        assert_eq!(fifo.pop(), None);
    }

    proptest! {
        /// Whatever is pushed and read, a reader sees the bytes of the stream at
        /// the numbers that it is told, and all that the ring can still have.
        #[test]
        fn reads_are_what_an_endless_buffer_would_give(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..10),
            from in 0u64..300,
            room in 0usize..70,
        ) {
            let mut ring = Ring::new([0; 32]);
            let mut all = Vec::new();
            for chunk in chunks {
                ring.extend(&chunk);
                all.extend(chunk);
                let mut out = std::vec![0; room];
                let (start, n) = ring.read(from, &mut out);
                let first = start as usize;
                prop_assert_eq!(&out[..n], &all[first..first + n]);
                let kept = all.len().saturating_sub(32);
                prop_assert_eq!(first, (from as usize).clamp(kept, all.len()));
                prop_assert_eq!(n, room.min(all.len() - first));
            }
        }
    }
}
