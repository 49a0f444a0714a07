//! Network adapters of cells: who has them, and frames on their way from one cell's RAM
//! to another's. A console that takes lines is one that leads to no network.
//!
//! A CPU that sends copies the frames itself, while its guest waits. It reaches the cell
//! that receives by the place of its adapter alone, which stays when the cell goes: who
//! holds the lock of what is received there keeps the cell alive, since it is let go of
//! under that lock before it ends.

use crate::cell::memory::Translations;
use crate::cell::{Cell, Guest, ipi};
use crate::lock::Mutex;
use crate::mem::map::Window;
use crate::mem::space::Space;
use cellvisor_abi::parts::Parts;
use cellvisor_abi::plan::{self, CellPlan, MAX_ADAPTERS, MAX_NAME};
use cellvisor_core::addr::{Gpa, Hpa};
use cellvisor_core::locks::Rank;
use cellvisor_core::net::frame::{self, Frame, Mac};
use cellvisor_core::net::{self, Broken, Effect, Line, Place, Queue, Queues, Side, Value, typing};
use cellvisor_core::pci::{ABSENT, Access};
use core::sync::atomic::{AtomicU64, Ordering};

/// The part of the monitor that this is.
pub(crate) const PART: Parts = Parts::ADAPTERS;

/// Most adapters of all cells.
const PLACES: usize = 128;

/// Most frames that are sent while a guest waits; for more it is entered in between, so
/// that interrupts come through, and comes back at once.
const AT_ONCE: usize = 16;

/// An adapter as its own cell uses it.
struct Own {
    /// Name of its link; `None` if it is nobody's.
    link: Option<[u8; MAX_NAME]>,
    /// Number of the network that the link is.
    network: u16,
    /// `None` for a console.
    mac: Option<Mac>,
    adapter: net::Adapter,
    queue: Queue,
    line: Line,
    translations: Translations,
}

/// What is received by an adapter.
struct Receiver {
    /// The cell, while it may be running.
    cell: Option<&'static Cell>,
    /// What its driver takes, if it is ready.
    features: Option<u64>,
    queue: Queue,
    line: Line,
    translations: Translations,
}

struct Slot {
    /// The adapter's address behind its network's number, by which those who send find
    /// it; 0 while its cell does not run.
    key: AtomicU64,
    own: Mutex<Own, { Rank::Adapter as u8 }>,
    receiver: Mutex<Receiver, { Rank::Receiver as u8 }>,
}

static SLOTS: [Slot; PLACES] = [const {
    Slot {
        key: AtomicU64::new(0),
        own: Mutex::new(Own {
            link: None,
            network: 0,
            mac: None,
            adapter: net::Adapter::NONE,
            queue: Queue::NONE,
            line: Line::NONE,
            translations: Translations::new(),
        }),
        receiver: Mutex::new(Receiver {
            cell: None,
            features: None,
            queue: Queue::NONE,
            line: Line::NONE,
            translations: Translations::new(),
        }),
    }
}; PLACES];

/// What those who send look for.
fn key(network: u16, mac: Mac) -> u64 {
    let [a, b, c, d, e, f] = mac;
    let [low, high] = network.to_le_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, low, high])
}

