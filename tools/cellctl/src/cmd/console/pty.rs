//! A pseudo-terminal that other programs (`screen`, `cu`, `minicom`) use as a
//! cell's serial port.

use super::input::Typed;
use crate::error::{Error, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, fcntl_setfl, open};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::Duration;

const WHAT: &str = "cannot make a pseudo-terminal";

/// Our end of it.
pub(super) struct Pty {
    ours: OwnedFd,
    /// The end that others open.
    pub(super) path: String,
}

impl Pty {
    /// Makes one, raw as a line is.
    pub(super) fn open() -> Result<Self> {
        let made = || -> Result<Self, Errno> {
            let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
            grantpt(&ours)?;
            unlockpt(&ours)?;
            let path = ptsname(&ours, Vec::new())?;
            // What is set here lasts; open it may not stay, or it would not be seen
            // whether somebody else has it.
            let theirs = open(&*path, OFlags::RDWR | OFlags::NOCTTY, Mode::empty())?;
            let mut line = tcgetattr(&theirs)?;
            line.make_raw();
            tcsetattr(&theirs, OptionalActions::Now, &line)?;
            fcntl_setfl(&ours, OFlags::NONBLOCK)?;
            let path = path.to_string_lossy().into_owned();
            Ok(Self { ours, path })
        };
        made().map_err(|e| Error::new(WHAT, e.to_string(), "is /dev/pts mounted?"))
    }

    /// Waits at most `turn` for what is typed at the other end. Nothing comes as long
    /// as nobody has it open.
    pub(super) fn read(&self, turn: Duration) -> Result<Typed> {
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: turn.subsec_nanos().into(),
        };
        let events = self.look(PollFlags::IN, Some(&timeout))?;
        let mut bytes = [0; 256];
        let count = match rustix::io::read(&self.ours, &mut bytes) {
            Ok(count) => count,
            Err(Errno::AGAIN | Errno::INTR | Errno::IO) => 0,
            Err(e) => return Err(failed(e)),
        };
        if count == 0 && events.contains(PollFlags::HUP) {
            // A poll does not wait while nobody is there.
            thread::sleep(turn);
        }
        Ok(Typed::Bytes(bytes[..count].to_vec()))
    }

    /// Says something at the other end; what finds nobody there is lost, as on a
    /// line that is not connected, and so is what finds no room.
    pub(super) fn write(&self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let events = self.look(PollFlags::OUT, Some(&PATIENCE))?;
            if events.contains(PollFlags::HUP) || !events.contains(PollFlags::OUT) {
                return Ok(());
            }
            match rustix::io::write(&self.ours, bytes) {
                Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(Errno::IO) => return Ok(()),
                Err(e) => return Err(failed(e)),
            }
        }
        Ok(())
    }

    /// What can be done now, or within `timeout`.
    fn look(&self, wish: PollFlags, timeout: Option<&Timespec>) -> Result<PollFlags> {
        let mut ends = [PollFd::new(&self.ours, wish)];
        match poll(&mut ends, timeout) {
            Ok(_) => Ok(ends[0].revents()),
            Err(Errno::INTR) => Ok(PollFlags::empty()),
            Err(e) => Err(failed(e)),
        }
    }
}

/// How long the other end may leave no room.
const PATIENCE: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

fn failed(e: Errno) -> Error {
    Error::internal("cannot use the pseudo-terminal", e)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;
    use std::io::{Read, Write};

    const TURN: Duration = Duration::from_millis(50);

    #[test]
    fn bytes_go_both_ways_as_they_are() {
        let pty = Pty::open().expect("opens");
        let other = OpenOptions::new().read(true).write(true).open(&pty.path);
        let mut other = other.expect("the other end");
        other.write_all(b"ls\r\x03").expect("types");
        assert_eq!(
            pty.read(TURN).expect("reads"),
            Typed::Bytes(b"ls\r\x03".to_vec())
        );
        pty.write(b"a\nb").expect("says");
        let mut said = [0; 3];
        other.read_exact(&mut said).expect("hears");
        assert_eq!(&said, b"a\nb");
    }

    #[test]
    fn nobody_at_the_other_end_holds_nothing_up() {
        let pty = Pty::open().expect("opens");
        pty.write(&[b'x'; 100_000]).expect("is lost");
        assert_eq!(pty.read(TURN).expect("nothing"), Typed::Bytes(Vec::new()));
        let other = OpenOptions::new().read(true).write(true).open(&pty.path);
        drop(other.expect("the other end"));
        assert_eq!(pty.read(TURN).expect("nothing"), Typed::Bytes(Vec::new()));
    }
}
