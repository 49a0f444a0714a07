//! Pages of a cell that lead to a link's, and what was there before.

use super::command::Pages;
use super::{LISTED, MOST, buffer, place};
use crate::addr::{Gpa, Hpa};
use cellvisor_abi::PAGE_SIZE;
use cellvisor_abi::plan::SOCKET_PAGES;

/// A page that leads elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Note {
    gpa: u64,
    hpa: u64,
}

/// All pages of a member that lead elsewhere, in room for so many as it can share with all
/// others.
#[derive(Debug)]
pub struct Notes<S> {
    room: S,
    used: [u16; MOST - 1],
    number: u8,
    count: u8,
}

impl<S: AsMut<[Note]>> Notes<S> {
    /// None, of the member with this number out of `count`.
    pub const fn new(room: S, number: u8, count: u8) -> Self {
        Self {
            room,
            used: [0; MOST - 1],
            number,
            count,
        }
    }

    /// How much room `count` members need.
    #[must_use]
    pub const fn room(count: u8) -> usize {
        LISTED * (count as usize).saturating_sub(1)
    }

    /// True if pages are shared with `other`.
    pub(super) fn has(&self, other: u8) -> bool {
        self.used.get(place(self.number, other)) != Some(&0)
    }

    /// Makes the pages that the two lists at `list` name lead to the buffers between this
    /// member and `other`. False, and all as before, if they are not pages of the cell's own
    /// RAM, or one is there twice, or there are too few tables.
    pub(super) fn share(&mut self, pages: &mut impl Pages, other: u8, list: Gpa) -> bool {
        let own = self.number;
        let sent = buffer(self.count, own, other);
        let received = buffer(self.count, other, own);
        let all = self.lead(pages, other, list, sent)
            && self.lead(pages, other, list + LIST_SIZE, received);
        if !all {
            self.unshare(pages, other);
        }
        all
    }

    /// Makes the pages of one list lead to a buffer, as far as it goes.
    fn lead(&mut self, pages: &mut impl Pages, other: u8, list: Gpa, buffer: u64) -> bool {
        if pages.word(list) != Some(SOCKET_PAGES as u64 * PAGE_SIZE) {
            return false;
        }
        (0..SOCKET_PAGES as u64).all(|page| {
            let step = pages.word(list + 8 * (page + 1)).and_then(|gpa| {
                let to = pages.buffer(buffer + page)?;
                self.replace(pages, other, Gpa(gpa), to)
            });
            step.is_some()
        })
    }

    /// One page. What is in the first of all, the header of what is sent, goes with it.
    fn replace(&mut self, pages: &mut impl Pages, other: u8, gpa: Gpa, to: Hpa) -> Option<()> {
        // What leads elsewhere already is not the cell's own any more.
        let hpa = pages.own(gpa).filter(|_| gpa.is_aligned(PAGE_SIZE))?;
        let place = place(self.number, other);
        let used = self.used.get_mut(place)?;
        let at = place * LISTED + usize::from(*used);
        let note = self.room.as_mut().get_mut(at)?;
        if *used == 0 {
            pages.copy(hpa, to);
        }
        if !pages.lead(gpa, to) {
            return None;
        }
        *note = Note {
            gpa: gpa.0,
            hpa: hpa.0,
        };
        *used += 1;
        Some(())
    }

    /// Puts all pages back that are shared with `other`.
    pub(super) fn unshare(&mut self, pages: &mut impl Pages, other: u8) {
        self.put_back(pages, place(self.number, other));
    }

    /// Puts all pages back that are shared with anybody.
    pub fn unshare_all(&mut self, pages: &mut impl Pages) {
        (0..MOST - 1).for_each(|place| self.put_back(pages, place));
    }

    fn put_back(&mut self, pages: &mut impl Pages, place: usize) {
        let Some(used) = self.used.get_mut(place) else {
            return;
        };
        let used = usize::from(core::mem::take(used));
        let notes = self.room.as_mut().iter().skip(place * LISTED).take(used);
        notes.for_each(|note| pages.put_back(Gpa(note.gpa), Hpa(note.hpa)));
    }
}

/// Bytes of a list: its pages' size, and an address for each.
const LIST_SIZE: u64 = 8 * (SOCKET_PAGES as u64 + 1);
