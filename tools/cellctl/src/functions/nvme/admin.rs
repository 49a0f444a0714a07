//! Admin commands to a primary controller.

use super::Secondary;
use crate::error::Result;
use crate::pci::{Admin, Pci};
use cellvisor_abi::Bdf;
use serde::{Deserialize, Serialize};

// Admin commands.
const IDENTIFY: u8 = 0x06;
const MANAGE: u8 = 0x0d;
const ATTACH: u8 = 0x15;
const VIRTUALIZATION: u8 = 0x1c;

/// Bytes of the data of Identify and of lists of controllers.
const DATA: usize = 4096;

// What Identify tells of.
const NAMESPACE: u32 = 0x00;
const CONTROLLER: u32 = 0x01;
const NAMESPACES: u32 = 0x10;
const ALLOCATED: u32 = 0x11;
const ATTACHED: u32 = 0x12;
const PRIMARY: u32 = 0x14;
const SECONDARIES: u32 = 0x15;

/// Optional admin commands of a controller, and those for namespaces and for
/// virtualization among them.
const OPTIONAL: usize = 256;
const HAS_NAMESPACES: u16 = 1 << 3;
const HAS_VIRTUALIZATION: u16 = 1 << 7;

/// Bytes of a controller that belong to no namespace.
const UNALLOCATED: usize = 296;

// Fields of a namespace: its size and capacity in blocks, which of its formats
// it has, ids that no other namespace has, and its formats.
const SIZE: usize = 0;
const CAPACITY: usize = 8;
const FORMAT: usize = 26;
const IDS: usize = 104;
const FORMATS: usize = 128;

/// What stands for all namespaces.
const ALL: u32 = u32::MAX;

// Actions of Namespace Management.
const CREATE: u32 = 0;
const DELETE: u32 = 1;

// Actions of Virtualization Management.
pub(super) const ALLOCATE: u32 = 1;
const OFFLINE: u32 = 7;
const ASSIGN: u32 = 8;
const ONLINE: u32 = 9;

/// What controllers have in common, and can be moved between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resource {
    Queues = 0,
    Interrupts = 1,
}

/// The flexible resources of one kind.
#[derive(Clone, Copy)]
pub(super) struct Flexible {
    pub(super) total: u32,
    pub(super) primary: u16,
    /// Most that a secondary controller can have, and of what it is a multiple.
    most: u16,
    step: u16,
}

impl Flexible {
    /// What each of `number` secondary controllers can have if all share alike.
    pub(super) fn share(self, number: u16, primary: u16) -> u16 {
        let left = self.total.saturating_sub(u32::from(primary));
        let each = left / u32::from(number.max(1));
        let each = u16::try_from(each).unwrap_or(u16::MAX).min(self.most);
        each - each % self.step.max(1)
    }
}

/// Admin commands to the primary controller.
#[derive(Clone, Copy)]
pub(super) struct Controller<'a> {
    pub(super) pci: &'a dyn Pci,
    pub(super) pf: Bdf,
}

/// How a namespace is divided into blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Format {
    /// As a namespace's own description names it.
    name: u8,
    /// Bytes of a block as a power of two.
    shift: u8,
}

impl Format {
    /// Blocks that hold `bytes`.
    pub(super) const fn blocks(self, bytes: u64) -> u64 {
        bytes.div_ceil(1 << self.shift)
    }
}

