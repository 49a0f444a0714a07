//! The form of slice files, as serde reads it. The doc comments here become
//! the JSON Schema and the reference page.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use toml::Spanned;
use toml::de::DeTable;

/// A slice file describes one slice with its tables at the top level, or
/// several, each as an entry of `[[slice]]`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(title = "cellvisor slice file")]
pub struct File {
    /// Version of this form: 1.
    pub version: u32,
    /// Several slices in one file; each has the same tables as a file with one
    /// slice.
    pub slice: Option<Vec<Slice>>,
    /// Who the slice is.
    pub cell: Option<Cell>,
    /// CPUs.
    pub cpus: Option<Cpus>,
    /// Memory.
    pub memory: Option<Memory>,
    /// What the slice boots.
    pub kernel: Option<Kernel>,
    /// Where its console is; a virtual one if nothing is said.
    pub console: Option<Console>,
    /// PCI functions, one entry for each.
    pub pci: Option<Vec<Pci>>,
    /// What happens when the slice ends.
    pub policy: Option<Policy>,
    /// Its share of caches; that of the root if nothing is said.
    pub cache: Option<Cache>,
    /// Its share of memory bandwidth; no limit if nothing is said.
    pub bandwidth: Option<Bandwidth>,
    /// What slices of this file share with others, one entry for each.
    pub link: Option<Vec<Link>>,
}

/// One of several slices in a file.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Slice {
    /// Who the slice is.
    pub cell: Cell,
    /// CPUs.
    pub cpus: Cpus,
    /// Memory.
    pub memory: Memory,
    /// What the slice boots.
    pub kernel: Kernel,
    /// Where its console is; a virtual one if nothing is said.
    #[serde(default)]
    pub console: Console,
    /// PCI functions, one entry for each.
    #[serde(default)]
    pub pci: Vec<Pci>,
    /// What happens when the slice ends.
    #[serde(default)]
    pub policy: Policy,
    /// Its share of caches; that of the root if nothing is said.
    pub cache: Option<Cache>,
    /// Its share of memory bandwidth; no limit if nothing is said.
    pub bandwidth: Option<Bandwidth>,
}

/// Who the slice is.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Cell {
    /// Name: 1 to 31 of `a-z`, `0-9`, `-` and `_`, a letter or digit first.
    /// `root` is this Linux. All commands use it.
    pub name: String,
}

/// CPUs: a number of them, or just these.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Cpus {
    /// How many CPUs. With SMT, whole cores: an even number.
    pub count: Option<u32>,
    /// Just these CPUs by Linux's numbers, as in `"12-19"` or `"2,4,6"`.
    pub list: Option<String>,
    /// Only CPUs of this NUMA node. Without it, the planner looks for a node
    /// that has all that the slice wants.
    pub numa_node: Option<u32>,
    /// SMT siblings of the slice's CPUs may stay with others. They share caches
    /// and execution units with the slice, so it is no default.
    #[serde(default)]
    pub split_siblings: bool,
}

/// Memory: an amount of it, or a range that was reserved at boot.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Memory {
    /// How much, as in `"16GiB"`: a multiple of 2 MiB, at least 64 MiB.
    pub size: String,
    /// Only memory of this NUMA node. Without it, the node of the CPUs comes
    /// first, the nearest others after it.
    pub numa_node: Option<u32>,
    /// Huge pages of this size only: `"2MiB"` or `"1GiB"`. Without it, the
    /// largest that can be had.
    pub page_size: Option<String>,
    /// Physical address, as in `"0x880000000"`, of a range that Linux was told
    /// at boot to leave alone (`memmap=` or `mem=`).
    pub base: Option<String>,
}

