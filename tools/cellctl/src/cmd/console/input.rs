//! What the user types: raw from a terminal, or from a pipe.

use crate::error::{Error, Result};
use crate::output::warn;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use std::io::{IsTerminal, stdin};
use std::thread;
use std::time::Duration;

/// Ctrl-] leaves at once.
const LEAVE: u8 = 0x1d;

/// What came in one turn.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Typed {
    /// Bytes for the cell, perhaps none.
    Bytes(Vec<u8>),
    /// The user wants to go.
    Leave,
}

/// Standard input, in raw mode for as long as this lives if it is a terminal.
pub(super) struct Input {
    open: bool,
    saved: Option<Termios>,
    escape: Escape,
}

impl Input {
    /// Takes nothing.
    pub(super) fn none() -> Self {
        Self {
            open: false,
            saved: None,
            escape: Escape::default(),
        }
    }

    /// Takes what is typed or piped.
    pub(super) fn open(cell: &str) -> Result<Self> {
        let mut input = Self::none();
        input.open = true;
        if stdin().is_terminal() {
            warn(format!(
                "console of \"{cell}\"; leave it with Ctrl-] or Enter ~ ."
            ));
            let what = "cannot switch the terminal to raw mode";
            let failed = |e: Errno| Error::new(what, e.to_string(), "use it without a terminal");
            let saved = tcgetattr(stdin()).map_err(failed)?;
            let mut raw = saved.clone();
            raw.make_raw();
            // Output keeps its carriage returns: our own notes need them.
            raw.output_modes = saved.output_modes;
            tcsetattr(stdin(), OptionalActions::Now, &raw).map_err(failed)?;
            input.saved = Some(saved);
        }
        Ok(input)
    }

    /// Waits for at most `turn`.
    pub(super) fn read(&mut self, turn: Duration) -> Result<Typed> {
        if !self.open {
            thread::sleep(turn);
            return Ok(Typed::Bytes(Vec::new()));
        }
        let failed = |e: Errno| {
            Error::new(
                "cannot read standard input",
                e.to_string(),
                "leave it out: </dev/null",
            )
        };
        let stdin = stdin();
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: turn.subsec_nanos().into(),
        };
        let mut ready = [PollFd::new(&stdin, PollFlags::IN)];
        match poll(&mut ready, Some(&timeout)) {
            Ok(0) | Err(Errno::INTR) => return Ok(Typed::Bytes(Vec::new())),
            Ok(_) => {}
            Err(e) => return Err(failed(e)),
        }
        let mut bytes = [0; 256];
        let count = rustix::io::read(&stdin, &mut bytes).map_err(failed)?;
        self.open = count > 0;
        let typed = bytes.get(..count).unwrap_or_default();
        if self.saved.is_none() {
            return Ok(Typed::Bytes(typed.to_vec()));
        }
        Ok(self.escape.filter(typed))
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        if let Some(saved) = &self.saved {
            let _ = tcsetattr(stdin(), OptionalActions::Now, saved);
        }
    }
}

/// Recognises Ctrl-], and a tilde and a dot at the start of a line.
#[derive(Debug, Default)]
struct Escape {
    state: Line,
}

/// Where in a line the user is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Line {
    /// At its start.
    #[default]
    Start,
    /// After a tilde at its start, which was not passed on yet.
    Tilde,
    /// Further on.
    Middle,
}

impl Escape {
    fn filter(&mut self, typed: &[u8]) -> Typed {
        let mut out = Vec::with_capacity(typed.len() + 1);
        for byte in typed {
            match (self.state, *byte) {
                (_, LEAVE) | (Line::Tilde, b'.') => return Typed::Leave,
                (Line::Start, b'~') => {
                    self.state = Line::Tilde;
                    continue;
                }
                // Two tildes stand for one.
                (Line::Tilde, b'~') => {}
                (Line::Tilde, _) => out.push(b'~'),
                _ => {}
            }
            out.push(*byte);
            self.state = match *byte {
                b'\r' | b'\n' => Line::Start,
                _ => Line::Middle,
            };
        }
        Typed::Bytes(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(typed: &[u8]) -> Typed {
        Escape::default().filter(typed)
    }

    #[test]
    fn tilde_and_dot_at_a_line_s_start_leave() {
        assert_eq!(passed(b"~."), Typed::Leave);
        assert_eq!(passed(b"ls\r~."), Typed::Leave);
        assert_eq!(passed(b"a~.b"), Typed::Bytes(b"a~.b".to_vec()));
        assert_eq!(passed(&[b'x', LEAVE]), Typed::Leave);
    }

    #[test]
    fn other_tildes_reach_the_cell() {
        assert_eq!(passed(b"~x"), Typed::Bytes(b"~x".to_vec()));
        assert_eq!(passed(b"~~."), Typed::Bytes(b"~.".to_vec()));
    }

    #[test]
    fn keys_that_come_one_by_one_count_the_same() {
        let mut escape = Escape::default();
        assert_eq!(escape.filter(b"\r"), Typed::Bytes(b"\r".to_vec()));
        assert_eq!(escape.filter(b"~"), Typed::Bytes(Vec::new()));
        assert_eq!(escape.filter(b"."), Typed::Leave);
    }
}
