//! Single changes: page sizes, splitting, merging, refusals, pages of tables.

use super::super::fake::FakeMem;
use super::super::{Ept, Npt, PageSize, Vtd, Width};
use super::*;
use crate::addr::{SIZE_1G, SIZE_2M};

const RWX: Attr = Attr::RAM;
const READ_ONLY: Attr = Attr {
    write: false,
    ..Attr::RAM
};

fn page_count(mem: &FakeMem) -> usize {
    mem.pages.len()
}

#[test]
fn map_uses_the_largest_page_that_fits() {
    let mut mem = FakeMem::with_room(8);
    let mut tables = Tables::<Ept>::new(&mut mem, PageSize::Size1G).expect("room");
    // One small page below a 2 MiB boundary, then one large page.
    let (gpa, hpa) = (Gpa(0x401f_f000), Hpa(0x801f_f000));
    tables
        .map(&mut mem, gpa, hpa, PAGE_SIZE + SIZE_2M, RWX)
        .expect("maps");

    let at = |gpa| {
        tables
            .translate(&mem, Gpa(gpa))
            .map(|m| (m.hpa, m.size_left))
    };
    assert_eq!(at(gpa.0), Some((hpa, PAGE_SIZE)));
    assert_eq!(at(0x4020_1234), Some((Hpa(0x8020_1234), SIZE_2M - 0x1234)));
    assert_eq!(at(0x4040_0000), None, "one byte past the end");
    assert_eq!(page_count(&mem), 4, "root, two directories, one table");
    tables.destroy(&mut mem);
}

#[test]
fn carve_and_return_restores_the_gigantic_page() {
    let mut mem = FakeMem::with_room(8);
    let mut tables = Tables::<Npt>::new(&mut mem, PageSize::Size1G).expect("room");
    let at = Gpa(3 * SIZE_2M);
    tables
        .map(&mut mem, Gpa(0), Hpa(0), SIZE_1G, RWX)
        .expect("maps");
    assert_eq!(page_count(&mem), 2);

    let stale = tables.unmap(&mut mem, at, SIZE_2M).expect("unmaps");
    stale.flushed(&mut mem);
    assert_eq!(page_count(&mem), 3, "split into 2 MiB pages, not further");
    assert_eq!(tables.translate(&mem, at), None);

    tables
        .map(&mut mem, at, Hpa(at.0), SIZE_2M, RWX)
        .expect("maps");
    let stale = tables.merge(&mut mem, at, SIZE_2M).expect("merges");
    stale.flushed(&mut mem);
    assert_eq!(page_count(&mem), 2);
    assert_eq!(
        tables.translate(&mem, Gpa(0)).map(|m| m.size_left),
        Some(SIZE_1G)
    );
    tables.destroy(&mut mem);
}

#[test]
fn merge_keeps_what_differs_apart() {
    let mut mem = FakeMem::with_room(8);
    let mut tables = Tables::<Ept>::new(&mut mem, PageSize::Size1G).expect("room");
    let half = SIZE_2M / 2;
    for (gpa, attr) in [(0, RWX), (half, READ_ONLY)] {
        let (gpa, hpa) = (Gpa(gpa), Hpa(SIZE_1G + gpa));
        tables.map(&mut mem, gpa, hpa, half, attr).expect("maps");
    }
    let stale = tables.merge(&mut mem, Gpa(0), SIZE_2M).expect("merges");
    stale.flushed(&mut mem);
    let attr = |gpa| tables.translate(&mem, Gpa(gpa)).map(|m| m.attr);
    assert_eq!((attr(0), attr(half)), (Some(RWX), Some(READ_ONLY)));
    tables.destroy(&mut mem);
}