/// The adapters of a cell, which are others' when this is dropped.
pub(crate) struct Adapters(heapless::Vec<&'static Slot, MAX_ADAPTERS>);

/// Why a cell cannot have its adapters.
pub(crate) enum Refused {
    /// Their number, or an address.
    Plan,
    /// There is no room for more.
    Full,
}

impl Adapters {
    /// None.
    pub(crate) const fn new() -> Self {
        Self(heapless::Vec::new())
    }

    /// Those of a plan. The caller holds the lock of the hypercalls.
    #[inline(never)] // Its own frame, as of `claim::protect`.
    pub(crate) fn take(&mut self, plan: &CellPlan<'_>) -> Result<(), Refused> {
        for wanted in plan.adapters.iter() {
            let network = network(&wanted)?;
            let mut own = self.add()?.own.lock();
            (own.link, own.network) = (Some(wanted.link), network);
            own.mac = Some(wanted.mac);
        }
        if plan.console {
            let mut own = self.add()?.own.lock();
            (own.link, own.mac) = (Some([0; MAX_NAME]), None);
        }
        Ok(())
    }

    /// One more, which is nobody's yet.
    #[inline(never)]
    fn add(&mut self) -> Result<&'static Slot, Refused> {
        let free = SLOTS.iter().find(|slot| slot.own.lock().link.is_none());
        let free = free.ok_or(Refused::Full)?;
        self.0.push(free).map_err(|_| Refused::Plan)?;
        Ok(free)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// As after a reset of the machine, for `cell`, whose they are and which is about to
    /// start. Without one nothing is received any more: the cell does not run, and its
    /// memory is another's soon.
    pub(crate) fn reset(&self, cell: Option<&'static Cell>) {
        for (number, slot) in (0..).zip(&self.0) {
            slot.reset(number, cell);
            slot.tell();
        }
    }
}

impl Slot {
    fn reset(&self, number: u8, cell: Option<&'static Cell>) {
        let (mut own, mut receiver) = (self.own.lock(), self.receiver.lock());
        own.translations.forget();
        receiver.translations.forget();
        receiver.cell = cell;
        let mac = own.mac;
        with(&mut own, &mut receiver, |adapter, queues| {
            adapter.reset(number, mac, queues);
        });
        let key = cell.and(mac).map_or(0, |mac| key(own.network, mac));
        self.key.store(key, Ordering::SeqCst);
    }

    /// Others of the network whose cells run.
    fn others(&self, network: u16) -> impl Iterator<Item = &'static Self> {
        let is_other = move |slot: &&Self| {
            let key = slot.key.load(Ordering::SeqCst);
            key != 0 && key >> 48 == u64::from(network) && !core::ptr::eq(*slot, self)
        };
        SLOTS.iter().filter(is_other)
    }

    /// This one has come, or gone. If there is one other, its link has come up by that, or
    /// gone down.
    fn tell(&self) {
        let own = self.own.lock();
        let (network, mac) = (own.network, own.mac);
        drop(own);
        if mac.is_none() {
            return;
        }
        let mut others = self.others(network);
        let (Some(other), None) = (others.next(), others.next()) else {
            return;
        };
        let (mut own, receiver) = (other.own.lock(), other.receiver.lock());
        if let (Some(message), Some(cell)) = (own.adapter.changed(), receiver.cell) {
            ipi::deliver_msi(cell, message);
        }
    }
}

impl Drop for Adapters {
    fn drop(&mut self) {
        self.reset(None);
        for slot in &self.0 {
            slot.own.lock().link = None;
        }
    }
}

/// The number of the network that an adapter leads to.
fn network(wanted: &plan::Adapter) -> Result<u16, Refused> {
    let mut known = None;
    let mut used = [false; PLACES];
    for slot in &SLOTS {
        let own = slot.own.lock();
        let (Some(link), Some(mac)) = (own.link, own.mac) else {
            continue;
        };
        if let Some(used) = used.get_mut(usize::from(own.network)) {
            *used = true;
        }
        if link == wanted.link {
            known = Some(own.network);
            if mac == wanted.mac {
                return Err(Refused::Plan);
            }
        }
    }
    let is_usable = matches!(wanted.mac, [first, ..] if first & 1 == 0) && wanted.mac != [0; 6];
    if !is_usable {
        return Err(Refused::Plan);
    }
    let free = used.iter().position(|used| !used);
    let number = known.or(free.and_then(|free| u16::try_from(free).ok()));
    number.ok_or(Refused::Full)
}

/// Runs `f` with an adapter and both its queues, and notes what follows for what it
/// receives.
fn with<T>(
    own: &mut Own,
    receiver: &mut Receiver,
    f: impl FnOnce(&mut net::Adapter, &mut Queues<'_>) -> T,
) -> T {
    let mut queues = Queues {
        receive: &mut receiver.queue,
        received: &mut receiver.line,
        send: &mut own.queue,
        sent: &mut own.line,
    };
    let result = f(&mut own.adapter, &mut queues);
    receiver.features = own.adapter.features();
    result
}

fn slot(cell: &Cell, number: usize) -> Option<&'static Slot> {
    cell.guest.as_ref()?.adapters.0.get(number).copied()
}

