//! Frames on their way from one cell's queue to another's.
//!
//! Spec: VIRTIO 1.2, "Device Operation" of the network device.

use super::queue::{Broken, Chain, Queue, Ram, Side};
use super::{EVENT_IDX, GUEST_CSUM, GUEST_ECN, GUEST_TSO4, GUEST_TSO6, MERGE};

/// An Ethernet address.
pub type Mac = [u8; 6];

/// Bytes before the frame, in which the driver says what is left to do with it.
const HEADER: usize = 12;
/// Bytes of a frame's own header: where to, where from, what.
const ETHERNET: usize = 14;
/// What is read of a frame before it is known who gets it.
const START: usize = HEADER + ETHERNET;

/// Most bytes of a frame: 64 KiB of a segment with its addresses, and one tag.
const MOST: u64 = 65_536 + ETHERNET as u64 + 4;

/// Most descriptors of a frame that is sent: drivers use one for each fragment.
pub(super) const MOST_SENT: u16 = 32;
/// Most descriptors that a frame takes where it arrives.
const MOST_TAKEN: u16 = 128;

/// The checksum is to be computed yet.
const NEEDS_CSUM: u8 = 1;
/// Kinds of segments: TCP over IPv4, over IPv6, with congestion notification.
const TCP4: u8 = 1;
const TCP6: u8 = 4;
const ECN: u8 = 0x80;

/// A frame that a cell sends, of which the beginning has been read.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    start: [u8; START],
    rest: Chain,
}

/// Why a frame does not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The sender's queue or header says what it must not.
    Sender,
    /// The receiver has no buffers for it, or its queue says what it must not, or its
    /// driver does not take frames like this.
    Receiver,
}

impl From<Broken> for Lost {
    fn from(Broken: Broken) -> Self {
        Self::Sender
    }
}

/// Takes the next frame that a cell sends: the frame, or nothing if its queue makes no
/// sense of it, and the number by which it is given back.
///
/// # Errors
///
/// The queue itself says what it must not.
pub fn next(queue: &Queue, ram: &mut impl Ram) -> Result<Option<(u16, Option<Frame>)>, Broken> {
    if queue.waiting(ram, Side::Sender)? == 0 {
        return Ok(None);
    }
    let chain = queue.chain(ram, Side::Sender, 0, MOST_SENT)?;
    Ok(Some((chain.head, Frame::read(chain, ram).ok())))
}

/// Gives the frame back by its number; whether its sender wants to be interrupted.
pub fn done(queue: &mut Queue, ram: &mut impl Ram, number: u16, features: u64) -> Option<bool> {
    queue.note(ram, Side::Sender, 0, (number, 0))?;
    queue.give_back(ram, Side::Sender, 1, features & EVENT_IDX != 0)
}

/// No frame waits: the driver is asked to tell of the next one. True if there is none
/// yet.
pub fn rest(queue: &Queue, ram: &mut impl Ram, features: u64) -> bool {
    if features & EVENT_IDX != 0 && queue.await_next(ram, Side::Sender).is_none() {
        return true;
    }
    !matches!(queue.waiting(ram, Side::Sender), Ok(1..))
}

impl Frame {
    fn read(mut rest: Chain, ram: &mut impl Ram) -> Result<Self, Broken> {
        let mut start = [0; START];
        let mut read = 0;
        while let Some(left) = start.get_mut(read..).filter(|left| !left.is_empty()) {
            let (at, len) = rest.piece(ram)?.ok_or(Broken)?;
            let len = len.min(left.len() as u64);
            let part = left.get_mut(..len as usize).ok_or(Broken)?;
            ram.load(at, part).ok_or(Broken)?;
            rest.advance(len);
            read += len as usize;
        }
        Ok(Self { start, rest })
    }

    /// Where it goes.
    #[must_use]
    pub fn to(&self) -> Mac {
        self.address(HEADER)
    }

    /// Who says to have sent it.
    #[must_use]
    pub fn from(&self) -> Mac {
        self.address(HEADER + 6)
    }

    fn address(&self, at: usize) -> Mac {
        let bytes = self.start.get(at..).and_then(|bytes| bytes.first_chunk());
        bytes.copied().unwrap_or_default()
    }

    /// Copies it into buffers of `queue`; whether the receiver wants to be interrupted.
    ///
    /// # Errors
    ///
    /// It does not arrive, and the buffers stay where they are.
    pub fn deliver(
        &self,
        ram: &mut impl Ram,
        queue: &mut Queue,
        features: u64,
    ) -> Result<bool, Lost> {
        let mut sink = Sink::new(queue, ram, features)?;
        let mut beginning = sink;
        sink.write(ram, &[0; HEADER])?;
        let ethernet = self.start.last_chunk::<ETHERNET>().ok_or(Lost::Sender)?;
        sink.write(ram, ethernet)?;
        let length = ETHERNET as u64 + self.copy(ram, &mut sink)?;
        let buffers = sink.finish(ram)?;
        let header = self.header(features, length, buffers)?;
        // The first buffers are walked once more: whoever changes them meanwhile spoils
        // what is the receiver's own.
        beginning.write(ram, &header)?;
        queue
            .give_back(ram, Side::Receiver, buffers, features & EVENT_IDX != 0)
            .ok_or(Lost::Receiver)
    }