#[test]
fn joined_stale_pages_are_freed_once() {
    let mut mem = FakeMem::with_room(16);
    let mut tables = Tables::<Vtd>::new(&mut mem, PageSize::Size2M).expect("room");
    for gpa in [0, SIZE_1G] {
        tables
            .map(&mut mem, Gpa(gpa), Hpa(0x7000), PAGE_SIZE, RWX)
            .expect("maps");
    }
    let first = tables.unmap(&mut mem, Gpa(0), PAGE_SIZE).expect("unmaps");
    let second = tables
        .unmap(&mut mem, Gpa(SIZE_1G), SIZE_1G)
        .expect("unmaps");
    assert_eq!(page_count(&mem), 6, "nothing is freed before the flush");
    first.join(second, &mut mem).flushed(&mut mem);
    assert_eq!(page_count(&mem), 1);
    tables.destroy(&mut mem);
}

#[test]
fn bad_ranges_are_refused() {
    let mut mem = FakeMem::with_room(8);
    let format = Vtd {
        width: Width::Bits39,
        snoop: false,
    };
    let mut tables = Tables::with_format(format, &mut mem, PageSize::Size1G).expect("room");
    let mut map = |gpa, hpa, size| tables.map(&mut mem, Gpa(gpa), Hpa(hpa), size, RWX);
    let end = 1 << 39;
    assert_eq!(map(0, 0, 0), Err(MapError::Misaligned));
    assert_eq!(map(1, 0, PAGE_SIZE), Err(MapError::Misaligned));
    assert_eq!(map(0, 0x800, PAGE_SIZE), Err(MapError::Misaligned));
    assert_eq!(
        map(end - PAGE_SIZE, 0, 2 * PAGE_SIZE),
        Err(MapError::TooHigh)
    );
    assert_eq!(map(u64::MAX - 0xfff, 0, PAGE_SIZE), Err(MapError::TooHigh));
    assert_eq!(map(0, (1 << 52) - 0x1000, 0x2000), Err(MapError::TooHigh));
    assert_eq!(map(end - PAGE_SIZE, 0, PAGE_SIZE), Ok(()));
    tables.destroy(&mut mem);
}

#[test]
fn addresses_beyond_the_width_do_not_wrap() {
    let mut mem = FakeMem::with_room(8);
    let format = Vtd {
        width: Width::Bits39,
        snoop: false,
    };
    let mut tables = Tables::with_format(format, &mut mem, PageSize::Size1G).expect("room");
    // What a walk with too many address bits would find.
    tables
        .map(&mut mem, Gpa(0), Hpa(0x7000), PAGE_SIZE, RWX)
        .expect("maps");
    assert_eq!(
        tables.translate(&mem, Gpa(0)).map(|m| m.hpa),
        Some(Hpa(0x7000))
    );
    for high in [1 << 39, 1 << 48, 1 << 63] {
        assert_eq!(tables.translate(&mem, Gpa(high)), None, "{high:x}");
    }
    let refused = tables.unmap(&mut mem, Gpa(1 << 39), PAGE_SIZE);
    assert_eq!(refused.map(Stale::abandon), Err(MapError::TooHigh));
    tables.destroy(&mut mem);
}

/// Tables with this largest page, and `size` bytes mapped from 0 on to the same
/// addresses.
fn identity(mem: &mut FakeMem, max: PageSize, size: u64) -> Tables<Ept> {
    let mut tables = Tables::new(mem, max).expect("room");
    tables.map(mem, Gpa(0), Hpa(0), size, RWX).expect("maps");
    tables
}

#[test]
fn pages_are_never_larger_than_the_largest() {
    for (max, pages) in [
        // Root, directory pointers; then directories; then tables.
        (PageSize::Size1G, 2),
        (PageSize::Size2M, 3),
        (PageSize::Size4K, 3 + 512),
    ] {
        let mut mem = FakeMem::with_room(4000);
        let mut tables = identity(&mut mem, max, SIZE_1G);
        let left = tables.translate(&mem, Gpa(0)).map(|m| m.size_left);
        assert_eq!(left, Some(max.bytes()));
        assert_eq!(page_count(&mem), pages, "{max:?}");
        // Merging makes them no larger.
        tables
            .merge(&mut mem, Gpa(0), SIZE_1G)
            .expect("merges")
            .flushed(&mut mem);
        assert_eq!(page_count(&mem), pages, "{max:?}");
        tables.destroy(&mut mem);
    }
}

