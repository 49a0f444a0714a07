//! Nodes as slurm.conf names them: what their templates give them, on a machine that has
//! it.

use crate::config::Config;
use crate::error::{Error, Result};
use crate::request::Job;
use crate::slice;
use cellvisor_planner::config::{self, Slice, Which};
use serde::Deserialize;
use std::path::Path;

const MIB: u64 = 1 << 20;

/// What `cellctl host --inventory` says, as far as it is wanted here.
#[derive(Debug, Deserialize)]
pub(crate) struct Inventory {
    cpus: usize,
    nodes: Vec<Node>,
    devices: Vec<Device>,
}

/// A NUMA node.
#[derive(Debug, Deserialize)]
struct Node {
    id: u32,
    memory: u64,
}

#[derive(Debug, Deserialize)]
struct Device {
    vfs: u64,
}

impl Inventory {
    /// Reads what `cellctl` prints.
    ///
    /// # Errors
    ///
    /// It is none.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        serde_json::from_str(text).map_err(|e| {
            let help = "install cellvisor and cellvisor-slurm of the same version";
            Error::new("cannot read cellctl's inventory", e.to_string(), help)
        })
    }
}

/// Lines for slurm.conf, one for each node of the machine `name`.
///
/// # Errors
///
/// The machine is unknown, a template cannot be read or is none, or wants more than the
/// machine has.
pub(crate) fn lines(config: &Config, name: &str, machine: &Inventory) -> Result<Vec<String>> {
    let nodes = config.nodes_of(name)?;
    let line = |node: &str| {
        let path = config.usual_template(node)?;
        let text = slice::read(path)?;
        let slice = plan(&text, path, node)?;
        fits(&slice, machine)?;
        Ok(line(&slice, name, machine))
    };
    nodes.into_iter().map(line).collect()
}

/// The node's slice, as `cellctl` would read it.
fn plan(text: &str, path: &Path, node: &str) -> Result<Slice> {
    let text = slice::render(text, node, &Job::default()).map_err(|e| e.of(path))?;
    let help = format!("see `cellctl check {}`", path.display());
    let wrong = |why: String| Error::new(path.display().to_string(), why, &*help);
    let mut slices = config::parse(&text, path).map_err(|report| {
        let first = report.findings.into_iter().next();
        wrong(first.map_or_else(String::new, |finding| finding.message))
    })?;
    slices
        .pop()
        .ok_or_else(|| wrong("it has no slice".to_owned()))
}

/// Refuses a slice that the whole machine could not hold.
fn fits(slice: &Slice, machine: &Inventory) -> Result<()> {
    let memory: u64 = machine.nodes.iter().map(|node| node.memory).sum();
    let vfs: u64 = machine.devices.iter().map(|device| device.vfs).sum();
    let wishes = [
        ("CPUs", slice.cpus.count as u64, machine.cpus as u64),
        ("MiB of memory", slice.memory.size / MIB, memory / MIB),
        ("virtual functions", functions(slice), vfs),
    ];
    match wishes.iter().find(|(_, wanted, there)| wanted > there) {
        Some((what, wanted, there)) => Err(Error::new(
            format!("node {}", slice.name),
            format!("its template wants {wanted} {what}, and this machine has {there}"),
            "give it a smaller template, or to another machine",
        )),
        None => Ok(()),
    }
}

fn line(slice: &Slice, name: &str, machine: &Inventory) -> String {
    let node = &slice.name;
    let mut line = format!("NodeName={node}");
    let address = slice
        .links
        .iter()
        .find_map(|wish| wish.link.address_of(node));
    if let Some(address) = address {
        line.push_str(&format!(" NodeAddr={}", address.addr()));
    }
    line.push_str(&format!(
        " CPUs={} RealMemory={} Feature={}",
        slice.cpus.count,
        real_memory(slice.memory.size),
        features(slice, name, machine).join(",")
    ));
    match functions(slice) {
        0 => {}
        count => line.push_str(&format!(" Gres=vf:{count}")),
    }
    line + " State=CLOUD"
}

