//! Slices as people write them, in TOML.
//!
//! The way of a file: text → every mistake in form at once, against the JSON
//! Schema that the Rust types give ([`schema`]) → [`raw`] types → values with
//! sense ([`Slice`]). A slice remembers where each of its values was written,
//! so that whoever finds a conflict later can point at it.

mod form;
mod link;
pub mod name;
pub mod raw;
mod reference;
mod resolve;
pub mod schema;
mod source;

pub(crate) use link::collision;
pub use link::{Link, LinkWish, ROOT};
pub use raw::LinkKind;
pub use reference::reference;
pub use source::Source;

use crate::report::{Finding, Place, Report};
use crate::text;
use cellvisor_abi::Bdf;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Version of the form of slice files.
pub const VERSION: u32 = 1;

/// One slice: what a cell shall have.
#[derive(Clone, Debug)]
pub struct Slice {
    /// Its name: see [`name::check`].
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
    /// Ways of the L3 cache that it wants for itself.
    pub l3_ways: Option<u32>,
    /// Percent of the memory bandwidth that it takes at most.
    pub bandwidth: Option<u32>,
    /// What its file says it shares with others.
    pub links: Vec<LinkWish>,
    /// Keys that are not what their writer wished: there are findings about
    /// them. Empty for slices that [`load`] and [`parse`] return.
    doubtful: BTreeSet<String>,
}

/// CPUs that a slice wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
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
    /// The files of an initrd, in their order; none without one.
    pub initrd: Vec<PathBuf>,
    /// Kernel command line, as written: see [`Slice::command_line`].
    pub cmdline: String,
}

/// Where a slice has its console.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Console {
    /// A virtual 16550 that the root reads and writes.
    Virtual,
    /// The same with a virtio-console, which the kernel uses.
    Virtio,
    /// A legacy UART: its first I/O port.
    UartPort(u16),
    /// A UART on PCI.
    UartPci(Bdf),
}

impl Console {
    /// Linux's name of a virtual one.
    #[must_use]
    pub const fn device(self) -> Option<&'static str> {
        match self {
            Self::Virtual => Some("ttyS0"),
            Self::Virtio => Some("hvc0"),
            Self::UartPort(_) | Self::UartPci(_) => None,
        }
    }
}

/// A PCI function that a slice wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PciWish {
    /// Its place among the `[[pci]]` of the file, from 0.
    pub at: usize,
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
    /// What clears it before its next owner gets it.
    pub reset: Reset,
}

/// How a slice names a PCI function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Which {
    /// By its address.
    Address(Bdf),
    /// A virtual function of a physical one; `None`: the first that is free.
    Vf {
        /// The physical function.
        pf: Bdf,
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

pub use raw::{Isolation, OnFailure, OnReboot, Policy, Reset};

impl Slice {
    /// The place of a key such as `cpus.count` or `pci.0.sriov.vf`; of what is
    /// around it if the key is not written.
    #[must_use]
    pub fn place(&self, key: &str) -> Place {
        self.source.place(key)
    }

    /// The command line that its kernel gets. Linux does not find a virtual console of
    /// itself: it stands before what is written, unless that names a console.
    #[must_use]
    pub fn command_line(&self) -> String {
        let written = self.kernel.cmdline.as_str();
        let mut words = written.split_whitespace();
        let named = words.any(|word| word.starts_with("console="));
        match self.console.device() {
            Some(device) if !named => format!("console={device} {written}").trim_end().to_owned(),
            _ => written.to_owned(),
        }
    }

    /// True if all of it is as its writer wished.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.doubtful.is_empty()
    }

    /// True if `key`, a part of it or the whole around it is wrong already:
    /// what follows from its value is no finding of its own.
    #[must_use]
    pub fn doubts(&self, key: &str) -> bool {
        doubts(&self.doubtful, key)
    }
}