/// What tells a namespace from another that gets the same number later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// Its size.
    pub(super) blocks: u64,
    /// NGUID and EUI64; zeros if the controller gives none.
    ids: [u8; 24],
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

    pub(super) fn manage(
        self,
        action: u32,
        kind: Resource,
        controller: u16,
        number: u16,
    ) -> Result<()> {
        let command = Admin {
            opcode: VIRTUALIZATION,
            nsid: 0,
            cdw10: action | (kind as u32) << 8 | u32::from(controller) << 16,
            cdw11: number.into(),
        };
        self.pci.admin(self.pf, &command, &mut []).map(drop)
    }

    pub(super) fn attach(self, namespace: u32, controller: u16, attached: bool) -> Result<()> {
        let mut list = vec![0; DATA];
        let words = [1, controller].map(u16::to_le_bytes).concat();
        list.splice(..words.len(), words);
        let command = Admin {
            opcode: ATTACH,
            nsid: namespace,
            cdw10: u32::from(!attached),
            cdw11: 0,
        };
        self.pci.admin(self.pf, &command, &mut list).map(drop)
    }

    /// The controller's own id, queues, interrupts; `None` if it cannot share
    /// them.
    pub(super) fn capabilities(self) -> Result<Option<(u16, Flexible, Flexible)>> {
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
    pub(super) fn secondary(self, vf: u16) -> Result<Option<Secondary>> {
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
    pub(super) fn owners(self, namespace: u32) -> Result<Vec<u16>> {
        let data = self.identify(ATTACHED, 0, namespace)?;
        let number = word(&data, 0).into();
        let ids = data.chunks(2).skip(1).take(number);
        Ok(ids.map(|id| word(id, 0)).collect())
    }

    /// Namespaces that exist, attached or not.
    pub(super) fn namespaces(self) -> Result<Vec<u32>> {
        let data = self.identify(NAMESPACES, 0, 0)?;
        let ids = data.chunks(4).map(|id| double(id, 0));
        Ok(ids.take_while(|id| *id != 0).collect())
    }

    /// Bytes that belong to no namespace; `None` if the controller makes none.
    pub(super) fn unallocated(self) -> Result<Option<u128>> {
        let data = self.identify(CONTROLLER, 0, 0)?;
        let bytes = data.get(UNALLOCATED..).and_then(<[u8]>::first_chunk);
        let can = word(&data, OPTIONAL) & HAS_NAMESPACES != 0;
        Ok(bytes.filter(|_| can).map(|b| u128::from_le_bytes(*b)))
    }

    /// The format of the namespace `like` or, without one, the controller's
    /// first; `None` if the controller does not tell.
    pub(super) fn format(self, like: Option<u32>) -> Result<Option<Format>> {
        let (name, data) = match like {
            Some(id) => {
                let data = self.identify(ALLOCATED, 0, id)?;
                (data.get(FORMAT).copied().unwrap_or_default(), data)
            }
            None => (0, self.identify(NAMESPACE, 0, ALL)?),
        };
        // Two bits were added behind one for metadata.
        let index = usize::from(name & 0xf | name >> 1 & 0x30);
        let shift = data.get(FORMATS + 4 * index + 2).copied();
        let known = shift.filter(|shift| (9..32).contains(shift));
        Ok(known.map(|shift| Format { name, shift }))
    }

    /// What tells a namespace from others.
    pub(super) fn mark(self, namespace: u32) -> Result<Mark> {
        let data = self.identify(ALLOCATED, 0, namespace)?;
        let ids = data.get(IDS..).and_then(<[u8]>::first_chunk);
        Ok(Mark {
            blocks: quad(&data, SIZE),
            ids: ids.copied().unwrap_or_default(),
        })
    }

    /// Makes a namespace that one controller at a time can have, and returns its
    /// number.
    pub(super) fn create(self, format: Format, blocks: u64) -> Result<u32> {
        let mut data = vec![0; DATA];
        for at in [SIZE, CAPACITY] {
            data.splice(at..at + 8, blocks.to_le_bytes());
        }
        data.splice(FORMAT..=FORMAT, [format.name]);
        let command = Admin {
            opcode: MANAGE,
            nsid: 0,
            cdw10: CREATE,
            cdw11: 0,
        };
        self.pci.admin(self.pf, &command, &mut data)
    }

    /// Deletes a namespace with all that is in it.
    pub(super) fn delete(self, namespace: u32) -> Result<()> {
        let command = Admin {
            opcode: MANAGE,
            nsid: namespace,
            cdw10: DELETE,
            cdw11: 0,
        };
        self.pci.admin(self.pf, &command, &mut []).map(drop)
    }

    /// Gives a secondary controller that is offline its resources.
    pub(super) fn bring(self, wanted: Secondary) -> Result<()> {
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

fn quad(data: &[u8], at: usize) -> u64 {
    let bytes = data.get(at..).and_then(<[u8]>::first_chunk);
    bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
