//! Creating and destroying a cell on a machine: CPUs, huge pages, pins, and
//! the monitor's cell, with everything written down before it is done.

use crate::driver::Driver;
use crate::error::{Error, Result};
use crate::functions::{self, Around};
use crate::hypercalls::Monitor;
use crate::journal::{self, Journal, Machine, Step, take_cpu};
use crate::links;
use crate::loader::layout;
use crate::memory::take_memory;
use crate::state::{CellJournal, CellRecord, StateDir};
use crate::tables;
use cellvisor_abi::call::CellStatus;
use cellvisor_abi::ioctl::CALL_BUFFER;
use cellvisor_abi::plan::{CellPlan, Class, Function, Ports, Socket};
use cellvisor_abi::wire::{ListBuf, seal};
use cellvisor_planner::config::Console;
use cellvisor_planner::plan::AssignedCpu;

/// Creates the cell of `record` as its assignment says, with as many VFs of each
/// PF as `around` says, or more if there are. Afterwards it is loadable, and
/// `state` knows it.
///
/// # Errors
///
/// Whatever step failed; all others are undone, and `state` has forgotten the
/// cell unless something could not be undone.
pub(crate) fn create(
    machine: Machine<'_>,
    state: &StateDir,
    mut record: CellRecord,
    around: &Around<'_>,
) -> Result<CellRecord> {
    let others = state.cells()?.whole()?;
    refuse_stranger(machine.driver, &record.name)?;
    let mut journal = Journal::new(machine, state, &mut record);
    match build(&mut journal, around, &others) {
        Ok(()) => Ok(record),
        Err(error) => Err(journal::with_leftovers(error, &journal.undo())),
    }
}

/// A cell that the monitor knows by this name, and `state` does not, is another's:
/// undoing a step that was only begun must not find it.
fn refuse_stranger(driver: &dyn Driver, name: &str) -> Result<()> {
    let cells = Monitor(driver).cells()?;
    if cells.iter().all(|cell| cell.name.as_str() != name) {
        return Ok(());
    }
    Err(Error::new(
        format!("cannot create cell \"{name}\""),
        "the monitor has a cell of that name, of which nothing is noted here",
        "choose another name; or turn the monitor off with the cellctl that made it",
    ))
}

/// The steps of [`create`].
fn build(journal: &mut CellJournal<'_>, around: &Around<'_>, others: &[CellRecord]) -> Result<()> {
    functions::take(journal, around, others)?;
    let assignment = journal.record.assignment.clone();
    for cpu in &assignment.cpus {
        take_cpu(journal, cpu.linux)?;
    }
    let mut host = Vec::new();
    for share in &assignment.memory {
        host.extend(take_memory(journal, share)?);
    }
    journal.record.memory = layout::place(&host, &journal.record.off_limits)?;
    journal.record.windows = links::windows(journal.store(), journal.record)?;
    let socket = links::socket(journal.store(), &assignment)?;
    let frame = plan(journal.record, socket)?;
    let (name, driver) = (assignment.name, journal.machine().driver);
    let step = |id| Step::Cell {
        name: name.clone(),
        id,
    };
    journal.take(step(None), || {
        let id = Monitor(driver).create(&name, &frame)?;
        Ok((step(Some(id)), ()))
    })
}

/// True if not all of these CPUs are on one node.
fn many_nodes(cpus: &[AssignedCpu]) -> bool {
    cpus.windows(2)
        .any(|pair| matches!(pair, [a, b] if a.node != b.node))
}

