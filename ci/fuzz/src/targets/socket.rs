//! Cells on an Extended Socket, whose drivers write anything, and which end and begin.

use crate::input::Numbers;
use cellvisor_abi::plan::{MAX_SOCKET_MEMBERS, SOCKET_PAGES, Socket};
use cellvisor_core::addr::{Gpa, Hpa, PAGE_SIZE};
use cellvisor_core::socket::{Command, Effect, LISTED, Members, Note, Notes, Outcome, Pages};

/// Where drivers have their requests, answers and status bytes at first.
const REQUEST: u64 = 0x1_0000;
const RESPONSE: u64 = 0x2_0000;
const STATUS: u64 = 0x2_1004;

/// First page of those that are shared, and how many a cell has.
const LISTS: usize = 0x40;
const PAGES_OF_ALL: usize = LISTS + LISTED * (MAX_SOCKET_MEMBERS as usize - 1) + 8;

/// Host-physical address of a link's first page.
const LINK: u64 = 1 << 40;

const CONTROL: u64 = 0x10;
const COMMAND: u64 = 0x20;
const HAPPENED: u64 = 0x80;
const UNMASK: u64 = 0x88;
const RING: u64 = 0x8c;
const OFFSETS: [u64; 16] = [
    0, 4, CONTROL, COMMAND, 0x24, 0x28, 0x2c, 0x34, 0x38, 0x44, 0x48, HAPPENED, 0x84, UNMASK, RING,
    0x90,
];

const START: u32 = 1 << 31;
const SHARE: u32 = 2;
const UNSHARE: u32 = 4;

/// Whatever they do, a page of a cell leads to its own RAM or to a buffer between it and one
/// that it shares with, each of these to another page; nothing is left of who has ended; and
/// no command begins before all CPUs have forgotten what the one before has changed.
pub(crate) fn members(bytes: &[u8]) {
    let mut numbers = Numbers::new(bytes);
    let mut world = World::new(2 + numbers.byte() % (MAX_SOCKET_MEMBERS - 1));
    while !numbers.is_over() {
        world.step(&mut numbers);
        world.check();
    }
    world.begins_anew();
}

/// A cell that is a member.
struct Cell {
    ram: Ram,
    notes: Notes<Vec<Note>>,
    runs: bool,
    /// Where pages led before is not forgotten.
    remembers: bool,
    /// With whom it shares, as its commands have said.
    shares: u8,
}

impl Cell {
    fn new(number: u8, count: u8) -> Self {
        let room = vec![Note::default(); Notes::<Vec<Note>>::room(count)];
        Self {
            ram: Ram::new(number, count),
            notes: Notes::new(room, number, count),
            runs: false,
            remembers: false,
            shares: 0,
        }
    }
}

struct World {
    count: u8,
    members: Members,
    cells: Vec<Cell>,
}

impl World {
    fn new(count: u8) -> Self {
        let mut world = Self {
            count,
            members: Members::NONE,
            cells: Vec::new(),
        };
        for number in 0..count {
            assert!(world.members.take(number, count));
            world.cells.push(Cell::new(number, count));
            world.start(number);
        }
        world
    }

    fn step(&mut self, numbers: &mut Numbers<'_>) {
        let (choice, who) = (numbers.byte(), numbers.byte() % self.count);
        match choice % 8 {
            _ if !self.cell(who).runs => self.while_it_is_off(who, choice),
            0 => {
                let (offset, value) = (offset(numbers), numbers.word());
                self.write(who, offset, value, false);
            }
            1 => self.read(who, offset(numbers)),
            2 | 3 => self.share(who, numbers, choice >> 3),
            4 => {
                let words = [u64::from(numbers.byte() % 5) << 32 | 8];
                self.cell(who).ram.set_words(REQUEST, &words);
                self.write(who, COMMAND, START | UNSHARE, choice & 0x80 != 0);
            }
            5 if choice & 0x80 != 0 => self.stop(who),
            5 | 6 if choice & 0x40 != 0 => self.cell(who).remembers = false,
            5 | 6 => self.write(who, RING, numbers.word() & 0x1f_0007, false),
            _ => self.write(who, CONTROL, 1, choice & 0x80 != 0),
        }
    }

