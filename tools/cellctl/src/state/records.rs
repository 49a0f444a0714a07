//! Records: what of the monitor and of each cell is remembered.

use super::StateDir;
use crate::error::Result;
use crate::journal::{Entry, Journal, Record, Step};
use cellvisor_abi::call::CellId;
use cellvisor_abi::plan::{Cpu, Function, Memory, Range, Share};
use cellvisor_planner::config::Link;
use cellvisor_planner::plan::{CellAssignment, PortRange};
use serde::{Deserialize, Deserializer, Serialize};
use std::path::{Path, PathBuf};

/// Version of the records; others are refused.
pub(super) const VERSION: u32 = 4;

/// The monitor, while it is on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct MonitorRecord {
    /// [`VERSION`].
    pub(crate) version: u32,
    /// File that the image came from.
    pub(crate) image: PathBuf,
    /// CPUs in the order of the system plan.
    pub(crate) cpus: Vec<Cpu>,
    /// Bytes of its memory.
    pub(crate) memory: u64,
    /// Longest time that a CPU was away from Linux when it was turned on, ns.
    pub(crate) pause_ns: u64,
    /// What to undo when it is off.
    pub(crate) steps: Vec<Entry>,
}

/// What a cell boots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Payload {
    /// Kernel: a bzImage or an ELF file.
    pub(crate) image: PathBuf,
    /// Files of the initial RAM disk, in their order.
    #[serde(deserialize_with = "one_or_several")]
    pub(crate) initrd: Vec<PathBuf>,
    /// Kernel command line.
    pub(crate) cmdline: String,
}

/// The files of an initial RAM disk: records of earlier versions name one or none.
fn one_or_several<'de, D: Deserializer<'de>>(
    from: D,
) -> std::result::Result<Vec<PathBuf>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Files {
        Several(Vec<PathBuf>),
        One(Option<PathBuf>),
    }
    Ok(match Files::deserialize(from)? {
        Files::Several(paths) => paths,
        Files::One(path) => path.into_iter().collect(),
    })
}

/// When a cell is started again without being asked, and how it is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Policy {
    /// After it failed.
    pub(crate) restart_on_failure: bool,
    /// After it asked for a reset.
    pub(crate) restart_on_reboot: bool,
    /// Seconds that its kernel has to power off when it is asked to.
    pub(crate) stop_timeout: u32,
    /// The root may see its memory when it has ended.
    pub(crate) dump: bool,
}

impl Policy {
    /// True if somebody must watch the cell.
    pub(crate) const fn restarts(self) -> bool {
        self.restart_on_failure || self.restart_on_reboot
    }
}

/// A PCI function of a cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CellFunction {
    /// As the monitor knows it; sizes of BARs are known once it exists.
    pub(crate) plan: Function,
    /// What it is, in a word or two.
    pub(crate) kind: String,
    /// Why it has no interrupt, if it asks for one by its pin.
    pub(crate) silent: Option<String>,
    /// I/O ports among its BARs.
    pub(crate) ports: Vec<PortRange>,
}

/// A link's memory as a cell sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Window {
    /// Name of the link.
    pub(crate) link: String,
    /// All of it, from one guest-physical address on.
    pub(crate) memory: Vec<Memory>,
}

impl Window {
    /// Its guest-physical address.
    pub(crate) fn start(&self) -> u64 {
        self.memory.first().map_or(0, |m| m.gpa)
    }

    /// Its size in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.memory.iter().map(|m| m.size).sum()
    }

    /// True if the cell may write there.
    pub(crate) fn is_writable(&self) -> bool {
        self.memory.iter().all(|m| m.share == Share::Write)
    }
}

/// A link: what was taken for it, and what to undo.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct LinkRecord {
    /// [`VERSION`].
    pub(crate) version: u32,
    /// What it is.
    pub(crate) link: Link,
    /// What programs on the root are told of it, as those in a cell by the cell's
    /// tables.
    #[serde(default)]
    pub(crate) root: String,
    /// Its memory, in the order of host-physical addresses.
    pub(crate) memory: Vec<Range>,
    /// What to undo.
    pub(crate) steps: Vec<Entry>,
}

impl LinkRecord {
    /// A link of which nothing is done yet.
    pub(crate) fn new(link: Link) -> Self {
        Self {
            version: VERSION,
            root: link.note("root"),
            link,
            memory: Vec::new(),
            steps: Vec::new(),
        }
    }
}

