//! Where a cell sees its PCI functions.

use crate::error::{Error, Result};
use crate::state::CellFunction;
use cellvisor_abi::plan::Function;
use cellvisor_planner::config::Isolation;
use cellvisor_planner::host::Host;
use cellvisor_planner::pci::Address;
use cellvisor_planner::plan::{AssignedFunction, CellAssignment};
use std::collections::BTreeMap;

/// Devices on a bus that functions can be; device 0 is left to the bridge to
/// which the bus belongs.
const DEVICES: u8 = 31;

/// Functions of `cell` as it will see them: on the root buses above them, one
/// device each, whatever bridges there are in between. Sizes of BARs are not
/// known yet.
///
/// # Errors
///
/// A function behind no known root bus, or more of them than a bus has room for.
pub(crate) fn places(cell: &CellAssignment, host: &Host) -> Result<Vec<CellFunction>> {
    let mut next: BTreeMap<(u16, u8), u8> = BTreeMap::new();
    let mut found = Vec::new();
    for function in &cell.functions {
        let wrong = |why: String, help: &str| {
            let what = format!("cannot show {} to cell \"{}\"", function.address, cell.name);
            Error::new(what, why, help)
        };
        let root = host.root_of(function.address).ok_or_else(|| {
            let help = "see `cellctl host`; boot Linux with `pci=realloc`";
            wrong("no root bus is known above it".into(), help)
        })?;
        let number = next.entry((root.segment, root.first_bus)).or_default();
        if *number >= DEVICES * 8 {
            let why = format!(
                "root bus {:02x} has room for {}",
                root.first_bus,
                DEVICES * 8
            );
            return Err(wrong(why, "give the cell fewer functions"));
        }
        // All devices before any second function: few kernels look for those.
        let (device, second) = (*number % DEVICES + 1, *number / DEVICES);
        let devfn = device << 3 | second;
        *number += 1;
        let guest = Address {
            segment: root.segment,
            bus: root.first_bus,
            devfn,
        };
        found.push(described(function, guest, host));
    }
    Ok(found)
}

/// One function as the records tell of it.
fn described(function: &AssignedFunction, guest: Address, host: &Host) -> CellFunction {
    let whose = function.pf.unwrap_or(function.address);
    let what = host.function(whose).map_or("device", |f| f.what());
    let kind = match (function.pf, function.vf) {
        (Some(pf), Some(vf)) => format!("{what} VF {vf} of {pf}"),
        (Some(pf), None) => format!("{what} VF of {pf}"),
        (None, _) => what.to_owned(),
    };
    CellFunction {
        plan: Function {
            bdf: function.address.number(),
            guest: guest.number(),
            pf: function.pf.map(Address::number),
            bar_sizes: [0; 6],
            unprotected: function.isolation == Isolation::None,
        },
        kind,
        ports: Vec::new(),
    }
}
