//! What cellctl must remember between two calls: `/run/cellvisor`.
//!
//! | file | what is in it |
//! | --- | --- |
//! | `lock` | held by whoever changes something |
//! | `monitor.json` | [`MonitorRecord`], while the monitor is on |
//! | `cells/NAME.json` | [`CellRecord`] |
//! | `cells/NAME.supervisor` | locked by the supervisor for as long as it lives |
//!
//! A file is replaced as a whole, so it is never half written.

use crate::error::{Error, Kind, Result};
use crate::journal::Entry;
use cellvisor_abi::call::CellId;
use cellvisor_abi::plan::{Cpu, Function, Memory, Range};
use cellvisor_planner::plan::CellAssignment;
pub(crate) use cellvisor_planner::plan::PortRange;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// Where the state is unless the command line says otherwise.
pub(crate) const DEFAULT_DIR: &str = "/run/cellvisor";

/// Version of the records; others are refused.
const VERSION: u32 = 1;

const HELP: &str = "this is root's own state; if it is damaged, reboot, or remove the folder \
                    when the monitor is off";

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
    /// Initial RAM disk.
    pub(crate) initrd: Option<PathBuf>,
    /// Kernel command line.
    pub(crate) cmdline: String,
}

/// When a cell is started again without being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Policy {
    /// After it failed.
    pub(crate) restart_on_failure: bool,
    /// After it asked for a reset.
    pub(crate) restart_on_reboot: bool,
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

/// A cell: what it was made of, and what to undo.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CellRecord {
    /// [`VERSION`].
    pub(crate) version: u32,
    /// Its name.
    pub(crate) name: String,
    /// The TOML file that describes it.
    pub(crate) source: PathBuf,
    /// The monitor's number for it; `None` until it is created.
    pub(crate) id: Option<CellId>,
    /// CPUs, memory and functions as they were planned.
    pub(crate) assignment: CellAssignment,
    /// PCI functions, in the order of the assignment.
    pub(crate) functions: Vec<CellFunction>,
    /// Guest-physical addresses that its RAM keeps off.
    pub(crate) off_limits: Vec<Range>,
    /// Memory, guest-physical to host-physical.
    pub(crate) memory: Vec<Memory>,
    /// What it boots.
    pub(crate) payload: Payload,
    /// When it is started again.
    pub(crate) policy: Policy,
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
            id: None,
            assignment,
            functions: Vec::new(),
            off_limits: Vec::new(),
            memory: Vec::new(),
            payload,
            policy,
            console_from: 0,
            steps: Vec::new(),
        }
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

/// The state folder.
#[derive(Clone, Debug)]
pub(crate) struct StateDir {
    dir: PathBuf,
}

impl StateDir {
    /// The state in `dir`, which need not exist yet.
    pub(crate) fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The folder itself.
    pub(crate) fn path(&self) -> &Path {
        &self.dir
    }

    /// Waits until nobody else changes something; lasts until the file is
    /// dropped.
    pub(crate) fn lock(&self) -> Result<File> {
        let (file, path) = self.open_lock("lock")?;
        file.lock()
            .map_err(|e| Error::file("cannot lock", &path, &e, HELP))?;
        Ok(file)
    }

    /// As [`Self::lock`], but `None` at once if somebody else has it.
    pub(crate) fn try_lock(&self) -> Result<Option<File>> {
        let (file, _) = self.open_lock("lock")?;
        Ok(file.try_lock().is_ok().then_some(file))
    }

    /// Becomes the cell's supervisor for as long as the file is held; `None`
    /// if there is one.
    pub(crate) fn supervise(&self, name: &str) -> Result<Option<File>> {
        let (file, _) = self.open_lock(&format!("cells/{name}.supervisor"))?;
        Ok(file.try_lock().is_ok().then_some(file))
    }

