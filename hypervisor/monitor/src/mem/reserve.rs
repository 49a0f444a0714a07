//! Pages that are kept for second-level tables, so that there are some when a guest's doing
//! asks for them, and no more.

use crate::mem::{entry, pool};
use cellvisor_abi::PAGE_SIZE;
use cellvisor_core::addr::Hva;
use core::sync::atomic::Ordering;

/// Free pages, each with the address of the next one in its first word. Dropped, they go back
/// to the pool.
pub(crate) struct Reserve(Option<Hva>);

impl Reserve {
    /// So many pages. `None` if the pool has fewer.
    pub(crate) fn of(count: usize) -> Option<Self> {
        let mut reserve = Self(None);
        for _ in 0..count {
            reserve.give(pool::alloc()?);
        }
        Some(reserve)
    }

    /// A page, and what it was last is in there yet.
    fn take(&mut self) -> Option<Hva> {
        let page = self.0?;
        let next = entry(page)?.load(Ordering::Relaxed);
        self.0 = (next != 0).then_some(Hva(next));
        Some(page)
    }

    /// A zeroed page.
    pub(super) fn alloc(&mut self) -> Option<Hva> {
        let page = self.take()?;
        (page.0..(page + PAGE_SIZE).0)
            .step_by(8)
            .filter_map(|word| entry(Hva(word)))
            .for_each(|word| word.store(0, Ordering::Relaxed));
        Some(page)
    }

    /// Takes a page that is nobody's.
    pub(super) fn give(&mut self, page: Hva) {
        if let Some(word) = entry(page) {
            word.store(self.0.map_or(0, |next| next.0), Ordering::Relaxed);
            self.0 = Some(page);
        }
    }
}

impl Drop for Reserve {
    fn drop(&mut self) {
        while let Some(page) = self.take() {
            pool::free(page);
        }
    }
}
