//! Hypercalls with their types: encoding, decoding, retrying.

use crate::driver::{Driver, Reply};
use crate::error::{Error, Result};
use crate::messages;
use cellvisor_abi::call::{
    CellId, CellStatus, Code, ConsoleWrite, FunctionRequest, FunctionStatus, Info, Progress,
    ReadRequest, ReadResponse, Start, Stats, StatsRequest,
};
use cellvisor_abi::status::CallStatus;
use cellvisor_abi::wire::{self, Put, Take, to_vec};
use std::thread;
use std::time::Duration;

/// How often a busy monitor is asked again, [`BUSY_PAUSE`] apart: 5 s in all.
const BUSY_TRIES: u32 = 500;
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// The monitor, reached through the driver.
#[derive(Clone, Copy)]
pub(crate) struct Monitor<'a>(pub(crate) &'a dyn Driver);

impl Monitor<'_> {
    /// The monitor as a whole.
    pub(crate) fn info(self) -> Result<Info> {
        self.ask(Code::Info, &(), "cannot ask the monitor about itself")
    }

    /// Creates the cell of a sealed plan.
    pub(crate) fn create(self, name: &str, frame: &[u8]) -> Result<CellId> {
        let what = format!("cannot create cell \"{name}\"");
        let reply = self.send(Code::CellCreate, frame, &what)?;
        decode(&done(reply, &what)?, &what)
    }

    /// Starts a loaded cell.
    pub(crate) fn start(self, name: &str, start: &Start) -> Result<()> {
        self.ask(
            Code::CellStart,
            start,
            &format!("cannot start cell \"{name}\""),
        )
    }

    /// Stops a running cell.
    pub(crate) fn stop(self, name: &str, cell: CellId) -> Result<()> {
        self.ask(
            Code::CellStop,
            &cell,
            &format!("cannot stop cell \"{name}\""),
        )
    }

    /// Presses a running cell's power button; false if its kernel does not hear it.
    pub(crate) fn press(self, name: &str, cell: CellId) -> Result<bool> {
        self.ask(
            Code::CellPress,
            &cell,
            &format!("cannot stop cell \"{name}\""),
        )
    }

    /// Sends an NMI to a running cell.
    pub(crate) fn nmi(self, name: &str, cell: CellId) -> Result<()> {
        let what = format!("cannot send an NMI to cell \"{name}\"");
        self.ask(Code::CellNmi, &cell, &what)
    }

    /// Scrubs a stopped or failed cell, which then is loadable.
    pub(crate) fn reload(self, name: &str, cell: CellId) -> Result<()> {
        let what = format!("cannot make cell \"{name}\" loadable");
        self.until_done(Code::CellReload, cell, &what)
    }

    /// Lets this Linux see what a cell that has ended left in its memory.
    pub(crate) fn show(self, name: &str, cell: CellId) -> Result<()> {
        let what = format!("cannot look at the memory of cell \"{name}\"");
        for _ in 0..BUSY_TRIES {
            let reply = self.send(Code::CellShow, &to_vec(&cell), &what)?;
            if reply.status != CallStatus::Again.code() {
                return done(reply, &what).map(drop);
            }
            thread::sleep(BUSY_PAUSE);
        }
        Err(Error::new(
            what,
            "its functions do not come to rest",
            "look at `cellctl log`; repeat the command",
        ))
    }

    /// Scrubs a cell and gives its resources back to the root.
    pub(crate) fn destroy(self, name: &str, cell: CellId) -> Result<()> {
        let what = format!("cannot destroy cell \"{name}\"");
        self.until_done(Code::CellDestroy, cell, &what)
    }

    /// State of one cell.
    pub(crate) fn status(self, cell: CellId) -> Result<CellStatus> {
        self.ask(
            Code::CellStatus,
            &cell,
            &format!("cannot read the state of cell {}", cell.0),
        )
    }

    /// What the monitor says of each of a cell's functions.
    pub(crate) fn functions(self, status: &CellStatus) -> Result<Vec<FunctionStatus>> {
        let cell = status.cell;
        let what = format!("cannot read the functions of cell {}", cell.0);
        (0..status.functions)
            .map(|index| self.ask(Code::CellFunction, &FunctionRequest { cell, index }, &what))
            .collect()
    }

    /// Every cell's state.
    pub(crate) fn cells(self) -> Result<Vec<CellStatus>> {
        let what = "cannot list the cells";
        let reply = self.send(Code::CellList, &[], what)?;
        let bytes = done(reply, what)?;
        let ids: &[u8] = wire::decode(&bytes).map_err(|e| garbled(what, e))?;
        ids.chunks_exact(4)
            .filter_map(|c| c.try_into().ok())
            .map(|c| self.status(CellId(u32::from_le_bytes(c))))
            .collect()
    }

    /// Counters of the CPU with this index in the system plan.
    pub(crate) fn stats(self, cpu: u32) -> Result<Stats> {
        self.ask(
            Code::Stats,
            &StatsRequest { cpu },
            &format!("cannot read the counters of CPU index {cpu}"),
        )
    }

    /// Console output from byte `from` on: number of the first byte, and bytes.
    pub(crate) fn console_read(self, cell: CellId, from: u64) -> Result<(u64, Vec<u8>)> {
        self.read(Code::ConsoleRead, cell, from, "cannot read the console")
    }

    /// Types `bytes` on the console; returns how many were taken.
    pub(crate) fn console_write(self, cell: CellId, bytes: &[u8]) -> Result<u32> {
        let request = ConsoleWrite { cell, bytes };
        self.ask(Code::ConsoleWrite, &request, "cannot write to the console")
    }

    /// The monitor's log from byte `from` on, as [`Self::console_read`].
    pub(crate) fn log_read(self, from: u64) -> Result<(u64, Vec<u8>)> {
        self.read(
            Code::LogRead,
            CellId::ROOT,
            from,
            "cannot read the monitor's log",
        )
    }

    fn read(self, code: Code, cell: CellId, from: u64, what: &str) -> Result<(u64, Vec<u8>)> {
        let request = to_vec(&ReadRequest { cell, from });
        let bytes = done(self.send(code, &request, what)?, what)?;
        let read: ReadResponse<'_> = wire::decode(&bytes).map_err(|e| garbled(what, e))?;
        Ok((read.start, read.bytes.to_vec()))
    }

    /// Repeats a call that is done in pieces until the last one is.
    fn until_done(self, code: Code, cell: CellId, what: &str) -> Result<()> {
        let request = to_vec(&cell);
        let mut before = None;
        let mut stalled = 0;
        loop {
            let reply = self.send(code, &request, what)?;
            if reply.status != CallStatus::Again.code() {
                return done(reply, what).map(drop);
            }
            let progress: Progress = decode(&reply.bytes, what)?;
            stalled = if before == Some(progress.done) {
                stalled + 1
            } else {
                0
            };
            before = Some(progress.done);
            if stalled > 0 {
                thread::sleep(BUSY_PAUSE);
            }
            if stalled == BUSY_TRIES {
                return Err(Error::new(
                    what,
                    format!(
                        "no progress after {} of {} bytes",
                        progress.done, progress.total
                    ),
                    "look at `cellctl log`; repeat the command",
                ));
            }
        }
    }

    /// One call with a small request and one response.
    fn ask<Q: Put, R: for<'a> Take<'a>>(self, code: Code, request: &Q, what: &str) -> Result<R> {
        let reply = self.send(code, &to_vec(request), what)?;
        decode(&done(reply, what)?, what)
    }

    /// Passes a request on, and again while another call is under way.
    fn send(self, code: Code, request: &[u8], what: &str) -> Result<Reply> {
        for _ in 0..BUSY_TRIES {
            let reply = self.0.call(code, request)?;
            if reply.status != CallStatus::Busy.code() {
                return Ok(reply);
            }
            thread::sleep(BUSY_PAUSE);
        }
        Err(messages::call(what, CallStatus::Busy.code(), &[]))
    }
}

