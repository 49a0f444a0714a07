//! CPUs and caches.

use super::acpi::Tables;
use super::topology::Shifts;
use super::tree::{Tree, parse_number};
use crate::host::{Cache, Cpu};
use crate::size::KIB;
use std::collections::{BTreeMap, BTreeSet};

const CPUS: &str = "sys/devices/system/cpu";

/// What /proc/cpuinfo says.
#[derive(Default)]
pub(super) struct CpuInfo {
    /// Linux's number → APIC id, of CPUs that are online.
    apic_ids: BTreeMap<u32, u32>,
    pub(super) model: String,
    pub(super) virtualization: String,
}

impl CpuInfo {
    pub(super) fn read(tree: &Tree) -> Self {
        let mut info = Self::default();
        let mut current = None;
        for line in tree.text("proc/cpuinfo").unwrap_or_default().lines() {
            let Some((key, value)) = line.split_once(':') else {
                continue;
            };
            match (key.trim(), value.trim()) {
                ("processor", value) => current = value.parse().ok(),
                ("apicid", value) => {
                    if let (Some(linux), Ok(id)) = (current, value.parse()) {
                        info.apic_ids.insert(linux, id);
                    }
                }
                ("model name", value) if info.model.is_empty() => value.clone_into(&mut info.model),
                ("flags", value) if info.virtualization.is_empty() => {
                    let found = value.split(' ').find(|f| matches!(*f, "vmx" | "svm"));
                    found
                        .unwrap_or_default()
                        .clone_into(&mut info.virtualization);
                }
                _ => {}
            }
        }
        info
    }
}

/// All CPUs that are there, online or not.
pub(super) fn cpus(tree: &Tree, info: &CpuInfo, tables: &Tables, shifts: Shifts) -> Vec<Cpu> {
    let online = tree.list(&format!("{CPUS}/online")).0;
    let present = tree.list(&format!("{CPUS}/present")).0;
    let ids = apic_ids(&present, info, tables);
    let package_bits = |id: u32| id.checked_shr(shifts.package).unwrap_or(0);
    let package_file = |linux: u32| {
        let path = format!("{CPUS}/cpu{linux}/topology/physical_package_id");
        tree.number(&path).and_then(|n| u32::try_from(n).ok())
    };
    // Linux's numbers of packages, as far as it shows them.
    let packages: BTreeMap<u32, u32> = ids
        .iter()
        .filter_map(|(linux, id)| Some((package_bits(*id), package_file(*linux)?)))
        .collect();
    let nodes: BTreeMap<u32, u32> = tables.nodes_of_cpus();
    let cpu = |(linux, apic_id): (&u32, &u32)| Cpu {
        linux: *linux,
        apic_id: *apic_id,
        package: packages
            .get(&package_bits(*apic_id))
            .copied()
            .unwrap_or(package_bits(*apic_id)),
        core: apic_id.checked_shr(shifts.thread).unwrap_or(0),
        node: tree
            .numbered(&format!("{CPUS}/cpu{linux}"), "node")
            .first()
            .copied()
            .or_else(|| nodes.get(apic_id).copied())
            .unwrap_or(0),
        online: online.contains(linux),
    };
    ids.iter().map(cpu).collect()
}

/// APIC ids of all CPUs that are there. Linux tells those of CPUs that are
/// online; it numbers CPUs in the order of the MADT, so the rest follows.
fn apic_ids(present: &BTreeSet<u32>, info: &CpuInfo, tables: &Tables) -> BTreeMap<u32, u32> {
    let mut ids = info.apic_ids.clone();
    let known: BTreeSet<u32> = ids.values().copied().collect();
    let unknown = tables
        .apic_ids()
        .into_iter()
        .filter(|id| !known.contains(id));
    let missing: Vec<u32> = present
        .iter()
        .copied()
        .filter(|c| !ids.contains_key(c))
        .collect();
    ids.extend(missing.into_iter().zip(unknown));
    ids
}

/// True if Linux keeps siblings offline.
pub(super) fn smt_off(tree: &Tree) -> bool {
    let control = tree.text(&format!("{CPUS}/smt/control"));
    matches!(control.as_deref(), Some("off" | "forceoff"))
}

/// Caches, each once.
pub(super) fn caches(tree: &Tree) -> Vec<Cache> {
    let mut caches = BTreeSet::new();
    for cpu in tree.numbered(CPUS, "cpu") {
        let folder = format!("{CPUS}/cpu{cpu}/cache");
        for index in tree.numbered(&folder, "index") {
            caches.extend(cache(tree, &format!("{folder}/index{index}")));
        }
    }
    caches.into_iter().collect()
}

/// One cache.
fn cache(tree: &Tree, folder: &str) -> Option<Cache> {
    let size = tree.text(&format!("{folder}/size"))?;
    Some(Cache {
        level: u32::try_from(tree.number(&format!("{folder}/level"))?).ok()?,
        kind: tree.text(&format!("{folder}/type"))?,
        size: parse_number(size.strip_suffix('K')?)?.checked_mul(KIB)?,
        cpus: tree.list(&format!("{folder}/shared_cpu_list")),
    })
}
