//! What machines of scenarios are made of.

use serde::Deserialize;

/// A machine, as far as lanes can differ in it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Machine {
    /// Logical processors.
    pub(crate) cpus: u32,
    /// Processor packages; with cores that are no power of two in each, APIC
    /// ids have gaps.
    pub(crate) packages: u32,
    /// RAM in MiB.
    pub(crate) memory_mib: u32,
    /// NUMA nodes that CPUs and RAM are spread over.
    pub(crate) nodes: u32,
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
            memory_mib: 3072,
            nodes: 1,
            iommu: true,
            igb: false,
            nvme: false,
            devices: Vec::new(),
            uart_pair: false,
            uart_pci: false,
            cpu_features: Vec::new(),
            newer_qemu: false,
            host_swaps: false,
            plugin: None,
        }
    }
}
