//! Capability lists, and which capabilities a cell may see.

use heapless::Vec;

/// Most shown capabilities of each kind.
pub(super) const MAX: usize = 12;

/// A capability in the first 256 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// Its id.
    pub id: u8,
    /// Where it starts.
    pub offset: u8,
    /// Its length in bytes, a multiple of 4.
    pub len: u8,
}

/// A capability beyond them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtCapability {
    /// Its id.
    pub id: u16,
    /// Where it starts.
    pub offset: u16,
    /// Its length in bytes, a multiple of 4.
    pub len: u16,
}

/// A list that a device cannot have: it has a loop, or leads out of bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalkError {
    /// Offset of the register with the bad pointer.
    pub at: u16,
}

/// Power management.
pub(super) const PM: u8 = 0x01;
/// Message-signalled interrupts.
pub(super) const MSI: u8 = 0x05;
/// Vendor-specific.
const VENDOR: u8 = 0x09;
/// PCI Express.
pub(super) const EXPRESS: u8 = 0x10;
/// Extended message-signalled interrupts.
pub(super) const MSIX: u8 = 0x11;
/// Advanced features: reset for conventional functions.
pub(super) const ADVANCED: u8 = 0x13;

/// Extended: device serial number.
const SERIAL: u16 = 0x0003;
/// Extended: vendor-specific.
const EXT_VENDOR: u16 = 0x000b;
/// Extended: alternative routing id.
const ARI: u16 = 0x000e;
/// Extended: single-root I/O virtualization.
pub(super) const SRIOV: u16 = 0x0010;
/// Extended: latency tolerance.
const LTR: u16 = 0x0018;

/// Shown capabilities of each kind, in the order of their lists. All others
/// are hidden: address translation and process ids (they would let a device
/// choose what it reaches), resizing and enhanced allocation (BARs stay),
/// SR-IOV, ACS, error reporting and link control (not the cell's alone).
pub(super) type Lists = (Vec<Capability, MAX>, Vec<ExtCapability, MAX>);

/// Walks both lists. `read` returns the four bytes at a multiple of 4.
pub(super) fn walk(read: &mut dyn FnMut(u16) -> u32) -> Result<Lists, WalkError> {
    let mut lists = Lists::default();
    let has_list = read(0x04) & 1 << 20 != 0;
    if has_list {
        walk_first(read, &mut lists.0)?;
    }
    // Extended space exists for PCI Express functions only.
    if lists.0.iter().any(|cap| cap.id == EXPRESS) {
        for_each_extended(read, &mut |id, offset, header| {
            if let Some(len) = extended_len(id, header) {
                // More than MAX are left hidden.
                let _full = lists.1.push(ExtCapability { id, offset, len });
            }
        })?;
    }
    Ok(lists)
}

fn walk_first(
    read: &mut dyn FnMut(u16) -> u32,
    found: &mut Vec<Capability, MAX>,
) -> Result<(), WalkError> {
    let mut visited = 0u64;
    let mut at = 0x34;
    let mut next = read(0x34) as u8 & 0xfc;
    while next != 0 {
        let bit = 1u64 << (next / 4);
        if next < 0x40 || visited & bit != 0 {
            return Err(WalkError { at });
        }
        visited |= bit;
        at = u16::from(next);
        let header = read(at);
        let id = header as u8;
        if let Some(len) = len(id, header)
            && len <= 0x100 - at
        {
            let cap = Capability {
                id,
                offset: next,
                len: len as u8,
            };
            let _full = found.push(cap);
        }
        next = (header >> 8) as u8 & 0xfc;
    }
    Ok(())
}

/// Calls `visit` with id, offset and the second four bytes of each extended
/// capability.
pub(super) fn for_each_extended(
    read: &mut dyn FnMut(u16) -> u32,
    visit: &mut dyn FnMut(u16, u16, u32),
) -> Result<(), WalkError> {
    /// A capability has eight bytes at least.
    const MOST: usize = (4096 - 256) / 8;
    let mut at = 0x100;
    for _ in 0..MOST {
        let header = read(at);
        if header == 0 || header == u32::MAX {
            return Ok(());
        }
        if at <= 0xff8 {
            visit(header as u16, at, read(at + 4));
        }
        let next = (header >> 20) as u16 & 0xffc;
        match next {
            0 => return Ok(()),
            0x100.. => at = next,
            _ => return Err(WalkError { at }),
        }
    }
    Err(WalkError { at })
}

/// Length of a shown capability by its header; `None` for hidden ones.
fn len(id: u8, header: u32) -> Option<u16> {
    Some(match id {
        PM | ADVANCED => 8,
        MSI => {
            let wide = header & 1 << 23 != 0;
            let masks = header & 1 << 24 != 0;
            12 + if wide { 4 } else { 0 } + if masks { 8 } else { 0 }
        }
        VENDOR => ((header >> 16 & 0xff) as u16).max(4) & !3,
        EXPRESS if header >> 16 & 15 >= 2 => 0x3c,
        EXPRESS => 0x14,
        MSIX => 12,
        _ => return None,
    })
}

/// The same of an extended one, by the four bytes after its header.
fn extended_len(id: u16, second: u32) -> Option<u16> {
    Some(match id {
        SERIAL => 12,
        ARI | LTR => 8,
        EXT_VENDOR => ((second >> 20) as u16).max(8) & !3,
        _ => return None,
    })
}
