//! Commands, and lists of pages that are taken and refused.

use super::*;

#[test]
fn who_runs_is_told() {
    let mut world = World::new();
    world.members.stop(2);
    let words = [4];
    world.ram(0).set_words(REQUEST, &words);
    assert_eq!(world.command(0, 1), 1);
    assert_eq!(world.read(0, 0x24), 1 << 31 | 1);
    let answer: Vec<u8> = (0..15).map(|n| world.ram(0).byte(RESPONSE + n)).collect();
    assert_eq!(answer, [14, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0xff, 0]);
    assert_eq!(world.interrupts, [0; 3]);
}

#[test]
fn both_sides_share_the_same_buffers() {
    let mut world = World::new();
    assert_eq!(world.share(0, 2), 2);
    assert_eq!(world.ram(0).byte(RESPONSE), 8);
    assert_eq!((world.status_of(0, 2), world.interrupts(2)), (0, 1));
    assert_eq!(
        world.read(2, 0x80),
        ASSERTED | INFO_UPDATE,
        "asked to share as well"
    );
    assert_eq!(world.share(2, 0), 2);
    assert_eq!((world.status_of(2, 0), world.status_of(0, 2)), (1, 0));
    assert_eq!((world.interrupts(2), world.interrupts(0)), (0, 1));
    assert_eq!(world.read(0, 0x80), ASSERTED, "to look at the status");
    assert_eq!(world.read(0, 0x80), 0);
    assert_eq!(world.status_of(0, 2), 1);
    // Contract: pairs in order, a buffer of 2049 pages for each.
    let lead = |world: &mut World, number: u8, page: usize| {
        let first = LISTS as usize + place(number, 2 - number) * LISTED;
        (world.ram(number).leads[first + page] - LINK) / PAGE_SIZE
    };
    let (zero_to_two, two_to_zero) = (2049, 4 * 2049);
    for page in [0, 1, 2048] {
        let at = page as u64;
        assert_eq!(lead(&mut world, 0, page), zero_to_two + at);
        assert_eq!(lead(&mut world, 0, SOCKET_PAGES + page), two_to_zero + at);
        assert_eq!(lead(&mut world, 2, page), two_to_zero + at);
        assert_eq!(lead(&mut world, 2, SOCKET_PAGES + page), zero_to_two + at);
    }
    // The header of what is sent goes along, and nothing else.
    let first = world.ram(0).base + (LISTS + LISTED as u64) * PAGE_SIZE;
    let header = (first, LINK + zero_to_two * PAGE_SIZE);
    assert_eq!(world.ram(0).copied, [header]);
    world.check();
}

#[test]
fn buffers_of_ordered_pairs_follow_each_other() {
    for count in 2..=MAX_SOCKET_MEMBERS {
        let pairs = (0..count).flat_map(|from| (0..count).map(move |to| (from, to)));
        let all = pairs.filter(|(from, to)| from != to);
        let firsts: Vec<u64> = all.map(|(from, to)| buffer(count, from, to)).collect();
        let wanted: Vec<u64> = (0..firsts.len() as u64).map(|n| n * 2049).collect();
        assert_eq!(firsts, wanted);
        assert_eq!(Socket::size(count), firsts.len() as u64 * 2049 * PAGE_SIZE);
    }
}

#[test]
fn who_does_not_share_any_more_has_its_pages_back() {
    let mut world = World::new();
    for (number, other) in [(0, 1), (1, 0), (0, 2)] {
        assert_eq!(world.share(number, other), 2);
    }
    world.read(0, 0x80);
    assert_eq!((world.status_of(0, 1), world.status_of(1, 0)), (1, 1));
    assert_eq!(world.unshare(0, 1), 4);
    assert!(!world.ram(0).is_as_before(), "it shares with another one");
    assert_eq!(world.status_of(0, 1), 0);
    assert_eq!(world.status_of(1, 0), 1);
    world.interrupts(1);
    while world.read(1, 0x80) != 0 {}
    assert_eq!(world.status_of(1, 0), 0);
    assert_eq!(world.unshare(0, 2), 4);
    assert!(world.ram(0).is_as_before());
    assert_eq!(world.unshare(0, 2), 4, "once more");
    assert_eq!(world.share(0, 1), 2);
    assert_eq!(world.status_of(0, 1), 1);
}

