//! The way to the instruction that a guest was last at: which words of its tables led
//! there, and what they said.
//!
//! What a guest does often it does at the same place. Then the way is not looked for
//! again but gone again: each word is read anew, and as long as it says what it said, the
//! next one is where it was. Nothing of what the guest can change is believed unread.
//!
//! Source: decision 0028.

use super::{Flags, Window};
use cellvisor_abi::PAGE_SIZE;
use cellvisor_core::addr::{Gva, Hpa, Hva};
use cellvisor_core::guest_walk::Paging;

/// Most levels of a guest's tables.
const LEVELS: usize = 5;

/// Panes of the way: one for the table of each level, and one for the code behind them.
/// All are the way's alone, so what others look at leaves it as it is.
pub(super) const PANES: usize = LEVELS + 1;

/// The way.
#[derive(Default)]
pub(super) struct Trail {
    /// It leads to code that its owner may still read there.
    known: bool,
    paging: Paging,
    /// Linear address of the page of the code.
    page: u64,
    steps: [Step; LEVELS],
    /// How many of them there are.
    used: usize,
}

/// A word of a table.
#[derive(Clone, Copy, Default)]
struct Step {
    /// Where it is, in the pane of its level.
    offset: u16,
    value: u64,
}

/// Where a way ends.
pub(crate) struct End<'a> {
    pub(crate) paging: &'a Paging,
    pub(crate) at: Gva,
    /// Second-level tables stay as they are as long as the CPU has this owner.
    pub(crate) lasts: bool,
}

/// The page of a linear address.
const fn page(at: Gva) -> u64 {
    at.0 / PAGE_SIZE
}

impl Window {
    /// Begins a way; the last one is forgotten.
    pub(crate) fn begin_trail(&mut self) {
        self.trail.known = false;
        self.trail.used = 0;
    }

    /// Reads the next word of the way, at a multiple of eight. `None` beyond the levels
    /// that there are.
    pub(crate) fn step(&mut self, hpa: Hpa) -> Option<u64> {
        let level = self.trail.used;
        let pane = self.trail_pane(level, hpa);
        let offset = hpa.page_offset() as u16 & !7;
        let step = self.trail.steps.get_mut(level)?;
        // SAFETY: the pane shows the page, the offset is inside it and aligned.
        let value = unsafe { word(pane, offset) };
        *step = Step { offset, value };
        self.trail.used += 1;
        Some(value)
    }

    /// The way ended at `hpa`, where `at` is: reads what is there, as far as its page
    /// goes; how many bytes.
    pub(crate) fn end_trail(&mut self, end: &End<'_>, hpa: Hpa, out: &mut [u8]) -> usize {
        let code = self.trail_pane(LEVELS, hpa);
        self.trail.paging = *end.paging;
        self.trail.page = page(end.at);
        self.trail.known = end.lasts;
        let offset = hpa.page_offset() as usize;
        let len = out.len().min(PAGE_SIZE as usize - offset);
        // SAFETY: the pane shows the page, which the range does not leave; `out` is the
        // monitor's own memory.
        unsafe {
            core::ptr::copy_nonoverlapping(code.ptr::<u8>().add(offset), out.as_mut_ptr(), len);
        }
        len
    }

    /// So many bytes at `at`, if the last way leads there and each word of it is what it
    /// was; `None` also if they leave the page.
    #[inline(always)] // On the way of each instruction that is fetched.
    pub(crate) fn retrace<const N: usize>(&self, paging: &Paging, at: Gva) -> Option<[u8; N]> {
        let trail = &self.trail;
        let offset = (at.0 % PAGE_SIZE) as usize;
        let is_here = trail.known && trail.page == page(at) && trail.paging == *paging;
        if !is_here || offset > PAGE_SIZE as usize - N {
            return None;
        }
        let mut table = self.first_of_trail();
        for step in trail.steps.get(..trail.used)? {
            // SAFETY: a way is known while its panes show what they showed, and the
            // offset of a step is one of an aligned word.
            if unsafe { word(table, step.offset) } != step.value {
                return None;
            }
            table = table + PAGE_SIZE;
        }
        let code = self.first_of_trail() + LEVELS as u64 * PAGE_SIZE;
        // SAFETY: as above; the range is inside the page, and bytes have any value and
        // any place.
        Some(unsafe { code.ptr::<u8>().add(offset).cast::<[u8; N]>().read() })
    }

    fn first_of_trail(&self) -> Hva {
        self.pane(super::SHARED)
    }

    /// Has the pane of a level show the page that `hpa` is in; where it is.
    fn trail_pane(&mut self, level: usize, hpa: Hpa) -> Hva {
        self.trail.known = false;
        let pane = super::SHARED + level.min(LEVELS);
        let wanted = super::shows(hpa, Flags(0));
        if self.shown.get(pane) != Some(&wanted) {
            self.set(pane, wanted);
        }
        self.pane(pane)
    }
}

/// # Safety
///
/// A pane at `page` shows memory, and `offset` is a multiple of eight below its end.
unsafe fn word(page: Hva, offset: u16) -> u64 {
    // SAFETY: the caller's promise.
    unsafe {
        page.ptr::<u8>()
            .add(usize::from(offset))
            .cast::<u64>()
            .read_volatile()
    }
}