    /// It starts anew, or another one takes its place.
    fn while_it_is_off(&mut self, who: u8, choice: u8) {
        if choice & 8 != 0 {
            self.members.leave(who);
            let is_of_two = self.members.take(who, 2);
            assert_eq!(is_of_two, self.count == 2, "others are there");
            self.members.leave(who);
            assert!(self.members.take(who, self.count));
            self.cells[usize::from(who)] = Cell::new(who, self.count);
        }
        self.start(who);
    }

    /// Puts back what its last start has left, as the monitor does, and sets up registers as
    /// the driver does.
    fn start(&mut self, who: u8) {
        let cell = self.cell(who);
        cell.notes.unshare_all(&mut cell.ram);
        cell.ram.room = usize::MAX;
        assert_eq!(cell.ram.led, 0, "pages are left of the last start");
        (cell.shares, cell.remembers, cell.runs) = (0, false, true);
        self.members.start(who);
        assert_eq!(self.members.read(who, HAPPENED, || true), (0, false));
        for (offset, value) in [
            (0x28, STATUS as u32),
            (0x34, 8 + 8 * (LISTED as u32 + 2)),
            (0x38, REQUEST as u32),
            (0x44, 8 + 2 * u32::from(self.count)),
            (0x48, RESPONSE as u32),
            (UNMASK, 0x1f_0000),
        ] {
            self.write(who, offset, value, false);
        }
    }

    fn stop(&mut self, who: u8) {
        let cell = self.cell(who);
        cell.runs = false;
        let due = self.members.stop(who);
        self.interrupt(due);
    }

    fn share(&mut self, who: u8, numbers: &mut Numbers<'_>, choice: u8) {
        let (other, area) = (numbers.byte() % 5, numbers.byte());
        // Where the pages of the same pair are, or those of another one.
        let area = usize::from(if area & 8 == 0 { other } else { area }) % 4 % 3;
        let mut words = request(other, LISTS + area * LISTED);
        if choice & 3 == 0 {
            let at = numbers.word() as usize % words.len();
            words[at] = match numbers.byte() % 4 {
                0 => numbers.long(),
                1 => words[numbers.word() as usize % words.len()],
                2 => words[at].wrapping_add(numbers.byte().into()),
                _ => u64::from(numbers.word()) % (2 * PAGES_OF_ALL as u64) * PAGE_SIZE,
            };
        }
        let ram = &mut self.cell(who).ram;
        ram.room = match choice & 0xc {
            0 => ram.led + usize::from(numbers.byte()) * 17,
            _ => usize::MAX,
        };
        ram.set_words(REQUEST, &words);
        self.write(who, COMMAND, START | SHARE, choice & 0x10 != 0);
    }

    fn read(&mut self, who: u8, offset: u64) {
        let remembers = self.cell(who).remembers;
        let (value, again) = self.members.read(who, offset, || !remembers);
        let is_busy = match offset {
            CONTROL => value != 0,
            0x24 => value & 1 << 30 != 0,
            _ => remembers,
        };
        assert_eq!(is_busy, remembers, "{offset:x}");
        self.status(who);
        self.interrupt(u8::from(again) << who);
    }

    /// Its end may come when a command is carried out, before that is told.
    fn write(&mut self, who: u8, offset: u64, value: u32, and_ends: bool) {
        let remembers = self.cell(who).remembers;
        let command = match self.members.write(who, offset, value, || !remembers) {
            Effect::Interrupt(whom) => {
                assert_ne!(whom.filter(|_| offset == RING), Some(who));
                return self.interrupt(whom.map_or(0, |whom| 1 << whom));
            }
            Effect::Command(command) => Some(command),
            Effect::Reset => None,
        };
        assert!(command.is_none() || !remembers, "a command came too early");
        let outcome = self.carry_out(who, command);
        if and_ends {
            self.stop(who);
        }
        let due = self.members.finish(who, outcome);
        assert!(!and_ends || due == 0, "who has ended interrupts");
        self.status(who);
        self.interrupt(due);
    }