/// A cell: what it was made of, and what to undo.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CellRecord {
    /// [`VERSION`].
    pub(crate) version: u32,
    /// Its name.
    pub(crate) name: String,
    /// The TOML file that describes it.
    pub(crate) source: PathBuf,
    /// What its file asked for by the names of its tables, as far as the plan does
    /// not tell.
    pub(crate) wish: serde_json::Value,
    /// CPUs, memory and functions as they were planned.
    pub(crate) assignment: CellAssignment,
    /// PCI functions, in the order of the assignment.
    pub(crate) functions: Vec<CellFunction>,
    /// Guest-physical addresses that its RAM keeps off.
    pub(crate) off_limits: Vec<Range>,
    /// Memory, guest-physical to host-physical.
    pub(crate) memory: Vec<Memory>,
    /// Where it sees what it shares with others.
    #[serde(default)]
    pub(crate) windows: Vec<Window>,
    /// What it boots.
    pub(crate) payload: Payload,
    /// What it boots instead until somebody starts it.
    #[serde(default)]
    pub(crate) instead: Option<Payload>,
    /// When it is started again.
    pub(crate) policy: Policy,
    /// Somebody stops it: however it ends, it is not started again by itself.
    pub(crate) stopping: bool,
    /// Bytes that its console had said before its last start.
    pub(crate) console_from: u64,
    /// What to undo.
    pub(crate) steps: Vec<Entry>,
}

impl CellRecord {
    /// A cell of which nothing is done yet.
    pub(crate) fn new(
        source: &Path,
        assignment: CellAssignment,
        payload: Payload,
        policy: Policy,
    ) -> Self {
        Self {
            version: VERSION,
            name: assignment.name.clone(),
            source: source.to_owned(),
            wish: serde_json::Value::Null,
            assignment,
            functions: Vec::new(),
            off_limits: Vec::new(),
            memory: Vec::new(),
            windows: Vec::new(),
            payload,
            instead: None,
            policy,
            stopping: false,
            console_from: 0,
            steps: Vec::new(),
        }
    }

    /// The monitor's number for it; `None` until it is created, and again once it
    /// is destroyed: the step knows.
    pub(crate) fn id(&self) -> Option<CellId> {
        self.steps.iter().find_map(|entry| match entry.step {
            Step::Cell { id, .. } => id,
            _ => None,
        })
    }

    /// What a restart that it asks for boots.
    pub(crate) fn boots(&self) -> &Payload {
        self.instead.as_ref().unwrap_or(&self.payload)
    }

    /// Bytes of RAM.
    pub(crate) fn ram_bytes(&self) -> u64 {
        self.memory.iter().map(|m| m.size).sum()
    }
}

impl MonitorRecord {
    /// A monitor of which nothing is done yet.
    pub(crate) fn new(image: &Path, cpus: Vec<Cpu>, memory: u64) -> Self {
        Self {
            version: VERSION,
            image: image.to_owned(),
            cpus,
            memory,
            pause_ns: 0,
            steps: Vec::new(),
        }
    }
}

/// The journal of a cell.
pub(crate) type CellJournal<'a> = Journal<'a, CellRecord>;

impl Record for CellRecord {
    type Store = StateDir;

    fn steps(&mut self) -> &mut Vec<Entry> {
        &mut self.steps
    }

    fn save(&self, state: &StateDir) -> Result<()> {
        state.save_cell(self)
    }

    fn forget(&self, state: &StateDir) -> Result<()> {
        state.forget_cell(&self.name)
    }
}

impl Record for LinkRecord {
    type Store = StateDir;

    fn steps(&mut self) -> &mut Vec<Entry> {
        &mut self.steps
    }

    fn save(&self, state: &StateDir) -> Result<()> {
        state.save_link(self)
    }

    fn forget(&self, state: &StateDir) -> Result<()> {
        state.forget_link(&self.link.name)
    }
}

impl Record for MonitorRecord {
    type Store = StateDir;

    fn steps(&mut self) -> &mut Vec<Entry> {
        &mut self.steps
    }

    fn save(&self, state: &StateDir) -> Result<()> {
        state.save_monitor(self)
    }

    fn forget(&self, state: &StateDir) -> Result<()> {
        state.forget_monitor()
    }
}
