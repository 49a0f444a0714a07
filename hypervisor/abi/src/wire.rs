//! Frames and lists: how plans travel.
//!
//! A frame is magic, ABI version, length and CRC-32 before a payload, whose bytes
//! `form` describes. Lists inside are decoded one item at a time, so that the monitor
//! needs no heap and no room for the longest list.

#[cfg(test)]
pub(crate) mod any;
mod derive;
mod form;
#[cfg(test)]
mod tests;

use core::marker::PhantomData;
pub(crate) use derive::wire;
pub(crate) use form::count;
pub use form::{Put, Reader, Take, Writer};

/// First four bytes of a frame.
pub const FRAME_MAGIC: [u8; 4] = *b"CVPL";

/// Bytes before the payload.
pub const FRAME_HEADER: usize = 16;

/// Why a frame or its payload is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Shorter than its header, or than the length that its header says.
    Short,
    /// The magic is not [`FRAME_MAGIC`].
    Magic,
    /// Made for this other ABI version.
    Version(u32),
    /// The checksum does not match.
    Checksum,
    /// The payload is not what the type asks for.
    Payload,
    /// Bytes are left over.
    Trailing,
}

/// CRC-32 (IEEE 802.3, reflected) of `bytes`.
#[must_use]
pub fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

/// Checks a frame and returns its payload.
///
/// # Errors
///
/// See [`Malformed`]; the first that applies, in the order of the header.
pub fn open(frame: &[u8]) -> Result<&[u8], Malformed> {
    let (header, rest) = frame
        .split_first_chunk::<FRAME_HEADER>()
        .ok_or(Malformed::Short)?;
    let word =
        |i: usize| u32::from_le_bytes([header[i], header[i + 1], header[i + 2], header[i + 3]]);
    if header[..4] != FRAME_MAGIC {
        return Err(Malformed::Magic);
    }
    if word(4) != crate::ABI_VERSION {
        return Err(Malformed::Version(word(4)));
    }
    let payload = rest.get(..word(8) as usize).ok_or(Malformed::Short)?;
    if crc32(payload) != word(12) {
        return Err(Malformed::Checksum);
    }
    Ok(payload)
}

/// Decodes a whole payload.
///
/// # Errors
///
/// [`Malformed::Payload`] and [`Malformed::Trailing`].
pub fn decode<'a, T: Take<'a>>(payload: &'a [u8]) -> Result<T, Malformed> {
    let mut from = Reader::new(payload);
    let value = T::take(&mut from);
    match from.end() {
        Some([]) => Ok(value),
        Some(_) => Err(Malformed::Trailing),
        None => Err(Malformed::Payload),
    }
}

/// Encodes `value` into `out` and returns the bytes used; `None` if they do
/// not fit.
pub fn encode<'a, T: Put + ?Sized>(value: &T, out: &'a mut [u8]) -> Option<&'a mut [u8]> {
    let mut to = Writer::new(out);
    value.put(&mut to);
    to.end()
}

/// A list: how many items it has, then one after the other.
///
/// It is looked through when what holds it is decoded, and each item is decoded again
/// where it is asked for: so there need be no room for them all.
#[derive(Clone, Copy, Debug)]
pub struct List<'a, T> {
    count: u32,
    /// Begins with the items.
    bytes: &'a [u8],
    items: PhantomData<fn() -> T>,
}

impl<'a, T: Take<'a>> Take<'a> for List<'a, T> {
    fn take(from: &mut Reader<'a>) -> Self {
        const { assert!(size_of::<T>() > 0, "an item takes a byte, so lists end") }
        let count = Take::take(from);
        let bytes = from.rest();
        let mut left: u32 = count;
        while left > 0 && !from.refused() {
            T::take(from);
            left -= 1;
        }
        Self {
            count,
            bytes,
            items: PhantomData,
        }
    }
}

impl<'a, T: Take<'a> + Put> Put for List<'a, T> {
    fn put(&self, to: &mut Writer<'_>) {
        self.count.put(to);
        for item in self.iter() {
            item.put(to);
        }
    }
}

impl<'a, T: Take<'a>> List<'a, T> {
    /// How many items there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count as usize
    }

    /// True for a list without items.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Walks the items.
    pub fn iter(&self) -> Items<'a, T> {
        Items {
            left: self.count,
            from: Reader::new(self.bytes),
            items: PhantomData,
        }
    }
}

/// Iterator over a [`List`].
#[derive(Debug)]
pub struct Items<'a, T> {
    left: u32,
    from: Reader<'a>,
    items: PhantomData<fn() -> T>,
}

impl<'a, T: Take<'a>> Iterator for Items<'a, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.left = self.left.checked_sub(1)?;
        Some(T::take(&mut self.from))
    }
}

#[cfg(any(feature = "alloc", test))]
mod build {
    use super::{FRAME_MAGIC, List, PhantomData, Put, Writer, crc32};
    use alloc::vec::Vec;

    /// Owns the bytes behind a [`List`].
    #[derive(Clone, Debug, Default)]
    pub struct ListBuf {
        count: u32,
        bytes: Vec<u8>,
    }

    impl ListBuf {
        /// Encodes `items` one after the other. Whoever reads a list of more than 2³²
        /// refuses it.
        #[must_use]
        pub fn new<T: Put>(items: &[T]) -> Self {
            let bytes = items.iter().flat_map(to_vec).collect();
            let count = u32::try_from(items.len()).unwrap_or(u32::MAX);
            Self { count, bytes }
        }

        /// The list, for a plan that borrows it.
        #[must_use]
        pub fn list<T>(&self) -> List<'_, T> {
            List {
                count: self.count,
                bytes: &self.bytes,
                items: PhantomData,
            }
        }
    }

    /// Encodes `value`.
    #[must_use]
    pub fn to_vec<T: Put>(value: &T) -> Vec<u8> {
        let mut measured = Writer::new(&mut []);
        value.put(&mut measured);
        let mut bytes = alloc::vec![0; measured.len()];
        value.put(&mut Writer::new(&mut bytes));
        bytes
    }

    /// Encodes `value` in a frame. Whoever opens one of more than 4 GiB refuses it.
    #[must_use]
    pub fn seal<T: Put>(value: &T) -> Vec<u8> {
        let payload = to_vec(value);
        let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let mut frame = FRAME_MAGIC.to_vec();
        frame.extend(crate::ABI_VERSION.to_le_bytes());
        frame.extend(len.to_le_bytes());
        frame.extend(crc32(&payload).to_le_bytes());
        frame.extend(payload);
        frame
    }
}
#[cfg(any(feature = "alloc", test))]
pub use build::{ListBuf, seal, to_vec};
