//! All formats against a naive model: a list of ranges.

use super::fake::{FakeMem, Model, Range};
use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::vec::Vec;

const RWX: Attr = Attr::RAM;
const READ_ONLY: Attr = Attr {
    write: false,
    ..Attr::RAM
};

/// All leaves under a table, by an own, simple walk.
fn leaves<F: EntryFormat>(f: F, mem: &FakeMem, table: Hpa, level: u8, base: u64) -> Vec<Range> {
    let mut found = Vec::new();
    for i in 0..ENTRIES {
        let entry = mem.read(table, i);
        let size = 1 << (12 + 9 * (u32::from(level) - 1));
        let gpa = base + i as u64 * size;
        if !f.present(entry) {
            continue;
        }
        if f.is_leaf(entry, level) {
            found.push(Range {
                gpa,
                hpa: f.addr(entry).0,
                size,
                attr: f.attr(entry, level),
            });
        } else {
            found.extend(leaves(f, mem, f.addr(entry), level - 1, gpa));
        }
    }
    found
}

fn tables_as_model<F: EntryFormat>(tables: &Tables<F>, mem: &FakeMem) -> Model {
    let f = tables.format();
    let mut model = Model(leaves(f, mem, tables.root(), f.levels(), 0));
    model.tidy();
    model
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Map {
        gpa: u64,
        hpa: u64,
        size: u64,
        attr: Attr,
    },
    Unmap {
        gpa: u64,
        size: u64,
    },
    Merge {
        gpa: u64,
        size: u64,
    },
}

fn steps() -> impl Strategy<Value = Step> {
    // Around the places where pages of all sizes begin and end.
    let place = || {
        (0..3u64, 0..3u64, 0..3u64).prop_map(|(g, m, k)| g * SIZE_1G + m * SIZE_2M + k * PAGE_SIZE)
    };
    let size = || {
        prop_oneof![
            (1..5u64).prop_map(|n| n * PAGE_SIZE),
            (1..4u64).prop_map(|n| n * SIZE_2M),
            (1..3u64).prop_map(|n| n * SIZE_1G),
            place().prop_map(|size| size.max(PAGE_SIZE)),
        ]
    };
    let attr = prop_oneof![Just(RWX), Just(READ_ONLY)];
    let shift = prop_oneof![
        Just(64 * SIZE_1G),
        Just(64 * SIZE_1G + SIZE_2M),
        Just(64 * SIZE_1G + PAGE_SIZE)
    ];
    prop_oneof![
        4 => (place(), size(), shift, attr).prop_map(|(gpa, size, shift, attr)| Step::Map {
            gpa,
            // A gibibyte in 4 KiB pages would only take time.
            hpa: gpa + if size < SIZE_1G { shift } else { shift & !(SIZE_2M - 1) },
            size,
            attr,
        }),
        3 => (place(), size()).prop_map(|(gpa, size)| Step::Unmap { gpa, size }),
        1 => (place(), size()).prop_map(|(gpa, size)| Step::Merge { gpa, size }),
    ]
}

/// Where translations are compared after each store: the edges.
fn samples(step: Step) -> Vec<u64> {
    let (Step::Map { gpa, size, .. } | Step::Unmap { gpa, size } | Step::Merge { gpa, size }) =
        step;
    let edges = [gpa, gpa + size, 0, SIZE_2M, SIZE_1G, 2 * SIZE_1G];
    let near = edges.map(|edge| [edge, edge + PAGE_SIZE, edge.saturating_sub(PAGE_SIZE)]);
    near.into_iter().flatten().collect()
}

fn seen<F: EntryFormat>(tables: &Tables<F>, mem: &FakeMem, gpa: u64) -> Option<(Hpa, Attr)> {
    tables.translate(mem, Gpa(gpa)).map(|m| (m.hpa, m.attr))
}

/// Plays the stores of a step one by one: a walker sees old or new, never a
/// third thing.
fn assert_each_store_is_safe<F: EntryFormat>(
    tables: &Tables<F>,
    before: &FakeMem,
    after: &FakeMem,
    step: Step,
) {
    let mut replay = before.clone();
    for address in after.pages.keys() {
        let page = replay.pages.entry(*address);
        page.or_insert_with(|| std::vec![0; ENTRIES]);
    }
    for (table, index, entry) in &after.journal {
        replay.write(*table, *index, *entry);
        // Filling a table that is not linked yet changes nothing.
        if !before.pages.contains_key(&table.0) && *index % 97 != 0 {
            continue;
        }
        for gpa in samples(step) {
            let now = seen(tables, &replay, gpa);
            let allowed = [seen(tables, before, gpa), seen(tables, after, gpa)];
            assert!(
                allowed.contains(&now),
                "{gpa:#x}: {now:x?} not in {allowed:x?}"
            );
        }
    }
}

/// Addresses of all tables from this one on.
fn linked<F: EntryFormat>(f: F, mem: &FakeMem, table: Hpa, level: u8) -> BTreeSet<u64> {
    let mut found = BTreeSet::from([table.0]);
    for i in 0..ENTRIES {
        let entry = mem.read(table, i);
        if f.present(entry) && !f.is_leaf(entry, level) {
            found.extend(linked(f, mem, f.addr(entry), level - 1));
        }
    }
    found
}

