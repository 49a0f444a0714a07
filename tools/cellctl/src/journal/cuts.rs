//! The matrix of cuts: a cell's whole life, from `enable` to `disable`, is cut off
//! before each change and each note; then what is left is destroyed and disabled,
//! and the whole machine is compared with what it was.

use crate::create::{self, create};
use crate::error::Result;
use crate::functions::Needed;
use crate::power::tests::{host, image};
use crate::power::{disable, enable};
use crate::state::{CellRecord, Files, StateDir};
use crate::system_plan::Choices;
use crate::testing::lines::alone;
use crate::testing::pci::{DISK, NIC, record_with_vfs};
use crate::testing::{Facts, Fake, record};
use cellvisor_abi::call::{Start, State};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Records in memory. Each note counts among the machine's changes.
struct Notes {
    fake: Rc<Fake>,
    files: RefCell<BTreeMap<PathBuf, Vec<u8>>>,
    /// From this change on there is no room for any note.
    full_from: Cell<Option<u32>>,
}

impl Notes {
    fn change(&self, what: &str) -> io::Result<()> {
        let changed = self.fake.change(what);
        changed.map_err(|e| io::Error::other(e.to_string()))
    }
}

impl Files for Notes {
    fn make(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let found = self.files.borrow().get(path).cloned();
        found.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.change("note")?;
        let now = self.fake.changes.get();
        if self.full_from.get().is_some_and(|from| now >= from) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.files.borrow_mut().insert(path.into(), bytes.into());
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change("forget")?;
        let gone = self.files.borrow_mut().remove(path);
        gone.map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let bytes = self.read(from)?;
        self.remove(from)?;
        self.write(to, &bytes)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let files = self.files.borrow();
        let there = files.keys().filter(|path| path.parent() == Some(dir));
        Ok(there.cloned().collect())
    }
}

/// A machine with its notes.
struct World {
    fake: Rc<Fake>,
    notes: Rc<Notes>,
    state: StateDir,
    image: PathBuf,
    before: (Facts, BTreeMap<PathBuf, Vec<u8>>),
}

/// How a life is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// kill -9: nothing more is done or noted.
    Kill,
    /// No more room for notes (ENOSPC).
    Full,
    /// One change or note fails (EIO).
    Once,
    /// A signal asks to end.
    Signal,
}

const CUTS: [Cut; 4] = [Cut::Kill, Cut::Full, Cut::Once, Cut::Signal];

impl World {
    /// One CPU is offline at first. If `other`, the monitor is on, and that cell
    /// exists.
    fn new(dir: &Path, other: Option<&CellRecord>) -> Self {
        let fake = Rc::new(Fake::default());
        {
            let mut now = fake.now.borrow_mut();
            now.on = false;
            now.offline.insert(1);
        }
        let notes = Rc::new(Notes {
            fake: Rc::clone(&fake),
            files: RefCell::default(),
            full_from: Cell::new(None),
        });
        let state = StateDir::with("/run/cellvisor", Rc::clone(&notes) as Rc<dyn Files>);
        let machine = fake.now.borrow().clone();
        let mut world = Self {
            image: image(dir),
            before: (machine, BTreeMap::new()),
            fake,
            notes,
            state,
        };
        if let Some(other) = other {
            world.enable().expect("turns on");
            world.create(other).expect("creates");
            world.before = world.now();
        }
        world.fake.changes.set(0);
        world
    }

    /// Goes back to what [`Self::now`] was.
    fn restore(&self, (machine, notes): &(Facts, BTreeMap<PathBuf, Vec<u8>>)) {
        self.fake.now.borrow_mut().clone_from(machine);
        self.notes.files.borrow_mut().clone_from(notes);
    }

    fn now(&self) -> (Facts, BTreeMap<PathBuf, Vec<u8>>) {
        let notes = self.notes.files.borrow().clone();
        (self.fake.now.borrow().clone(), notes)
    }

    fn enable(&self) -> Result<()> {
        let read = || {
            let mut host = host();
            host.cpus[1].online = !self.fake.now.borrow().offline.contains(&1);
            Ok(host)
        };
        let choices = Choices::default();
        enable(
            self.fake.machine(),
            &self.state,
            &read,
            &self.image,
            choices,
        )
        .map(drop)
    }

