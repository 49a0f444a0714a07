//! Ports and devices that keep apart what is behind or in them (ACS). Linux
//! tells them to only if it translates DMA itself.
//!
//! Spec: PCI Express Base, "Access Control Services".

use crate::error::Result;
use crate::journal::{Journal, Record, Step};
use cellvisor_planner::host::{Function, Host};

/// Source validation, redirection of requests and of completions, forwarding
/// upstream: what is not offered needs no telling.
const APART: u16 = 1 | 1 << 2 | 1 << 3 | 1 << 4;

/// Has all that can keep peers apart do so, for as long as the monitor is on.
pub(crate) fn take<R: Record>(journal: &mut Journal<'_, R>, host: &Host) -> Result<()> {
    let pci = journal.machine().pci;
    let can = |f: &&Function| f.acs || f.bridge.as_ref().is_some_and(|b| b.acs);
    let mine = |f: &&Function| f.pf.is_none() && !host.iommus.is_empty();
    for function in host.functions.iter().filter(can).filter(mine) {
        let function = function.address;
        let Some(acs) = pci.acs(function)? else {
            continue;
        };
        let wanted = acs.on | acs.can & APART;
        if wanted == acs.on {
            continue;
        }
        let before = acs.on;
        let step = Step::Acs { function, before };
        journal.take(step.clone(), || {
            pci.set_acs(function, wanted)?;
            Ok((step, ()))
        })?;
    }
    Ok(())
}
