//! Extended Sockets of cells: registers, and pages that lead to a link's.
//!
//! What is changed in a cell's second-level tables is changed by its own CPU, at its own
//! command, and so is what is written to its RAM. Others of the link get an interrupt. Who
//! holds the lock of the link's members keeps their cells alive, since they are let go of
//! under that lock before they end.

use crate::cell::{self, Cell, ipi};
use crate::cpu::kick;
use crate::cpu::percpu::request;
use crate::lock::{Guard, Mutex};
use crate::machine;
use crate::mem::map::Window;
use crate::mem::owners;
use crate::mem::page::PageVec;
use crate::mem::reserve::Reserve;
use cellvisor_abi::PAGE_SIZE;
use cellvisor_abi::call::{CellId, Owner};
use cellvisor_abi::parts::Parts;
use cellvisor_abi::plan::{CellPlan, MAX_SOCKET_MEMBERS, SOCKET_TABLES, Share};
use cellvisor_abi::status::CallStatus;
use cellvisor_core::addr::{Gpa, Hpa};
use cellvisor_core::link;
use cellvisor_core::locks::Rank;
use cellvisor_core::paging::Attr;
use cellvisor_core::socket::{self, Command, Effect, Note, Notes, Outcome};

/// The part of the monitor that this is.
pub(crate) const PART: Parts = Parts::SOCKETS;

/// The members of a link, and those of their cells that run.
pub(crate) struct Members {
    members: socket::Members,
    cells: [Option<&'static Cell>; MAX_SOCKET_MEMBERS as usize],
}

impl Members {
    /// Of a link that nobody shares.
    pub(crate) const NONE: Self = Self {
        members: socket::Members::NONE,
        cells: [None; MAX_SOCKET_MEMBERS as usize],
    };

    fn set(&mut self, number: u8, cell: Option<&'static Cell>) {
        if let Some(slot) = self.cells.get_mut(usize::from(number)) {
            *slot = cell;
        }
    }

    /// Interrupts those that have a bit.
    #[inline(never)]
    fn interrupt(&self, due: u8) {
        for (number, cell) in self.cells.iter().enumerate() {
            if due >> number & 1 != 0
                && let Some(cell) = cell
                && let Some(guest) = &cell.guest
                && let Some(socket) = &guest.socket
            {
                let message = guest.devices.lock().pulse(socket.gsi);
                ipi::deliver_message(cell, message);
            }
        }
    }
}

/// Members, and their lock.
pub(crate) type Locked = Mutex<Members, { Rank::Members as u8 }>;

/// Members, while it is held.
type Guarded = Guard<'static, Members, { Rank::Members as u8 }>;

/// Pages of a cell that lead to its link's, and tables for them.
struct Pages {
    notes: Notes<PageVec<Note>>,
    tables: Reserve,
}

/// The socket of a cell, whose number is another's when this is dropped.
pub(crate) struct Socket {
    link: CellId,
    number: u8,
    gsi: u8,
    pages: Mutex<Pages, { Rank::Socket as u8 }>,
}

/// The socket that a plan wants; its link is noted by the cell that is made. The caller holds
/// the lock of the hypercalls.
#[inline(never)] // Its own frame, as of `claim::protect`.
pub(crate) fn take(plan: &CellPlan<'_>) -> Result<Option<Socket>, CallStatus> {
    let Some(wanted) = plan.socket else {
        return Ok(None);
    };
    let (number, count) = (wanted.number, wanted.members.min(MAX_SOCKET_MEMBERS));
    let Some(Owner::Cell(link)) = owners::of(Hpa(wanted.memory)) else {
        return Err(CallStatus::BadResource);
    };
    let tables = SOCKET_TABLES * usize::from(count).saturating_sub(1);
    let notes = PageVec::zeros(Notes::<PageVec<Note>>::room(count));
    let (Some(notes), Some(tables)) = (notes, Reserve::of(tables)) else {
        return Err(CallStatus::NoMemory);
    };
    // Its number is taken last: who has it gives it back.
    let take = |members: &'static Locked| members.lock().members.take(number, wanted.members);
    if !socket::has_interrupt(plan, wanted.gsi) || !members(link).is_some_and(take) {
        return Err(CallStatus::BadResource);
    }
    Ok(Some(Socket {
        link,
        number,
        gsi: wanted.gsi,
        pages: Mutex::new(Pages {
            notes: Notes::new(notes, number, count),
            tables,
        }),
    }))
}

/// The members of a link. A CPU may ask for that of a link that its cell shares: it stays as
/// long as the cell.
#[inline(never)]
fn members(link: CellId) -> Option<&'static Locked> {
    Some(&cell::get(link)?.guest.as_ref()?.members)
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Some(members) = members(self.link) {
            members.lock().members.leave(self.number);
        }
    }
}

/// Puts all pages back that lead to a link's: no CPU runs the cell's code, or does before it
/// has forgotten where they led.
#[inline(never)] // As `take`.
pub(crate) fn put_back(window: &mut Window, cell: &Cell) {
    let Some(socket) = of(cell) else { return };
    let mut pages = socket.pages.lock();
    let (mut reach, notes) = reach(&mut pages, window, cell, socket);
    notes.unshare_all(&mut reach);
    if let Some(space) = cell.space.lock().as_mut() {
        space.merge_to(Gpa(0)..Gpa(machine::get().physical_end.0), reach.tables);
    }
}

/// The cell is about to run; [`put_back`] came before.
pub(crate) fn start(cell: &'static Cell) {
    if let Some((mut members, number)) = members_of(cell) {
        members.members.start(number);
        members.set(number, Some(cell));
    }
}

