//! `console` and `log`: what cells and the monitor say, and what is typed.

mod input;
mod matcher;
mod pty;

use super::{Context, supervise};
use crate::cli;
use crate::create;
use crate::error::{Error, Kind, Result};
use crate::hypercalls::Monitor;
use crate::messages;
use crate::output::{self, Reader, warn};
use crate::power;
use crate::state::Lock;
use cellvisor_abi::call::{CellId, State};
use input::{Input, Typed};
use matcher::Matcher;
use pty::Pty;
use std::io::{IsTerminal, stdin};
use std::thread;
use std::time::{Duration, Instant};

/// How long one turn waits for keys.
const TURN: Duration = Duration::from_millis(20);
/// How often the cell's state is looked at.
const STATE_PERIOD: Duration = Duration::from_millis(200);

/// `console`.
pub(super) fn console(context: &Context<'_>, options: &cli::Console) -> Result<()> {
    let driver = context.driver()?;
    power::require_on(&driver, "cannot open a console")?;
    let record = context.state.cell(&options.name)?;
    let monitor = Monitor(&driver);
    let status = create::status(monitor, &record)?;
    let cell = status.cell;
    let from = match (options.all, options.new) {
        (true, _) => 0,
        (false, true) => status.console_written,
        (false, false) => record.console_from,
    };
    let mut session = Session {
        context,
        options,
        monitor,
        cell,
        at: from,
        matcher: options.expect.as_deref().map(Matcher::new),
        waiting: options.send.as_deref().map(unescape).unwrap_or_default(),
        keyboard: None,
        pty: None,
    };
    if options.no_follow {
        return session.print().map(drop);
    }
    if options.pty {
        session.take_keyboard()?;
        let pty = Pty::open()?;
        match context.cli.json {
            true => output::json(&serde_json::json!({ "pty": pty.path }))?,
            false => output::say(&pty.path),
        }
        session.pty = Some(pty);
    }
    // A script that waits for a text must not lose its own input to the cell.
    let scripted = options.expect.is_some() || options.limit.is_some() || options.send.is_some();
    let mut input = if scripted || options.read_only || options.pty {
        Input::none()
    } else {
        if stdin().is_terminal() {
            session.take_keyboard()?;
        }
        Input::open(&options.name)?
    };
    match session.follow(&mut input) {
        // It was destroyed, or the monitor was turned off, while we looked on.
        Err(error) if error.code() == Kind::Absent as u8 => session.cell_ended("gone"),
        done => done,
    }
}

/// One look at a console.
struct Session<'a> {
    context: &'a Context<'a>,
    options: &'a cli::Console,
    monitor: Monitor<'a>,
    cell: CellId,
    /// Number of the next byte to read.
    at: u64,
    matcher: Option<Matcher>,
    /// Typed, and not yet taken by the cell.
    waiting: Vec<u8>,
    /// Held by whoever types, as long as they are there.
    keyboard: Option<Lock>,
    /// Stands for standard input and output.
    pty: Option<Pty>,
}

