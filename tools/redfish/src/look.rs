//! Looking: what there is, by `cellctl --json` as a member of the group that may look.
//!
//! One answer is good for a moment, so that many who ask at once start one program.

use crate::cells::{Cell, System, is_name};
use crate::error::{Error, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::process::Command;
use tokio::sync::Mutex;

/// How old an answer may be.
const FRESH: Duration = Duration::from_millis(300);

/// How long `cellctl` may take to look.
const PATIENCE: Duration = Duration::from_secs(15);

/// What `cellctl` says when driver or monitor are not there: then no cell is.
const ABSENT: i32 = 3;

/// `cellctl status --json`, as far as it is wanted here.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub(crate) struct Monitor {
    pub(crate) enabled: bool,
}

type Known<T> = Mutex<Option<(Instant, Arc<T>)>>;

/// This machine.
pub(crate) struct Look {
    cellctl: PathBuf,
    /// Where slices of this machine are defined.
    slices: PathBuf,
    systems: Known<Vec<System>>,
    monitor: Known<Monitor>,
}

impl Look {
    pub(crate) fn new(cellctl: PathBuf, slices: PathBuf) -> Self {
        Self {
            cellctl,
            slices,
            systems: Mutex::default(),
            monitor: Mutex::default(),
        }
    }

    /// Cells, and slices that have none, in the order of their names.
    ///
    /// # Errors
    ///
    /// `cellctl` cannot be run, fails, or says what is not understood.
    pub(crate) async fn systems(&self) -> Result<Arc<Vec<System>>> {
        let mut known = self.systems.lock().await;
        if let Some(systems) = fresh(&known) {
            return Ok(systems);
        }
        let cells: Vec<Cell> = self.ask("list").await?.unwrap_or_default();
        let cells = cells.into_iter().filter(|cell| is_name(&cell.name));
        let mut systems: Vec<_> = cells
            .map(|cell| System {
                name: cell.name.clone(),
                cell: Some(cell),
            })
            .collect();
        for name in self.slices() {
            if !systems.iter().any(|system| system.name == name) {
                systems.push(System { name, cell: None });
            }
        }
        systems.sort_by(|a, b| a.name.cmp(&b.name));
        let systems = Arc::new(systems);
        *known = Some((Instant::now(), Arc::clone(&systems)));
        Ok(systems)
    }

    /// The monitor.
    ///
    /// # Errors
    ///
    /// As [`Self::systems`].
    pub(crate) async fn monitor(&self) -> Result<Arc<Monitor>> {
        let mut known = self.monitor.lock().await;
        if let Some(monitor) = fresh(&known) {
            return Ok(monitor);
        }
        let monitor: Arc<Monitor> = Arc::new(self.ask("status").await?.unwrap_or_default());
        *known = Some((Instant::now(), Arc::clone(&monitor)));
        Ok(monitor)
    }

    /// The program that is asked.
    pub(crate) fn cellctl(&self) -> &Path {
        &self.cellctl
    }

    /// True for a name that this machine has a file of.
    pub(crate) fn is_slice(&self, name: &str) -> bool {
        is_name(name) && self.slices.join(format!("{name}.toml")).exists()
    }

    /// Something has changed: the next look is a new one.
    pub(crate) async fn forget(&self) {
        *self.systems.lock().await = None;
    }

    /// Names of slices that this machine has files of.
    fn slices(&self) -> Vec<String> {
        let files = std::fs::read_dir(&self.slices).into_iter().flatten();
        let names = files.flatten().filter_map(|file| {
            let name = file.file_name();
            let name = name.to_str()?.strip_suffix(".toml")?.to_owned();
            is_name(&name).then_some(name)
        });
        names.collect()
    }

    /// What a verb that looks says; `None` if there is no driver or monitor.
    async fn ask<T: DeserializeOwned>(&self, verb: &str) -> Result<Option<T>> {
        let what = || format!("cellctl {verb}");
        let help = "systemctl status cellvisor; its group `cellvisor` may look";
        let child = Command::new(&self.cellctl)
            .args(["--json", verb])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let out = tokio::time::timeout(PATIENCE, child)
            .await
            .map_err(|_| Error::new(what(), "it takes too long", help))?
            .map_err(|e| Error::new(what(), e.to_string(), help))?;
        match out.status.code() {
            Some(0) => serde_json::from_slice(&out.stdout).map(Some).map_err(|e| {
                let help = "install cellvisor and cellvisor-redfish of the same version";
                Error::new(what(), e.to_string(), help)
            }),
            Some(ABSENT) => Ok(None),
            _ => {
                let why = String::from_utf8_lossy(&out.stderr);
                Err(Error::new(what(), why.trim(), help))
            }
        }
    }
}

fn fresh<T>(known: &Option<(Instant, Arc<T>)>) -> Option<Arc<T>> {
    let (since, what) = known.as_ref()?;
    (since.elapsed() < FRESH).then(|| Arc::clone(what))
}