    fn create(&self, record: &CellRecord) -> Result<()> {
        let needed: Needed = [(NIC, 2), (DISK, 2)].into();
        let around = alone(&needed);
        create(self.fake.machine(), &self.state, record.clone(), &around).map(drop)
    }

    /// As the verb `start` does, but for the loading of memory.
    fn start(&self, name: &str) -> Result<()> {
        let record = self.state.cell(name)?;
        let monitor = crate::hypercalls::Monitor(&*self.fake);
        let status = create::status(monitor, &record)?;
        if status.state != State::Loadable {
            monitor.reload(name, status.cell)?;
        }
        self.state.save_cell(&record)?;
        let start = Start::at_zero(status.cell);
        monitor.start(name, &start)
    }

    fn stop(&self, name: &str) -> Result<()> {
        let monitor = crate::hypercalls::Monitor(&*self.fake);
        let cell = create::status(monitor, &self.state.cell(name)?)?.cell;
        monitor.stop(name, cell)
    }

    fn destroy(&self, name: &str) -> Result<()> {
        let record = self.state.cell(name)?;
        create::destroy(self.fake.machine(), &self.state, record)
    }

    /// The whole life of a cell; with `all`, that of the monitor as well.
    fn live(&self, record: &CellRecord, all: bool) -> Result<()> {
        let name = &record.name;
        if all {
            self.enable()?;
        }
        self.create(record)?;
        self.start(name)?;
        self.stop(name)?;
        self.start(name)?;
        self.destroy(name)?;
        if all {
            disable(self.fake.machine(), &self.state)?;
        }
        Ok(())
    }

    /// What a user does afterwards: the cell is destroyed, the monitor is off.
    fn clean_up(&self, name: &str, all: bool) -> Result<()> {
        if self.state.find_cell(name)?.is_some() {
            self.destroy(name)?;
        }
        if all && (self.fake.now.borrow().on || self.state.monitor()?.is_some()) {
            disable(self.fake.machine(), &self.state)?;
        }
        Ok(())
    }

    /// From the change `at` on, counted from now, things go wrong.
    fn arm(&self, cut: Cut, at: u32) {
        self.fake.changes.set(0);
        match cut {
            Cut::Kill => self.fake.dead_from.set(Some(at)),
            Cut::Full => self.notes.full_from.set(Some(at)),
            Cut::Once => self.fake.fail_at.set(Some(at)),
            Cut::Signal => self.fake.signal_after.set(Some(at)),
        }
    }

    /// Nothing goes wrong any more.
    fn disarm(&self) {
        self.fake.dead_from.set(None);
        self.fake.fail_at.set(None);
        self.fake.signal_after.set(None);
        self.notes.full_from.set(None);
    }

    fn assert_as_before(&self, told: &str) {
        let (machine, notes) = self.now();
        assert_eq!(machine, self.before.0, "{told}");
        assert_eq!(notes, self.before.1, "{told}");
    }
}

/// Cuts the life of `record` off everywhere, and the cleaning up after every cut
/// everywhere as well; returns how many single cuts and how many pairs there were.
fn walk(record: &CellRecord, other: Option<&CellRecord>) -> (u32, u32) {
    let dir = tempfile::tempdir().expect("temporary folder");
    let world = World::new(dir.path(), other);
    let all = other.is_none();
    world.live(record, all).expect("lives");
    world.assert_as_before("a life without cuts");
    let changes = world.fake.changes.get();
    let everywhere = |cut: &Cut| {
        let cut = *cut;
        (1..=changes).map(move |at| (cut, at))
    };
    let (mut single, mut pairs) = (0, 0);
    for (cut, at) in CUTS.iter().flat_map(everywhere) {
        let told = format!("{cut:?} at {at} of {changes}");
        world.arm(cut, at);
        // It may well live: not every change that fails is one of a step.
        let _ = world.live(record, all);
        world.disarm();
        let left = world.now();
        world.clean_up(&record.name, all).expect(&told);
        world.assert_as_before(&told);
        single += 1;
        for second in 1.. {
            world.restore(&left);
            world.arm(Cut::Kill, second);
            let cleaned = world.clean_up(&record.name, all);
            let uncut = world.fake.changes.get() < second;
            world.disarm();
            let told = format!("{told}, then Kill at {second}");
            if uncut {
                cleaned.expect(&told);
                break;
            }
            world.clean_up(&record.name, all).expect(&told);
            world.assert_as_before(&told);
            pairs += 1;
        }
        world.assert_as_before(&told);
    }
    (single, pairs)
}

