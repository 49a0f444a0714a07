//! Beginnings, resets and ends, in any order.

use super::*;
use proptest::prelude::*;

#[test]
fn a_reset_makes_a_member_new_once_its_cpus_have_forgotten() {
    let mut world = World::new();
    assert_eq!(world.share(0, 1), 2);
    world.flushed = false;
    world.write(0, 0x10, 1);
    assert_eq!(world.read(0, 0x10), 1);
    assert!(world.ram(0).is_as_before());
    world.flushed = true;
    assert_eq!(world.read(0, 0x10), 0);
    assert_eq!((world.read(0, 0x84), world.read(0, 0x20)), (ALL, 0));
    world.write(0, 0x10, 2);
    assert_eq!(world.read(0, 0x10), 0, "another bit");
}

#[test]
fn a_reset_takes_back_what_the_status_says() {
    let mut world = World::new();
    for (number, other) in [(0, 1), (1, 0)] {
        assert_eq!(world.share(number, other), 2);
    }
    assert_eq!(world.status_of(1, 0), 1);
    world.write(1, 0x10, 1);
    assert_eq!(world.status_of(1, 0), 0);
    world.read(0, 0x80);
    assert_eq!(world.status_of(0, 1), 0);
}

#[test]
fn the_end_of_a_cell_is_told_to_those_that_share_with_it() {
    let mut world = World::new();
    for (number, other) in [(0, 1), (1, 0)] {
        assert_eq!(world.share(number, other), 2);
    }
    while world.read(0, 0x80) != 0 {}
    world.interrupts = [0; 3];
    let due = world.members.stop(1);
    assert_eq!(due, 1);
    // What its CPU was about to finish has no effect any more.
    assert_eq!(world.members.finish(1, Outcome::Shared(2)), 0);
    assert_eq!(world.read(0, 0x80), ASSERTED | DEV_STOP | 1);
    assert_eq!(world.status_of(0, 1), 0);
    assert_eq!(world.unshare(0, 1), 4);
    assert!(world.ram(0).is_as_before());
    // It comes back, as its loader leaves it.
    let (ram, notes) = &mut world.cells[1];
    notes.unshare_all(ram);
    assert!(ram.is_as_before());
    world.members.start(1);
    world.set_up(1);
    for (number, other) in [(1, 0), (0, 1)] {
        assert_eq!(world.share(number, other), 2);
    }
    assert_eq!(world.status_of(0, 1), 1);
}

#[test]
fn numbers_are_had_once_and_agreed_on() {
    let mut members = Members::NONE;
    for (number, count) in [(0, 0), (0, 1), (2, 2), (0, 5), (255, 255)] {
        assert!(!members.take(number, count), "{number} of {count}");
    }
    assert!(members.take(1, 3) && !members.take(1, 3));
    assert!(!members.take(0, 4), "of another count");
    assert!(members.take(0, 3));
    members.leave(0);
    members.leave(1);
    assert!(members.take(1, 2), "all anew");
}

/// What a cell does.
#[derive(Clone, Debug)]
enum Step {
    Write(u8, u64, u32),
    Read(u8, u64),
    Share(u8, u8, Option<(usize, u64)>),
    Unshare(u8, u8),
    Flushed(bool),
    Stop(u8),
    Start(u8),
}

fn steps() -> impl Strategy<Value = Step> {
    let who = || 0..COUNT;
    let offset = || prop_oneof![4 => (0..0x28u64).prop_map(|n| n * 4), 1 => 0..0x1000u64];
    let value = prop_oneof![
        any::<u32>(),
        (0..5u32).prop_map(|code| 1 << 31 | code),
        (0..32u32, 0..4u32).prop_map(|(causes, whom)| causes << 16 | whom),
        Just(REQUEST as u32),
    ];
    let page = prop_oneof![
        (0..PAGES + 2).prop_map(|page| page * PAGE_SIZE),
        any::<u64>()
    ];
    let change = proptest::option::weighted(0.3, (0..4101usize, page));
    prop_oneof![
        3 => (who(), offset(), value).prop_map(|(who, offset, value)| Step::Write(who, offset, value)),
        3 => (who(), offset()).prop_map(|(who, offset)| Step::Read(who, offset)),
        4 => (who(), who(), change).prop_map(|(who, other, change)| Step::Share(who, other, change)),
        2 => (who(), who()).prop_map(|(who, other)| Step::Unshare(who, other)),
        1 => any::<bool>().prop_map(Step::Flushed),
        1 => who().prop_map(Step::Stop),
        2 => who().prop_map(Step::Start),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_cells_do_pages_lead_to_their_own_or_to_buffers_of_theirs(
        steps in proptest::collection::vec(steps(), 1..24)
    ) {
        let mut world = World::new();
        for step in steps {
            match step {
                Step::Write(who, offset, value) => world.write(who, offset, value),
                Step::Read(who, offset) => {
                    world.read(who, offset);
                }
                Step::Share(who, other, change) => {
                    let change = |words: &mut Vec<u64>| {
                        if let Some((at, value)) = change {
                            words[at] = value;
                        }
                    };
                    if other != who {
                        world.ask_to_share(who, other, change);
                    }
                }
                Step::Unshare(who, other) => {
                    world.unshare(who, other);
                }
                Step::Flushed(flushed) => world.flushed = flushed,
                Step::Stop(who) => {
                    let due = world.members.stop(who);
                    world.interrupt(due);
                }
                Step::Start(who) => {
                    let (ram, notes) = &mut world.cells[usize::from(who)];
                    notes.unshare_all(ram);
                    prop_assert!(ram.is_as_before());
                    world.members.start(who);
                    world.set_up(who);
                }
            }
            world.check();
        }
        // However it went, each can have all of its own back.
        for number in 0..COUNT {
            world.write(number, 0x10, 1);
            let (ram, notes) = &mut world.cells[usize::from(number)];
            notes.unshare_all(ram);
            prop_assert!(ram.is_as_before());
        }
    }
}
