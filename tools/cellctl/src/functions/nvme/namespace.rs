//! Namespaces of a controller, on their way to a cell's VF and back: some that
//! exist, and some that are made for the cell and deleted after it.

use super::super::hold;
use super::admin::{Controller, Format, Mark};
use crate::error::{Error, Result};
use crate::journal::Step;
use crate::output::size;
use crate::pci::Pci;
use crate::state::CellJournal;
use cellvisor_abi::Bdf;
use cellvisor_planner::plan::AssignedFunction;
use serde::{Deserialize, Serialize};

/// The namespace that a VF shall have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::functions) enum Wanted {
    /// Those that the controller gives it.
    Any,
    /// One that exists.
    Existing(u32),
    /// A new one of this many bytes.
    New(u64),
}

impl Wanted {
    /// What the slice asks for.
    pub(in crate::functions) fn of(function: &AssignedFunction) -> Self {
        match (function.namespace, function.namespace_size) {
            (Some(namespace), _) => Self::Existing(namespace),
            (None, Some(bytes)) => Self::New(bytes),
            (None, None) => Self::Any,
        }
    }
}

/// A namespace and a secondary controller before the two came together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Namespace {
    /// The controller.
    controller: u16,
    /// The namespace.
    namespace: u32,
    /// Controllers that it was attached to.
    owners: Vec<u16>,
    /// Other namespaces that the controller saw.
    others: Vec<u32>,
}

/// A namespace that is made for a cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fresh {
    /// Namespaces that there were.
    others: Vec<u32>,
    /// Its size.
    blocks: u64,
    /// Itself; `None` until the controller's answer is written down.
    made: Option<Made>,
}

/// A namespace that was made, so that it is known again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Made {
    namespace: u32,
    mark: Mark,
}

/// Makes a namespace of `bytes` for a cell.
pub(super) fn make(journal: &mut CellJournal<'_>, at: Controller<'_>, bytes: u64) -> Result<u32> {
    let others = at.namespaces()?;
    let format = format_with_room(at, bytes, &others)?;
    let blocks = format.blocks(bytes);
    let step = |made| Step::NewNamespace {
        pf: at.pf,
        fresh: Fresh {
            others: others.clone(),
            blocks,
            made,
        },
    };
    journal.take(step(None), || {
        let namespace = at
            .create(format, blocks)
            .map_err(|error| refused(at, bytes, &others, error.cause()))?;
        match at.mark(namespace) {
            Ok(mark) => Ok((step(Some(Made { namespace, mark })), namespace)),
            // Here it is still certain whose it is.
            Err(error) => at.delete(namespace).and(Err(error)),
        }
    })
}

/// The format of a new namespace, if the controller can make one of `bytes`.
fn format_with_room(at: Controller<'_>, bytes: u64, others: &[u32]) -> Result<Format> {
    let refused = |why: &str| Err(refused(at, bytes, others, why));
    let Some(free) = at.unallocated()? else {
        return refused("the controller has no command to make one (Namespace Management)");
    };
    if free < u128::from(bytes) {
        let why = match u64::try_from(free).unwrap_or(u64::MAX) {
            0 => "the controller tells of no capacity besides its namespaces".into(),
            free => format!("only {} of the controller are in no namespace", size(free)),
        };
        let help = "ask for less, or delete a namespace that nobody needs: nvme delete-ns";
        return refused(&why).map_err(|error| error.note(help));
    }
    match at.format(others.first().copied())? {
        Some(format) => Ok(format),
        None => refused("the controller does not tell how large its blocks are"),
    }
}

/// The refusal of a new namespace besides the `others`.
fn refused(at: Controller<'_>, bytes: u64, others: &[u32], why: impl Into<String>) -> Error {
    let names: Vec<_> = others.iter().map(u32::to_string).collect();
    let names = match names.as_slice() {
        [] => "none".to_owned(),
        names => names.join(", "),
    };
    Error::new(
        format!("cannot make a namespace of {} on {}", size(bytes), at.pf),
        why,
        format!(
            "name one that exists (namespace = N; the controller has {names}), or leave \
             `namespace-size` out"
        ),
    )
}