#[test]
fn whatever_is_cut_off_nothing_is_left_behind() {
    let plain = walk(&record("a"), None);
    println!("a plain cell: {plain:?} cuts and pairs of cuts, nothing is left");
    let rich = walk(&record_with_vfs("a", 0, 1), None);
    println!("one with functions: {rich:?} cuts and pairs of cuts, nothing is left");
}

#[test]
fn whatever_is_cut_off_another_cell_keeps_all_that_it_has() {
    let other = record_with_vfs("b", 1, 2);
    let mut mine = record_with_vfs("a", 0, 1);
    for (cpu, linux) in mine.assignment.cpus.iter_mut().zip([4, 5]) {
        cpu.linux = linux;
    }
    let cuts = walk(&mine, Some(&other));
    println!("beside another cell: {cuts:?} cuts and pairs of cuts, it keeps all");
}

#[test]
fn crash_right_after_entering_leaves_a_record_with_the_cpus() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let world = World::new(dir.path(), None);
    let mut on = 0;
    for at in 1.. {
        world.arm(Cut::Kill, at);
        let entered = world.enable();
        let uncut = world.fake.changes.get() < at;
        world.disarm();
        if world.fake.now.borrow().on {
            let record = world.state.monitor().expect("reads").expect("noted");
            let linux: Vec<_> = record.cpus.iter().map(|c| c.linux).collect();
            assert_eq!(linux, [0, 1], "killed at {at}");
            on += 1;
        }
        let told = format!("killed at {at}");
        world.clean_up("none", true).expect(&told);
        world.assert_as_before(&told);
        if uncut {
            entered.expect("nothing was in the way");
            break;
        }
    }
    assert!(on > 1, "one of the crashes came after the monitor was on");
}

#[test]
fn left_over_record_does_not_name_the_next_cell_with_its_number() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let world = World::new(dir.path(), None);
    world.enable().expect("turns on");
    world.create(&record("a")).expect("creates");
    // The monitor's cell is gone, and the state folder is full from there on.
    world.arm(Cut::Full, 1);
    world.destroy("a").expect_err("cannot be noted");
    world.disarm();
    let mut next = record("b");
    next.assignment.cpus.truncate(1);
    next.assignment.cpus[0].linux = 7;
    world.create(&next).expect("creates");
    let of = |name: &str| world.state.cell(name).expect("noted");
    assert_eq!(of("a").id(), of("b").id(), "the number is used again");
    world.start("b").expect("starts");
    world.stop("a").expect_err("it is another's");
    world.start("a").expect_err("it is another's");
    world.destroy("a").expect("destroys what is left");
    world.stop("b").expect("it is there still, and runs");
}

#[test]
fn pool_is_not_made_smaller_twice() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let world = World::new(dir.path(), None);
    world.fake.now.borrow_mut().pages = 50;
    world.enable().expect("turns on");
    let mut large = record("a");
    large.assignment.memory = vec![cellvisor_planner::plan::MemoryShare::Pages {
        node: 0,
        bytes: 120 << 20,
        page_size: 2 << 20,
        fixed: true,
    }];
    let before = world.fake.now.borrow().pages;
    world.create(&large).expect("creates");
    assert!(
        world.fake.now.borrow().pages > before,
        "it needs more than there is"
    );
    for at in 1.. {
        world.arm(Cut::Kill, at);
        let destroyed = world.destroy("a");
        world.disarm();
        if destroyed.is_ok() {
            break;
        }
        assert!(world.fake.now.borrow().pages >= before, "killed at {at}");
    }
    assert_eq!(world.fake.now.borrow().pages, before);
}
