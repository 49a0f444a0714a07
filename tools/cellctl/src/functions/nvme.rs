//! Virtual functions of NVMe controllers: secondary controllers that get
//! queues, interrupts and a namespace from the primary one.
//!
//! Spec: NVM Express Base Specification 2.0, "Identify command",
//! "Virtualization Management command", "Namespace Attachment command".

use super::hold;
use crate::error::{Error, Result};
use crate::journal::{Journal, Machine, Step};
use crate::pci::{Admin, Pci};
use cellvisor_planner::pci::Address;
use serde::{Deserialize, Serialize};

// Admin commands.
const IDENTIFY: u8 = 0x06;
const ATTACH: u8 = 0x15;
const VIRTUALIZATION: u8 = 0x1c;

/// Bytes of the data of Identify and of lists of controllers.
const DATA: usize = 4096;

// What Identify tells of.
const CONTROLLER: u32 = 0x01;
const NAMESPACES: u32 = 0x10;
const ATTACHED: u32 = 0x12;
const PRIMARY: u32 = 0x14;
const SECONDARIES: u32 = 0x15;

/// Optional admin commands of a controller, and the one for virtualization
/// among them.
const OPTIONAL: usize = 256;
const HAS_VIRTUALIZATION: u16 = 1 << 7;

// Actions of Virtualization Management.
const ALLOCATE: u32 = 1;
const OFFLINE: u32 = 7;
const ASSIGN: u32 = 8;
const ONLINE: u32 = 9;

/// An admin queue and one for I/O.
const LEAST_QUEUES: u16 = 2;
const LEAST_INTERRUPTS: u16 = 1;

/// What controllers have in common, and can be moved between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resource {
    Queues = 0,
    Interrupts = 1,
}

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

/// The flexible resources of one kind.
#[derive(Clone, Copy)]
struct Flexible {
    total: u32,
    primary: u16,
    /// Most that a secondary controller can have, and of what it is a multiple.
    most: u16,
    step: u16,
}

impl Flexible {
    /// What each of `number` secondary controllers can have if all share alike.
    fn share(self, number: u16, primary: u16) -> u16 {
        let left = self.total.saturating_sub(u32::from(primary));
        let each = left / u32::from(number.max(1));
        let each = u16::try_from(each).unwrap_or(u16::MAX).min(self.most);
        each - each % self.step.max(1)
    }
}

/// Admin commands to the primary controller.
#[derive(Clone, Copy)]
struct Controller<'a> {
    pci: &'a dyn Pci,
    pf: Address,
}

impl Controller<'_> {
    fn identify(self, what: u32, controller: u16, nsid: u32) -> Result<Vec<u8>> {
        let mut data = vec![0; DATA];
        let command = Admin {
            opcode: IDENTIFY,
            nsid,
            cdw10: what | u32::from(controller) << 16,
            cdw11: 0,
        };
        self.pci.admin(self.pf, &command, &mut data)?;
        Ok(data)
    }

    fn manage(self, action: u32, kind: Resource, controller: u16, number: u16) -> Result<()> {
        let command = Admin {
            opcode: VIRTUALIZATION,
            nsid: 0,
            cdw10: action | (kind as u32) << 8 | u32::from(controller) << 16,
            cdw11: number.into(),
        };
        self.pci.admin(self.pf, &command, &mut [])
    }

    fn attach(self, namespace: u32, controller: u16, attached: bool) -> Result<()> {
        let mut list = vec![0; DATA];
        let words = [1, controller].map(u16::to_le_bytes).concat();
        list.splice(..words.len(), words);
        let command = Admin {
            opcode: ATTACH,
            nsid: namespace,
            cdw10: u32::from(!attached),
            cdw11: 0,
        };
        self.pci.admin(self.pf, &command, &mut list)
    }

    /// The controller's own id, queues, interrupts; `None` if it cannot share
    /// them.
    fn capabilities(self) -> Result<Option<(u16, Flexible, Flexible)>> {
        let features = word(&self.identify(CONTROLLER, 0, 0)?, OPTIONAL);
        if features & HAS_VIRTUALIZATION == 0 {
            return Ok(None);
        }
        let data = self.identify(PRIMARY, 0, 0)?;
        let flexible = |at: usize| Flexible {
            total: double(&data, at),
            primary: word(&data, at + 8),
            most: word(&data, at + 12),
            step: word(&data, at + 14),
        };
        Ok(Some((word(&data, 0), flexible(32), flexible(64))))
    }

    /// The secondary controller of a VF.
    fn secondary(self, vf: u16) -> Result<Option<Secondary>> {
        let data = self.identify(SECONDARIES, 0, 0)?;
        let number = data.first().copied().unwrap_or_default();
        let entries = data.chunks(32).skip(1).take(number.into());
        // VFs count from 1 here.
        let mut mine = entries.filter(|e| word(e, 8) == vf.saturating_add(1));
        Ok(mine.next().map(|entry| Secondary {
            id: word(entry, 0),
            online: entry.get(4).is_some_and(|state| state & 1 != 0),
            queues: word(entry, 10),
            interrupts: word(entry, 12),
        }))
    }

    /// Controllers that a namespace is attached to.
    fn owners(self, namespace: u32) -> Result<Vec<u16>> {
        let data = self.identify(ATTACHED, 0, namespace)?;
        let number = word(&data, 0).into();
        let ids = data.chunks(2).skip(1).take(number);
        Ok(ids.map(|id| word(id, 0)).collect())
    }

    /// Namespaces that exist, attached or not.
    fn namespaces(self) -> Result<Vec<u32>> {
        let data = self.identify(NAMESPACES, 0, 0)?;
        let ids = data.chunks(4).map(|id| double(id, 0));
        Ok(ids.take_while(|id| *id != 0).collect())
    }

    /// Gives a secondary controller that is offline its resources.
    fn bring(self, wanted: Secondary) -> Result<()> {
        let Secondary { id, .. } = wanted;
        self.manage(OFFLINE, Resource::Queues, id, 0)?;
        self.manage(ASSIGN, Resource::Interrupts, id, wanted.interrupts)?;
        self.manage(ASSIGN, Resource::Queues, id, wanted.queues)?;
        if wanted.online {
            self.manage(ONLINE, Resource::Queues, id, 0)?;
        }
        Ok(())
    }
}