    fn open_lock(&self, name: &str) -> Result<(File, PathBuf)> {
        self.make()?;
        let path = self.dir.join(name);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|e| Error::file("cannot open", &path, &e, "run this as root"))?;
        Ok((file, path))
    }

    fn make(&self) -> Result<()> {
        let cells = self.dir.join("cells");
        fs::create_dir_all(&cells)
            .map_err(|e| Error::file("cannot make the folder", &cells, &e, "run this as root"))
    }

    fn monitor_path(&self) -> PathBuf {
        self.dir.join("monitor.json")
    }

    fn cell_path(&self, name: &str) -> PathBuf {
        self.dir.join("cells").join(format!("{name}.json"))
    }

    /// The monitor's record, if there is one.
    pub(crate) fn monitor(&self) -> Result<Option<MonitorRecord>> {
        read(&self.monitor_path())
    }

    /// Keeps the monitor's record.
    pub(crate) fn save_monitor(&self, record: &MonitorRecord) -> Result<()> {
        self.make()?;
        write(&self.monitor_path(), record)
    }

    /// Forgets the monitor.
    pub(crate) fn forget_monitor(&self) -> Result<()> {
        remove(&self.monitor_path())
    }

    /// A cell's record, if there is one.
    pub(crate) fn find_cell(&self, name: &str) -> Result<Option<CellRecord>> {
        read(&self.cell_path(name))
    }

    /// A cell's record.
    ///
    /// # Errors
    ///
    /// [`Kind::Absent`] if there is none.
    pub(crate) fn cell(&self, name: &str) -> Result<CellRecord> {
        self.find_cell(name)?.ok_or_else(|| {
            Error::new(
                format!("cannot find cell \"{name}\""),
                "no cell of that name was created",
                "see `cellctl list`; create it: cellctl create FILE.toml",
            )
            .kind(Kind::Absent)
        })
    }

    /// Keeps a cell's record.
    pub(crate) fn save_cell(&self, record: &CellRecord) -> Result<()> {
        self.make()?;
        write(&self.cell_path(&record.name), record)
    }

    /// Forgets a cell.
    pub(crate) fn forget_cell(&self, name: &str) -> Result<()> {
        remove(&self.cell_path(name))
    }

    /// All cells, by name.
    pub(crate) fn cells(&self) -> Result<Vec<CellRecord>> {
        let dir = self.dir.join("cells");
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(Error::file("cannot read", &dir, &e, HELP)),
        };
        let mut names: Vec<PathBuf> = entries
            .filter_map(|e| Some(e.ok()?.path()))
            .filter(|p| p.extension().is_some_and(|e| e == "json"))
            .collect();
        names.sort();
        names.iter().filter_map(|p| read(p).transpose()).collect()
    }
}

/// Reads a record; `None` if the file does not exist.
fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::file("cannot read", path, &e, HELP)),
    };
    let garbled = |e: serde_json::Error| {
        Error::new(
            format!("cannot read {}", path.display()),
            e.to_string(),
            HELP,
        )
    };
    let Versioned { version } = serde_json::from_slice(&text).map_err(garbled)?;
    if version != VERSION {
        return Err(Error::new(
            format!("cannot read {}", path.display()),
            format!("it has version {version}, this cellctl writes {VERSION}"),
            "use the cellctl that made it to destroy the cells and turn the monitor off",
        ));
    }
    serde_json::from_slice(&text).map(Some).map_err(garbled)
}

/// Replaces a record as a whole.
fn write<T: Serialize>(path: &Path, record: &T) -> Result<()> {
    let text = serde_json::to_vec_pretty(record)
        .map_err(|e| Error::internal("cannot write a record", e))?;
    let next = path.with_extension("new");
    fs::write(&next, text)
        .and_then(|()| fs::rename(&next, path))
        .map_err(|e| Error::file("cannot write", path, &e, "run this as root; is /run full?"))
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(Error::file("cannot remove", path, &e, "run this as root"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::record;

    #[test]
    fn records_come_back_by_name_until_they_are_forgotten() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let state = StateDir::new(dir.path().join("run"));
        assert!(state.cells().expect("empty").is_empty());
        state.save_cell(&record("b")).expect("saves");
        state.save_cell(&record("a")).expect("saves");
        let names: Vec<_> = state
            .cells()
            .expect("reads")
            .into_iter()
            .map(|c| c.name)
            .collect();
        assert_eq!(names, ["a", "b"]);
        state.forget_cell("a").expect("forgets");
        assert_eq!(
            state.cell("a").expect_err("gone").code(),
            Kind::Absent as u8
        );
    }

    #[test]
    fn record_of_another_version_is_refused() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let state = StateDir::new(dir.path());
        fs::write(dir.path().join("monitor.json"), r#"{"version": 99}"#).expect("writes");
        let error = state.monitor().expect_err("another version");
        assert!(error.to_string().contains("it has version 99"), "{error}");
    }

    #[test]
    fn second_supervisor_is_turned_away() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let state = StateDir::new(dir.path());
        let first = state.supervise("a").expect("opens");
        assert!(first.is_some());
        assert!(state.supervise("a").expect("opens").is_none());
        drop(first);
        assert!(state.supervise("a").expect("opens").is_some());
    }
}
