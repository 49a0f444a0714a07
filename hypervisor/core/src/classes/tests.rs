use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::vec;
use std::vec::Vec;

/// What CPUs of these kinds say: leaf, subleaf, EAX to EDX.
type Leaves<'a> = &'a [(u32, u32, [u32; 4])];

/// A Xeon with 11 ways, 16 classes, code and data apart, 8 delays and 32 CPUs on a
/// package.
const XEON: Leaves<'_> = &[
    (4, 0, [0x1c00_4121, 0, 0, 0]),
    (4, 1, [0x1c00_4122, 0, 0, 0]),
    (4, 2, [0x1c00_4143, 0, 0, 0]),
    (4, 3, [0x1c07_c163, 0, 0, 0]),
    (0x10, 0, [0, 0b1010, 0, 0]),
    (0x10, 1, [10, 0x600, 0b100, 15]),
    (0x10, 3, [89, 0, 0b100, 7]),
];

/// An EPYC with 16 ways and 16 CPUs on a complex.
const EPYC: Leaves<'_> = &[
    (0x10, 0, [0, 0b10, 0, 0]),
    (0x10, 1, [15, 0, 0, 15]),
    (0x8000_001d, 0, [0x4121, 0, 0, 0]),
    (0x8000_001d, 3, [0x3c163, 0, 0, 0]),
];

fn cpuid(leaves: Leaves<'_>) -> impl Fn(u32, u32) -> [u32; 4] {
    |leaf, subleaf| {
        let found = leaves.iter().find(|l| (l.0, l.1) == (leaf, subleaf));
        found.map_or([0; 4], |found| found.2)
    }
}

fn find(leaves: Leaves<'_>) -> Classes {
    Classes::find(cpuid(leaves))
}

#[test]
fn cpuid_tells_ways_classes_and_who_shares() {
    let xeon = Classes {
        ways: 0x7ff,
        sparse: false,
        last: 15,
        shift: 5,
    };
    assert_eq!(find(XEON), xeon);
    let delays = Delays {
        longest: 90,
        last: 7,
    };
    assert_eq!(Delays::find(cpuid(XEON)), delays);
    let epyc = Classes {
        ways: 0xffff,
        sparse: false,
        last: 15,
        shift: 4,
    };
    assert_eq!(find(EPYC), epyc);
    assert_eq!(Delays::find(cpuid(EPYC)), Delays::default());
    let apart = [XEON[3], XEON[4], (0x10, 1, [19, 0, 0b1100, 15])];
    assert!(find(&apart).sparse);
    assert!(epyc.together(0x10, 0x1f) && !epyc.together(0xf, 0x10));
}

#[test]
fn a_cpu_without_shares_has_none() {
    let cores = XEON[3];
    assert_eq!(find(&[]), Classes::default());
    // Nothing to allocate, or the L2 cache.
    assert_eq!(find(&[cores]), Classes::default());
    let second = (0x10, 0, [0, 0b100, 0, 0]);
    assert_eq!(find(&[cores, second, XEON[5]]), Classes::default());
    // Nothing of what is not there can be had.
    for number in 0..=u8::MAX {
        let wish = class(number, 1, 0);
        assert!(!Classes::default().allows(&Shares::default(), wish));
    }
    // Delays that follow no line.
    let delays = cpuid(&[(0x10, 0, [0, 8, 0, 0]), (0x10, 3, [89, 0, 0, 7])]);
    assert_eq!(Delays::find(delays), Delays::default());
}

#[test]
fn all_lengths_of_masks_are_read() {
    for length in 0..32 {
        let leaves = [XEON[3], XEON[4], (0x10, 1, [length, 0, 0, 3])];
        let ways = find(&leaves).ways;
        assert_eq!(ways.count_ones(), length + 1);
        assert_eq!(ways.trailing_ones(), length + 1);
    }
}

const fn class(number: u8, l3_ways: u32, delay: u8) -> Class {
    Class::new(number, l3_ways, delay)
}

#[test]
fn a_cell_is_refused_what_is_not_there_or_anothers() {
    let xeon = find(XEON);
    let with = |mine, others: &[Class]| {
        let mut shares = Shares::default();
        for other in others {
            assert!(xeon.allows(&shares, *other), "{other:?}");
            shares.add(*other);
        }
        xeon.allows(&shares, mine)
    };
    assert!(with(class(1, 0x00f, 50), &[]));
    assert!(with(class(6, 0x00f, 0), &[class(1, 0x0f0, 0)]));
    assert!(with(class(15, 0, 90), &[class(1, 0x3ff, 0)]));
    for (mine, others) in [
        // The root's class; one that is not there.
        (class(0, 0xf, 0), vec![]),
        (class(16, 0xf, 0), vec![]),
        (class(255, 0xf, 0), vec![]),
        // Ways that are not there, that are apart, that are all.
        (class(1, 0x800, 0), vec![]),
        (class(1, 0xc00, 0), vec![]),
        (class(1, 0x5, 0), vec![]),
        (class(1, 0x7ff, 0), vec![]),
        // Another's class, another's ways, the last ones of the root.
        (class(1, 0xf, 0), vec![class(1, 0xf0, 0)]),
        (class(2, 0xf, 0), vec![class(3, 0, 10), class(1, 0x18, 0)]),
        (class(2, 0x7e0, 0), vec![class(1, 0x1f, 0)]),
    ] {
        assert!(!with(mine, &others), "{mine:?} {others:?}");
    }
    let apart = Classes {
        sparse: true,
        ..xeon
    };
    assert!(apart.allows(&Shares::default(), class(1, 0x5, 0)));
}