/// The cell reads there.
pub(crate) fn read(cell: &Cell, place: Place, size: u8) -> u64 {
    let (Place::Config(number, _) | Place::Register(number, _)) = place;
    let Some(slot) = slot(cell, number) else {
        return u64::from(ABSENT);
    };
    let (mut own, mut receiver) = (slot.own.lock(), slot.receiver.lock());
    let is_up = slot.others(own.network).next().is_some();
    own.adapter.set_link(is_up);
    with(&mut own, &mut receiver, |adapter, queues| match place {
        Place::Config(_, offset) => Access::new(offset, size)
            .map_or(u64::MAX, |access| u64::from(adapter.read_config(access))),
        Place::Register(_, offset) => adapter.read(offset, size, queues),
    })
}

/// The cell writes there; true if all of it is done, false if its guest is to do the
/// same again.
pub(crate) fn write(
    window: &mut Window,
    cell: &'static Cell,
    place: Place,
    size: u8,
    value: u64,
) -> bool {
    let (Place::Config(number, _) | Place::Register(number, _)) = place;
    let Some(slot) = slot(cell, number) else {
        return true;
    };
    let mut own = slot.own.lock();
    let effect = {
        let mut receiver = slot.receiver.lock();
        with(&mut own, &mut receiver, |adapter, queues| match place {
            Place::Config(_, offset) => Access::new(offset, size).map_or(Effect::None, |access| {
                adapter.write_config(access, value as u32, queues)
            }),
            Place::Register(_, offset) => adapter.write(offset, size, value, queues),
        })
    };
    match effect {
        Effect::None => true,
        Effect::Send => send(window, cell, slot, &mut own),
        Effect::Interrupts(due) => {
            let due = due.into_iter().flatten();
            due.for_each(|message| ipi::deliver_msi(cell, message));
            true
        }
    }
}

/// Sends what is waiting; false if there is more.
fn send(window: &mut Window, cell: &'static Cell, slot: &Slot, own: &mut Own) -> bool {
    let Some(features) = own.adapter.features() else {
        return true;
    };
    let mut told = false;
    let mut all = false;
    for _ in 0..AT_ONCE {
        let mut ram = Between::of(window, cell, &mut own.translations);
        let next = match own.mac {
            Some(mac) => send_next(&mut ram, slot, &own.queue, key(own.network, mac)),
            None => typing::next(&own.queue, &mut ram, |bytes| write_out(cell, bytes)),
        };
        let number = match next {
            Ok(Some(number)) => number,
            Ok(None) if frame::rest(&own.queue, &mut ram, features) => {
                all = true;
                break;
            }
            Ok(None) => continue,
            Err(_) => {
                all = true;
                break;
            }
        };
        match frame::done(&mut own.queue, &mut ram, number, features) {
            Some(tell) => told |= tell,
            None => {
                all = true;
                break;
            }
        }
    }
    if told && let Some(message) = own.line.raise() {
        ipi::deliver_msi(cell, message);
    }
    all
}

/// Sends the frame that is next; its number.
fn send_next(
    ram: &mut Between<'_>,
    slot: &Slot,
    queue: &Queue,
    own: u64,
) -> Result<Option<u16>, Broken> {
    let Some((number, frame)) = frame::next(queue, ram)? else {
        return Ok(None);
    };
    let network = (own >> 48) as u16;
    // Nobody says that he is another.
    if let Some(frame) = frame
        && key(network, frame.from()) == own
    {
        pass_on(ram, slot, network, &frame);
    }
    Ok(Some(number))
}

/// The cell's console says this.
fn write_out(cell: &Cell, bytes: &[u8]) {
    if let Some(guest) = &cell.guest {
        guest.devices.lock().written(bytes);
    }
}

/// Types on a console that takes lines: how many bytes it takes; `None` if there is none, or
/// no driver for it.
pub(crate) fn type_on(window: &mut Window, guest: &Guest, bytes: &[u8]) -> Option<u32> {
    let slot = *guest.adapters.0.last()?;
    let (mut own, mut receiver) = (slot.own.lock(), slot.receiver.lock());
    let (own, receiver) = (&mut *own, &mut *receiver);
    if own.mac.is_some() {
        return None;
    }
    let (cell, _) = (receiver.cell?, receiver.features?);
    let mut ram = Between {
        window,
        sender: (cell, &mut own.translations),
        receiver: Some((cell, &mut receiver.translations)),
    };
    let told = typing::deliver(bytes, &mut ram, &mut receiver.queue);
    if told == Ok(true)
        && let Some(message) = receiver.line.raise()
    {
        ipi::deliver_msi(cell, message);
    }
    Some(told.map_or(0, |_| bytes.len() as u32))
}

