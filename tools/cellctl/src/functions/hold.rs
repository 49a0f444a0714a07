//! A function without a driver of Linux.

use crate::error::{Error, Result};
use crate::journal::Step;
use crate::pci::{Binding, Pci};
use crate::state::CellJournal;
use cellvisor_abi::Bdf;
use serde::{Deserialize, Serialize};

/// The only driver that may have a cell's function: there is none of that name.
/// It also marks the function as a cell's, for whoever looks at its PF.
const NAME: &str = "cellvisor";

/// What there was before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Before {
    /// The driver.
    driver: Option<String>,
    /// The only driver that might have it.
    wanted: Option<String>,
}

/// True if a cell has the function.
pub(super) fn is_held(binding: &Binding) -> bool {
    binding.wanted.as_deref() == Some(NAME)
}

/// Takes a function off its driver, and lets no other have it.
pub(super) fn take(journal: &mut CellJournal<'_>, function: Bdf) -> Result<()> {
    let pci = journal.machine().pci;
    if let Some(user) = pci.user_of_disks(function) {
        return Err(Error::new(
            format!("cannot give {function} to a cell"),
            user,
            "end that first (umount, swapoff, vgchange -an, mdadm --stop, zpool export, or the \
             program), or choose another function",
        ));
    }
    let Binding { driver, wanted } = pci.binding(function)?.unwrap_or_default();
    let step = Step::Driver {
        function,
        before: Before {
            driver: driver.clone(),
            wanted,
        },
    };
    journal.take(step.clone(), || {
        pci.set_wanted(function, Some(NAME))?;
        if let Some(driver) = &driver {
            pci.unbind(function, driver)?;
        }
        Ok((step, ()))
    })
}

/// Gives a function back to the driver that it had.
pub(super) fn undo(pci: &dyn Pci, function: Bdf, before: &Before) -> Result<()> {
    let Some(now) = pci.binding(function)? else {
        return Ok(());
    };
    if let (Some(driver), None) = (&before.driver, &now.driver) {
        // By name, since drivers that look by themselves pass by VFs.
        pci.set_wanted(function, Some(driver))?;
        pci.bind(function, driver)?;
    }
    pci.set_wanted(function, before.wanted.as_deref())
}