/// True if one of `doubtful` is `key`, inside of it or around it.
fn doubts(doubtful: &BTreeSet<String>, key: &str) -> bool {
    let within = |inner: &str, outer: &str| {
        let rest = inner.strip_prefix(outer);
        rest.is_some_and(|r| r.is_empty() || r.starts_with('.'))
    };
    let mut doubtful = doubtful.iter();
    doubtful.any(|d| within(d, key) || within(key, d))
}

/// Reads slice files; `-` is standard input. Relative paths in a file start at
/// its folder, those in standard input at the current one.
///
/// # Errors
///
/// All mistakes in all files: files that cannot be read, keys and values that
/// are wrong, a name that two slices have.
pub fn load(paths: &[PathBuf]) -> Result<Vec<Slice>, Report> {
    let (slices, report) = read(paths);
    report.unless_errors(slices)
}

/// As [`load`], but goes on after mistakes: also returns slices of which parts
/// are wrong ([`Slice::doubts`]), so that the rest of them can be checked.
#[must_use]
pub fn read(paths: &[PathBuf]) -> (Vec<Slice>, Report) {
    let (mut slices, mut report) = (Vec::new(), Report::default());
    for path in paths {
        match text::read(path, text::SLICES) {
            Ok(written) => {
                let (found, wrong) = read_one(&written, &text::shown(path));
                slices.extend(found);
                report.extend(wrong);
            }
            Err(wrong) => report.extend(wrong),
        }
    }
    report.extend(unique_names(&mut slices));
    report.extend(link::agree(&slices));
    (slices, report)
}

/// The names under which findings know the files `paths`.
#[must_use]
pub fn shown(paths: &[PathBuf]) -> Vec<PathBuf> {
    paths.iter().map(|p| text::shown(p)).collect()
}

/// Reads slices from the text of a file; `path` is named in findings, and
/// relative paths start at its folder.
///
/// # Errors
///
/// As [`load`].
pub fn parse(text: &str, path: &Path) -> Result<Vec<Slice>, Report> {
    let (slices, report) = examine(text, path);
    report.unless_errors(slices)
}

/// As [`parse`], but goes on after mistakes, as [`read`] does.
#[must_use]
pub fn examine(text: &str, path: &Path) -> (Vec<Slice>, Report) {
    let (mut slices, mut report) = read_one(text, path);
    report.extend(unique_names(&mut slices));
    report.extend(link::agree(&slices));
    (slices, report)
}

/// [`examine`] without the comparison of names.
fn read_one(text: &str, path: &Path) -> (Vec<Slice>, Report) {
    let (source, mut table, mut report) = match Source::new(text, path) {
        Ok(read) => read,
        Err(report) => return (Vec::new(), report),
    };
    let checked = form::check(table.get_mut(), &source);
    report.extend(checked.report);
    if checked.foreign {
        return (Vec::new(), report);
    }
    match raw::File::read(table) {
        Ok(raw) => {
            let (slices, wrong) = resolve::file(&raw, &source, &checked.doubtful);
            report.extend(wrong);
            (slices, report)
        }
        Err((message, span)) => {
            let finding = Finding::error(message).at(source.bytes(span));
            report.push(finding.help("the reference of slice files says what stands where"));
            (Vec::new(), report)
        }
    }
}

/// Names are what users call cells by. The second slice with a name is not
/// good.
fn unique_names(slices: &mut [Slice]) -> Report {
    let mut report = Report::default();
    let mut seen: BTreeMap<String, Place> = BTreeMap::new();
    for slice in slices.iter_mut().filter(|s| !s.doubts("cell.name")) {
        let place = slice.place("cell.name");
        let Some(first) = seen.get(&slice.name) else {
            seen.insert(slice.name.clone(), place);
            continue;
        };
        let finding = Finding::error(format!("two slices are called `{}`", slice.name));
        let cause = format!("the first is at {}:{}", first.file.display(), first.line);
        report.push(
            finding
                .because(cause)
                .at(place)
                .help("give one of them another name"),
        );
        slice.doubtful.insert("cell.name".to_owned());
    }
    report
}
