//! What machines of scenarios are made of.

use serde::Deserialize;
use std::path::PathBuf;

/// A machine, as far as lanes can differ in it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Machine {
    /// Logical processors.
    pub(crate) cpus: u32,
    /// Processor packages; with cores that are no power of two in each, APIC
    /// ids have gaps.
    pub(crate) packages: u32,
    /// Room for this many cores in each package, if there are not just as many: the
    /// first `cpus` places have one, and those that `more_cpus` names.
    pub(crate) places: Option<u32>,
    /// Logical processors beyond the first `cpus`: package, and place in it.
    pub(crate) more_cpus: Vec<[u32; 2]>,
    /// RAM in MiB.
    pub(crate) memory_mib: u32,
    /// NUMA nodes that CPUs and RAM are spread over.
    pub(crate) nodes: u32,
    /// How far nodes are from each other; 20 if nothing is said.
    pub(crate) distances: Option<Distances>,
    /// How fast CPUs reach the nodes' memory (HMAT), if the firmware says so.
    pub(crate) access: Option<Access>,
    /// VT-d with interrupt remapping: the root's APICs are in x2APIC mode.
    pub(crate) iommu: bool,
    /// An igb NIC with SR-IOV.
    pub(crate) igb: bool,
    /// An NVMe controller with SR-IOV and three namespaces: 1 and 2 hold root
    /// file systems of cells and wait to be attached to virtual functions, 3 is
    /// the controller's own and empty.
    pub(crate) nvme: bool,
    /// More devices, in QEMU's notation (`edu,bus=rp3`).
    pub(crate) devices: Vec<String>,
    /// A third and a fourth serial port (3E8H, 2E8H), connected to each other.
    pub(crate) uart_pair: bool,
    /// A third serial port (3E8H), connected to a UART on PCI (0000:00:05.0).
    pub(crate) uart_pci: bool,
    /// CPU features to add or to take away, in QEMU's notation (`-x2apic`).
    pub(crate) cpu_features: Vec<String>,
    /// On `qemu`: QEMU 10.0.13 instead of Debian's.
    pub(crate) newer_qemu: bool,
    /// On `kvm-on-…`: the outer Linux keeps swapping the machine's memory out.
    pub(crate) host_swaps: bool,
    /// There are two of it, with a network card (e1000e) each and a cable between them.
    /// The second plays `twin.sh` instead of `run.sh`, and what it says counts as the
    /// step's that the first has begun. Only lanes with QEMU on this machine have it.
    pub(crate) twin: bool,
    /// The end of the cable, of each of two.
    #[serde(skip)]
    pub(crate) cable: Option<Cable>,
    /// A plugin that watches what is executed, with its arguments, in QEMU's
    /// notation: measurements have one.
    #[serde(skip)]
    pub(crate) plugin: Option<String>,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            cpus: 4,
            packages: 1,
            places: None,
            more_cpus: Vec::new(),
            memory_mib: 3072,
            nodes: 1,
            distances: None,
            access: None,
            iommu: true,
            igb: false,
            nvme: false,
            devices: Vec::new(),
            uart_pair: false,
            uart_pci: false,
            cpu_features: Vec::new(),
            newer_qemu: false,
            host_swaps: false,
            twin: false,
            cable: None,
            plugin: None,
        }
    }
}

/// An end of a cable between two machines.
#[derive(Clone, Debug)]
pub(crate) struct Cable {
    /// Where frames come in, a socket.
    pub(crate) near: PathBuf,
    /// Where they go.
    pub(crate) far: PathBuf,
    /// The last byte of the card's address.
    pub(crate) number: u8,
}

/// How fast CPUs of each node reach the memory of each node: a row for each of the
/// first. 0 is what the firmware does not say.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Access {
    /// Nanoseconds of a read.
    pub(crate) read_latency_ns: Vec<Vec<u32>>,
    /// Nanoseconds of a write.
    pub(crate) write_latency_ns: Vec<Vec<u32>>,
    /// MB/s that can be read.
    pub(crate) read_bandwidth_mbs: Vec<Vec<u32>>,
    /// MB/s that can be written.
    pub(crate) write_bandwidth_mbs: Vec<Vec<u32>>,
}

/// Distances of nodes, in the units of ACPI's SLIT: 10 to themselves.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) enum Distances {
    /// A row for each node.
    Rows(Vec<Vec<u32>>),
    /// Nodes are the crossings of a mesh, row by row.
    Mesh {
        /// Nodes in a row.
        width: u32,
        /// What each step between neighbours adds to the 10 of a node to itself.
        step: u32,
    },
}

impl Distances {
    /// From one node to another, if both are known.
    pub(crate) fn between(&self, from: u32, to: u32) -> Option<u32> {
        match self {
            Self::Rows(rows) => rows.get(from as usize)?.get(to as usize).copied(),
            Self::Mesh { width, step } => {
                let steps =
                    (from % width).abs_diff(to % width) + (from / width).abs_diff(to / width);
                Some(10 + step * steps)
            }
        }
    }
}

impl Machine {
    /// Logical processors, all of them.
    pub(crate) fn all_cpus(&self) -> u32 {
        self.cpus + self.more_cpus.len() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::Distances;

    #[test]
    fn a_mesh_counts_steps_along_both_edges() {
        let mesh = Distances::Mesh { width: 8, step: 5 };
        assert_eq!(mesh.between(9, 9), Some(10));
        assert_eq!(mesh.between(0, 7), Some(45));
        assert_eq!(mesh.between(7, 8), Some(50));
        assert_eq!(mesh.between(0, 63), Some(80));
    }

    #[test]
    fn rows_are_as_they_are_written() {
        let rows = Distances::Rows(vec![vec![10, 16], vec![22, 10]]);
        assert_eq!(rows.between(0, 1), Some(16));
        assert_eq!(rows.between(1, 0), Some(22));
        assert_eq!(rows.between(0, 2), None);
    }
}