/// MiB that Linux in a cell surely finds: it describes each page in a 64th of it, has
/// tables of its own, and keeps its image to itself.
const fn real_memory(bytes: u64) -> u64 {
    (bytes - bytes / 32).saturating_sub(64 * MIB) / MIB
}

/// The machine, the NUMA node if there is no choice, and the size of pages.
fn features(slice: &Slice, name: &str, machine: &Inventory) -> Vec<String> {
    let only = match &*machine.nodes {
        [node] => Some(node.id),
        _ => None,
    };
    let numa = slice.cpus.numa_node.or(slice.memory.numa_node).or(only);
    let mut all = vec![name.to_owned()];
    all.extend(numa.map(|node| format!("numa{node}")));
    all.extend(slice.memory.page_size.map(|size| match size {
        0x4000_0000 => "hugepages1g".to_owned(),
        _ => "hugepages2m".to_owned(),
    }));
    all
}

/// Virtual functions of a slice.
fn functions(slice: &Slice) -> u64 {
    let is_virtual = |which: &Which| matches!(which, Which::Vf { .. });
    slice
        .pci
        .iter()
        .filter(|wish| is_virtual(&wish.which))
        .count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: &str = r#"{ "version": 1, "cpus": 8, "head-room": {},
        "nodes": [{ "id": 0, "memory": 8589934592 }, { "id": 1, "memory": 8589934592 }],
        "devices": [{ "vfs": 7 }, { "vfs": 0 }] }"#;
    const TEMPLATE: &str = r#"
        version = 1
        cpus = { count = 2, numa-node = 1 }
        memory = { size = "2GiB", page-size = "1GiB" }
        kernel = { image = "vmlinuz" }
        [[pci]]
        sriov = { pf = "0000:01:00.0" }
        [[link]]
        name = "net"
        kind = "window"
        size = "2MiB"
        members = ["n1", "n2", "root"]
        addresses = "10.1.2.0/24"
    "#;

    /// Lines of a machine whose nodes have this template.
    fn told(template: &str, machine: &str) -> Result<Vec<String>> {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("t.toml"), template).expect("a template");
        let text = "version = 1\n[[machine]]\nname = \"m1\"\nlocal = true\nnodes = \"n[1-2]\"\n\
            [[machine]]\nname = \"m2\"\nssh = \"m2\"\nnodes = \"n3\"\n[[template]]\nslice = \"t.toml\"";
        let config = Config::parse(text, dir.path()).expect("a file");
        lines(&config, machine, &Inventory::parse(MACHINE).expect("JSON"))
    }

    #[test]
    fn nodes_are_what_their_templates_give_them() {
        assert_eq!(
            told(TEMPLATE, "m1").expect("lines"),
            [
                "NodeName=n1 NodeAddr=10.1.2.1 CPUs=2 RealMemory=1920 Feature=m1,numa1,hugepages1g Gres=vf:1 State=CLOUD",
                "NodeName=n2 NodeAddr=10.1.2.2 CPUs=2 RealMemory=1920 Feature=m1,numa1,hugepages1g Gres=vf:1 State=CLOUD",
            ]
        );
        let plain = "version = 1\ncpus.count = 1\nmemory.size = \"320MiB\"\nkernel.image = \"k\"";
        assert_eq!(
            told(plain, "m2").expect("a line"),
            ["NodeName=n3 CPUs=1 RealMemory=246 Feature=m2 State=CLOUD"]
        );
    }

    #[test]
    fn what_cannot_be_is_told() {
        let why = |template: &str, machine| told(template, machine).expect_err("bad").to_string();
        assert!(why(TEMPLATE, "m3").starts_with("machine \"m3\": "));
        assert_eq!(
            why(&TEMPLATE.replace("2GiB", "64GiB"), "m1"),
            "node n1: its template wants 65536 MiB of memory, and this machine has 16384\n  \
             help: give it a smaller template, or to another machine"
        );
        assert!(why(&TEMPLATE.replace("count = 2", "count = 0"), "m1").contains("cellctl check"));
        assert!(Inventory::parse("{}").is_err());
    }
}