/// The response of a call that succeeded.
fn done(reply: Reply, what: &str) -> Result<Vec<u8>> {
    if reply.status == CallStatus::Ok.code() {
        return Ok(reply.bytes);
    }
    Err(messages::call(what, reply.status, &reply.bytes))
}

fn decode<T: for<'a> Take<'a>>(bytes: &[u8], what: &str) -> Result<T> {
    wire::decode(bytes).map_err(|e| garbled(what, e))
}

fn garbled(what: &str, why: wire::Malformed) -> Error {
    Error::internal(
        what,
        format!("the monitor's answer cannot be decoded ({why:?})"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Fake;

    #[test]
    fn reload_goes_on_until_the_last_piece() {
        let fake = Fake::default();
        let again = to_vec(&Progress { done: 1, total: 2 });
        let last = to_vec(&Progress { done: 2, total: 2 });
        fake.script(CallStatus::Again, &again);
        fake.script(CallStatus::Busy, &[]);
        fake.script(CallStatus::Ok, &last);
        Monitor(&fake).reload("a", CellId(1)).expect("reloads");
        assert_eq!(fake.calls_left(), 0);
    }

    #[test]
    fn response_that_is_too_short_is_refused() {
        let fake = Fake::default();
        fake.script(CallStatus::Ok, &[]);
        let error = Monitor(&fake)
            .status(CellId(3))
            .expect_err("empty response");
        assert!(
            error.to_string().contains("cannot be decoded (Payload)"),
            "{error}"
        );
    }
}