fn word(data: &[u8], at: usize) -> u16 {
    let bytes = data.get(at..).and_then(<[u8]>::first_chunk);
    bytes.map_or(0, |bytes| u16::from_le_bytes(*bytes))
}

fn double(data: &[u8], at: usize) -> u32 {
    let bytes = data.get(at..).and_then(<[u8]>::first_chunk);
    bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

/// The flexible resources that the primary controller `pf` has.
pub(super) fn primary(pci: &dyn Pci, pf: Address) -> Result<Option<Primary>> {
    let all = Controller { pci, pf }.capabilities()?;
    Ok(all.map(|(_, queues, interrupts)| Primary {
        queues: queues.primary,
        interrupts: interrupts.primary,
    }))
}

/// Leaves enough for `number` secondary controllers.
pub(super) fn make_room(pci: &dyn Pci, pf: Address, now: Primary, number: u16) -> Result<()> {
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
pub(super) fn set_primary(pci: &dyn Pci, pf: Address, wanted: Primary) -> Result<()> {
    let controller = Controller { pci, pf };
    let Some((id, ..)) = controller.capabilities()? else {
        return Ok(());
    };
    controller.manage(ALLOCATE, Resource::Interrupts, id, wanted.interrupts)?;
    controller.manage(ALLOCATE, Resource::Queues, id, wanted.queues)
}

/// Brings the secondary controller of a VF online, with a namespace of its own
/// if one is named.
pub(super) fn take(
    journal: &mut Journal<'_>,
    machine: Machine<'_>,
    pf: Address,
    vf: u16,
    namespace: Option<u32>,
) -> Result<()> {
    let controller = Controller {
        pci: machine.pci,
        pf,
    };
    if let Some((_, queues, interrupts)) = controller.capabilities()?
        && let Some(before) = controller.secondary(vf)?
    {
        let number = machine.pci.vfs(pf)?.number;
        let wanted = Secondary {
            online: true,
            queues: queues.share(number, queues.primary),
            interrupts: interrupts.share(number, interrupts.primary),
            ..before
        };
        if wanted.queues < LEAST_QUEUES || wanted.interrupts < LEAST_INTERRUPTS {
            return Err(too_little(pf, vf, number));
        }
        let step = Step::Secondary { pf, vf, before };
        journal.take(step.clone(), || {
            controller.bring(wanted)?;
            Ok((step, ()))
        })?;
    }
    let secondary = match namespace {
        Some(_) => controller.secondary(vf)?,
        None => None,
    };
    match (namespace, secondary) {
        (None, _) => Ok(()),
        (Some(namespace), Some(at)) => take_namespace(journal, controller, at.id, namespace),
        (Some(namespace), None) => Err(Error::new(
            format!("cannot give namespace {namespace} to VF {vf} of {pf}"),
            "the controller does not tell which secondary controller that VF is",
            "leave `namespace` out: the VF sees the namespaces that the controller gives it",
        )),
    }
}

/// The refusal of a VF that could not work.
fn too_little(pf: Address, vf: u16, number: u16) -> Error {
    Error::new(
        format!("cannot bring VF {vf} of {pf} online"),
        format!("shared by {number} VFs, the controller's queues and interrupts are too few"),
        format!("make fewer VFs, or none: echo 0 > /sys/bus/pci/devices/{pf}/sriov_numvfs"),
    )
}

/// Makes a namespace the only one of a controller, and that its only owner.
fn take_namespace(
    journal: &mut Journal<'_>,
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

/// Brings a secondary controller back to what it was.
pub(super) fn undo_secondary(pci: &dyn Pci, pf: Address, vf: u16, before: Secondary) -> Result<()> {
    let controller = Controller { pci, pf };
    if pci.vf(pf, vf)?.is_none() || controller.secondary(vf)? == Some(before) {
        return Ok(());
    }
    controller.bring(before)
}

/// Brings a namespace back to the controllers that had it.
pub(super) fn undo_namespace(pci: &dyn Pci, pf: Address, before: &Namespace) -> Result<()> {
    let at = Controller { pci, pf };
    let (id, namespace) = (before.controller, before.namespace);
    let now = at.owners(namespace)?;
    if now.contains(&id) && !before.owners.contains(&id) {
        at.attach(namespace, id, false)?;
    }
    for owner in before.owners.iter().filter(|o| !now.contains(o)) {
        at.attach(namespace, *owner, true)?;
    }
    for other in &before.others {
        if !at.owners(*other)?.contains(&id) {
            at.attach(*other, id, true)?;
        }
    }
    Ok(())
}
