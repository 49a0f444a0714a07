//! The server's end of the socket behind which root is: see [`crate::power`].

use crate::error::{Error, Result};
use crate::power::{Answer, Failure, Request, Verb};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};

/// Changes at a time.
const AT_A_TIME: usize = 16;

/// No answer is longer.
const LONGEST: u64 = 64 << 10;

/// Who does what only root may.
pub(crate) struct Manage {
    socket: PathBuf,
    gate: Arc<Semaphore>,
    /// Of systems whose power is being changed.
    turns: Mutex<HashMap<String, Arc<Turns>>>,
}

/// Those who change a system, one after the other.
#[derive(Default)]
struct Turns {
    turn: Arc<tokio::sync::Mutex<()>>,
    /// The one whose turn it is waits for the system to power off.
    patient: AtomicBool,
}

/// What became of a change.
#[derive(Debug)]
pub(crate) enum Done {
    Yes,
    /// `cellctl` refused it.
    No(Failure),
}

impl Manage {
    pub(crate) fn new(socket: PathBuf) -> Self {
        Self {
            socket,
            gate: Arc::new(Semaphore::new(AT_A_TIME)),
            turns: Mutex::default(),
        }
    }

    /// Leave to change something; none while too many changes are under way, those among
    /// them that wait for their turn.
    pub(crate) fn leave(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.gate).try_acquire_owned().ok()
    }

    /// Waits until no other change of this system is under way: what is to be done depends
    /// on what came of it.
    pub(crate) async fn turn(&self, name: &str, verb: Verb) -> OwnedMutexGuard<()> {
        let turns = self.turns(name);
        let turn = Arc::clone(&turns.turn).lock_owned().await;
        let patient = matches!(verb, Verb::Shutdown | Verb::Restart);
        turns.patient.store(patient, Ordering::Relaxed);
        turn
    }

    /// True if a change of this system waits for it to power off.
    pub(crate) fn is_patient(&self, name: &str) -> bool {
        let turns = self.turns(name);
        turns.turn.try_lock().is_err() && turns.patient.load(Ordering::Relaxed)
    }

    fn turns(&self, name: &str) -> Arc<Turns> {
        let mut all = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        // Whose turn it is holds the inner one.
        all.retain(|_, turns| Arc::strong_count(turns) + Arc::strong_count(&turns.turn) > 2);
        Arc::clone(all.entry(name.to_owned()).or_default())
    }

    /// Has it done, and waits for it. What is under way goes on if nobody waits.
    ///
    /// # Errors
    ///
    /// There is no socket, nobody behind it, or no answer.
    pub(crate) async fn run(&self, request: &Request) -> Result<Done> {
        let failed = |e: std::io::Error| {
            let help = "systemctl start cellvisor-redfish-power.socket";
            Error::file("cannot use", &self.socket, e, help)
        };
        let mut stream = UnixStream::connect(&self.socket).await.map_err(failed)?;
        let line = format!("{request}\n");
        stream.write_all(line.as_bytes()).await.map_err(failed)?;
        let mut bytes = Vec::new();
        let mut answer = stream.take(LONGEST);
        answer.read_to_end(&mut bytes).await.map_err(failed)?;
        let answer: Answer = serde_json::from_slice(&bytes).map_err(|e| {
            let help = "journalctl -u 'cellvisor-redfish-power@*'";
            Error::new("no answer to a change of power", e.to_string(), help)
        })?;
        Ok(answer.failed.map_or(Done::Yes, Done::No))
    }
}
