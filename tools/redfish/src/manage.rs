//! The server's end of the socket behind which root is: see [`crate::power`].

use crate::error::{Error, Result};
use crate::power::{Answer, Failure, Request};
use std::collections::HashMap;
use std::path::PathBuf;
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
    turns: Mutex<HashMap<String, Turn>>,
}

/// Held by who changes a system.
type Turn = Arc<tokio::sync::Mutex<()>>;

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
    pub(crate) async fn turn(&self, name: &str) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(turns.entry(name.to_owned()).or_default())
        };
        turn.lock_owned().await
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