/// What the slice boots.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Kernel {
    /// Kernel image: a bzImage, an uncompressed `vmlinux`, or another program that a
    /// cell can boot. A relative path starts at this file's folder.
    pub image: String,
    /// Initial RAM disk, or several files that make one in this order, as in
    /// `["microcode.cpio", "initrd.img"]`. A relative path starts at this file's
    /// folder.
    pub initrd: Option<Initrd>,
    /// Kernel command line. Where the console is virtual and no `console=` is in it,
    /// `console=ttyS0` is put before it; `console=hvc0` where it is `virtio`.
    #[serde(default)]
    pub cmdline: String,
}

/// The files of an initial RAM disk.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Initrd {
    /// One file.
    One(String),
    /// Several, in their order.
    Several(Vec<String>),
}

/// Where the console is.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Console {
    /// What it is.
    #[serde(default)]
    pub kind: ConsoleKind,
    /// For a UART on PCI: its address, as in `"0000:21:00.0"`.
    pub pci: Option<String>,
    /// For a legacy UART: its first I/O port, as in `0x2f8`.
    pub port: Option<u16>,
}

/// Kinds of consoles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ConsoleKind {
    /// A virtual 16550; `cellctl console NAME` reads and writes it.
    #[default]
    Virtual,
    /// The same, and a virtio-console, which takes sixteen characters at a time: a kernel that
    /// has the driver built in (6.12 of Debian) boots with a tenth of the exits. What it says
    /// before the driver is there is in its `dmesg` alone; `earlycon=uart8250,io,0x3f8` shows
    /// that as well.
    Virtio,
    /// A UART of the machine: `pci` or `port` says which.
    Uart,
}

/// One PCI function, by `address` or by `sriov`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Pci {
    /// The function with this address, as in `"0000:8c:00.0"`.
    pub address: Option<String>,
    /// A virtual function, which `cellctl` creates when the slice needs it.
    pub sriov: Option<Sriov>,
    /// MAC address of a network function, as in `"02:00:00:00:00:01"`.
    pub mac: Option<String>,
    /// VLAN of a network virtual function, 1 to 4094.
    pub vlan: Option<u16>,
    /// Namespace of the NVMe controller, by its id, that a virtual function gets
    /// for itself: nobody else sees it as long as the slice exists.
    pub namespace: Option<u32>,
    /// Size of a new NVMe namespace that a virtual function gets, as in
    /// `"32GiB"`. It is scratch space: made with the slice, and deleted with all
    /// that is in it when the slice is destroyed. For data that lasts, make a
    /// namespace once and name it by `namespace`.
    pub namespace_size: Option<String>,
    /// What keeps the function's DMA inside the slice.
    #[serde(default)]
    pub isolation: Isolation,
    /// What clears the function between two owners.
    #[serde(default)]
    pub reset: Reset,
}

/// A virtual function.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Sriov {
    /// Address of its physical function, as in `"0000:8c:00.0"`.
    pub pf: String,
    /// Its number, from 0. Without it, the first that is free.
    pub vf: Option<u16>,
}

/// What keeps the DMA of a function inside its slice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// The IOMMU. A machine without one refuses the slice.
    #[default]
    Iommu,
    /// Nothing: the function can reach all memory, and so can whoever drives
    /// it. `cellctl list` shows such cells.
    None,
}

/// What clears a function before its next owner gets it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Reset {
    /// Its own reset: function-level (PCI Express or advanced features), or a
    /// trip to D3hot that loses its state. A function without is refused.
    #[default]
    Function,
    /// Nothing, if it has no reset: its next owner gets it as the last one left it,
    /// and may find data of that one in it, or be harmed by what was begun.
    None,
}

/// What happens when the slice ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Policy {
    /// When it does what it must not, dies by a triple fault, or its kernel tells
    /// that it panicked (module `pvpanic-mmio`).
    #[serde(default)]
    pub on_failure: OnFailure,
    /// When its kernel asks for a reboot.
    #[serde(default)]
    pub on_reboot: OnReboot,
    /// Seconds that its kernel has to power off after `cellctl stop` has pressed
    /// the power button; then its power is cut. With 0 it is cut at once.
    #[serde(default = "stop_timeout")]
    pub stop_timeout: u32,
    /// Whoever is root here may look at its memory once it has ended (`cellctl
    /// dump`). Without it nobody ever sees what it left there.
    #[serde(default)]
    pub dump: bool,
}

