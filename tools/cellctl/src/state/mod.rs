//! What cellctl must remember between two calls: `/run/cellvisor`.
//!
//! | file | what is in it |
//! | --- | --- |
//! | `machine.lock` | held by whoever takes from this Linux or gives back |
//! | `monitor.json` | [`MonitorRecord`], while the monitor is on |
//! | `cells/NAME.json` | [`CellRecord`] |
//! | `cells/NAME.lock` | held by whoever changes the cell |
//! | `links/NAME.json` | [`LinkRecord`] |
//! | `cells/NAME.keyboard` | held by whoever types on the cell's console |
//! | `cells/NAME.supervisor` | locked by the supervisor for as long as it lives |
//!
//! A file is replaced as a whole, so it is never half written. Nobody but its
//! owner can look into the folder, unless it is one that hands its group on
//! (set-group-ID): then that group can read records. Locks are the owner's in
//! either: who can open a lock can hold it.

mod files;
mod lock;
mod records;

pub(crate) use cellvisor_planner::plan::PortRange;
pub(crate) use files::Files;
pub(crate) use lock::Lock;
pub(crate) use records::{
    CellFunction, CellJournal, CellRecord, LinkRecord, MonitorRecord, Payload, Policy, Window,
};

use crate::error::{Error, Kind, Result};
use files::Disk;
use records::VERSION;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Where the state is unless the command line says otherwise.
pub(crate) const DEFAULT_DIR: &str = "/run/cellvisor";

const HELP: &str = "this is root's own state; destroy what it belongs to, or reboot";

/// The state folder.
#[derive(Clone)]
pub(crate) struct StateDir {
    dir: PathBuf,
    files: Rc<dyn Files>,
}

/// The records of cells.
#[derive(Default)]
pub(crate) struct Cells {
    /// Those that can be read, by name.
    pub(crate) good: Vec<CellRecord>,
    /// Names of the others, and why they cannot.
    pub(crate) bad: Vec<(String, Error)>,
}

impl Cells {
    /// All of them.
    ///
    /// # Errors
    ///
    /// One cannot be read: what its cell has is not known, so nothing more can be
    /// given away.
    pub(crate) fn whole(self) -> Result<Vec<CellRecord>> {
        match self.bad.into_iter().next() {
            None => Ok(self.good),
            Some((name, why)) => {
                Err(why.note(&format!("or destroy the cell: cellctl destroy {name}")))
            }
        }
    }
}

impl StateDir {
    /// The state in `dir`, which need not exist yet.
    pub(crate) fn new(dir: impl Into<PathBuf>) -> Self {
        Self::with(dir, Rc::new(Disk))
    }

    /// As [`Self::new`], with files that `files` reads and writes.
    pub(crate) fn with(dir: impl Into<PathBuf>, files: Rc<dyn Files>) -> Self {
        Self {
            dir: dir.into(),
            files,
        }
    }

    /// The folder itself.
    pub(crate) fn path(&self) -> &Path {
        &self.dir
    }

    fn cells_dir(&self) -> PathBuf {
        self.dir.join("cells")
    }

    fn links_dir(&self) -> PathBuf {
        self.dir.join("links")
    }

    /// Makes the folders.
    fn make(&self) -> Result<()> {
        for dir in [&self.dir, &self.cells_dir(), &self.links_dir()] {
            self.files
                .make(dir)
                .map_err(|e| Error::file("cannot make the folder", dir, &e, "run this as root"))?;
        }
        Ok(())
    }

    fn monitor_path(&self) -> PathBuf {
        self.dir.join("monitor.json")
    }

    fn cell_path(&self, name: &str) -> PathBuf {
        self.cells_dir().join(format!("{name}.json"))
    }

    /// The monitor's record, if there is one.
    pub(crate) fn monitor(&self) -> Result<Option<MonitorRecord>> {
        self.read(&self.monitor_path())
    }

    /// Keeps the monitor's record.
    pub(crate) fn save_monitor(&self, record: &MonitorRecord) -> Result<()> {
        self.write(&self.monitor_path(), record)
    }

    /// Forgets the monitor.
    pub(crate) fn forget_monitor(&self) -> Result<()> {
        self.remove(&self.monitor_path())
    }

    /// A cell's record, if there is one.
    pub(crate) fn find_cell(&self, name: &str) -> Result<Option<CellRecord>> {
        self.read(&self.cell_path(name))
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
        self.write(&self.cell_path(&record.name), record)
    }

    /// Forgets a cell.
    pub(crate) fn forget_cell(&self, name: &str) -> Result<()> {
        self.remove(&self.cell_path(name))
    }

    fn link_path(&self, name: &str) -> PathBuf {
        self.links_dir().join(format!("{name}.json"))
    }

