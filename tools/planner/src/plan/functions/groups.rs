//! Functions that cannot be told apart, and what else slices must not share.

use crate::config::{Isolation, Mac, Slice};
use crate::host::{Function, Host};
use crate::plan::pool::{Owner, Pool};
use crate::plan::{AssignedFunction, CellAssignment};
use cellvisor_abi::Bdf;
use std::collections::BTreeMap;

/// Functions whose DMA cannot be told apart.
pub(in crate::plan) struct Group {
    members: Vec<Bdf>,
    /// It is one because of what is above its members.
    shared_bridge: bool,
    why: String,
}

impl Group {
    /// Functions that must have the same owner as `function`, if it is of this
    /// group. A virtual function is kept apart from all others of its device.
    fn partners(&self, function: &AssignedFunction) -> Vec<Bdf> {
        let Some(pf) = function.pf else {
            let mine = self.members.contains(&function.address);
            return if mine {
                self.members.clone()
            } else {
                Vec::new()
            };
        };
        if !self.shared_bridge || !self.members.contains(&pf) {
            return Vec::new();
        }
        let others = self.members.iter().copied();
        others
            .filter(|m| Key::device(*m) != Key::device(pf))
            .collect()
    }
}

/// What the members of a group have in common.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    /// Linux's number of the group.
    Linux(u32),
    /// A device: segment, bus, device number. All that is behind one of its
    /// functions belongs to it, too.
    Device(u16, u8, u8),
}

impl Key {
    const fn device(at: Bdf) -> Self {
        Self::Device(at.segment, at.bus(), at.device())
    }
}

/// Bridges by the bus right below them.
struct Bridges<'h>(BTreeMap<(u16, u8), &'h Function>);

impl<'h> Bridges<'h> {
    fn of(host: &'h Host) -> Self {
        let bridges = host.functions.iter().filter_map(|f| {
            let bridge = f.bridge.as_ref()?;
            Some(((f.address.segment, bridge.secondary), f))
        });
        Self(bridges.collect())
    }

    /// The bridge next to the root among those above a function that do not keep
    /// apart what is behind them: a switch without ACS, or a bridge to
    /// conventional PCI, which speaks for all behind it.
    fn mixer(&self, address: Bdf) -> Option<Bdf> {
        let mut bus = address.bus();
        let mut found = None;
        while let Some(bridge) = self.0.get(&(address.segment, bus)) {
            if bridge.bridge.as_ref().is_some_and(|b| !b.acs) {
                found = Some(bridge.address);
            }
            // Bus numbers grow from the root on, so this comes to an end.
            if bridge.address.bus() >= bus {
                break;
            }
            bus = bridge.address.bus();
        }
        found
    }
}

/// All groups with more than one member, as Linux made them or, if it drives
/// no IOMMU, as they follow from bridges that do not keep their peers apart and
/// from devices whose functions may reach each other inside the device.
/// Virtual functions are not in them: who has the physical function can do
/// worse to them than DMA.
pub(in crate::plan) fn groups(host: &Host) -> Vec<Group> {
    let bridges = Bridges::of(host);
    let mut groups: BTreeMap<Key, (Vec<Bdf>, Option<Bdf>)> = BTreeMap::new();
    for function in &host.functions {
        if function.is_bridge() || function.pf.is_some() {
            continue;
        }
        let mixer = bridges.mixer(function.address);
        let own = (!function.acs).then(|| Key::device(function.address));
        let key = function.group.map(Key::Linux);
        if let Some(key) = key.or(mixer.map(Key::device)).or(own) {
            let (members, bridge) = groups.entry(key).or_default();
            members.push(function.address);
            *bridge = bridge.or(mixer);
        }
    }
    let several = groups.into_iter().filter(|(_, (all, _))| all.len() > 1);
    let group = |(key, (members, bridge)): (Key, (_, Option<Bdf>))| Group {
        members,
        shared_bridge: bridge.is_some(),
        why: match (key, bridge) {
            (Key::Linux(number), _) => format!("both are in IOMMU group {number}"),
            (_, Some(bridge)) => format!("the bridge {bridge} does not keep the two apart"),
            (..) => {
                "one device has both, and does not say that it keeps them apart (ACS)".to_owned()
            }
        },
    };
    several.map(group).collect()
}