#[test]
fn the_root_cannot_change_classes_while_cells_have_them() {
    for msr in [
        L3_CONFIG,
        L3_CONFIG + 1,
        L3_MASK,
        L3_MASK + 127,
        0xd10,
        DELAY,
    ] {
        assert_eq!(filtered(msr, 0x7ff), None, "{msr:#x}");
    }
    assert_eq!(filtered(ASSOCIATION, 3 << 32 | 0x2a), Some(0x2a));
}

/// Machines, and cells of which some can be had there.
fn machines() -> impl Strategy<Value = (Classes, Vec<Class>)> {
    let machine = (1u32..=32, any::<bool>(), 0u8..16);
    let machine = machine.prop_map(|(length, sparse, last)| Classes {
        ways: u32::MAX >> (32 - length),
        sparse,
        last,
        shift: 4,
    });
    let stretch = (0u32..32, 0u32..9).prop_map(|(first, count)| ((1 << count) - 1u32) << first);
    let ways = prop_oneof![4 => stretch, 1 => any::<u32>()];
    let cell = (0u8..20, ways, 0u8..=100);
    let cell = cell.prop_map(|(number, ways, delay)| class(number, ways, delay));
    (machine, proptest::collection::vec(cell, 0..24))
}

/// Those of `wishes` that are allowed, one after another, and what they have.
fn fitting(machine: &Classes, wishes: Vec<Class>) -> (Shares, Vec<Class>) {
    let mut shares = Shares::default();
    let mut cells = wishes;
    cells.retain(|wish| {
        let allowed = machine.allows(&shares, *wish);
        if allowed {
            shares.add(*wish);
        }
        allowed
    });
    (shares, cells)
}

/// What the registers hold.
fn registers(machine: &Classes, shares: &Shares) -> BTreeMap<u32, u32> {
    let mut registers = BTreeMap::new();
    machine.write(shares, |msr, value| {
        assert!(registers.insert(msr, value).is_none(), "{msr:#x}");
    });
    registers
}

proptest! {
    #[test]
    fn what_cells_have_is_theirs_alone((machine, wishes) in machines()) {
        let (shares, cells) = fitting(&machine, wishes);
        let registers = registers(&machine, &shares);
        let mask = |number: u8| registers[&(L3_MASK + u32::from(number))];
        for number in 0..=machine.last {
            let ways = mask(number);
            // What the CPU asks of a mask.
            prop_assert!(ways != 0 && ways & !machine.ways == 0);
            prop_assert!(machine.sparse || is_stretch(ways), "{ways:#x}");
            let own = cells.iter().find(|cell| cell.number() == number);
            match own.filter(|cell| cell.l3_ways() != 0) {
                Some(cell) => {
                    prop_assert_eq!(ways, cell.l3_ways());
                    for other in (0..=machine.last).filter(|other| *other != number) {
                        prop_assert_eq!(mask(other) & cell.l3_ways(), 0);
                    }
                }
                None => prop_assert_eq!(ways, mask(0)),
            }
            let delay = own.map_or(0, |cell| u32::from(cell.delay()));
            prop_assert_eq!(registers[&(DELAY + u32::from(number))], delay);
        }
        prop_assert_eq!(registers[&L3_CONFIG], 0);
    }

    #[test]
    fn those_that_fit_together_fit_beside_some_of_them((machine, wishes) in machines(), some: u32) {
        let (_, cells) = fitting(&machine, wishes);
        let some = cells.iter().enumerate().filter(|(n, _)| some & 1 << n != 0);
        let some = some.map(|(_, cell)| *cell).collect::<Vec<_>>();
        let (_, fit) = fitting(&machine, some.clone());
        prop_assert_eq!(fit, some);
    }

    #[test]
    fn when_cells_are_gone_all_is_everybodys((machine, _) in machines()) {
        for (msr, value) in registers(&machine, &Shares::default()) {
            let masks = L3_MASK..=L3_MASK + u32::from(machine.last);
            let whole = masks.contains(&msr);
            prop_assert_eq!(value, if whole { machine.ways } else { 0 });
        }
    }

    #[test]
    fn the_rest_is_the_longest_stretch_that_is_left(length in 1u32..=32, taken: u32) {
        let machine = Classes {
            ways: u32::MAX >> (32 - length),
            sparse: false,
            last: 3,
            shift: 0,
        };
        let rest = machine.rest(taken);
        let free = |way: &u32| machine.ways & !taken & 1 << way != 0;
        let stretches = (0..32).map(|first| (first..32).take_while(free).count());
        prop_assert_eq!(rest.count_ones() as usize, stretches.max().unwrap_or(0));
        prop_assert!(is_stretch(rest) && rest & taken == 0 && rest & !machine.ways == 0);
        let sparse = Classes { sparse: true, ..machine };
        prop_assert_eq!(sparse.rest(taken), machine.ways & !taken);
    }
}