    /// Copies what is behind the Ethernet header; how many bytes that is.
    fn copy(&self, ram: &mut impl Ram, sink: &mut Sink) -> Result<u64, Lost> {
        let mut rest = self.rest;
        let mut copied = 0;
        while let Some((from, len)) = rest.piece(ram)? {
            let (to, room) = sink.piece(ram)?;
            let len = len.min(room);
            copied += len;
            if copied > MOST {
                return Err(Lost::Sender);
            }
            ram.copy(from, to, len).ok_or(Lost::Sender)?;
            rest.advance(len);
            sink.advance(len);
        }
        Ok(copied)
    }

    /// What the receiver is told of the frame, which has so many bytes and takes so many
    /// buffers: what its sender said, if it makes sense and the receiver takes such.
    fn header(&self, features: u64, length: u64, buffers: u16) -> Result<[u8; HEADER], Lost> {
        let mut header = *self.start.first_chunk::<HEADER>().ok_or(Lost::Sender)?;
        let [flags, kind, h0, h1, s0, s1, c0, c1, o0, o1, b0, b1] = &mut header;
        let number = |low: u8, high: u8| u64::from(u16::from_le_bytes([low, high]));
        *flags &= NEEDS_CSUM;
        let summed = number(*c0, *c1) + number(*o0, *o1) + 2;
        if *flags != 0 && summed > length || *kind != 0 && (*flags == 0 || number(*s0, *s1) == 0) {
            return Err(Lost::Sender);
        }
        let mut needed = if *flags != 0 { GUEST_CSUM } else { 0 };
        needed |= match *kind & !ECN {
            0 if *kind == 0 => 0,
            TCP4 => GUEST_TSO4,
            TCP6 => GUEST_TSO6,
            _ => return Err(Lost::Sender),
        };
        if *kind & ECN != 0 {
            needed |= GUEST_ECN;
        }
        if features & needed != needed {
            return Err(Lost::Receiver);
        }
        if *flags == 0 {
            [*h0, *h1, *s0, *s1, *c0, *c1, *o0, *o1] = [0; 8];
        }
        [*b0, *b1] = buffers.to_le_bytes();
        Ok(header)
    }
}

/// Buffers of a receiver, as they are filled.
#[derive(Clone, Copy)]
pub(super) struct Sink {
    queue: Queue,
    /// Chains that the driver has given.
    waiting: u16,
    /// How many of them were begun.
    begun: u16,
    chain: Option<Chain>,
    /// Bytes in it.
    filled: u32,
    /// Descriptors that may follow.
    left: u16,
}

impl Sink {
    pub(super) fn new(queue: &Queue, ram: &mut impl Ram, features: u64) -> Result<Self, Lost> {
        let waiting = queue.waiting(ram, Side::Receiver);
        let waiting = waiting.map_err(|Broken| Lost::Receiver)?;
        let merges = features & MERGE != 0;
        Ok(Self {
            queue: *queue,
            waiting: if merges { waiting } else { waiting.min(1) },
            begun: 0,
            chain: None,
            filled: 0,
            left: MOST_TAKEN,
        })
    }

    /// Where the next bytes go, within a page.
    fn piece(&mut self, ram: &mut impl Ram) -> Result<(crate::addr::Gpa, u64), Lost> {
        loop {
            if let Some(chain) = &mut self.chain {
                match chain.piece(ram).map_err(|Broken| Lost::Receiver)? {
                    Some(piece) => return Ok(piece),
                    None => self.note(ram).ok_or(Lost::Receiver)?,
                }
            }
            if self.begun == self.waiting {
                return Err(Lost::Receiver);
            }
            let next = self.queue.chain(ram, Side::Receiver, self.begun, self.left);
            self.chain = Some(next.map_err(|Broken| Lost::Receiver)?);
            self.begun += 1;
            self.filled = 0;
        }
    }

    fn advance(&mut self, bytes: u64) {
        if let Some(chain) = &mut self.chain {
            chain.advance(bytes);
            self.filled += bytes as u32;
        }
    }

    /// Notes what is in the last chain.
    fn note(&mut self, ram: &mut impl Ram) -> Option<()> {
        let chain = self.chain?;
        self.left = chain.left;
        let (number, held) = (self.begun.checked_sub(1)?, (chain.head, self.filled));
        self.queue.note(ram, Side::Receiver, number, held)
    }

    pub(super) fn write(&mut self, ram: &mut impl Ram, bytes: &[u8]) -> Result<(), Lost> {
        let mut left = bytes;
        while !left.is_empty() {
            let (at, room) = self.piece(ram)?;
            let part = left.len().min(room as usize);
            let (now, later) = left.split_at_checked(part).ok_or(Lost::Receiver)?;
            ram.store(at, now).ok_or(Lost::Receiver)?;
            self.advance(part as u64);
            left = later;
        }
        Ok(())
    }

    /// All is in them; how many there are.
    pub(super) fn finish(mut self, ram: &mut impl Ram) -> Result<u16, Lost> {
        self.note(ram).ok_or(Lost::Receiver)?;
        Ok(self.begun)
    }
}
