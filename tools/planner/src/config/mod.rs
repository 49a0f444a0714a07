//! Slices as people write them, in TOML.
//!
//! The way of a file: text → every mistake in form at once, against the JSON
//! Schema that the Rust types give ([`schema`]) → [`raw`] types → values with
//! sense ([`Slice`]). A slice remembers where each of its values was written,
//! so that whoever finds a conflict later can point at it.

mod form;
pub mod raw;
mod reference;
mod resolve;
pub mod schema;
mod source;

pub use reference::reference;
pub use source::Source;

use crate::pci::Address;
use crate::report::{Finding, Place, Report};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

/// Version of the form of slice files.
pub const VERSION: u32 = 1;

/// One slice: what a cell shall have.
#[derive(Clone, Debug)]
pub struct Slice {
    /// Its name, 1 to 31 of `a-z 0-9 - _`.
    pub name: String,
    /// Where it is written.
    pub source: Source,
    /// CPUs.
    pub cpus: CpuWish,
    /// Memory.
    pub memory: MemoryWish,
    /// What it boots.
    pub kernel: Kernel,
    /// Its console.
    pub console: Console,
    /// PCI functions.
    pub pci: Vec<PciWish>,
    /// What happens when it ends.
    pub policy: Policy,
}

/// CPUs that a slice wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuWish {
    /// How many.
    pub count: usize,
    /// Linux's numbers of just these CPUs, ascending.
    pub list: Option<Vec<u32>>,
    /// From this node only.
    pub numa_node: Option<u32>,
    /// SMT siblings may be divided between this slice and others.
    pub split_siblings: bool,
}

/// Memory that a slice wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryWish {
    /// Bytes, a multiple of 2 MiB.
    pub size: u64,
    /// From this node only.
    pub numa_node: Option<u32>,
    /// Huge pages of just this many bytes: 2 MiB or 1 GiB.
    pub page_size: Option<u64>,
    /// Physical address of a range that was reserved when Linux booted.
    pub base: Option<u64>,
}

/// What a slice boots. Paths are as the file means them: relative ones start
/// at its folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// A bzImage.
    pub image: PathBuf,
    /// An initrd.
    pub initrd: Option<PathBuf>,
    /// Kernel command line.
    pub cmdline: String,
}

/// Where a slice has its console.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Console {
    /// A virtual 16550 that the root reads and writes.
    Virtual,
    /// A legacy UART: its first I/O port.
    UartPort(u16),
    /// A UART on PCI.
    UartPci(Address),
}

/// A PCI function that a slice wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PciWish {
    /// Which one.
    pub which: Which,
    /// MAC address of a network function.
    pub mac: Option<Mac>,
    /// VLAN of a network VF, 1 to 4094.
    pub vlan: Option<u16>,
    /// Id of the namespace that an NVMe VF gets for itself.
    pub namespace: Option<u32>,
    /// Bytes of the namespace of an NVMe VF.
    pub namespace_size: Option<u64>,
    /// What keeps its DMA in the slice.
    pub isolation: Isolation,
}

/// How a slice names a PCI function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// By its address.
    Address(Address),
    /// A virtual function of a physical one; `None`: the first that is free.
    Vf {
        /// The physical function.
        pf: Address,
        /// Number of the virtual function, from 0.
        vf: Option<u16>,
    },
}

/// A unicast MAC address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl std::fmt::Display for Mac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl std::str::FromStr for Mac {
    type Err = ();

    /// Six bytes in hexadecimal, two digits each; any address, also of a group.
    fn from_str(text: &str) -> Result<Self, ()> {
        let byte = |t: &str| match t.len() == 2 && !t.starts_with('+') {
            true => u8::from_str_radix(t, 16).map_err(drop),
            false => Err(()),
        };
        let bytes = text.split(':').map(byte).collect::<Result<Vec<u8>, ()>>()?;
        bytes.try_into().map(Self).map_err(drop)
    }
}

impl Serialize for Mac {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse()
            .map_err(|()| serde::de::Error::custom("no MAC address"))
    }
}

pub use raw::{Isolation, OnFailure, OnReboot, Policy};

impl Slice {
    /// The place of a key such as `cpus.count` or `pci.0.sriov.vf`; of what is
    /// around it if the key is not written.
    #[must_use]
    pub fn place(&self, key: &str) -> Place {
        self.source.place(key)
    }
}

/// Reads slice files. Relative paths in a file start at its folder.
///
/// # Errors
///
/// All mistakes in all files: files that cannot be read, keys and values that
/// are wrong, a name that two slices have.
pub fn load(paths: &[PathBuf]) -> Result<Vec<Slice>, Report> {
    let mut report = Report::default();
    let mut slices = Vec::new();
    for path in paths {
        match fs::read_to_string(path) {
            Ok(text) => match parse_one(&text, path) {
                Ok(found) => slices.extend(found),
                Err(wrong) => report.extend(wrong),
            },
            Err(e) => report.push(
                Finding::error(format!("the slice file cannot be read: {e}"))
                    .at(Place::file(path))
                    .help("name a TOML file that describes a slice"),
            ),
        }
    }
    report.extend(unique_names(&slices));
    report.unless_errors(slices)
}

/// Reads slices from the text of a file; `path` is named in findings, and
/// relative paths start at its folder.
///
/// # Errors
///
/// As [`load`].
pub fn parse(text: &str, path: &Path) -> Result<Vec<Slice>, Report> {
    let slices = parse_one(text, path)?;
    unique_names(&slices).unless_errors(slices)
}

/// [`parse`] without the comparison of names.
fn parse_one(text: &str, path: &Path) -> Result<Vec<Slice>, Report> {
    let source = Source::new(text, path)?;
    form::check(text, &source).unless_errors(())?;
    let raw = raw::File::read(text).map_err(|(message, span)| {
        Finding::error(message)
            .at(Place::in_text(path, text, span))
            .help("the reference of slice files says what stands where")
    })?;
    resolve::file(&raw, &source)
}

/// Names are what users call cells by.
fn unique_names(slices: &[Slice]) -> Report {
    let mut report = Report::default();
    let mut seen = std::collections::BTreeMap::new();
    for slice in slices {
        let place = slice.place("cell.name");
        if let Some(first) = seen.get(&slice.name) {
            let first: &Place = first;
            report.push(
                Finding::error(format!("two slices are called `{}`", slice.name))
                    .because(format!(
                        "the first is at {}:{}",
                        first.file.display(),
                        first.line
                    ))
                    .at(place)
                    .help("give one of them another name"),
            );
        } else {
            seen.insert(slice.name.clone(), place);
        }
    }
    report
}
