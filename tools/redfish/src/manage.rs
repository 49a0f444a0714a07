//! The server's end of the socket behind which root is: see [`crate::power`].

use crate::error::{Error, Result};
use crate::power::{Answer, Failure, Request};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::Semaphore;

/// Changes at a time.
const AT_A_TIME: usize = 16;

/// No answer is longer.
const LONGEST: u64 = 64 << 10;

/// Who does what only root may.
pub(crate) struct Manage {
    socket: PathBuf,
    gate: Arc<Semaphore>,
}

/// What became of a change.
#[derive(Debug)]
pub(crate) enum Done {
    Yes,
    /// `cellctl` refused it.
    No(Failure),
    /// Too many are under way.
    Busy,
}

impl Manage {
    pub(crate) fn new(socket: PathBuf) -> Self {
        Self {
            socket,
            gate: Arc::new(Semaphore::new(AT_A_TIME)),
        }
    }

    /// Has it done, and waits for it. What is under way goes on if nobody waits.
    ///
    /// # Errors
    ///
    /// There is no socket, nobody behind it, or no answer.
    pub(crate) async fn run(&self, request: &Request) -> Result<Done> {
        let Ok(_permit) = self.gate.try_acquire() else {
            return Ok(Done::Busy);
        };
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
