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

/// What of the rights in these tests a format keeps, by its manual: CPUs execute,
/// devices do not.
trait Keeps: EntryFormat {
    const EXECUTE: bool;

    fn keeps(attr: Attr) -> Attr {
        Attr {
            execute: attr.execute && Self::EXECUTE,
            ..attr
        }
    }
}

impl Keeps for Ept {
    const EXECUTE: bool = true;
}

impl Keeps for Npt {
    const EXECUTE: bool = true;
}

impl Keeps for Vtd {
    const EXECUTE: bool = false;
}

impl Keeps for AmdVi {
    const EXECUTE: bool = false;
}

/// As the CPU formats, which are tried by this name.
impl Keeps for AnyFormat {
    const EXECUTE: bool = true;
}

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

fn tables_as_model<F: EntryFormat>(tables: &Tables<F>, mem: &FakeMem, max: PageSize) -> Model {
    let f = tables.format();
    let mut model = Model(leaves(f, mem, tables.root(), f.levels(), 0));
    // Walkers take the low bits of a large page from the guest's address.
    for leaf in &model.0 {
        assert!(leaf.size <= max.bytes() && leaf.hpa.is_multiple_of(leaf.size));
    }
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

/// Carries out the stores of a step one by one: a walker sees old or new, never a
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

fn expect<F: Keeps>(model: &mut Model, step: Step) -> Result<(), MapError> {
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
            let attr = F::keeps(attr);
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

fn tables_follow_the_model<F: Keeps>(format: F, steps: &[Step], room: usize, max: PageSize) {
    let mut mem = FakeMem::with_room(room);
    let Some(mut tables) = Tables::with_format(format, &mut mem, max) else {
        return;
    };
    let mut model = Model::default();
    for step in steps {
        mem.journal.clear();
        let before = mem.clone();
        let mut next = model.clone();
        let expected = expect::<F>(&mut next, *step);
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
        assert_eq!(tables_as_model(&tables, &mem, max), model, "{step:x?}");
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
    any_ept_follows_the_model: AnyFormat::Ept(Ept);
    any_npt_follows_the_model: AnyFormat::Npt(Npt::Level5);
}
