//! Where a cell sees its PCI functions.

use crate::error::{Error, Result};
use crate::state::CellFunction;
use cellvisor_abi::Bdf;
use cellvisor_abi::plan::{Function, MAX_FUNCTIONS};
use cellvisor_planner::config::Isolation;
use cellvisor_planner::host::Host;
use cellvisor_planner::plan::{AssignedFunction, CellAssignment};
use std::collections::BTreeMap;

/// Devices on a bus that functions can be; device 0 is left to the bridge to
/// which the bus belongs.
const DEVICES: u8 = 31;

// All functions of a cell fit on one bus.
const _: () = assert!(MAX_FUNCTIONS <= DEVICES as usize * 8);

/// Functions of `cell` as it will see them: on the root buses above them, one
/// device each, whatever bridges there are in between. Sizes of BARs are not
/// known yet.
///
/// # Errors
///
/// A function behind no known root bus.
pub(crate) fn places(cell: &CellAssignment, host: &Host) -> Result<Vec<CellFunction>> {
    let mut next: BTreeMap<(u16, u8), u8> = BTreeMap::new();
    let mut found = Vec::new();
    for function in &cell.functions {
        let root = host.root_of(function.address).ok_or_else(|| {
            Error::new(
                format!("cannot show {} to cell \"{}\"", function.address, cell.name),
                "no root bus is known above it",
                "see `cellctl host`; boot Linux with `pci=realloc`",
            )
        })?;
        let number = next.entry((root.segment, root.first_bus)).or_default();
        // All devices before any second function: few kernels look for those.
        let (device, second) = (*number % DEVICES + 1, *number / DEVICES);
        let devfn = device << 3 | second;
        *number += 1;
        let guest = Bdf::new(root.segment, root.first_bus, devfn);
        found.push(described(function, guest, host));
    }
    Ok(found)
}

/// One function as the records tell of it.
fn described(function: &AssignedFunction, guest: Bdf, host: &Host) -> CellFunction {
    let whose = function.pf.unwrap_or(function.address);
    let what = host.function(whose).map_or("device", |f| f.what());
    let kind = match (function.pf, function.vf) {
        (Some(pf), Some(vf)) => format!("{what} VF {vf} of {pf}"),
        (Some(pf), None) => format!("{what} VF of {pf}"),
        (None, _) => what.to_owned(),
    };
    CellFunction {
        plan: Function {
            bdf: function.address,
            guest,
            pf: function.pf,
            bar_sizes: [0; 6],
            unprotected: function.isolation == Isolation::None,
            wire: None,
        },
        kind,
        silent: None,
        ports: Vec::new(),
    }
}