impl Session<'_> {
    /// Goes on until the text comes, the time is up, the user leaves or the
    /// cell ends.
    fn follow(&mut self, input: &mut Input) -> Result<()> {
        let limit = self.options.limit.map(Duration::from_secs_f64);
        let end = limit.map(|limit| Instant::now() + limit);
        let mut looked = Instant::now();
        loop {
            if self.print()? {
                return Ok(());
            }
            self.type_waiting()?;
            if end.is_some_and(|end| Instant::now() >= end) {
                return self.time_is_up();
            }
            if looked.elapsed() >= STATE_PERIOD {
                looked = Instant::now();
                if let Some(state) = self.ended()? {
                    self.print()?;
                    return self.cell_ended(messages::state(state));
                }
            }
            let typed = match &self.pty {
                Some(pty) => pty.read(TURN)?,
                None => input.read(TURN)?,
            };
            match typed {
                Typed::Bytes(bytes) => self.waiting.extend(bytes),
                Typed::Leave => return Ok(()),
            }
        }
    }

    /// Prints what was said since; true if the expected text was in it, or
    /// nobody reads it any more.
    fn print(&mut self) -> Result<bool> {
        loop {
            let (start, bytes) = self.monitor.console_read(self.cell, self.at)?;
            if start > self.at {
                warn(format!("{} bytes are no longer kept", start - self.at));
            }
            self.at = start + bytes.len() as u64;
            if bytes.is_empty() {
                return Ok(false);
            }
            let reader = match &self.pty {
                Some(pty) => pty.write(&bytes).map(|()| Reader::There)?,
                None => output::bytes(&bytes),
            };
            let found = self.matcher.as_mut().is_some_and(|m| m.feed(&bytes));
            if found || reader == Reader::Gone {
                return Ok(true);
            }
        }
    }

    /// Becomes the only one who types.
    fn take_keyboard(&mut self) -> Result<()> {
        if self.keyboard.is_none() {
            self.keyboard = Some(self.context.state.lock_keyboard(&self.options.name)?);
        }
        Ok(())
    }

    /// Types what the cell has room for.
    fn type_waiting(&mut self) -> Result<()> {
        /// A piece that surely fits a request.
        const PIECE: usize = 1024;
        let piece = self.waiting.get(..self.waiting.len().min(PIECE));
        let Some(piece) = piece.filter(|p| !p.is_empty()) else {
            return Ok(());
        };
        let piece = piece.to_vec();
        self.take_keyboard()?;
        let taken = self.monitor.console_write(self.cell, &piece)? as usize;
        self.waiting.drain(..taken.min(self.waiting.len()));
        Ok(())
    }

    /// The state of a cell that says nothing more: it has stopped, and nobody
    /// starts it again.
    fn ended(&self) -> Result<Option<State>> {
        let state = self.monitor.status(self.cell)?.state;
        let over = matches!(state, State::Stopped(_) | State::Failed);
        if over && !supervise::watched(self.context, &self.options.name)? {
            return Ok(Some(state));
        }
        Ok(None)
    }

    fn cell_ended(&self, state: &str) -> Result<()> {
        match &self.options.expect {
            None => {
                warn(format!("cell \"{}\": {state}", self.options.name));
                Ok(())
            }
            Some(text) => Err(Error::new(
                format!(
                    "did not see \"{text}\" on the console of \"{}\"",
                    self.options.name
                ),
                format!("the cell's state is: {state}"),
                format!("see `cellctl status {}`", self.options.name),
            )),
        }
    }

    fn time_is_up(&self) -> Result<()> {
        let Some(text) = &self.options.expect else {
            return Ok(());
        };
        Err(Error::new(
            format!(
                "did not see \"{text}\" on the console of \"{}\"",
                self.options.name
            ),
            format!("{} s are over", self.options.limit.unwrap_or_default()),
            format!(
                "look at `cellctl status {}`; give it more time with --for",
                self.options.name
            ),
        )
        .kind(Kind::TimedOut))
    }
}

/// `\n`, `\r`, `\t` and `\\` as the bytes that they stand for.
fn unescape(text: &str) -> Vec<u8> {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('\\') | None => out.push('\\'),
            Some(other) => out.extend(['\\', other]),
        }
    }
    out.into_bytes()
}

/// `log`.
pub(super) fn log(context: &Context<'_>, options: &cli::Log) -> Result<()> {
    let driver = context.driver()?;
    power::require_on(&driver, "cannot read the monitor's log")?;
    let mut at = 0;
    loop {
        let (start, bytes) = Monitor(&driver).log_read(at)?;
        if start > at {
            warn(format!("{} bytes are no longer kept", start - at));
        }
        at = start + bytes.len() as u64;
        if output::bytes(&bytes) == Reader::Gone {
            return Ok(());
        }
        if bytes.is_empty() {
            if !options.follow {
                return Ok(());
            }
            thread::sleep(STATE_PERIOD);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_become_bytes_and_others_stay() {
        assert_eq!(unescape(r"ls\n\t\\\x"), b"ls\n\t\\\\x");
        assert_eq!(unescape("\\"), b"\\");
    }
}