    /// A link's record, if there is one.
    pub(crate) fn find_link(&self, name: &str) -> Result<Option<LinkRecord>> {
        self.read(&self.link_path(name))
    }

    /// Keeps a link's record.
    pub(crate) fn save_link(&self, record: &LinkRecord) -> Result<()> {
        self.write(&self.link_path(&record.link.name), record)
    }

    /// Forgets a link.
    pub(crate) fn forget_link(&self, name: &str) -> Result<()> {
        self.remove(&self.link_path(name))
    }

    /// All links, by name.
    pub(crate) fn links(&self) -> Result<Vec<LinkRecord>> {
        let paths = self.records_in(&self.links_dir())?;
        let read = paths.iter().map(|path| self.read(path));
        Ok(read
            .collect::<Result<Vec<_>>>()?
            .into_iter()
            .flatten()
            .collect())
    }

    /// Keeps a cell's record under a name that is none of a record; returns the
    /// path.
    pub(crate) fn set_aside(&self, name: &str) -> Result<PathBuf> {
        let path = self.cell_path(name);
        let aside = path.with_extension("unreadable");
        self.files
            .rename(&path, &aside)
            .map_err(|e| Error::file("cannot rename", &path, &e, "run this as root"))?;
        Ok(aside)
    }

    /// All cells. One whose record cannot be read does not keep the others from
    /// being used.
    pub(crate) fn cells(&self) -> Result<Cells> {
        let paths = self.records_in(&self.cells_dir())?;
        let mut cells = Cells::default();
        for path in paths {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            match self.read::<CellRecord>(&path) {
                Ok(record) => cells.good.extend(record),
                Err(why) => cells.bad.push((name.into_owned(), why)),
            }
        }
        Ok(cells)
    }

    /// The records in a folder, by name; none if it does not exist.
    fn records_in(&self, dir: &Path) -> Result<Vec<PathBuf>> {
        let mut paths = match self.files.list(dir) {
            Ok(paths) => paths,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(Error::file("cannot read", dir, &e, HELP)),
        };
        paths.retain(|path| path.extension() == Some(OsStr::new("json")));
        paths.sort();
        Ok(paths)
    }

    /// Reads a record; `None` if the file does not exist.
    fn read<T: DeserializeOwned>(&self, path: &Path) -> Result<Option<T>> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let text = match self.files.read(path) {
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
    fn write<T: Serialize>(&self, path: &Path, record: &T) -> Result<()> {
        let text = serde_json::to_vec_pretty(record)
            .map_err(|e| Error::internal("cannot write a record", e))?;
        self.make()?;
        self.files
            .write(path, &text)
            .map_err(|e| Error::file("cannot write", path, &e, "run this as root; is /run full?"))
    }

    fn remove(&self, path: &Path) -> Result<()> {
        match self.files.remove(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(Error::file("cannot remove", path, &e, "run this as root"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::record;
    use std::fs;

    #[test]
    fn records_come_back_by_name_until_they_are_forgotten() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let state = StateDir::new(dir.path().join("run"));
        assert!(state.cells().expect("empty").good.is_empty());
        state.save_cell(&record("b")).expect("saves");
        state.save_cell(&record("a")).expect("saves");
        let names: Vec<_> = state
            .cells()
            .expect("reads")
            .good
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
    fn records_of_earlier_versions_name_one_initial_ram_disk_or_none() {
        let mut record = record("a");
        for (written, paths) in [
            (serde_json::json!(null), &[][..]),
            (serde_json::json!("/initrd"), &["/initrd"]),
            (serde_json::json!(["/a", "/b"]), &["/a", "/b"]),
        ] {
            record.payload.initrd = paths.iter().map(Into::into).collect();
            let mut old = serde_json::to_value(&record.payload).expect("writes");
            old["initrd"] = written;
            let read: Payload = serde_json::from_value(old).expect("reads");
            assert_eq!(read, record.payload);
        }
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

    #[test]
    fn one_bad_record_does_not_hide_the_others_and_can_be_put_aside() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let state = StateDir::new(dir.path());
        state.save_cell(&record("a")).expect("saves");
        state.save_cell(&record("b")).expect("saves");
        fs::write(dir.path().join("cells/b.json"), "{\"version\": 2, ").expect("writes");
        let cells = state.cells().expect("reads");
        assert_eq!(cells.good.len(), 1);
        assert_eq!(cells.bad[0].0, "b");
        assert_eq!(state.cell("a").expect("good").name, "a");
        let error = cells.whole().expect_err("what b has is not known");
        assert!(error.to_string().contains("cellctl destroy b"), "{error}");
        state.set_aside("b").expect("renames");
        assert_eq!(state.cells().expect("reads").whole().expect("all").len(), 1);
    }
}
