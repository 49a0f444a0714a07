//! Steps that change the machine, written down before they are taken.
//!
//! Whatever happens in between (a failure, a crash, a kill), what is written
//! says how to get back: each step is noted as begun, taken, and noted as done.
//! Undoing goes from the last to the first; a step that was only begun is
//! undone as far as it can have happened.

#[cfg(test)]
mod cuts;
mod step;
mod take;
mod undo;

pub(crate) use step::{Entry, Step};
pub(crate) use take::{reserve_pages, take_cpu};
pub(crate) use undo::destroy as destroy_cell;

use crate::driver::Driver;
use crate::error::{Error, Result};
use crate::pci::Pci;
use crate::sysfs::Linux;

/// The machine: what steps act on.
#[derive(Clone, Copy)]
pub(crate) struct Machine<'a> {
    /// The driver.
    pub(crate) driver: &'a dyn Driver,
    /// The running Linux.
    pub(crate) linux: &'a dyn Linux,
    /// Its PCI functions.
    pub(crate) pci: &'a dyn Pci,
}

/// What steps are noted in.
pub(crate) trait Record {
    /// Where records are kept.
    type Store;
    /// The steps, in the order in which they were taken.
    fn steps(&mut self) -> &mut Vec<Entry>;
    /// Writes all of it down.
    fn save(&self, store: &Self::Store) -> Result<()>;
    /// Removes what was written down.
    fn forget(&self, store: &Self::Store) -> Result<()>;
}

/// A record while steps are taken or undone.
pub(crate) struct Journal<'a, R: Record> {
    machine: Machine<'a>,
    store: &'a R::Store,
    /// The record; what is changed in it is written down with the next step.
    pub(crate) record: &'a mut R,
}

impl<'a, R: Record> Journal<'a, R> {
    /// A journal that goes on with the steps of `record`.
    pub(crate) const fn new(machine: Machine<'a>, store: &'a R::Store, record: &'a mut R) -> Self {
        Self {
            machine,
            store,
            record,
        }
    }

    /// What steps act on.
    pub(crate) const fn machine(&self) -> Machine<'a> {
        self.machine
    }

    /// Where the record is kept.
    pub(crate) const fn store(&self) -> &'a R::Store {
        self.store
    }

    /// Writes the record down as it is.
    pub(crate) fn note(&self) -> Result<()> {
        self.record.save(self.store)
    }

    /// Notes `intent`, acts, and notes the step as it turned out.
    ///
    /// # Errors
    ///
    /// A signal asked to end, or the act or a note failed. What was begun stays
    /// in the record, to be undone.
    pub(crate) fn take<T>(
        &mut self,
        intent: Step,
        act: impl FnOnce() -> Result<(Step, T)>,
    ) -> Result<T> {
        self.refuse_to_go_on()?;
        self.record.steps().push(Entry {
            step: intent,
            done: false,
        });
        self.note()?;
        // What a signal interrupts fails for reasons that lead astray.
        let (step, value) = act().map_err(|error| self.refuse_to_go_on().err().unwrap_or(error))?;
        if let Some(last) = self.record.steps().last_mut() {
            *last = Entry { step, done: true };
        }
        self.note()?;
        Ok(value)
    }

    /// An error if a signal asked to end.
    fn refuse_to_go_on(&self) -> Result<()> {
        match self.machine.linux.interrupted() {
            None => Ok(()),
            Some(signal) => Err(Error::new(
                "ended half-way",
                format!("{signal} came"),
                "what was done is undone; repeat the command if it was a mistake",
            )),
        }
    }

    /// Undoes everything, last step first, and forgets the record. What cannot be
    /// undone stays noted, and the rest goes on without it, except that a function
    /// goes back only as a whole, and nothing from a cell that is still there: a CPU that
    /// is not Linux's does not start, and memory of the cell's would be used.
    pub(crate) fn undo(&mut self) -> Vec<Error> {
        let mut errors = Vec::new();
        let mut unnoted = None;
        for index in (0..self.record.steps().len()).rev() {
            match self.undo_at(index) {
                Ok(true) => {
                    self.record.steps().remove(index);
                    // Undoing a step twice does no harm, so this may wait.
                    unnoted = self.note().err();
                }
                Ok(false) => {}
                Err(error) => errors.push(error),
            }
        }
        if self.record.steps().is_empty() {
            return self.record.forget(self.store).err().into_iter().collect();
        }
        errors.extend(unnoted);
        errors
    }

    /// Undoes one step; false if it has to wait for a later one that could not be
    /// undone.
    fn undo_at(&mut self, index: usize) -> Result<bool> {
        let (before, later) = self.record.steps().split_at(index + 1);
        let Some(entry) = before.last().cloned() else {
            return Ok(false);
        };
        if later
            .iter()
            .any(|entry| matches!(entry.step, Step::Cell { .. }))
        {
            return Ok(false);
        }
        if entry.step.is_of_functions() && later.iter().any(step::holds_functions) {
            return Ok(false);
        }
        let entry = match undo::prepared(self.machine, &entry)? {
            None => entry,
            Some(noted) => {
                if let Some(place) = self.record.steps().get_mut(index) {
                    place.clone_from(&noted);
                }
                self.note()?;
                noted
            }
        };
        undo::undo(self.machine, &entry).map(|()| true)
    }
}

/// Turns what failed and what could not be undone into one error.
pub(crate) fn with_leftovers(error: Error, leftovers: &[Error]) -> Error {
    leftovers.iter().fold(error, |error, left| {
        error.note(&format!(
            "while undoing: {}",
            left.to_string().replace('\n', " ")
        ))
    })
}
