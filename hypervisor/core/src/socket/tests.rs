//! What a driver sees, and what a hostile one cannot bring about.

use super::*;
use crate::addr::{Gpa, Hpa};
use cellvisor_abi::Bdf;
use cellvisor_abi::PAGE_SIZE;
use cellvisor_abi::plan::{Class, Devices, Function, Ports, Socket, Wire};
use cellvisor_abi::wire::ListBuf;
use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

const COUNT: u8 = 3;
/// Where each of them has its request, its answer and its status bytes.
const REQUEST: u64 = 0x1_0000;
const RESPONSE: u64 = 0x2_0000;
const STATUS: u64 = 0x2_1004;
/// First page of those that it shares.
const LISTS: u64 = 0x40;
/// Pages of its RAM.
const PAGES: u64 = LISTS + 2 * LISTED as u64 + 8;
/// Host-physical address of a link's first page.
const LINK: u64 = 1 << 40;

const ALL: u32 = 0x1f_0000;
const RX_DATA: u32 = 1 << 16;
const DEV_STOP: u32 = 1 << 19;
const INFO_UPDATE: u32 = 1 << 20;
const ASSERTED: u32 = 1 << 31;

/// A cell: where its pages lead, and what is in its RAM.
struct Ram {
    base: u64,
    leads: Vec<u64>,
    /// Below the pages that it shares, where nothing is.
    bytes: Vec<u8>,
    /// How many pages can lead elsewhere, for want of tables.
    room: usize,
    moved: usize,
    copied: Vec<(u64, u64)>,
}

impl Ram {
    fn new(cell: u8) -> Self {
        let base = (u64::from(cell) + 1) << 32;
        Self {
            base,
            leads: (0..PAGES).map(|page| base + page * PAGE_SIZE).collect(),
            bytes: vec![0; (LISTS * PAGE_SIZE) as usize],
            room: usize::MAX,
            moved: 0,
            copied: Vec::new(),
        }
    }

    fn is_own(&self, hpa: u64) -> bool {
        (self.base..self.base + PAGES * PAGE_SIZE).contains(&hpa)
    }

    fn is_as_before(&self) -> bool {
        (0..)
            .zip(&self.leads)
            .all(|(page, hpa)| *hpa == self.base + page * PAGE_SIZE)
    }

    fn byte(&self, at: u64) -> u8 {
        self.bytes.get(at as usize).copied().unwrap_or(0)
    }

    fn set(&mut self, at: u64, byte: u8) {
        if let Some(place) = self.bytes.get_mut(at as usize) {
            *place = byte;
        }
    }

    fn set_words(&mut self, at: u64, words: &[u64]) {
        let bytes = words.iter().flat_map(|word| word.to_le_bytes());
        (at..).zip(bytes).for_each(|(at, byte)| self.set(at, byte));
    }
}

impl Pages for Ram {
    fn word(&mut self, at: Gpa) -> Option<u64> {
        assert!(at.is_aligned(8), "a word may leave its page");
        let at = self.own(at)?.0 - self.base;
        let bytes = [0, 1, 2, 3, 4, 5, 6, 7].map(|n| self.byte(at + n));
        Some(u64::from_le_bytes(bytes))
    }

    fn put(&mut self, at: Gpa, value: u8) -> Option<()> {
        let at = self.own(at)?.0 - self.base;
        self.set(at, value);
        Some(())
    }

    fn own(&mut self, gpa: Gpa) -> Option<Hpa> {
        let lead = *self.leads.get(usize::try_from(gpa.0 / PAGE_SIZE).ok()?)?;
        self.is_own(lead).then_some(Hpa(lead + gpa.page_offset()))
    }

    fn buffer(&mut self, page: u64) -> Option<Hpa> {
        let pages = Socket::size(COUNT) / PAGE_SIZE;
        (page < pages).then_some(Hpa(LINK + page * PAGE_SIZE))
    }

    fn copy(&mut self, from: Hpa, to: Hpa) {
        assert!(self.is_own(from.0) && to.0 >= LINK);
        self.copied.push((from.0, to.0));
    }

    fn lead(&mut self, gpa: Gpa, to: Hpa) -> bool {
        assert!(gpa.is_aligned(PAGE_SIZE) && to.0 >= LINK);
        if self.moved >= self.room {
            return false;
        }
        self.moved += 1;
        self.leads[(gpa.0 / PAGE_SIZE) as usize] = to.0;
        true
    }

    fn put_back(&mut self, gpa: Gpa, to: Hpa) {
        assert!(self.is_own(to.0));
        self.moved -= 1;
        self.leads[(gpa.0 / PAGE_SIZE) as usize] = to.0;
    }
}

