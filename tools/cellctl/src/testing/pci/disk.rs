//! The NVMe controller's answers to admin commands.

use super::{BLOCK, DISK, FLEXIBLE, Functions, MOST, PRIMARY, VFS};
use crate::pci::Admin;
use crate::testing::Fake;
use std::collections::BTreeSet;

impl Fake {
    /// Carries a command out; `None` if the disk refuses it.
    pub(super) fn command(&self, command: &Admin, data: &mut [u8]) -> Option<u32> {
        let mut now = self.now.borrow_mut();
        let now = &mut now.functions;
        let id = (command.cdw10 >> 16) as u16;
        let kind = (command.cdw10 >> 8 & 7) as usize;
        let number = command.cdw11 as u16;
        match (command.opcode, command.cdw10 & 0xff) {
            (0x06, what) => identify(now, what, command.nsid, data),
            (0x0d, 0) => make(now, data),
            (0x0d, _) => delete(now, command.nsid),
            (0x15, action) => attach(now, action, command.nsid, data),
            (0x1c, action) => manage(now, action & 15, id, kind, number).then_some(0),
            _ => None,
        }
    }
}

/// Identify.
fn identify(now: &Functions, what: u32, nsid: u32, data: &mut [u8]) -> Option<u32> {
    let mut put = |at: usize, bytes: &[u8]| data[at..at + bytes.len()].copy_from_slice(bytes);
    match what {
        0x01 => {
            let namespaces = u16::from(now.unallocated.is_some()) << 3;
            put(256, &(1u16 << 7 | namespaces).to_le_bytes());
            put(296, &now.unallocated.unwrap_or_default().to_le_bytes());
        }
        0x00 => put(128 + 2, &[BLOCK]),
        0x11 => {
            let (blocks, known_by) = now.sizes.get(&nsid)?;
            put(0, &blocks.to_le_bytes());
            put(104, &[*known_by]);
            put(128 + 2, &[BLOCK]);
        }
        0x10 => {
            for (i, namespace) in now.namespaces.keys().enumerate() {
                put(i * 4, &namespace.to_le_bytes());
            }
        }
        0x12 => {
            // Controllers of VFs that do not exist are not there either.
            let owners: Vec<_> = now.namespaces[&nsid]
                .iter()
                .filter(|id| **id <= now.vfs[&DISK].0)
                .collect();
            put(0, &(owners.len() as u16).to_le_bytes());
            for (i, owner) in owners.iter().enumerate() {
                put(2 + i * 2, &owner.to_le_bytes());
            }
        }
        0x14 => {
            for (at, primary) in [(32, now.primary.0[0]), (64, now.primary.0[1])] {
                put(at, &u32::from(FLEXIBLE).to_le_bytes());
                put(at + 8, &primary.to_le_bytes());
                put(at + 12, &MOST.to_le_bytes());
                put(at + 14, &1u16.to_le_bytes());
            }
        }
        0x15 => {
            put(0, &[VFS as u8]);
            for (i, (id, (online, has))) in now.secondaries.iter().enumerate() {
                let at = 32 * (i + 1);
                put(at, &id.to_le_bytes());
                put(at + 4, &[u8::from(*online)]);
                put(at + 8, &id.to_le_bytes());
                put(at + 10, &has[0].to_le_bytes());
                put(at + 12, &has[1].to_le_bytes());
            }
        }
        _ => return None,
    }
    Some(0)
}

/// Namespace Attachment: the list in `data` names one controller.
fn attach(now: &mut Functions, action: u32, nsid: u32, data: &[u8]) -> Option<u32> {
    let id = u16::from_le_bytes([data[2], data[3]]);
    let exists = id == PRIMARY || id <= now.vfs[&DISK].0;
    let owners = now.namespaces.get_mut(&nsid).expect("exists");
    let done = match action {
        0 => owners.insert(id),
        _ => owners.remove(&id),
    };
    (exists && done).then_some(0)
}

/// Namespace Management: deletes one.
fn delete(now: &mut Functions, nsid: u32) -> Option<u32> {
    let owners = now.namespaces.remove(&nsid)?;
    assert!(owners.is_empty(), "detached before it is deleted");
    let (blocks, _) = now.sizes.remove(&nsid)?;
    now.unallocated = now.unallocated.map(|free| free + (blocks << BLOCK));
    Some(0)
}

/// Namespace Management: makes one as `data` describes it.
fn make(now: &mut Functions, data: &[u8]) -> Option<u32> {
    let blocks = data.first_chunk().map(|b| u64::from_le_bytes(*b))?;
    let left = now.unallocated?.checked_sub(blocks << BLOCK)?;
    assert_eq!(data[..8], data[8..16], "all of it is there from the start");
    assert_eq!(data[30], 0, "one controller's at a time");
    let id = (1..).find(|id| !now.namespaces.contains_key(id))?;
    now.unallocated = Some(left);
    now.namespaces.insert(id, BTreeSet::new());
    now.sizes.insert(id, (blocks, id as u8));
    Some(id)
}

/// Virtualization Management.
fn manage(now: &mut Functions, action: u32, id: u16, kind: usize, number: u16) -> bool {
    let given: u16 = now.secondaries.values().map(|(_, has)| has[kind]).sum();
    let left = FLEXIBLE - given - now.primary.0[kind];
    match action {
        1 if id == PRIMARY => now.primary.1[kind] = number,
        7 => *now.secondaries.get_mut(&id).expect("exists") = (false, [0; 2]),
        8 => {
            let (online, has) = now.secondaries.get_mut(&id).expect("exists");
            if *online || number > MOST || number > left + has[kind] {
                return false;
            }
            has[kind] = number;
        }
        9 => {
            let (online, has) = now.secondaries.get_mut(&id).expect("exists");
            *online = true;
            return has[0] >= 2 && has[1] >= 1;
        }
        _ => return false,
    }
    true
}
