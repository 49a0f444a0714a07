//! What a driver asks for by a buffer in its RAM.

use super::notes::{Note, Notes};
use super::{LISTED, MOST, Outcome, Wrong};
use crate::addr::{Gpa, Hpa};

/// A cell's memory, and the tables that lead to it.
pub trait Pages {
    /// Eight bytes of the cell's own RAM at a multiple of eight; `None` elsewhere.
    fn word(&mut self, at: Gpa) -> Option<u64>;
    /// Writes a byte to the cell's own RAM; `None` elsewhere.
    fn put(&mut self, at: Gpa, value: u8) -> Option<()>;
    /// Where a page of the cell's own RAM is; `None` for all else.
    fn own(&mut self, gpa: Gpa) -> Option<Hpa>;
    /// Where a page of the link is, counted from its first; `None` if there are fewer.
    fn buffer(&mut self, page: u64) -> Option<Hpa>;
    /// Copies a page of the cell's own RAM to one of the link.
    fn copy(&mut self, from: Hpa, to: Hpa);
    /// Makes a page of the cell's RAM lead to one of the link; false, and nothing has
    /// changed, without memory for tables.
    fn lead(&mut self, gpa: Gpa, to: Hpa) -> bool;
    /// Makes a page that leads to one of the link lead to the cell's own again.
    fn put_back(&mut self, gpa: Gpa, to: Hpa);
}

/// Commands by their codes.
const INFO: u16 = 1;
const SHARE: u16 = 2;
const UNSHARE: u16 = 4;

/// Bytes of a request, which begins with its length and whom it means.
const INFO_SIZE: u32 = 4;
const SHARE_SIZE: u32 = 8 + 8 * (LISTED as u32 + 2);
const UNSHARE_SIZE: u32 = 8;

/// What is said of members whose cell runs, and of others: a status, and a zone, which is
/// the same for all that may share.
const HERE: [u8; 2] = [1, 1];
const AWAY: [u8; 2] = [0, 0xff];

/// Memory that a driver says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Buffer {
    pub(super) len: u32,
    pub(super) at: u64,
}

impl Buffer {
    /// Where it begins, if it has room for so many bytes and is aligned.
    fn with(self, size: u32) -> Result<Gpa, Wrong> {
        let fits = self.len >= size && self.at.is_multiple_of(8);
        // No address is so high, and no sum of one and a few pages overflows.
        if fits && self.at < 1 << 52 {
            Ok(Gpa(self.at))
        } else {
            Err(Wrong::Parameter)
        }
    }
}

/// A command, as it was when it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command {
    pub(super) code: u16,
    pub(super) number: u8,
    pub(super) count: u8,
    /// A bit for each member whose cell runs.
    pub(super) running: u8,
    pub(super) request: Buffer,
    pub(super) response: Buffer,
}

impl Command {
    /// Carries it out; what has come of it.
    pub fn carry_out<S: AsMut<[Note]>>(
        &self,
        pages: &mut impl Pages,
        notes: &mut Notes<S>,
    ) -> Outcome {
        let done = match self.code {
            INFO => self.info(pages),
            SHARE => self.share(pages, notes),
            UNSHARE => self.unshare(pages, notes),
            _ => Err(Wrong::Parameter),
        };
        done.unwrap_or_else(Outcome::Failed)
    }

    fn info(&self, pages: &mut impl Pages) -> Result<Outcome, Wrong> {
        self.asked(pages, INFO_SIZE)?;
        let mut said = [0; 2 * MOST];
        let said = said
            .get_mut(..2 * usize::from(self.count))
            .unwrap_or(&mut []);
        for (number, said) in said.chunks_exact_mut(2).enumerate() {
            let runs = self.running >> number & 1 != 0;
            said.copy_from_slice(if runs { &HERE } else { &AWAY });
        }
        self.answer(pages, said)?;
        Ok(Outcome::Told)
    }

    fn share<S: AsMut<[Note]>>(
        &self,
        pages: &mut impl Pages,
        notes: &mut Notes<S>,
    ) -> Result<Outcome, Wrong> {
        let (list, other) = self.asked_of(pages, SHARE_SIZE)?;
        if notes.has(other) {
            return Err(Wrong::State);
        }
        self.answer(pages, &[])?;
        if notes.share(pages, other, list + 8) {
            Ok(Outcome::Shared(other))
        } else {
            Err(Wrong::State)
        }
    }

    fn unshare<S: AsMut<[Note]>>(
        &self,
        pages: &mut impl Pages,
        notes: &mut Notes<S>,
    ) -> Result<Outcome, Wrong> {
        let (_, other) = self.asked_of(pages, UNSHARE_SIZE)?;
        self.answer(pages, &[])?;
        notes.unshare(pages, other);
        Ok(Outcome::Unshared(other))
    }

    /// The first word of a request, which has to be so long, and where it is.
    fn asked(&self, pages: &mut impl Pages, size: u32) -> Result<(Gpa, u64), Wrong> {
        let at = self.request.with(size)?;
        let word = pages.word(at).filter(|word| *word as u32 == size);
        Ok((at, word.ok_or(Wrong::Parameter)?))
    }

    /// Where a request is, and which other member it means.
    fn asked_of(&self, pages: &mut impl Pages, size: u32) -> Result<(Gpa, u8), Wrong> {
        let (at, word) = self.asked(pages, size)?;
        let other = (word >> 32) as u32;
        if other < u32::from(self.count) && other != u32::from(self.number) {
            Ok((at, other as u8))
        } else {
            Err(Wrong::Parameter)
        }
    }

    /// Answers that it is done, and `more`.
    fn answer(&self, pages: &mut impl Pages, more: &[u8]) -> Result<(), Wrong> {
        let len = 8 + more.len() as u32;
        let at = self.response.with(len)?;
        let head = u64::from(len).to_le_bytes();
        let mut bytes = (0..).zip(head.iter().chain(more));
        bytes
            .try_for_each(|(offset, byte)| pages.put(at + offset, *byte))
            .ok_or(Wrong::Parameter)
    }
}
