//! Functions that cannot be told apart, and what else slices must not share.

use crate::config::{Isolation, Mac, Slice};
use crate::host::{Function, Host};
use crate::pci::Address;
use crate::plan::pool::{Owner, Pool};
use crate::plan::{AssignedFunction, CellAssignment};
use std::collections::BTreeMap;

/// Functions whose DMA cannot be told apart.
pub(in crate::plan) struct Group {
    members: Vec<Address>,
    why: String,
}

/// All groups with more than one member, as Linux made them or, if it drives
/// no IOMMU, as they follow from bridges that do not keep their peers apart and
/// from devices whose functions may reach each other inside the device.
/// Virtual functions are not in them: who has the physical function can do
/// worse to them than DMA.
pub(in crate::plan) fn groups(host: &Host) -> Vec<Group> {
    #[derive(PartialEq, Eq, PartialOrd, Ord)]
    enum Key {
        Linux(u32),
        Bridge(Address),
        /// Segment, bus, device.
        Device(u16, u8, u8),
    }
    let mut bridges: BTreeMap<(u16, u8), &Function> = BTreeMap::new();
    for function in &host.functions {
        if let Some(bridge) = &function.bridge {
            bridges.insert((function.address.segment, bridge.secondary), function);
        }
    }
    let key = |f: &Function| {
        let above = bridges.get(&(f.address.segment, f.address.bus));
        let mixes = above.filter(|f| f.bridge.as_ref().is_some_and(|b| !b.acs));
        let bridge = mixes.map(|f| Key::Bridge(f.address));
        let at = f.address;
        let device = (!f.acs).then(|| Key::Device(at.segment, at.bus, at.device()));
        f.group.map(Key::Linux).or(bridge).or(device)
    };
    let mut groups: BTreeMap<Key, Vec<Address>> = BTreeMap::new();
    for function in host
        .functions
        .iter()
        .filter(|f| !f.is_bridge() && f.pf.is_none())
    {
        if let Some(key) = key(function) {
            groups.entry(key).or_default().push(function.address);
        }
    }
    let several = groups.into_iter().filter(|(_, members)| members.len() > 1);
    let group = |(key, members)| Group {
        members,
        why: match key {
            Key::Linux(number) => format!("both are in IOMMU group {number}"),
            Key::Bridge(bridge) => format!("the bridge {bridge} does not keep the two apart"),
            Key::Device(..) => "one device has both, and does not say that it keeps them apart \
                                (ACS)"
                .to_owned(),
        },
    };
    several.map(group).collect()
}

/// Refuses groups that are cut in two. Comes after all claims.
pub(in crate::plan) fn check_groups(pool: &mut Pool<'_>, slices: &[(&Slice, &[AssignedFunction])]) {
    let groups = groups(pool.host);
    for (slice, functions) in slices {
        for (i, function) in functions.iter().enumerate() {
            let mine = groups
                .iter()
                .find(|g| g.members.contains(&function.address));
            let Some(group) = mine.filter(|_| function.isolation == Isolation::Iommu) else {
                continue;
            };
            let stranger = group.members.iter().find(|member| {
                let owner = pool.function_owners.get(member);
                owner.and_then(Owner::name) != Some(slice.name.as_str())
            });
            if let Some(stranger) = stranger {
                let key = key(slice, i);
                let message = format!(
                    "slice `{}` cannot have {} without {stranger}",
                    slice.name, function.address
                );
                let cause = format!("{}: their DMA cannot be told apart", group.why);
                let help = "give the slice both, or move the card to another slot";
                pool.wrong(slice, &key, message, cause, help);
            }
        }
    }
}

/// Refuses a MAC address that two functions would have.
pub(in crate::plan) fn check_macs(pool: &mut Pool<'_>, slices: &[(&Slice, &[AssignedFunction])]) {
    let mut seen: BTreeMap<Mac, (String, Address)> = BTreeMap::new();
    for (slice, functions) in slices {
        for (i, function) in functions.iter().enumerate() {
            let Some(mac) = function.mac else {
                continue;
            };
            if let Some((name, address)) = seen.get(&mac) {
                let message = format!("two functions would have the MAC address {mac}");
                let cause = format!("slice `{name}` gives it to {address}");
                let help = "give each its own; the first byte 02 marks those that people choose";
                pool.wrong(slice, &format!("pci.{i}.mac"), message, cause, help);
            } else {
                seen.insert(mac, (slice.name.clone(), function.address));
            }
        }
    }
}

/// Refuses a namespace that two virtual functions of a controller would have,
/// in one of the slices or in a cell that exists.
pub(in crate::plan) fn check_namespaces(
    pool: &mut Pool<'_>,
    slices: &[(&Slice, &[AssignedFunction])],
    cells: &[CellAssignment],
) {
    let id = |f: &AssignedFunction| Some((f.pf?, f.namespace?));
    let mut seen: BTreeMap<(Address, u32), String> = BTreeMap::new();
    for cell in cells {
        let ids = cell.functions.iter().filter_map(id);
        seen.extend(ids.map(|id| (id, cell.name.clone())));
    }
    // Slices that run are among the cells.
    let runs = |slice: &Slice| cells.iter().any(|c| c.name == slice.name);
    for (slice, functions) in slices.iter().filter(|(slice, _)| !runs(slice)) {
        for (i, function) in functions.iter().enumerate() {
            let Some((pf, namespace)) = id(function) else {
                continue;
            };
            if let Some(name) = seen.get(&(pf, namespace)) {
                let message = format!("namespace {namespace} of {pf} would have two owners");
                let cause = format!("`{name}` has it");
                let help = "name another namespace; `nvme list-ns` shows them";
                pool.wrong(slice, &format!("pci.{i}.namespace"), message, cause, help);
            } else {
                seen.insert((pf, namespace), slice.name.clone());
            }
        }
    }
}

/// The key of a slice's `i`-th function.
fn key(slice: &Slice, i: usize) -> String {
    match i < slice.pci.len() {
        true => format!("pci.{i}"),
        false => "console.pci".to_owned(),
    }
}