/// The cell does not run any more.
pub(crate) fn stop(cell: &Cell) {
    if let Some((mut members, number)) = members_of(cell) {
        members.set(number, None);
        let due = members.members.stop(number);
        members.interrupt(due);
    }
}

/// The members of the link that a cell's socket is of, and its number among them.
#[inline(never)]
fn members_of(cell: &Cell) -> Option<(Guarded, u8)> {
    let socket = of(cell)?;
    Some((members(socket.link)?.lock(), socket.number))
}

fn of(cell: &Cell) -> Option<&Socket> {
    cell.guest.as_ref()?.socket.as_ref()
}

/// True if no CPU of the cell knows any more where pages led before.
fn is_flushed(cell: &Cell) -> bool {
    cell.cpus().all(|cpu| cpu.is_done(request::FLUSH))
}

/// The cell reads a register.
#[inline(never)] // Its own frame, and not that of all accesses.
pub(crate) fn read(window: &mut Window, cell: &Cell, offset: u64, size: u8) -> u64 {
    let Some((mut members, number)) = members_of(cell).filter(|_| size == 4) else {
        return u64::MAX;
    };
    let flushed = || is_flushed(cell);
    let (value, again) = members.members.read(number, offset, flushed);
    write_status(window, cell, &mut members, number);
    members.interrupt(u8::from(again) << number);
    value.into()
}

/// The cell writes a register.
#[inline(never)] // As `read`.
pub(crate) fn write(window: &mut Window, cell: &Cell, offset: u64, size: u8, value: u64) {
    let Some((mut members, number)) = members_of(cell).filter(|_| size == 4) else {
        return;
    };
    let flushed = || is_flushed(cell);
    let effect = members.members.write(number, offset, value as u32, flushed);
    let command = match effect {
        Effect::Interrupt(whom) => {
            return members.interrupt(whom.map_or(0, |whom| 1 << whom));
        }
        Effect::Command(command) => Some(command),
        Effect::Reset => None,
    };
    drop(members);
    carry_out(window, cell, command);
}

/// Carries out a command; without one, a reset.
#[inline(never)] // Its own frame, and not that of all accesses.
fn carry_out(window: &mut Window, cell: &Cell, command: Option<Command>) {
    let Some(socket) = of(cell) else { return };
    let mut pages = socket.pages.lock();
    let (mut reach, notes) = reach(&mut pages, window, cell, socket);
    let outcome = match command {
        Some(command) => command.carry_out(&mut reach, notes),
        None => {
            notes.unshare_all(&mut reach);
            Outcome::Reset
        }
    };
    if !matches!(outcome, Outcome::Told) {
        // Nobody waits for them: the driver looks whether the command is complete.
        cell.cpus().for_each(|cpu| kick::send(cpu, request::FLUSH));
    }
    if let Some((mut members, number)) = members_of(cell) {
        let due = members.members.finish(number, outcome);
        write_status(reach.window, cell, &mut members, number);
        members.interrupt(due);
    }
}

/// Makes the status bytes in the cell's RAM what they should be.
fn write_status(window: &mut Window, cell: &Cell, members: &mut Members, number: u8) {
    while let Some((at, value)) = members.members.next_status(number) {
        if let Some(hpa) = own_ram(cell, at) {
            window.write(hpa, &[value]);
        }
    }
}

/// Where a cell's own RAM is: memory that it executes from.
#[inline(never)]
fn own_ram(cell: &Cell, gpa: Gpa) -> Option<Hpa> {
    let space = cell.space.lock();
    let mapping = space.as_ref()?.translate(gpa)?;
    mapping.attr.execute.then_some(mapping.hpa)
}

/// Memory of a cell and of its link, as a CPU reaches them that changes tables of the cell.
struct Reach<'a> {
    window: &'a mut Window,
    cell: &'a Cell,
    link: CellId,
    tables: &'a mut Reserve,
}

fn reach<'a>(
    pages: &'a mut Pages,
    window: &'a mut Window,
    cell: &'a Cell,
    socket: &Socket,
) -> (Reach<'a>, &'a mut Notes<PageVec<Note>>) {
    let reach = Reach {
        window,
        cell,
        link: socket.link,
        tables: &mut pages.tables,
    };
    (reach, &mut pages.notes)
}

impl Reach<'_> {
    #[inline(never)]
    fn replace(&mut self, gpa: Gpa, hpa: Hpa, attr: Attr) -> bool {
        let mut space = self.cell.space.lock();
        let space = space.as_mut();
        space.is_some_and(|space| space.replace(gpa, hpa, attr, self.tables).is_ok())
    }
}

impl socket::Pages for Reach<'_> {
    fn word(&mut self, at: Gpa) -> Option<u64> {
        let at = self.own(at)?;
        Some(self.window.word(at))
    }

    fn put(&mut self, at: Gpa, value: u8) -> Option<()> {
        let at = self.own(at)?;
        self.window.write(at, &[value]);
        Some(())
    }

    fn own(&mut self, gpa: Gpa) -> Option<Hpa> {
        own_ram(self.cell, gpa)
    }

    fn buffer(&mut self, page: u64) -> Option<Hpa> {
        own_ram(cell::get(self.link)?, Gpa(page * PAGE_SIZE))
    }

    fn copy(&mut self, from: Hpa, to: Hpa) {
        self.window.copy(from, to, PAGE_SIZE);
    }

    fn lead(&mut self, gpa: Gpa, to: Hpa) -> bool {
        self.replace(gpa, to, link::attr(Share::Write))
    }

    fn put_back(&mut self, gpa: Gpa, to: Hpa) {
        self.replace(gpa, to, link::attr(Share::Own));
    }
}