/// The cell's plan as the monitor wants it.
fn plan(record: &CellRecord, socket: Option<Socket>) -> Result<Vec<u8>> {
    let what = format!("cannot describe cell \"{}\" to the monitor", record.name);
    let ids: Vec<u32> = record.assignment.cpus.iter().map(|c| c.apic_id).collect();
    let assigned = record.assignment.ports.iter();
    let bars = record.functions.iter().flat_map(|f| &f.ports);
    let ports: Vec<Ports> = assigned
        .chain(bars)
        .map(|p| Ports {
            first: p.first,
            count: p.count,
        })
        .collect();
    let functions: Vec<Function> = record.functions.iter().map(|f| f.plan).collect();
    let cpus = ListBuf::new(&ids);
    let windows = record.windows.iter().flat_map(|w| &w.memory);
    let memory: Vec<_> = record.memory.iter().chain(windows).copied().collect();
    let memory = ListBuf::new(&memory);
    let ports = ListBuf::new(&ports);
    let functions = ListBuf::new(&functions);
    let adapters = ListBuf::new(&links::adapters(&record.assignment));
    let class = record.assignment.class;
    let frame = seal(&CellPlan {
        name: record.name.as_bytes(),
        cpus: cpus.list(),
        memory: memory.list(),
        ports: ports.list(),
        functions: functions.list(),
        adapters: adapters.list(),
        console: record.assignment.console == Console::Virtio,
        socket,
        devices: tables::devices(&record.assignment),
        dump: record.policy.dump,
        many_nodes: many_nodes(&record.assignment.cpus),
        class: class.map_or(Class::ROOT, |class| class.class()),
        link: None,
    });
    if frame.len() <= CALL_BUFFER as usize {
        return Ok(frame);
    }
    Err(Error::new(
        what,
        format!(
            "its memory is in {} pieces, and the description takes {} of {CALL_BUFFER} bytes",
            record.memory.len(),
            frame.len()
        ),
        "use larger pages (page-size = \"1GiB\"), create cells soon after boot, or reserve a range \
         when Linux boots",
    ))
}

/// Destroys a cell and gives everything back to Linux.
///
/// # Errors
///
/// What could not be undone stays in the record, so that a second try goes on
/// from there.
pub(crate) fn destroy(
    machine: Machine<'_>,
    state: &StateDir,
    mut record: CellRecord,
) -> Result<()> {
    let mut errors = Journal::new(machine, state, &mut record).undo().into_iter();
    match errors.next() {
        None => Ok(()),
        Some(first) => {
            let rest: Vec<_> = errors.collect();
            Err(journal::with_leftovers(first, &rest)
                .note("what is left is still noted: repeat `cellctl destroy`"))
        }
    }
}

/// Destroys a cell whose record cannot be read, as far as the monitor knows it,
/// and puts the record aside.
///
/// # Errors
///
/// Always: nobody knows what else it had.
pub(crate) fn destroy_unreadable(
    machine: Machine<'_>,
    state: &StateDir,
    name: &str,
    why: &Error,
) -> Result<()> {
    journal::destroy_cell(machine.driver, name, None)?;
    let kept = state.set_aside(name)?;
    Err(Error::new(
        format!("cannot give back all that cell \"{name}\" had"),
        why.cause(),
        format!(
            "the cell is gone; bring its CPUs online and shrink the pools of huge pages by hand \
             (what is readable of its record is in {}); its pinned memory comes back with \
             `cellctl disable`",
            kept.display()
        ),
    ))
}

