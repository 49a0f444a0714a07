//! A model of a machine: who owns its pages, what the root's and the cells'
//! second-level tables say, and the states of cells. Random lives of cells are
//! played on it as the monitor plays them, with table pages running out.
//!
//! After each step no page has two owners that reach it, tables say what the map
//! of owners says, and nothing of a dead cell is left.

use crate::input::Numbers;
use cellvisor_abi::call::{CellId, Owner, State, StopReason};
use cellvisor_core::addr::{Gpa, Hpa, PAGE_SIZE, SIZE_2M};
use cellvisor_core::cell_state::{Event, next};
use cellvisor_core::ownership::{OwnerMap, Span};
use cellvisor_core::paging::{Attr, ENTRIES, Ept, MapError, PageSize, TableMem, Tables};
use std::collections::BTreeMap;

/// Memory of the machine: 8 MiB, in units of 256 KiB.
const UNIT: u64 = 0x4_0000;
const UNITS: u64 = 32;
const CELLS: usize = 4;
/// Table pages that never run out.
const PLENTY: usize = 1 << 20;

/// Pages for tables; addresses beyond the machine's memory.
struct Pool {
    pages: BTreeMap<u64, Vec<u64>>,
    next: u64,
    /// How many more it gives out.
    room: usize,
}

impl TableMem for Pool {
    fn alloc(&mut self) -> Option<Hpa> {
        self.room = self.room.checked_sub(1)?;
        self.next += PAGE_SIZE;
        self.pages.insert(self.next, vec![0; ENTRIES]);
        Some(Hpa(self.next))
    }

    fn free(&mut self, table: Hpa) {
        assert!(self.pages.remove(&table.0).is_some(), "freed twice");
        self.room += 1;
    }

    fn read(&self, table: Hpa, index: usize) -> u64 {
        self.pages[&table.0][index]
    }

    fn write(&mut self, table: Hpa, index: usize, entry: u64) {
        self.pages.get_mut(&table.0).expect("allocated")[index] = entry;
    }
}

struct Cell {
    state: State,
    tables: Tables<Ept>,
    start: u64,
    end: u64,
}

struct Machine<'a> {
    pool: Pool,
    root: Tables<Ept>,
    owners: OwnerMap<'a>,
    cells: [Option<Cell>; CELLS],
}

fn owner(index: usize) -> Owner {
    Owner::Cell(CellId(index as u32 + 1))
}

