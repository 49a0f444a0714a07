//! What a driver sees, and what a hostile one cannot bring about.

mod commands;
mod lives;
mod registers;

use super::*;
use crate::addr::{Gpa, Hpa};
use cellvisor_abi::PAGE_SIZE;
use cellvisor_abi::plan::Socket;
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