/// What the monitor says of the cell of a record.
///
/// # Errors
///
/// It was not created completely, or is gone: its number may be another's now.
pub(crate) fn status(monitor: Monitor<'_>, record: &CellRecord) -> Result<CellStatus> {
    let left_over = |why: &str| {
        Error::new(
            format!("cannot use cell \"{}\"", record.name),
            why,
            format!("remove what is left of it: cellctl destroy {}", record.name),
        )
    };
    let id = record
        .id()
        .ok_or_else(|| left_over("it was not created completely, or not destroyed completely"))?;
    let gone = || left_over("the monitor does not have it any more");
    let cells = monitor.cells()?;
    let found = cells.into_iter().find(|cell| cell.cell == id);
    found
        .filter(|cell| cell.name.as_str() == record.name)
        .ok_or_else(gone)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::functions::Needed;
    use crate::testing::lines::alone;
    use crate::testing::{Fake, record};
    use cellvisor_abi::call::CellId;

    /// Creates a cell where change `fail_at` fails; returns what came of it.
    fn attempt(fake: &Fake, state: &StateDir, fail_at: Option<u32>) -> Result<CellRecord> {
        fake.changes.set(0);
        fake.fail_at.set(fail_at);
        create(fake.machine(), state, record("a"), &alone(&Needed::new()))
    }

    #[test]
    fn cpus_of_several_nodes_are_told_from_those_of_one() {
        let on = |nodes: &[u32]| {
            let cpu = |(n, node): (u32, &u32)| AssignedCpu {
                linux: n,
                apic_id: n,
                node: *node,
            };
            many_nodes(&(0..).zip(nodes).map(cpu).collect::<Vec<_>>())
        };
        assert_eq!([on(&[]), on(&[1]), on(&[1, 1, 1])], [false; 3]);
        assert_eq!([on(&[0, 1]), on(&[1, 1, 0]), on(&[0, 1, 0])], [true; 3]);
    }

    #[test]
    fn whichever_step_fails_all_is_as_before() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let state = StateDir::new(dir.path());
        let fake = Fake::default();
        let before = fake.now.borrow().clone();
        attempt(&fake, &state, None).expect("creates");
        let steps = fake.changes.get();
        destroy(fake.machine(), &state, state.cell("a").expect("known")).expect("destroys");
        assert_eq!(*fake.now.borrow(), before);
        assert!(steps >= 6, "two CPUs, pool, map, pin, create: {steps}");

        for step in 1..=steps {
            let error = attempt(&fake, &state, Some(step)).expect_err("injected");
            assert!(error.to_string().contains("injected"), "{error}");
            assert_eq!(*fake.now.borrow(), before, "after step {step}");
            assert!(
                state.find_cell("a").expect("reads").is_none(),
                "after step {step}"
            );
        }
    }

    #[test]
    fn created_cell_has_its_memory_from_zero_up() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let state = StateDir::new(dir.path());
        let made = attempt(&Fake::default(), &state, None).expect("creates");
        assert_eq!(made.id(), Some(CellId(1)));
        assert_eq!(made.memory.first().map(|m| m.gpa), Some(0));
        assert_eq!(made.ram_bytes(), 64 << 20);
        assert_eq!(state.cell("a").expect("known").memory, made.memory);
    }

    #[test]
    fn crash_at_any_step_is_undone_from_what_was_written_down() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let state = StateDir::new(dir.path());
        let fake = Fake::default();
        let before = fake.now.borrow().clone();
        attempt(&fake, &state, None).expect("creates");
        let steps = fake.changes.get();
        destroy(fake.machine(), &state, state.cell("a").expect("known")).expect("destroys");
        for step in 1..=steps {
            fake.dead_from.set(Some(step));
            attempt(&fake, &state, None).expect_err("dead");
            fake.dead_from.set(None);
            // Nothing at all is noted only if nothing at all was done.
            if let Some(record) = state.find_cell("a").expect("reads") {
                destroy(fake.machine(), &state, record).expect("destroys");
            }
            assert_eq!(*fake.now.borrow(), before, "after a crash at step {step}");
        }
    }

    #[test]
    fn destroy_that_fails_can_be_repeated() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let state = StateDir::new(dir.path());
        let fake = Fake::default();
        let before = fake.now.borrow().clone();
        attempt(&fake, &state, None).expect("creates");
        fake.changes.set(0);
        fake.fail_at.set(Some(2));
        let error = destroy(fake.machine(), &state, state.cell("a").expect("known"))
            .expect_err("the second undo fails");
        assert!(
            error.to_string().contains("repeat `cellctl destroy`"),
            "{error}"
        );
        destroy(
            fake.machine(),
            &state,
            state.cell("a").expect("still known"),
        )
        .expect("destroys");
        assert_eq!(*fake.now.borrow(), before);
        assert!(state.find_cell("a").expect("reads").is_none());
    }

    #[test]
    fn too_few_huge_pages_say_how_many_there_are() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let state = StateDir::new(dir.path());
        let mut fake = Fake::default();
        fake.most_pages = 10;
        let before = fake.now.borrow().clone();
        let error = attempt(&fake, &state, None).expect_err("only 10 pages");
        assert!(error.to_string().contains("only 10 can be had"), "{error}");
        assert_eq!(*fake.now.borrow(), before);
    }
}