#[test]
fn carving_splits_as_far_as_it_must() {
    let mut mem = FakeMem::with_room(16);
    let mut tables = identity(&mut mem, PageSize::Size1G, 2 * SIZE_1G);
    // The last page of one large page and the first of the next.
    let stale = tables
        .unmap(&mut mem, Gpa(SIZE_1G - PAGE_SIZE), 2 * PAGE_SIZE)
        .expect("unmaps");
    stale.flushed(&mut mem);
    assert_eq!(page_count(&mem), 2 + 2 + 2, "a directory and a table each");
    let at = |gpa| {
        tables
            .translate(&mem, Gpa(gpa))
            .map(|m| (m.hpa, m.size_left, m.attr))
    };
    assert_eq!(at(0), Some((Hpa(0), SIZE_2M, RWX)));
    let last = SIZE_1G - 2 * PAGE_SIZE;
    assert_eq!(at(last), Some((Hpa(last), PAGE_SIZE, RWX)));
    assert_eq!((at(SIZE_1G - PAGE_SIZE), at(SIZE_1G)), (None, None));
    let next = SIZE_1G + PAGE_SIZE;
    assert_eq!(at(next), Some((Hpa(next), PAGE_SIZE, RWX)));
    tables.destroy(&mut mem);
    assert_eq!(page_count(&mem), 0);
}

#[test]
fn merge_needs_addresses_that_follow_each_other() {
    let mut mem = FakeMem::with_room(8);
    let mut tables = Tables::<Ept>::new(&mut mem, PageSize::Size1G).expect("room");
    let last = SIZE_2M - PAGE_SIZE;
    // All but the last page continue each other; the last leads elsewhere.
    for (gpa, hpa, size) in [(0, SIZE_1G, last), (last, 2 * SIZE_1G, PAGE_SIZE)] {
        tables
            .map(&mut mem, Gpa(gpa), Hpa(hpa), size, RWX)
            .expect("maps");
    }
    let merge = |tables: &mut Tables<Ept>, mem: &mut FakeMem| {
        let stale = tables.merge(mem, Gpa(0), SIZE_2M).expect("merges");
        stale.flushed(mem);
        tables
            .translate(mem, Gpa(last))
            .map(|m| (m.hpa, m.size_left))
    };
    let apart = Some((Hpa(2 * SIZE_1G), PAGE_SIZE));
    assert_eq!(merge(&mut tables, &mut mem), apart);
    // A hole is no page either.
    let stale = tables
        .unmap(&mut mem, Gpa(last), PAGE_SIZE)
        .expect("unmaps");
    stale.flushed(&mut mem);
    assert_eq!(merge(&mut tables, &mut mem), None);
    tables
        .map(&mut mem, Gpa(last), Hpa(SIZE_1G + last), PAGE_SIZE, RWX)
        .expect("maps");
    let whole = Some((Hpa(SIZE_1G + last), PAGE_SIZE));
    assert_eq!(merge(&mut tables, &mut mem), whole);
    assert_eq!(
        tables.translate(&mem, Gpa(0)).map(|m| m.size_left),
        Some(SIZE_2M)
    );
    tables.destroy(&mut mem);
}

#[test]
fn memory_ends_where_entries_end() {
    let mut mem = FakeMem::with_room(8);
    let mut tables = Tables::<Ept>::new(&mut mem, PageSize::Size1G).expect("room");
    let last = Hpa((1 << 52) - PAGE_SIZE);
    let mapped = tables.map(&mut mem, Gpa(0), last, PAGE_SIZE, RWX);
    assert_eq!(mapped, Ok(()));
    tables.destroy(&mut mem);
}

