//! Pages of the pool that belong to a value, and go back when it goes.

use super::pool::Pages;
use super::{hpa_of, pool};
use cellvisor_abi::PAGE_SIZE;
use cellvisor_core::addr::{Hpa, Hva};
use cellvisor_core::socket::Note;
use core::mem::ManuallyDrop;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU8, AtomicU32};

/// Elements in pages of the pool, as many as there was room for from the start.
/// Dropped, it drops them and gives the pages back.
pub(crate) struct PageVec<T> {
    first: NonNull<T>,
    len: usize,
    /// Pages behind `first`; none if there is room for nothing.
    pages: u64,
}

// SAFETY: the elements are owned, and nobody else knows their pages.
unsafe impl<T: Send> Send for PageVec<T> {}
// SAFETY: a shared reference gives shared references to elements, no more.
unsafe impl<T: Sync> Sync for PageVec<T> {}

/// Types of which zeros are a value.
///
/// # Safety
///
/// Bytes that are all zero are one.
pub(crate) unsafe trait Zero {}

// SAFETY: zeros are the number 0.
unsafe impl Zero for u8 {}
// SAFETY: as above.
unsafe impl Zero for u64 {}
// SAFETY: zeros are one that leads nowhere.
unsafe impl Zero for Note {}
// SAFETY: as above: it has the form of a `u8`.
unsafe impl Zero for AtomicU8 {}
// SAFETY: as above: it has the form of a `u32`.
unsafe impl Zero for AtomicU32 {}

/// Zeroed pages for so many bytes: where they begin, and how many. No bytes lie at an
/// address that is as good.
#[inline(never)] // It stood in each maker of a list.
fn room(bytes: usize) -> Option<(NonNull<u8>, u64)> {
    #[repr(align(4096))]
    struct Page;
    let pages = (bytes as u64).div_ceil(PAGE_SIZE);
    let first = match pages {
        0 => NonNull::<Page>::dangling().cast(),
        _ => NonNull::new(pool::alloc_run(Pages(pages))?.ptr())?,
    };
    Some((first, pages))
}

impl<T> PageVec<T> {
    /// None, with room for at least `most`. `None` if the pool is empty.
    pub(crate) fn with_room(most: usize) -> Option<Self> {
        const { assert!(align_of::<T>() <= PAGE_SIZE as usize) };
        let (first, pages) = room(most * size_of::<T>())?;
        Some(Self {
            first: first.cast(),
            len: 0,
            pages,
        })
    }

    /// So many zeros. `None` if the pool is empty.
    pub(crate) fn zeros(len: usize) -> Option<Self>
    where
        T: Zero,
    {
        let mut vec = Self::with_room(len)?;
        // The pool's pages are zeroed.
        vec.len = len;
        Some(vec)
    }

    /// So many elements that `make` gives. `None` if the pool is empty.
    pub(crate) fn filled(len: usize, make: impl Fn() -> T) -> Option<Self> {
        let mut vec = Self::with_room(len)?;
        for place in 0..len {
            // SAFETY: there is room for `len` elements, and the pages are aligned.
            unsafe { vec.first.add(place).write(make()) };
        }
        vec.len = len;
        Some(vec)
    }

    /// Just `value`. `None` if the pool is empty.
    pub(crate) fn of(value: T) -> Option<Self> {
        let mut vec = Self::with_room(1)?;
        // SAFETY: there is room for one element, and the page is aligned.
        unsafe { vec.first.write(value) };
        vec.len = 1;
        Some(vec)
    }

    /// Adds an element; hands it back if there is no room.
    pub(crate) fn push(&mut self, value: T) -> Result<(), T> {
        let room = (self.pages * PAGE_SIZE) as usize / size_of::<T>().max(1);
        if self.len >= room {
            return Err(value);
        }
        // SAFETY: the pages have room for `room` elements, and are aligned.
        unsafe { self.first.add(self.len).write(value) };
        self.len += 1;
        Ok(())
    }

    /// Where the pages begin in physical memory, which they are contiguous in.
    pub(crate) fn hpa(&self) -> Hpa {
        hpa_of(Hva::of(self.first.as_ptr()))
    }

    /// The elements for as long as the monitor runs.
    pub(crate) fn leak(self) -> &'static mut [T] {
        let vec = ManuallyDrop::new(self);
        // SAFETY: initialised, and nobody frees or knows them but the caller now.
        unsafe { core::slice::from_raw_parts_mut(vec.first.as_ptr(), vec.len) }
    }

    /// One element that [`Self::of`] was given and [`Self::leak`] gave away.
    ///
    /// # Safety
    ///
    /// It is, and no reference to it is used any more.
    pub(crate) unsafe fn reclaim(element: NonNull<T>) -> Self {
        Self {
            first: element,
            len: 1,
            pages: (size_of::<T>() as u64).div_ceil(PAGE_SIZE),
        }
    }
}

impl<T> Deref for PageVec<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `push` has initialised so many, and they are owned.
        unsafe { core::slice::from_raw_parts(self.first.as_ptr(), self.len) }
    }
}

impl<T> DerefMut for PageVec<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`.
        unsafe { core::slice::from_raw_parts_mut(self.first.as_ptr(), self.len) }
    }
}

impl<T> AsRef<[T]> for PageVec<T> {
    fn as_ref(&self) -> &[T] {
        self
    }
}

impl<T> AsMut<[T]> for PageVec<T> {
    fn as_mut(&mut self) -> &mut [T] {
        self
    }
}

impl<T> Drop for PageVec<T> {
    fn drop(&mut self) {
        let elements: *mut [T] = &mut **self;
        // SAFETY: they are owned, and not used any more.
        unsafe { core::ptr::drop_in_place(elements) };
        if self.pages != 0 {
            pool::free_run(Hva::of(self.first.as_ptr()), Pages(self.pages));
        }
    }
}