/// Refuses groups that are cut in two. Comes after all claims.
pub(in crate::plan) fn check_groups(pool: &mut Pool<'_>, slices: &[(&Slice, &[AssignedFunction])]) {
    let groups = groups(pool.host);
    for (slice, functions) in slices {
        for (i, function) in functions.iter().enumerate() {
            if function.isolation != Isolation::Iommu {
                continue;
            }
            let strange = |member: &Bdf| {
                let owner = pool.function_owners.get(member);
                owner.and_then(Owner::name) != Some(slice.name.as_str())
            };
            let stranger = groups.iter().find_map(|group| {
                let partners = group.partners(function);
                Some((group, partners.into_iter().find(strange)?))
            });
            if let Some((group, stranger)) = stranger {
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
    let mut seen: BTreeMap<Mac, (String, Bdf)> = BTreeMap::new();
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
    let mut seen: BTreeMap<(Bdf, u32), String> = BTreeMap::new();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Bridge;

    fn function(address: &str) -> Function {
        let blank = "address = \"0000:00:00.0\"\nvendor = 1\ndevice = 1\nclass = 0x020000";
        let function: Function = toml::from_str(blank).expect("a function");
        Function {
            address: address.parse().expect("an address"),
            ..function
        }
    }

    fn bridge(address: &str, buses: (u8, u8), acs: bool) -> Function {
        Function {
            class: 0x06_0400,
            bridge: Some(Bridge {
                secondary: buses.0,
                subordinate: buses.1,
                windows: Vec::new(),
                acs,
            }),
            ..function(address)
        }
    }

    fn members(functions: Vec<Function>) -> Vec<Vec<String>> {
        let host = Host {
            functions,
            ..Host::default()
        };
        let text = |g: &Group| g.members.iter().map(Bdf::to_string).collect();
        groups(&host).iter().map(text).collect()
    }

    #[test]
    fn switch_mixes_what_is_behind_its_ports_unless_each_keeps_it_apart() {
        let tree = |acs| {
            vec![
                bridge("0000:00:01.0", (1, 4), true),
                bridge("0000:01:00.0", (2, 4), acs),
                bridge("0000:02:00.0", (3, 3), acs),
                bridge("0000:02:01.0", (4, 4), acs),
                function("0000:03:00.0"),
                function("0000:04:00.0"),
            ]
        };
        assert!(members(tree(true)).is_empty());
        assert_eq!(members(tree(false)), [["0000:03:00.0", "0000:04:00.0"]]);
    }

    #[test]
    fn bridge_to_conventional_pci_speaks_for_all_buses_behind_it() {
        let found = members(vec![
            bridge("0000:00:01.0", (1, 3), true),
            bridge("0000:01:00.0", (2, 3), false),
            bridge("0000:02:01.0", (3, 3), false),
            function("0000:02:02.0"),
            function("0000:03:04.0"),
            function("0000:00:05.0"),
        ]);
        assert_eq!(found, [["0000:02:02.0", "0000:03:04.0"]]);
    }

    #[test]
    fn ports_of_one_device_without_acs_are_one() {
        let found = members(vec![
            bridge("0000:00:1c.0", (1, 1), false),
            bridge("0000:00:1c.4", (2, 2), false),
            function("0000:01:00.0"),
            function("0000:02:00.0"),
        ]);
        assert_eq!(found, [["0000:01:00.0", "0000:02:00.0"]]);
    }

    #[test]
    fn buses_that_lead_nowhere_come_to_an_end() {
        let found = members(vec![
            bridge("0000:02:00.0", (1, 2), false),
            bridge("0000:01:00.0", (2, 2), false),
            function("0000:01:01.0"),
        ]);
        assert!(found.is_empty());
    }
}