#[test]
fn merge_needs_an_aligned_address() {
    let mut mem = FakeMem::with_room(8);
    let mut tables = Tables::<Ept>::new(&mut mem, PageSize::Size1G).expect("room");
    // 512 pages that follow each other, one page off.
    tables
        .map(&mut mem, Gpa(0), Hpa(PAGE_SIZE), SIZE_2M, RWX)
        .expect("maps");
    let stale = tables.merge(&mut mem, Gpa(0), SIZE_2M).expect("merges");
    stale.flushed(&mut mem);
    let left = tables.translate(&mem, Gpa(0)).map(|m| m.size_left);
    assert_eq!(left, Some(PAGE_SIZE));
    tables.destroy(&mut mem);
}

#[test]
fn abandoned_pages_are_lost_and_not_freed() {
    let mut mem = FakeMem::with_room(8);
    let mut tables = identity(&mut mem, PageSize::Size2M, SIZE_1G);
    let before = page_count(&mem);
    tables
        .unmap(&mut mem, Gpa(0), SIZE_1G)
        .expect("unmaps")
        .abandon();
    assert_eq!(page_count(&mem), before);
    tables.destroy(&mut mem);
    assert_eq!(page_count(&mem), 2, "both tables that became empty");
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "without a flush")]
fn a_forgotten_flush_is_noticed() {
    drop(Stale::new());
}

#[test]
fn one_page_of_a_gigantic_one_leads_elsewhere_and_back() {
    const BUFFER: Attr = Attr {
        execute: false,
        ..Attr::RAM
    };
    let mut mem = FakeMem::with_room(8);
    let mut tables = Tables::<Ept>::new(&mut mem, PageSize::Size1G).expect("room");
    tables
        .map(&mut mem, Gpa(0), Hpa(SIZE_1G), SIZE_1G, RWX)
        .expect("maps");
    // The first, the last and another one of a large page.
    for page in [0, 77, 511] {
        let at = Gpa(5 * SIZE_2M + page * PAGE_SIZE);
        tables
            .replace(&mut mem, at, Hpa(9 * SIZE_1G), BUFFER)
            .expect("there is room");
        let mapping = tables.translate(&mem, at).expect("mapped");
        assert_eq!((mapping.hpa, mapping.attr), (Hpa(9 * SIZE_1G), BUFFER));
        for beside in [at.0.wrapping_sub(1), at.0 + PAGE_SIZE] {
            let mapping = tables.translate(&mem, Gpa(beside)).expect("mapped");
            assert_eq!((mapping.hpa, mapping.attr), (Hpa(SIZE_1G + beside), RWX));
        }
        assert_eq!(page_count(&mem), 4, "one table for 2 MiB, one for 1 GiB");
        tables
            .replace(&mut mem, at, Hpa(SIZE_1G + at.0), RWX)
            .expect("needs no room");
        assert_eq!(page_count(&mem), 4);
    }
    let stale = tables
        .merge(&mut mem, Gpa(0), SIZE_1G)
        .expect("has a gigantic page again");
    stale.flushed(&mut mem);
    assert_eq!(page_count(&mem), 2);
    tables.destroy(&mut mem);
}

#[test]
fn what_cannot_lead_elsewhere_stays() {
    let mut mem = FakeMem::with_room(3);
    let mut tables = Tables::<Ept>::new(&mut mem, PageSize::Size1G).expect("room");
    tables
        .map(&mut mem, Gpa(0), Hpa(SIZE_1G), SIZE_1G, RWX)
        .expect("maps");
    let at = Gpa(3 * PAGE_SIZE);
    let refused = tables.replace(&mut mem, at, Hpa(0), READ_ONLY);
    assert_eq!(refused, Err(MapError::NoMemory));
    let mapping = tables.translate(&mem, at).expect("mapped");
    assert_eq!((mapping.hpa, mapping.attr), (Hpa(SIZE_1G + at.0), RWX));
    assert_eq!(
        tables.replace(&mut mem, Gpa(8), Hpa(0), RWX),
        Err(MapError::Misaligned)
    );
    // Where nothing is mapped nothing is, afterwards.
    assert_eq!(tables.replace(&mut mem, Gpa(SIZE_1G), Hpa(0), RWX), Ok(()));
    assert_eq!(tables.translate(&mem, Gpa(SIZE_1G)), None);
    tables.destroy(&mut mem);
}