/// A link of three cells, played as the monitor plays it.
struct World {
    members: Members,
    cells: Vec<(Ram, Notes<Vec<Note>>)>,
    /// CPUs of all cells have forgotten where pages led.
    flushed: bool,
    /// Interrupts that each has had since they were last asked for.
    interrupts: [usize; COUNT as usize],
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            members: Members::NONE,
            cells: Vec::new(),
            flushed: true,
            interrupts: [0; COUNT as usize],
        };
        for number in 0..COUNT {
            assert!(world.members.take(number, COUNT));
            world.members.start(number);
            let room = vec![Note::default(); Notes::<Vec<Note>>::room(COUNT)];
            let notes = Notes::new(room, number, COUNT);
            world.cells.push((Ram::new(number), notes));
            world.set_up(number);
        }
        world
    }

    /// As the driver does it when it is loaded.
    fn set_up(&mut self, number: u8) {
        for (offset, value) in [
            (0x28, STATUS as u32),
            (0x2c, 0),
            (0x34, 8 + 8 * (LISTED as u32 + 2)),
            (0x38, REQUEST as u32),
            (0x3c, 0),
            (0x44, 8 + 2 * u32::from(COUNT)),
            (0x48, RESPONSE as u32),
            (0x4c, 0),
        ] {
            self.write(number, offset, value);
        }
        self.write(number, 0x88, ALL);
    }

    fn ram(&mut self, number: u8) -> &mut Ram {
        &mut self.cells[usize::from(number)].0
    }

    fn interrupt(&mut self, due: u8) {
        for number in 0..COUNT {
            self.interrupts[usize::from(number)] += usize::from(due >> number & 1);
        }
        assert_eq!(due >> COUNT, 0, "nobody's interrupt");
    }

    fn status(&mut self, number: u8) {
        while let Some((at, value)) = self.members.next_status(number) {
            let _ = self.ram(number).put(at, value);
        }
    }

    fn read(&mut self, number: u8, offset: u64) -> u32 {
        let flushed = self.flushed;
        let (value, again) = self.members.read(number, offset, || flushed);
        self.status(number);
        self.interrupt(u8::from(again) << number);
        value
    }

    fn write(&mut self, number: u8, offset: u64, value: u32) {
        let flushed = self.flushed;
        let effect = self.members.write(number, offset, value, || flushed);
        let (ram, notes) = &mut self.cells[usize::from(number)];
        let outcome = match effect {
            Effect::Interrupt(whom) => {
                return self.interrupt(whom.map_or(0, |whom| 1 << whom));
            }
            Effect::Command(command) => command.carry_out(ram, notes),
            Effect::Reset => {
                notes.unshare_all(ram);
                Outcome::Reset
            }
        };
        let due = self.members.finish(number, outcome);
        self.status(number);
        self.interrupt(due);
    }

    /// Gives a command; what its register reads as.
    fn command(&mut self, number: u8, code: u32) -> u32 {
        self.write(number, 0x20, 1 << 31 | code);
        self.read(number, 0x20)
    }

    fn ask_to_share(&mut self, number: u8, other: u8, change: impl FnOnce(&mut Vec<u64>)) -> u32 {
        let mut request = request(number, other);
        change(&mut request);
        self.ram(number).set_words(REQUEST, &request);
        self.command(number, 2)
    }

    fn share(&mut self, number: u8, other: u8) -> u32 {
        self.ask_to_share(number, other, |_| {})
    }

    fn unshare(&mut self, number: u8, other: u8) -> u32 {
        let words = [u64::from(other) << 32 | 8];
        self.ram(number).set_words(REQUEST, &words);
        self.command(number, 4)
    }

    fn status_of(&mut self, number: u8, other: u8) -> u8 {
        self.ram(number).byte(STATUS + u64::from(other))
    }

    fn interrupts(&mut self, number: u8) -> usize {
        core::mem::take(&mut self.interrupts[usize::from(number)])
    }

    /// No page leads anywhere but to the cell's own, or to buffers that it is a side of.
    fn check(&self) {
        for (number, (ram, _)) in (0..COUNT).zip(&self.cells) {
            let buffers: Vec<u64> = (0..COUNT)
                .filter(|other| *other != number)
                .flat_map(|other| [buffer(COUNT, number, other), buffer(COUNT, other, number)])
                .map(|page| page / SOCKET_PAGES as u64)
                .collect();
            let moved = (0..)
                .map(|page| ram.base + page * PAGE_SIZE)
                .zip(&ram.leads);
            for (own, hpa) in moved.filter(|(own, hpa)| own != *hpa) {
                let buffer = (hpa - LINK) / PAGE_SIZE / SOCKET_PAGES as u64;
                assert!(buffers.contains(&buffer), "{own:#x} leads to {hpa:#x}");
            }
        }
    }
}

/// What the driver asks for, its pages one after the other.
fn request(number: u8, other: u8) -> Vec<u64> {
    let first = LISTS + (place(number, other) * LISTED) as u64;
    let bytes = SOCKET_PAGES as u64 * PAGE_SIZE;
    let mut words = vec![u64::from(other) << 32 | 32808];
    for list in 0..2 {
        let first = first + list * SOCKET_PAGES as u64;
        words.push(bytes);
        words.extend((first..first + SOCKET_PAGES as u64).map(|page| page * PAGE_SIZE));
    }
    assert_eq!(words.len() * 8, 32808);
    words
}