/// Deletes a namespace that was made for a cell, and no other.
pub(in crate::functions) fn undo_make(pci: &dyn Pci, pf: Bdf, fresh: &Fresh) -> Result<()> {
    let at = Controller { pci, pf };
    let now = at.namespaces()?;
    if let Some(Made { namespace, mark }) = fresh.made {
        // Its number may have become another's since.
        let is_there = now.contains(&namespace) && at.mark(namespace)? == mark;
        return match is_there {
            true => at.delete(namespace),
            false => Ok(()),
        };
    }
    for namespace in now.into_iter().filter(|n| !fresh.others.contains(n)) {
        if at.mark(namespace)?.blocks == fresh.blocks && at.owners(namespace)?.is_empty() {
            return Err(Error::new(
                format!("cannot tell whose namespace {namespace} of {pf} is"),
                "it came to be while cellctl was making one of that size, and was interrupted",
                format!(
                    "if nobody needs it, delete it: nvme delete-ns --namespace-id={namespace}; \
                     if it is somebody's, attach it to a controller; then destroy the cell again"
                ),
            ));
        }
    }
    Ok(())
}

/// Makes a namespace the only one of a controller, and that its only owner.
pub(super) fn take(
    journal: &mut CellJournal<'_>,
    at: Controller<'_>,
    id: u16,
    namespace: u32,
) -> Result<()> {
    let all = at.namespaces()?;
    if !all.contains(&namespace) {
        let text: Vec<_> = all.iter().map(u32::to_string).collect();
        return Err(Error::new(
            format!("cannot give namespace {namespace} of {} to a cell", at.pf),
            "it does not exist",
            format!("the controller has namespaces {}", text.join(", ")),
        ));
    }
    let owners = at.owners(namespace)?;
    if !owners.is_empty() && at.pci.namespace_in_use(at.pf, namespace)? {
        return Err(Error::new(
            format!("cannot give namespace {namespace} of {} to a cell", at.pf),
            "the root uses it",
            "unmount it, or name another namespace",
        ));
    }
    refuse_cells(at, id, namespace, &owners)?;
    let mut others = Vec::new();
    for other in all.into_iter().filter(|n| *n != namespace) {
        if at.owners(other)?.contains(&id) {
            others.push(other);
        }
    }
    let before = Namespace {
        controller: id,
        namespace,
        owners,
        others,
    };
    let step = Step::Namespace {
        pf: at.pf,
        before: before.clone(),
    };
    journal.take(step.clone(), || {
        for owner in before.owners.iter().filter(|o| **o != id) {
            at.attach(namespace, *owner, false)?;
        }
        for other in &before.others {
            at.attach(*other, id, false)?;
        }
        if !before.owners.contains(&id) {
            at.attach(namespace, id, true)?;
        }
        Ok((step, ()))
    })
}

/// Refuses a namespace that the VF of a cell has.
fn refuse_cells(at: Controller<'_>, id: u16, namespace: u32, owners: &[u16]) -> Result<()> {
    for vf in 0..at.pci.vfs(at.pf)?.number {
        let other = at.secondary(vf)?.map(|s| s.id);
        let Some(address) = at.pci.vf(at.pf, vf)?.filter(|_| other != Some(id)) else {
            continue;
        };
        let binding = at.pci.binding(address)?.unwrap_or_default();
        if hold::is_held(&binding) && other.is_some_and(|other| owners.contains(&other)) {
            return Err(Error::new(
                format!("cannot give namespace {namespace} of {} to a cell", at.pf),
                format!("another cell has it, through {address}"),
                "name another namespace, or give each cell its own with `namespace = N`",
            ));
        }
    }
    Ok(())
}

/// Brings a namespace back to the controllers that had it.
pub(in crate::functions) fn undo_take(pci: &dyn Pci, pf: Bdf, before: &Namespace) -> Result<()> {
    let at = Controller { pci, pf };
    let (id, namespace) = (before.controller, before.namespace);
    let now = at.owners(namespace)?;
    if now.contains(&id) && !before.owners.contains(&id) {
        at.attach(namespace, id, false)?;
    }
    for owner in before.owners.iter().filter(|o| !now.contains(o)) {
        if !is_of_missing_vf(at, *owner)? {
            at.attach(namespace, *owner, true)?;
        }
    }
    for other in &before.others {
        if !at.owners(*other)?.contains(&id) && !is_of_missing_vf(at, id)? {
            at.attach(*other, id, true)?;
        }
    }
    Ok(())
}

/// True for the controller of a VF that does not exist: its namespaces came back to
/// it before the VFs went, and who undoes a second time cannot reach it.
fn is_of_missing_vf(at: Controller<'_>, id: u16) -> Result<bool> {
    for vf in at.pci.vfs(at.pf)?.number.. {
        match at.secondary(vf)? {
            Some(secondary) if secondary.id == id => return Ok(true),
            Some(_) => {}
            None => break,
        }
    }
    Ok(false)
}