/// Copies a frame to whom it is meant for: one, or all others of the network.
fn pass_on(ram: &mut Between<'_>, sender: &Slot, network: u16, frame: &Frame) {
    let to = frame.to();
    let wanted = key(network, to);
    let is_for_all = matches!(to, [first, ..] if first & 1 != 0);
    for slot in sender.others(network) {
        let key = slot.key.load(Ordering::SeqCst);
        if is_for_all || key == wanted {
            receive(ram, slot, key, frame);
        }
    }
}

#[inline(never)] // Its own frame, as of `claim::protect`.
fn receive(ram: &mut Between<'_>, slot: &'static Slot, key: u64, frame: &Frame) {
    let mut guard = slot.receiver.lock();
    let receiver = &mut *guard;
    let (Some(cell), Some(features)) = (receiver.cell, receiver.features) else {
        return;
    };
    // It may have become another's meanwhile.
    if slot.key.load(Ordering::SeqCst) != key {
        return;
    }
    let mut both = Between {
        window: &mut *ram.window,
        sender: (ram.sender.0, &mut *ram.sender.1),
        receiver: Some((cell, &mut receiver.translations)),
    };
    let told = frame.deliver(&mut both, &mut receiver.queue, features);
    if told == Ok(true)
        && let Some(message) = receiver.line.raise()
    {
        ipi::deliver_msi(cell, message);
    }
}

type Memory<'a> = (&'a Cell, &'a mut Translations);

/// RAM of two cells, as a CPU sees it that copies from one to the other.
struct Between<'a> {
    window: &'a mut Window,
    sender: Memory<'a>,
    receiver: Option<Memory<'a>>,
}

impl<'a> Between<'a> {
    fn of(window: &'a mut Window, sender: &'a Cell, known: &'a mut Translations) -> Self {
        Self {
            window,
            sender: (sender, known),
            receiver: None,
        }
    }

    fn find(&mut self, side: Side, gpa: Gpa) -> Option<Hpa> {
        let (cell, known) = match side {
            Side::Sender => &mut self.sender,
            Side::Receiver => self.receiver.as_mut()?,
        };
        known.find(gpa).or_else(|| own_ram(cell, known, gpa))
    }
}

/// Where a cell's own RAM is: memory that it executes from. Links and registers of
/// functions are none, nor does anybody write for it where it only reads.
#[inline(never)]
fn own_ram(cell: &Cell, known: &mut Translations, gpa: Gpa) -> Option<Hpa> {
    let space = cell.space.lock();
    let mapping = space
        .as_ref()
        .and_then(|space: &Space| space.translate(gpa));
    drop(space);
    let mapping = mapping.filter(|found| found.attr.write && found.attr.execute)?;
    known.note(gpa, &mapping);
    Some(mapping.hpa)
}

impl net::Ram for Between<'_> {
    fn word(&mut self, side: Side, at: Gpa) -> Option<u64> {
        let at = self.find(side, at)?;
        Some(self.window.word(at))
    }

    fn put(&mut self, side: Side, at: Gpa, value: Value) -> Option<()> {
        let at = self.find(side, at)?;
        match value {
            Value::Short(value) => self.window.put(at, value),
            Value::Long(value) => self.window.put(at, value),
        }
        Some(())
    }

    fn load(&mut self, at: Gpa, out: &mut [u8]) -> Option<()> {
        let at = self.find(Side::Sender, at)?;
        self.window.read(at, out);
        Some(())
    }

    fn store(&mut self, at: Gpa, bytes: &[u8]) -> Option<()> {
        let at = self.find(Side::Receiver, at)?;
        self.window.write(at, bytes);
        Some(())
    }

    fn copy(&mut self, from: Gpa, to: Gpa, len: u64) -> Option<()> {
        let from = self.find(Side::Sender, from)?;
        let to = self.find(Side::Receiver, to)?;
        self.window.copy(from, to, len);
        Some(())
    }
}