const PARAMETER: u32 = 1 << 30 | 1 << 16;
const STATE: u32 = 1 << 30 | 2 << 16;

#[test]
fn registers_are_where_the_driver_has_them() {
    let mut world = World::new();
    world.write(1, 0x84, RX_DATA);
    for (offset, value) in [
        (0x00, 1),
        (0x04, 3),
        (0x10, 0),
        (0x20, 0),
        (0x24, 1 << 31),
        (0x28, STATUS as u32),
        (0x2c, 0),
        (0x34, 32808),
        (0x38, REQUEST as u32),
        (0x3c, 0),
        (0x44, 14),
        (0x48, RESPONSE as u32),
        (0x4c, 0),
        (0x80, 0),
        (0x84, RX_DATA),
        (0x88, 0),
        (0x8c, 0),
        (0x90, 0),
        (0x29, 0),
        (0xffc, 0),
    ] {
        assert_eq!(world.read(1, offset), value, "{offset:#x}");
    }
    world.write(1, 0x4c, 7);
    assert_eq!(world.read(1, 0x4c), 7);
    world.write(1, 0x4d, 8);
    assert_eq!((world.read(1, 0x4c), world.read(1, 0x50)), (7, 0));
}

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

#[test]
fn each_read_takes_one_cause_of_one_member() {
    let mut world = World::new();
    world.write(0, 0x8c, RX_DATA | INFO_UPDATE | 2);
    world.write(1, 0x8c, RX_DATA | 2);
    world.write(1, 0x8c, RX_DATA | 2);
    assert_eq!(world.interrupts(2), 1, "one for all until it is read");
    assert_eq!(world.read(2, 0x80), ASSERTED | RX_DATA);
    assert_eq!(world.interrupts(2), 1, "there is more");
    assert_eq!(world.read(2, 0x80), ASSERTED | RX_DATA | 1);
    assert_eq!(world.read(2, 0x80), ASSERTED | INFO_UPDATE);
    assert_eq!(world.interrupts(2), 1);
    assert_eq!(world.read(2, 0x80), 0);
    assert_eq!(world.interrupts, [0; 3]);
}

#[test]
fn what_is_masked_waits() {
    let mut world = World::new();
    world.write(2, 0x84, RX_DATA);
    world.write(0, 0x8c, RX_DATA | 2);
    assert_eq!((world.interrupts(2), world.read(2, 0x80)), (0, 0));
    world.write(2, 0x88, RX_DATA);
    assert_eq!(world.interrupts(2), 1);
    assert_eq!(world.read(2, 0x80), ASSERTED | RX_DATA);
    // Who listens to nothing begins anew.
    world.write(0, 0x8c, DEV_STOP | 2);
    world.interrupts(2);
    world.write(2, 0x84, u32::MAX);
    assert_eq!(world.read(2, 0x84), ALL);
    world.write(0, 0x8c, RX_DATA | 2);
    assert_eq!(world.read(2, 0x80), 0);
    world.write(2, 0x88, ALL);
    assert_eq!((world.interrupts(2), world.read(2, 0x80)), (0, 0));
}

#[test]
fn rings_for_nobody_are_for_nobody() {
    let mut world = World::new();
    for whom in [0, 3, 255, 256, 0x102, 0xffff] {
        world.write(0, 0x8c, ALL | whom);
    }
    world.members.stop(2);
    world.write(0, 0x8c, ALL | 2);
    world.write(0, 0x8c, 1);
    assert_eq!(world.interrupts, [0; 3]);
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

#[test]
fn its_interrupt_is_its_own() {
    let none = ListBuf::default();
    let function = Function {
        bdf: Bdf::new(0, 1, 0),
        guest: Bdf::new(0, 0, 8),
        pf: None,
        bar_sizes: [0; 6],
        unprotected: false,
        wire: None,
    };
    let wire = Some(Wire {
        io_apic: 0,
        pin: 1,
        gsi: 16,
    });
    let (functions, wired) = (
        ListBuf::new(&[function]),
        ListBuf::new(&[Function { wire, ..function }]),
    );
    let plan = |functions| CellPlan {
        name: b"a",
        cpus: none.list(),
        memory: none.list(),
        ports: none.list::<Ports>(),
        functions,
        adapters: none.list(),
        console: false,
        socket: None,
        devices: Devices::STANDARD,
        dump: false,
        many_nodes: false,
        class: Class::ROOT,
        link: None,
    };
    let free: Vec<u8> = (0..=255)
        .filter(|gsi| has_interrupt(&plan(functions.list()), *gsi))
        .collect();
    assert_eq!(free, [0, 1, 2, 3, 5, 6, 7, 8]);
    assert!(!has_interrupt(&plan(wired.list()), 5));
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
