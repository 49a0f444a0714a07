//! Virtual functions of a physical one: made by the first cell that needs
//! them, given back by the last.

use super::{NVME, hold, nvme};
use crate::error::{Error, Result};
use crate::journal::Step;
use crate::pci::Pci;
use crate::state::CellJournal;
use cellvisor_abi::Bdf;
use serde::{Deserialize, Serialize};

/// A PF before cells had VFs of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Before {
    /// How many VFs there were.
    vfs: u16,
    /// Linux looked for drivers of new ones.
    autoprobe: bool,
    /// Its network interface was up; `None` without one.
    link: Option<bool>,
    /// What an NVMe controller had of the resources that VFs can have instead;
    /// `None` without such.
    primary: Option<nvme::Primary>,
}

impl Before {
    fn read(pci: &dyn Pci, pf: Bdf) -> Result<Self> {
        let vfs = pci.vfs(pf)?;
        Ok(Self {
            vfs: vfs.number,
            autoprobe: vfs.autoprobe,
            link: pci.link(pf)?,
            primary: match pci.class(pf)? {
                NVME => nvme::primary(pci, pf)?,
                _ => None,
            },
        })
    }
}

/// Makes sure that `pf` has at least `number` VFs that can work. `inherited` is
/// what it was before other cells.
pub(super) fn take(
    journal: &mut CellJournal<'_>,
    pf: Bdf,
    number: u16,
    inherited: Option<Before>,
) -> Result<()> {
    let pci = journal.machine().pci;
    let now = Before::read(pci, pf)?;
    if now.vfs < number {
        refuse_users(pci, pf, now.vfs, number)?;
    } else if inherited.is_none() && now.link != Some(false) {
        return Ok(());
    }
    let step = Step::Vfs {
        pf,
        before: inherited.unwrap_or_else(|| now.clone()),
    };
    journal.take(step.clone(), || {
        set_up(pci, pf, &now, number)?;
        Ok((step, ()))
    })
}

fn set_up(pci: &dyn Pci, pf: Bdf, now: &Before, number: u16) -> Result<()> {
    if now.vfs < number {
        if now.vfs > 0 {
            pci.set_vfs(pf, 0)?;
        }
        if let Some(primary) = now.primary {
            nvme::make_room(pci, pf, primary, number)?;
        }
        pci.set_autoprobe(pf, false)?;
        pci.set_vfs(pf, number)?;
    }
    // VFs reach the network only as long as their PF is on.
    if now.link == Some(false) {
        pci.set_link(pf, true)?;
    }
    Ok(())
}

/// The first VF that somebody uses, and who.
fn user(pci: &dyn Pci, pf: Bdf, vfs: u16) -> Result<Option<(Bdf, String)>> {
    for vf in 0..vfs {
        let Some(address) = pci.vf(pf, vf)? else {
            continue;
        };
        let binding = pci.binding(address)?.unwrap_or_default();
        if hold::is_held(&binding) {
            return Ok(Some((address, "a cell".to_owned())));
        }
        if let Some(driver) = binding.driver {
            return Ok(Some((address, format!("Linux's driver {driver}"))));
        }
    }
    Ok(None)
}

/// The number of VFs changes by way of none at all, which nobody may notice.
fn refuse_users(pci: &dyn Pci, pf: Bdf, vfs: u16, number: u16) -> Result<()> {
    let Some((address, who)) = user(pci, pf, vfs)? else {
        return Ok(());
    };
    Err(Error::new(
        format!("cannot make {number} virtual functions of {pf}"),
        format!("it has {vfs}, and {who} has one of them ({address})"),
        format!(
            "create all slices with one command (cellctl create A.toml B.toml), or have enough \
             before the first: echo {number} > /sys/bus/pci/devices/{pf}/sriov_numvfs"
        ),
    ))
}

/// Brings a PF back to what it was, unless other cells have VFs of it: the last
/// of them does it.
pub(super) fn undo(pci: &dyn Pci, pf: Bdf, before: &Before) -> Result<()> {
    let now = Before::read(pci, pf)?;
    for vf in 0..now.vfs {
        let address = pci.vf(pf, vf)?;
        let binding = address.map(|at| pci.binding(at)).transpose()?.flatten();
        if binding.is_some_and(|b| hold::is_held(&b)) {
            return Ok(());
        }
    }
    // Resources of an NVMe controller can move only while it has no VFs.
    let moved = before.primary != now.primary;
    if now.vfs != 0 && (moved || now.vfs != before.vfs) {
        pci.set_vfs(pf, 0)?;
    }
    if let Some(primary) = before.primary {
        // Also what was set and never came into force.
        nvme::set_primary(pci, pf, primary)?;
        if moved {
            pci.reset(pf)?;
        }
    }
    if now.autoprobe != before.autoprobe {
        pci.set_autoprobe(pf, before.autoprobe)?;
    }
    if before.vfs != 0 && pci.vfs(pf)?.number == 0 {
        pci.set_vfs(pf, before.vfs)?;
    }
    match before.link.filter(|_| before.link != now.link) {
        Some(up) => pci.set_link(pf, up),
        None => Ok(()),
    }
}
