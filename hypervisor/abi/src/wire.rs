//! Frames and lists: how plans travel.
//!
//! A frame is magic, ABI version, length and CRC-32 before a postcard payload.
//! Lists inside are decoded one item at a time, so that the monitor needs no
//! heap and no room for the longest list.

use core::marker::PhantomData;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// First four bytes of a frame.
pub const FRAME_MAGIC: [u8; 4] = *b"CVPL";

/// Bytes before the payload.
pub const FRAME_HEADER: usize = 16;

/// Why a frame or an item in it is refused.
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
pub fn decode<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Result<T, Malformed> {
    match postcard::take_from_bytes(payload) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err(Malformed::Trailing),
        Err(_) => Err(Malformed::Payload),
    }
}

/// Encodes `value` into `out` and returns the bytes used; `None` if they do
/// not fit.
pub fn encode<'a, T: Serialize>(value: &T, out: &'a mut [u8]) -> Option<&'a mut [u8]> {
    postcard::to_slice(value, out).ok()
}

/// A list that is decoded while it is walked.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct List<'a, T> {
    count: u32,
    #[serde(borrow)]
    bytes: &'a [u8],
    #[serde(skip)]
    items: PhantomData<fn() -> T>,
}

impl<'a, T: DeserializeOwned> List<'a, T> {
    /// The empty list.
    #[must_use]
    pub const fn empty() -> Self {
        Self {
            count: 0,
            bytes: &[],
            items: PhantomData,
        }
    }

    /// How many items the list claims to have.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count as usize
    }

    /// True for a list without items.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Walks the items. A malformed one ends the walk with an error.
    pub fn iter(&self) -> Items<'a, T> {
        Items {
            left: self.count,
            bytes: self.bytes,
            items: PhantomData,
        }
    }
}

/// Iterator over a [`List`].
#[derive(Clone, Debug)]
pub struct Items<'a, T> {
    left: u32,
    bytes: &'a [u8],
    items: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Iterator for Items<'_, T> {
    type Item = Result<T, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            let trailing = !self.bytes.is_empty();
            self.bytes = &[];
            return trailing.then_some(Err(Malformed::Trailing));
        }
        match postcard::take_from_bytes(self.bytes) {
            Ok((item, rest)) => {
                self.left -= 1;
                self.bytes = rest;
                Some(Ok(item))
            }
            Err(_) => {
                self.left = 0;
                self.bytes = &[];
                Some(Err(Malformed::Payload))
            }
        }
    }
}

#[cfg(feature = "alloc")]
mod build {
    use super::{FRAME_MAGIC, List, PhantomData, Serialize, crc32};
    use alloc::vec::Vec;

    /// Owns the bytes behind a [`List`].
    #[derive(Clone, Debug, Default)]
    pub struct ListBuf {
        count: u32,
        bytes: Vec<u8>,
    }

    impl ListBuf {
        /// Encodes `items` one after the other.
        ///
        /// # Errors
        ///
        /// What postcard says of an item that cannot be encoded.
        pub fn new<T: Serialize>(items: &[T]) -> Result<Self, postcard::Error> {
            let mut bytes = Vec::new();
            for item in items {
                bytes = postcard::to_extend(item, bytes)?;
            }
            let count =
                u32::try_from(items.len()).map_err(|_| postcard::Error::SerializeBufferFull)?;
            Ok(Self { count, bytes })
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

    /// Encodes `value` in a frame.
    ///
    /// # Errors
    ///
    /// What postcard says of a value that cannot be encoded.
    pub fn seal<T: Serialize>(value: &T) -> Result<Vec<u8>, postcard::Error> {
        let payload = postcard::to_allocvec(value)?;
        let len = u32::try_from(payload.len()).map_err(|_| postcard::Error::SerializeBufferFull)?;
        let mut frame = FRAME_MAGIC.to_vec();
        frame.extend(crate::ABI_VERSION.to_le_bytes());
        frame.extend(len.to_le_bytes());
        frame.extend(crc32(&payload).to_le_bytes());
        frame.extend(payload);
        Ok(frame)
    }
}
#[cfg(feature = "alloc")]
pub use build::{ListBuf, seal};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc32_matches_the_published_check_value() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[cfg(feature = "alloc")]
    #[test]
    fn list_that_claims_too_few_items_says_so() {
        let items = ListBuf::new(&[1u32, 2, 300]).expect("encodes");
        let mut list = items.list::<u32>();
        list.count = 2;
        let seen: alloc::vec::Vec<_> = list.iter().collect();
        assert_eq!(seen, [Ok(1), Ok(2), Err(Malformed::Trailing)]);
    }

    #[cfg(feature = "alloc")]
    #[test]
    fn any_flipped_bit_of_a_frame_is_found() {
        let frame = seal(&(7u32, "name")).expect("encodes");
        assert_eq!(
            decode::<(u32, &str)>(open(&frame).expect("opens")),
            Ok((7, "name"))
        );
        for bit in 0..frame.len() * 8 {
            let mut bad = frame.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&bad).is_err(), "bit {bit}");
        }
    }
}