    fn carry_out(&mut self, who: u8, command: Option<Command>) -> Outcome {
        let cell = self.cell(who);
        let led = cell.ram.led;
        let outcome = match command {
            Some(command) => command.carry_out(&mut cell.ram, &mut cell.notes),
            None => {
                cell.notes.unshare_all(&mut cell.ram);
                Outcome::Reset
            }
        };
        match outcome {
            Outcome::Told => {}
            Outcome::Failed(_) => assert_eq!(cell.ram.led, led, "half a command"),
            Outcome::Shared(other) => cell.shares |= 1 << other,
            Outcome::Unshared(other) => cell.shares &= !(1 << other),
            Outcome::Reset => cell.shares = 0,
        }
        cell.remembers |= outcome != Outcome::Told;
        outcome
    }

    /// Status bytes are written, one for each other member at most.
    fn status(&mut self, who: u8) {
        for _ in 1..self.count {
            let Some((at, value)) = self.members.next_status(who) else {
                break;
            };
            assert!(self.cell(who).runs || value == 0, "who has ended shares");
            let _elsewhere = self.cell(who).ram.put(at, value);
        }
        assert_eq!(self.members.next_status(who), None);
    }

    fn interrupt(&mut self, due: u8) {
        for number in 0..8 {
            let runs = || self.cells.get(number).is_some_and(|cell| cell.runs);
            assert!(due >> number & 1 == 0 || runs(), "{number} is interrupted");
        }
    }

    fn cell(&mut self, who: u8) -> &mut Cell {
        &mut self.cells[usize::from(who)]
    }

    /// Buffers are led to as a whole, by both sides that share them, and by nobody else.
    fn check(&self) {
        for (number, cell) in (0..).zip(&self.cells) {
            for (place, led) in cell.ram.led_to.iter().enumerate() {
                let (from, to) = pair(self.count, place);
                let other = if from == number { to } else { from };
                let is_side = from == number || to == number;
                let shares = is_side && cell.shares >> other & 1 != 0;
                let wanted = if shares { SOCKET_PAGES } else { 0 };
                assert_eq!(*led, wanted, "{number} and the buffer {from} to {to}");
            }
        }
    }

    /// However it went: all can end, begin, and share with each other.
    fn begins_anew(&mut self) {
        let all = 0..self.count;
        all.clone().for_each(|who| self.stop(who));
        all.clone().for_each(|who| self.start(who));
        for who in all.clone() {
            for other in all.clone().filter(|other| *other != who) {
                let area = usize::from(if other > who { other - 1 } else { other });
                let words = request(other, LISTS + area * LISTED);
                let cell = self.cell(who);
                cell.ram.set_words(REQUEST, &words);
                cell.remembers = false;
                self.write(who, COMMAND, START | SHARE, false);
            }
        }
        self.check();
        for who in all.clone() {
            self.read(who, 0);
            for other in all.clone() {
                let told = self.cell(who).ram.byte(STATUS + u64::from(other));
                assert_eq!(told, u8::from(other != who), "{who} and {other}");
            }
        }
    }
}

fn offset(numbers: &mut Numbers<'_>) -> u64 {
    match numbers.byte() {
        0xff => u64::from(numbers.word()) % PAGE_SIZE,
        known => OFFSETS[usize::from(known) % OFFSETS.len()],
    }
}

/// A request to share these pages with `other`.
fn request(other: u8, first: usize) -> Vec<u64> {
    let mut words = vec![u64::from(other) << 32 | (8 + 8 * (LISTED as u64 + 2))];
    for list in 0..2 {
        let first = (first + list * SOCKET_PAGES) as u64;
        words.push(SOCKET_PAGES as u64 * PAGE_SIZE);
        words.extend((first..first + SOCKET_PAGES as u64).map(|page| page * PAGE_SIZE));
    }
    words
}

