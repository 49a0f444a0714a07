//! How values look as bytes: [`Put`] writes them, [`Take`] reads them.
//!
//! | value | bytes |
//! | --- | --- |
//! | `u8`, `bool` | one; a `bool` is 0 or 1 |
//! | `u16`, `u32`, `u64` | 7 bits in each byte, the lowest first; bit 7 says that more follow |
//! | array, pair, struct | its parts, one after the other |
//! | `&[u8]`, `&str` | the length, then the bytes |
//! | list | how many items, then one after the other |
//! | enum, `Option` | the number of the variant in one byte, then what it holds |
//!
//! Every value has one form: a number with needless bytes, a variant that does not exist
//! and text that is no UTF-8 are refused. Nothing here recurses, panics or allocates.

/// Reads values from bytes that nobody has checked.
///
/// A reader that has met something wrong is empty: what is read from then on is zero,
/// and [`decode`](super::decode) refuses the whole. So the values in between need no result of
/// their own, which is what makes the code that reads them small.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    refused: bool,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            refused: false,
        }
    }

    /// What is left; `None` if something was wrong.
    pub(super) const fn end(self) -> Option<&'a [u8]> {
        match self.refused {
            true => None,
            false => Some(self.bytes),
        }
    }

    /// True if something was wrong.
    pub(super) const fn refused(&self) -> bool {
        self.refused
    }

    /// What is left to read.
    pub(super) const fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    const fn refuse(&mut self) {
        self.refused = true;
        self.bytes = &[];
    }

    #[inline(never)] // As [`Writer::byte`].
    fn byte(&mut self) -> u8 {
        let Some((byte, rest)) = self.bytes.split_first() else {
            self.refuse();
            return 0;
        };
        self.bytes = rest;
        *byte
    }

    /// The number of a variant, below `count`.
    pub(crate) fn variant(&mut self, count: u8) -> u8 {
        let tag = self.byte();
        if tag < count {
            return tag;
        }
        self.refuse();
        0
    }

    /// A number that is not larger than `most`.
    fn number(&mut self, most: u64) -> u64 {
        let (mut value, mut shift) = (0u64, 0);
        while shift < u64::BITS {
            let byte = self.byte();
            let bits = u64::from(byte & 0x7f);
            value |= bits << shift;
            let needless = byte == 0 && shift > 0;
            let lost = value >> shift != bits;
            if needless || lost || value > most {
                break;
            }
            if byte <= 0x7f {
                return value;
            }
            shift += 7;
        }
        self.refuse();
        0
    }

    fn slice(&mut self) -> &'a [u8] {
        let len = self.number(u64::MAX) as usize;
        let Some((slice, rest)) = self.bytes.split_at_checked(len) else {
            self.refuse();
            return &[];
        };
        self.bytes = rest;
        slice
    }
}

/// Writes values into a buffer, and counts what does not fit any more.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl<'a> Writer<'a> {
    pub(super) const fn new(out: &'a mut [u8]) -> Self {
        Self { out, len: 0 }
    }

    /// Bytes that all values so far take.
    #[cfg(any(feature = "alloc", test))]
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// What was written; `None` if it did not fit.
    pub(super) fn end(self) -> Option<&'a mut [u8]> {
        self.out.get_mut(..self.len)
    }

    #[inline(never)] // Many values end here, and nobody is in a hurry.
    pub(crate) fn byte(&mut self, byte: u8) {
        if let Some(place) = self.out.get_mut(self.len) {
            *place = byte;
        }
        self.len += 1;
    }

    fn number(&mut self, mut value: u64) {
        while value > 0x7f {
            self.byte(value as u8 | 0x80);
            value >>= 7;
        }
        self.byte(value as u8);
    }
}

/// Can be read from bytes, which it may borrow.
pub trait Take<'a>: Sized {
    /// Reads one; anything at all if the reader refuses.
    fn take(from: &mut Reader<'a>) -> Self;
}

/// Can be written as bytes.
pub trait Put {
    /// Writes it.
    fn put(&self, to: &mut Writer<'_>);
}

/// How many variants have these numbers, which begin at 0 and leave none out.
pub(crate) const fn count(tags: &[u8]) -> u8 {
    let mut next = 0;
    while next < tags.len() {
        assert!(
            tags[next] as usize == next,
            "variants are numbered in order"
        );
        next += 1;
    }
    next as u8
}

macro_rules! numbers {
    ($($type:ty)*) => {$(
        impl Take<'_> for $type {
            fn take(from: &mut Reader<'_>) -> Self {
                from.number(Self::MAX.into()) as Self
            }
        }

        impl Put for $type {
            fn put(&self, to: &mut Writer<'_>) {
                to.number((*self).into());
            }
        }
    )*};
}
numbers!(u16 u32 u64);

impl Take<'_> for u8 {
    fn take(from: &mut Reader<'_>) -> Self {
        from.byte()
    }
}

impl Put for u8 {
    fn put(&self, to: &mut Writer<'_>) {
        to.byte(*self);
    }
}

impl Take<'_> for bool {
    fn take(from: &mut Reader<'_>) -> Self {
        from.variant(2) == 1
    }
}

impl Put for bool {
    fn put(&self, to: &mut Writer<'_>) {
        to.byte((*self).into());
    }
}

impl Take<'_> for () {
    fn take(_: &mut Reader<'_>) -> Self {}
}

impl Put for () {
    fn put(&self, _: &mut Writer<'_>) {}
}

impl<'a, A: Take<'a>, B: Take<'a>> Take<'a> for (A, B) {
    fn take(from: &mut Reader<'a>) -> Self {
        (A::take(from), B::take(from))
    }
}

impl<A: Put, B: Put> Put for (A, B) {
    fn put(&self, to: &mut Writer<'_>) {
        self.0.put(to);
        self.1.put(to);
    }
}

impl<'a, T: Take<'a>, const N: usize> Take<'a> for [T; N] {
    fn take(from: &mut Reader<'a>) -> Self {
        core::array::from_fn(|_| T::take(from))
    }
}

impl<T: Put, const N: usize> Put for [T; N] {
    fn put(&self, to: &mut Writer<'_>) {
        for item in self {
            item.put(to);
        }
    }
}

impl<'a, T: Take<'a>> Take<'a> for Option<T> {
    fn take(from: &mut Reader<'a>) -> Self {
        bool::take(from).then(|| T::take(from))
    }
}

impl<T: Put> Put for Option<T> {
    fn put(&self, to: &mut Writer<'_>) {
        self.is_some().put(to);
        if let Some(value) = self {
            value.put(to);
        }
    }
}

impl<'a> Take<'a> for &'a [u8] {
    fn take(from: &mut Reader<'a>) -> Self {
        from.slice()
    }
}

impl Put for &[u8] {
    fn put(&self, to: &mut Writer<'_>) {
        to.number(self.len() as u64);
        for byte in *self {
            byte.put(to);
        }
    }
}

impl<'a> Take<'a> for &'a str {
    fn take(from: &mut Reader<'a>) -> Self {
        core::str::from_utf8(from.slice()).unwrap_or_else(|_| {
            from.refuse();
            ""
        })
    }
}

impl Put for &str {
    fn put(&self, to: &mut Writer<'_>) {
        self.as_bytes().put(to);
    }
}