/// As long as systemd waits for its services before it kills them.
const fn stop_timeout() -> u32 {
    90
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            on_failure: OnFailure::default(),
            on_reboot: OnReboot::default(),
            stop_timeout: stop_timeout(),
            dump: false,
        }
    }
}

/// What happens after a failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// The slice stays as it is, for a look at it.
    #[default]
    Stop,
    /// The slice starts again.
    Restart,
}

/// What happens after a request to reboot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnReboot {
    /// The slice starts again.
    #[default]
    Restart,
    /// The slice stops.
    Stop,
}

/// A part of the caches for the slice alone. CPUs can share them out from some servers
/// on (Intel's cache allocation technology, AMD's quality of service).
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Cache {
    /// Ways of the L3 cache behind its CPUs that no other slice and nothing of the root
    /// fills. The rest is for the root and the slices that say nothing, who keep at
    /// least one way.
    pub l3_ways: u32,
}

/// A limit of the memory bandwidth that the slice takes.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Bandwidth {
    /// Of what each of its CPUs could take: 1 to 99, in steps that the CPU knows, mostly
    /// of ten. Intel's CPUs alone (memory bandwidth allocation); the limit is a rough one.
    pub percent: u32,
}

/// Something that cells share. Each of them says so: the same entry stands in the
/// file of every cell that it names. It exists as long as one of them does, and
/// keeps what is in it over their restarts.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Link {
    /// Name, in the form of a cell's; no cell has the same.
    pub name: String,
    /// What it is.
    pub kind: LinkKind,
    /// Bytes that are shared, as in `"4MiB"`: a multiple of 2 MiB. Of a window alone.
    pub size: Option<String>,
    /// Cells that read and write it, and `root` if this Linux does. What one of them
    /// writes the others must be ready for.
    pub members: Vec<String>,
    /// Cells that read it, and fail if they write to it.
    #[serde(default)]
    pub readers: Vec<String>,
    /// Addresses of a network over it, as in `"10.1.2.0/24"`: the first member has
    /// the first of them, and so on. Of a window, `cellnet` in each makes the interface;
    /// of a network the one on the root.
    pub addresses: Option<String>,
    /// The cells reach what this Linux reaches: it forwards what they send and lends them
    /// its address (masquerading), and lets in nothing but answers. `root` is a member then.
    #[serde(default)]
    pub nat: bool,
    /// Members of a window can sleep until another one rings them: each gets a network adapter
    /// that carries nothing else, and `cellnet` and `cellmsg` use it. This Linux is none of
    /// the members then.
    #[serde(default)]
    pub doorbell: bool,
}

/// Kinds of links.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LinkKind {
    /// Memory that programs map.
    Window,
    /// A network adapter in each cell, which stock kernels drive (virtio-net), and `cellnet`
    /// on the root if that is a member. The monitor carries the frames: members need not
    /// trust each other.
    Ethernet,
    /// A network adapter in each cell (`es0`) that Linux's driver `fjes` makes of memory which
    /// the cells share, with no copy but the driver's own. The driver checks nothing of what
    /// the others write there: members must trust each other. 2 to 4 cells, without this
    /// Linux.
    ExtendedSocket,
}

impl File {
    /// Reads a file's tables. On failure: what is wrong, and which bytes.
    pub(super) fn read(table: Spanned<DeTable<'_>>) -> Result<Self, (String, Range<usize>)> {
        Self::deserialize(toml::Deserializer::from(table))
            .map_err(|e| (e.message().to_owned(), e.span().unwrap_or_default()))
    }
}