/// Who sends by a buffer, and to whom: pairs are in order.
fn pair(count: u8, place: usize) -> (u8, u8) {
    let (from, to) = (place as u8 / (count - 1), place as u8 % (count - 1));
    (from, to + u8::from(to >= from))
}

/// RAM of a cell, and where its pages lead.
struct Ram {
    base: u64,
    /// Below the pages that it shares, which are read as nothing.
    bytes: Vec<u8>,
    /// The page of the link, for each of its own that leads there.
    leads: Vec<Option<u64>>,
    /// Pages of the link that something leads to.
    taken: Vec<bool>,
    /// How many lead there in all, how many can, and to which buffer.
    led: usize,
    room: usize,
    led_to: Vec<usize>,
}

impl Ram {
    fn new(number: u8, count: u8) -> Self {
        let pages = (Socket::size(count) / PAGE_SIZE) as usize;
        Self {
            base: (u64::from(number) + 1) << 32,
            bytes: vec![0; LISTS * PAGE_SIZE as usize],
            leads: vec![None; PAGES_OF_ALL],
            taken: vec![false; pages],
            led: 0,
            room: usize::MAX,
            led_to: vec![0; pages / SOCKET_PAGES],
        }
    }

    fn byte(&self, at: u64) -> u8 {
        self.bytes.get(at as usize).copied().unwrap_or(0)
    }

    fn set_words(&mut self, at: u64, words: &[u64]) {
        let places = self.bytes[at as usize..].chunks_exact_mut(8);
        for (place, word) in places.zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
    }

    fn is_own(&self, hpa: Hpa) -> bool {
        (self.base..self.base + PAGES_OF_ALL as u64 * PAGE_SIZE).contains(&hpa.0)
    }
}

impl Pages for Ram {
    fn word(&mut self, at: Gpa) -> Option<u64> {
        assert!(at.is_aligned(8), "a word may leave its page");
        let at = (self.own(at)?.0 - self.base) as usize;
        let bytes = self.bytes.get(at..).and_then(|bytes| bytes.first_chunk());
        Some(bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes)))
    }

    fn put(&mut self, at: Gpa, value: u8) -> Option<()> {
        let at = (self.own(at)?.0 - self.base) as usize;
        if let Some(place) = self.bytes.get_mut(at) {
            *place = value;
        }
        Some(())
    }

    fn own(&mut self, gpa: Gpa) -> Option<Hpa> {
        let page = usize::try_from(gpa.0 / PAGE_SIZE).ok()?;
        let leads = self.leads.get(page)?;
        leads.is_none().then_some(Hpa(self.base + gpa.0))
    }

    fn buffer(&mut self, page: u64) -> Option<Hpa> {
        ((page as usize) < self.taken.len()).then_some(Hpa(LINK + page * PAGE_SIZE))
    }

    fn copy(&mut self, from: Hpa, to: Hpa) {
        assert!(self.is_own(from) && to.0 >= LINK);
    }

    fn lead(&mut self, gpa: Gpa, to: Hpa) -> bool {
        if self.led >= self.room {
            return false;
        }
        let page = ((to.0 - LINK) / PAGE_SIZE) as usize;
        assert!(gpa.is_aligned(PAGE_SIZE) && to.is_aligned(PAGE_SIZE));
        assert!(!self.taken[page], "two pages lead to one");
        let before = self.leads[(gpa.0 / PAGE_SIZE) as usize].replace(page as u64);
        assert_eq!(before, None, "it leads elsewhere already");
        self.taken[page] = true;
        self.led += 1;
        self.led_to[page / SOCKET_PAGES] += 1;
        true
    }

    fn put_back(&mut self, gpa: Gpa, to: Hpa) {
        assert_eq!(to.0, self.base + gpa.0, "it comes back elsewhere");
        let led = self.leads[(gpa.0 / PAGE_SIZE) as usize].take();
        let page = led.expect("it led elsewhere") as usize;
        self.taken[page] = false;
        self.led -= 1;
        self.led_to[page / SOCKET_PAGES] -= 1;
    }
}