impl Machine<'_> {
    /// Memory from `start` on goes to a new cell, which sees it from 0 on; the
    /// root still sees it. Whatever fails, all is as before.
    fn create(&mut self, index: usize, start: u64, end: u64) {
        if self.cells[index].is_some() {
            return;
        }
        let owned = self.owners.transfer(start, end, Owner::Root, owner(index));
        if owned.is_err() {
            return;
        }
        let tables = self.cell_tables(start, end);
        let Some(tables) = tables else {
            let back = self.owners.transfer(start, end, owner(index), Owner::Root);
            assert_eq!(back, Ok(()), "a failed create is undone");
            return;
        };
        let state = State::Loadable;
        self.cells[index] = Some(Cell {
            state,
            tables,
            start,
            end,
        });
    }

    fn cell_tables(&mut self, start: u64, end: u64) -> Option<Tables<Ept>> {
        let mut tables = Tables::new(&mut self.pool, PageSize::Size2M)?;
        let (at, size) = (Hpa(start * UNIT), (end - start) * UNIT);
        match tables.map(&mut self.pool, Gpa(0), at, size, Attr::RAM) {
            Ok(()) => Some(tables),
            Err(why) => {
                assert_eq!(why, MapError::NoMemory);
                tables.destroy(&mut self.pool);
                None
            }
        }
    }

    /// An event of a cell's life, and what it does to the root's view.
    fn event(&mut self, index: usize, event: Event) {
        let Some(cell) = &mut self.cells[index] else {
            return;
        };
        let Ok(state) = next(cell.state, event) else {
            return;
        };
        let (at, size) = (cell.start * UNIT, (cell.end - cell.start) * UNIT);
        let done = match event {
            Event::Start => self.root.unmap(&mut self.pool, Gpa(at), size).map(Some),
            Event::Reload => self
                .root
                .map(&mut self.pool, Gpa(at), Hpa(at), size, Attr::RAM)
                .map(|()| None),
            Event::Stop(_) | Event::Fail => Ok(None),
        };
        match done {
            Ok(stale) => {
                stale
                    .into_iter()
                    .for_each(|stale| stale.flushed(&mut self.pool));
                cell.state = state;
            }
            // Without a page for a table the state stays.
            Err(why) => assert_eq!(why, MapError::NoMemory),
        }
    }

    fn destroy(&mut self, index: usize) {
        let Some(cell) = self.cells[index].take_if(|cell| cell.state == State::Loadable) else {
            return;
        };
        cell.tables.destroy(&mut self.pool);
        let back = self
            .owners
            .transfer(cell.start, cell.end, owner(index), Owner::Root);
        assert_eq!(back, Ok(()), "the cell had it");
        let (at, size) = (cell.start * UNIT, (cell.end - cell.start) * UNIT);
        let stale = self
            .root
            .merge(&mut self.pool, Gpa(at), size)
            .expect("aligned");
        stale.flushed(&mut self.pool);
    }

    fn check(&self) {
        let mut reached = BTreeMap::new();
        for (index, cell) in self.cells.iter().enumerate() {
            let spans: Vec<_> = self.owners.owned(owner(index)).collect();
            let Some(cell) = cell else {
                assert!(spans.is_empty(), "a dead cell owns {spans:?}");
                continue;
            };
            let own = spans.iter().map(|span| (span.start, span.end));
            assert!(own.eq([(cell.start, cell.end)]), "{spans:?}");
            for unit in 0..UNITS + 2 {
                let seen = self.translate(&cell.tables, unit);
                let wanted = (unit < cell.end - cell.start).then(|| (cell.start + unit) * UNIT);
                assert_eq!(seen, wanted, "cell {index}, unit {unit}");
                if let Some(hpa) = seen {
                    let other = reached.insert(hpa / UNIT, index);
                    assert_eq!(other, None, "two cells reach unit {}", hpa / UNIT);
                }
            }
        }
        for unit in 0..UNITS {
            let hidden = reached
                .get(&unit)
                .and_then(|index| self.cells[*index].as_ref());
            let hidden = hidden.is_some_and(|cell| cell.state != State::Loadable);
            let seen = self.translate(&self.root, unit);
            assert_eq!(
                seen,
                (!hidden).then_some(unit * UNIT),
                "the root, unit {unit}"
            );
        }
        assert_eq!(self.translate(&self.root, UNITS), None);
    }

    /// Both ends of a unit lead to the same place.
    fn translate(&self, tables: &Tables<Ept>, unit: u64) -> Option<u64> {
        let at = |offset| {
            let mapping = tables.translate(&self.pool, Gpa(unit * UNIT + offset));
            mapping.map(|mapping| mapping.hpa.0 - offset)
        };
        assert_eq!(at(0), at(UNIT - PAGE_SIZE));
        at(0)
    }
}

/// Plays the input as steps of lives.
pub(crate) fn lives(bytes: &[u8]) {
    let mut numbers = Numbers::new(bytes);
    let mut pool = Pool {
        pages: BTreeMap::new(),
        next: UNITS * UNIT + SIZE_2M,
        room: PLENTY,
    };
    let mut root = Tables::new(&mut pool, PageSize::Size1G).expect("room");
    root.map(&mut pool, Gpa(0), Hpa(0), UNITS * UNIT, Attr::RAM)
        .expect("maps");
    let at_first = pool.pages.len();
    pool.room = usize::from(numbers.byte() % 32);
    let mut storage = [Span::UNUSED; 6];
    let mut machine = Machine {
        pool,
        root,
        owners: OwnerMap::new(&mut storage),
        cells: [const { None }; CELLS],
    };
    while !numbers.is_over() {
        let (what, index) = (numbers.byte(), usize::from(numbers.byte()) % CELLS);
        match what % 8 {
            0 | 1 => {
                let start = u64::from(numbers.byte()) % UNITS;
                let end = (start + u64::from(numbers.byte()) % 12).min(UNITS);
                machine.create(index, start, end);
            }
            2 => machine.event(index, Event::Start),
            3 => machine.event(index, Event::Stop(StopReason::Root)),
            4 => machine.event(index, Event::Fail),
            5 => machine.event(index, Event::Reload),
            6 => machine.destroy(index),
            _ => machine.pool.room = usize::from(numbers.byte() % 16),
        }
        machine.check();
    }
    // The end of all cells leaves the machine as it was.
    machine.pool.room = PLENTY;
    for index in 0..CELLS {
        machine.event(index, Event::Fail);
        machine.event(index, Event::Reload);
        machine.destroy(index);
        assert!(machine.cells[index].is_none());
    }
    machine.check();
    assert!(machine.owners.spans().is_empty());
    assert_eq!(machine.pool.pages.len(), at_first, "tables are left");
    machine.root.destroy(&mut machine.pool);
    assert!(machine.pool.pages.is_empty());
}