/// Where the first page that an entry translates leads. Tables lie below all
/// memory that is mapped, so an address says which of the two it is.
fn first_page<F: EntryFormat>(f: F, mem: &FakeMem, mut entry: u64) -> Hpa {
    while let Some(table) = mem.pages.get(&f.addr(entry).0) {
        entry = table[0];
    }
    f.addr(entry)
}

/// Pages that are out of the tables say what they said, perhaps by a merged
/// leaf, or "not present".
fn assert_collected_pages_are_harmless<F: EntryFormat>(
    tables: &Tables<F>,
    before: &FakeMem,
    after: &FakeMem,
) {
    let f = tables.format();
    let linked = linked(f, after, tables.root(), f.levels());
    for (address, page) in before.pages.iter().filter(|(a, _)| !linked.contains(a)) {
        for (old, new) in page.iter().zip(&after.pages[address]) {
            let same = || first_page(f, before, *old) == f.addr(*new);
            assert!(
                old == new || !f.present(*new) || same(),
                "{old:#x} became {new:#x}"
            );
        }
    }
}

fn apply<F: EntryFormat>(
    tables: &mut Tables<F>,
    mem: &mut FakeMem,
    step: Step,
) -> Result<Option<Stale>, MapError> {
    match step {
        Step::Map {
            gpa,
            hpa,
            size,
            attr,
        } => tables
            .map(mem, Gpa(gpa), Hpa(hpa), size, attr)
            .map(|()| None),
        Step::Unmap { gpa, size } => tables.unmap(mem, Gpa(gpa), size).map(Some),
        Step::Merge { gpa, size } => tables.merge(mem, Gpa(gpa), size).map(Some),
    }
}

fn expect<F: EntryFormat>(f: F, model: &mut Model, step: Step) -> Result<(), MapError> {
    match step {
        Step::Map {
            gpa,
            hpa,
            size,
            attr,
        } => {
            if let Some(taken) = model.overlap(gpa, size) {
                return Err(MapError::Overlap(Gpa(taken)));
            }
            let attr = f.attr(f.leaf(Hpa(hpa), 1, attr), 1);
            model.map(Range {
                gpa,
                hpa,
                size,
                attr,
            });
        }
        Step::Unmap { gpa, size } => model.unmap(gpa, size),
        Step::Merge { .. } => {}
    }
    Ok(())
}

fn tables_follow_the_model<F: EntryFormat>(format: F, steps: &[Step], room: usize, max: PageSize) {
    let mut mem = FakeMem::with_room(room);
    let Some(mut tables) = Tables::with_format(format, &mut mem, max) else {
        return;
    };
    let mut model = Model::default();
    for step in steps {
        mem.journal.clear();
        let before = mem.clone();
        let mut next = model.clone();
        let expected = expect(format, &mut next, *step);
        match apply(&mut tables, &mut mem, *step) {
            Ok(stale) => {
                assert_eq!(expected, Ok(()), "{step:x?}");
                assert_each_store_is_safe(&tables, &before, &mem, *step);
                assert_collected_pages_are_harmless(&tables, &before, &mem);
                if let Some(stale) = stale {
                    stale.flushed(&mut mem);
                }
                model = next;
            }
            Err(MapError::NoMemory) => assert_eq!(mem.pages.len(), room),
            Err(error) => {
                assert_eq!(expected, Err(error));
                assert!(mem.journal.is_empty(), "writes before {error:?}");
            }
        }
        assert_eq!(tables_as_model(&tables, &mem), model, "{step:x?}");
    }
    tables.destroy(&mut mem);
    assert!(mem.pages.is_empty(), "pages lost");
}

fn page_sizes() -> impl Strategy<Value = PageSize> {
    prop_oneof![
        Just(PageSize::Size2M),
        Just(PageSize::Size1G),
        Just(PageSize::Size1G)
    ]
}

/// One property test for each format.
macro_rules! follows_the_model {
    ($($name:ident: $format:expr;)*) => {
        proptest! {
            #![proptest_config(ProptestConfig::with_cases(48))]
            $(
                #[test]
                fn $name(steps in proptest::collection::vec(steps(), 1..24), room in prop_oneof![1..12usize, Just(4000)], max in page_sizes()) {
                    tables_follow_the_model($format, &steps, room, max);
                }
            )*
        }
    };
}

follows_the_model! {
    ept_follows_the_model: Ept;
    npt_follows_the_model: Npt::Level4;
    five_level_npt_follows_the_model: Npt::Level5;
    vtd_follows_the_model: Vtd::default();
    three_level_snooping_vtd_follows_the_model: Vtd { width: Width::Bits39, snoop: true };
    amdvi_follows_the_model: AmdVi;
}

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
    assert_eq!(tables.translate(&mem, Gpa(end)), None, "does not wrap to 0");
    tables.destroy(&mut mem);
}
