//! Virtual functions of NVMe controllers: secondary controllers that get
//! queues, interrupts and a namespace from the primary one.
//!
//! Spec: NVM Express Base Specification 2.0, "Identify command",
//! "Virtualization Management command", "Namespace Attachment command".

mod admin;
mod namespace;

pub(crate) use namespace::{Fresh, Namespace};
pub(super) use namespace::{Wanted, undo_make, undo_take};

use crate::error::{Error, Result};
use crate::journal::Step;
use crate::pci::Pci;
use crate::state::CellJournal;
use admin::{ALLOCATE, Controller, Flexible, Resource};
use cellvisor_abi::Bdf;
use serde::{Deserialize, Serialize};

/// An admin queue and one for I/O.
const LEAST_QUEUES: u16 = 2;
const LEAST_INTERRUPTS: u16 = 1;

/// Flexible resources of the primary controller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Primary {
    queues: u16,
    interrupts: u16,
}

/// A secondary controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Secondary {
    id: u16,
    online: bool,
    queues: u16,
    interrupts: u16,
}

/// The flexible resources that the primary controller `pf` has.
pub(super) fn primary(pci: &dyn Pci, pf: Bdf) -> Result<Option<Primary>> {
    let all = Controller { pci, pf }.capabilities()?;
    Ok(all.map(|(_, queues, interrupts)| Primary {
        queues: queues.primary,
        interrupts: interrupts.primary,
    }))
}

/// Leaves enough for `number` secondary controllers.
pub(super) fn make_room(pci: &dyn Pci, pf: Bdf, now: Primary, number: u16) -> Result<()> {
    let Some((_, queues, interrupts)) = Controller { pci, pf }.capabilities()? else {
        return Ok(());
    };
    let keep = |all: Flexible, has: u16| {
        let others = u32::from(all.share(number, 0)) * u32::from(number);
        u16::try_from(all.total.saturating_sub(others)).map_or(has, |rest| rest.min(has))
    };
    let wanted = Primary {
        queues: keep(queues, now.queues),
        interrupts: keep(interrupts, now.interrupts),
    };
    if wanted == now {
        return Ok(());
    }
    set_primary(pci, pf, wanted)?;
    pci.reset(pf)
}

/// Sets the flexible resources of a primary controller. They count from its
/// next reset on, which has to come while it has no VFs.
pub(super) fn set_primary(pci: &dyn Pci, pf: Bdf, wanted: Primary) -> Result<()> {
    let controller = Controller { pci, pf };
    let Some((id, ..)) = controller.capabilities()? else {
        return Ok(());
    };
    controller.manage(ALLOCATE, Resource::Interrupts, id, wanted.interrupts)?;
    controller.manage(ALLOCATE, Resource::Queues, id, wanted.queues)
}

/// Brings the secondary controller of a VF online, with the namespace that is
/// wanted.
pub(super) fn take(journal: &mut CellJournal<'_>, pf: Bdf, vf: u16, wanted: Wanted) -> Result<()> {
    let pci = journal.machine().pci;
    let controller = Controller { pci, pf };
    if let Some((_, queues, interrupts)) = controller.capabilities()?
        && let Some(before) = controller.secondary(vf)?
    {
        let number = pci.vfs(pf)?.number;
        let now = Secondary {
            online: true,
            queues: queues.share(number, queues.primary),
            interrupts: interrupts.share(number, interrupts.primary),
            ..before
        };
        if now.queues < LEAST_QUEUES || now.interrupts < LEAST_INTERRUPTS {
            return Err(too_little(pf, vf, number));
        }
        let step = Step::Secondary { pf, vf, before };
        journal.take(step.clone(), || {
            controller.bring(now)?;
            Ok((step, ()))
        })?;
    }
    if wanted == Wanted::Any {
        return Ok(());
    }
    let Some(secondary) = controller.secondary(vf)? else {
        return Err(Error::new(
            format!("cannot give a namespace to VF {vf} of {pf}"),
            "the controller does not tell which secondary controller that VF is",
            "ask for none: the VF sees the namespaces that the controller gives it",
        ));
    };
    let namespace = match wanted {
        Wanted::Any => return Ok(()),
        Wanted::Existing(namespace) => namespace,
        Wanted::New(bytes) => namespace::make(journal, controller, bytes)?,
    };
    namespace::take(journal, controller, secondary.id, namespace)
}

/// The refusal of a VF that could not work.
fn too_little(pf: Bdf, vf: u16, number: u16) -> Error {
    Error::new(
        format!("cannot bring VF {vf} of {pf} online"),
        format!("shared by {number} VFs, the controller's queues and interrupts are too few"),
        format!("make fewer VFs, or none: echo 0 > /sys/bus/pci/devices/{pf}/sriov_numvfs"),
    )
}

/// Brings a secondary controller back to what it was.
pub(super) fn undo_secondary(pci: &dyn Pci, pf: Bdf, vf: u16, before: Secondary) -> Result<()> {
    let controller = Controller { pci, pf };
    if pci.vf(pf, vf)?.is_none() || controller.secondary(vf)? == Some(before) {
        return Ok(());
    }
    controller.bring(before)
}