#[test]
fn lists_that_are_not_the_cells_own_pages_are_refused_as_a_whole() {
    type Change = fn(&mut Vec<u64>);
    let changes: [(&str, Change); 10] = [
        ("a page twice", |words| words[100] = words[99]),
        ("a page in both lists", |words| words[3000] = words[2]),
        ("the last page twice", |words| words[4100] = words[4099]),
        ("no RAM", |words| words[2000] = PAGES * PAGE_SIZE),
        ("far away", |words| words[2000] = u64::MAX << 12),
        ("not a page", |words| words[4100] += 8),
        ("a page of the request itself", |words| words[5] = REQUEST),
        ("a shorter first list", |words| words[1] -= PAGE_SIZE),
        ("a longer second list", |words| words[2051] += PAGE_SIZE),
        ("one list alone", |words| words[2051] = 0),
    ];
    let mut world = World::new();
    for (what, change) in changes {
        assert_eq!(world.ask_to_share(0, 1, change), STATE | 2, "{what}");
        assert!(world.ram(0).is_as_before(), "{what}");
        assert_eq!(world.interrupts, [0; 3], "{what}");
    }
    // Pages that are shared already.
    assert_eq!(world.share(0, 1), 2);
    let of_first = request(0, 1);
    let before = world.ram(0).leads.clone();
    let refused = world.ask_to_share(0, 2, |words| words[1..].copy_from_slice(&of_first[1..]));
    assert_eq!(refused, STATE | 2);
    assert_eq!(world.share(0, 1), STATE | 2, "with whom it shares already");
    assert_eq!(world.ram(0).leads, before);
    world.ram(0).room = LISTED + 3000;
    assert_eq!(world.share(0, 2), STATE | 2, "too few tables");
    assert_eq!(world.ram(0).leads, before);
    world.ram(0).room = 2 * LISTED;
    assert_eq!(world.share(0, 2), 2);
}

#[test]
fn requests_that_say_something_else_are_refused() {
    let mut world = World::new();
    for code in [0, 3, 5, 0x100, 0x200, 0xffff] {
        assert_eq!(world.command(0, code), PARAMETER | code);
    }
    for other in [0, 3, 4, 255u8] {
        assert_eq!(
            world.ask_to_share(0, 1, |words| words[0] = u64::from(other) << 32 | 32808u64),
            PARAMETER | 2
        );
        assert_eq!(world.unshare(0, other), PARAMETER | 4);
    }
    let short = |words: &mut Vec<u64>| words[0] -= 8;
    assert_eq!(world.ask_to_share(0, 1, short), PARAMETER | 2);
    for (offset, bad) in [
        (0x34, 32807),
        (0x38, REQUEST as u32 + 4),
        (0x3c, 1),
        (0x3c, u32::MAX),
        (0x44, 7),
        (0x48, RESPONSE as u32 + 1),
        (0x4c, u32::MAX),
    ] {
        let good = world.read(0, offset);
        world.write(0, offset, bad);
        assert_eq!(world.share(0, 1), PARAMETER | 2, "{offset:#x}");
        assert!(world.ram(0).is_as_before());
        world.write(0, offset, good);
    }
    assert_eq!(world.share(0, 1), 2);
}

#[test]
fn a_command_waits_for_the_one_before() {
    let mut world = World::new();
    world.flushed = false;
    assert_eq!(world.share(0, 1), 2);
    assert_eq!(world.read(0, 0x24), 1 << 30 | 2);
    assert_eq!(world.share(0, 2), STATE | 2);
    world.flushed = true;
    assert_eq!(world.read(0, 0x24), 1 << 31 | 2);
    assert_eq!(world.share(0, 2), 2);
}

#[test]
fn what_failed_is_not_complete_before_all_have_forgotten_its_pages() {
    let mut world = World::new();
    world.flushed = false;
    let last_twice = |words: &mut Vec<u64>| words[4100] = words[4099];
    assert_eq!(world.ask_to_share(0, 1, last_twice), STATE | 2);
    assert_eq!(world.read(0, 0x24), 1 << 30 | 2);
    assert_eq!(world.read(0, 0x10), 1);
    world.flushed = true;
    assert_eq!(world.read(0, 0x24), 1 << 31 | 2);
    assert_eq!(world.read(0, 0x10), 0);
}
