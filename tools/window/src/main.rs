//! `cellnet`: a network interface over a link.
//!
//! ```text
//! cellnet NAME MEMBER OF [FILE OFFSET SIZE]
//! ```
//!
//! Makes a TAP device that is called as the link, and carries its frames to the other
//! members by rings in the link's memory ([`cellvisor_window::ring`]): a frame goes to
//! the member behind whom its destination was seen last, or to all. `MEMBER` counts
//! from 0, and is another one in each of the `OF` members. On the root, the memory is
//! that of a file, as the driver's. Nothing exits for a frame: who has nothing to do
//! sleeps on the device and looks at the rings once in a millisecond.

use cellvisor_window::Window;
use cellvisor_window::ring::{MOST, Reader, Writer, between};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::ExitCode;

mod tap;

/// Rounds without a frame before it sleeps.
const PATIENCE: u32 = 64;
/// How long it sleeps unless the device has a frame.
const NAP: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 1_000_000,
};
/// Most addresses that are remembered: more are a mistake or an attack.
const MOST_ADDRESSES: usize = 4096;
/// Frames in a row from one side before the others are looked at.
const BURST: usize = 64;

type Address = [u8; 6];

/// Another member, with a ring each way.
struct Peer<'a> {
    from: Reader<'a>,
    to: Writer<'a>,
}

/// The device, the other members, and who is behind whom.
struct Switch<'a> {
    tap: File,
    peers: Vec<Peer<'a>>,
    behind: BTreeMap<Address, usize>,
    frame: Vec<u8>,
    /// Room for a frame of the device.
    outgoing: Vec<u8>,
}

impl<'a> Switch<'a> {
    fn new(tap: File, window: &'a Window, member: usize, of: usize) -> Option<Self> {
        let others = (0..of).filter(|other| *other != member);
        let peer = |other| {
            Some(Peer {
                from: Reader::new(between(window.words(), of, other, member)?),
                to: Writer::new(between(window.words(), of, member, other)?),
            })
        };
        Some(Self {
            tap,
            peers: others.map(peer).collect::<Option<_>>()?,
            behind: BTreeMap::new(),
            frame: Vec::with_capacity(MOST),
            outgoing: vec![0; MOST],
        })
    }

    /// Takes frames from the device to the members; how many.
    fn outwards(&mut self) -> io::Result<usize> {
        for count in 0..BURST {
            let length = match self.tap.read(&mut self.outgoing) {
                Ok(length) => length,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(count),
                Err(e) => return Err(e),
            };
            let frame = self.outgoing.get(..length).unwrap_or_default();
            let known = address(frame, 0).and_then(|to| self.behind.get(&to));
            // A member that is not there has a full ring: its frames are lost, as on a wire.
            let whom = known.map_or(0..self.peers.len(), |peer| *peer..peer + 1);
            for peer in self.peers.get_mut(whom).into_iter().flatten() {
                let _lost = peer.to.push(frame);
            }
        }
        Ok(BURST)
    }

    /// Takes frames from the members to the device; how many.
    fn inwards(&mut self) -> usize {
        let mut count = 0;
        for (number, peer) in self.peers.iter_mut().enumerate() {
            for _ in 0..BURST {
                match peer.from.pop(&mut self.frame) {
                    Ok(true) => count += 1,
                    Ok(false) | Err(_) => break,
                }
                let from = address(&self.frame, 6).filter(|from| from[0] & 1 == 0);
                if let Some(from) = from
                    && (self.behind.len() < MOST_ADDRESSES || self.behind.contains_key(&from))
                {
                    self.behind.insert(from, number);
                }
                // A frame that the device does not take (too short, the device is down)
                // is lost.
                let _lost = self.tap.write(&self.frame);
            }
        }
        count
    }

    fn run(&mut self) -> io::Result<()> {
        let mut idle = 0;
        loop {
            if self.outwards()? + self.inwards() > 0 {
                idle = 0;
                continue;
            }
            idle += 1;
            std::hint::spin_loop();
            if idle > PATIENCE {
                let mut device = [PollFd::new(&self.tap, PollFlags::IN)];
                poll(&mut device, Some(&NAP))?;
            }
        }
    }
}

/// The address at byte `at` of a frame.
fn address(frame: &[u8], at: usize) -> Option<Address> {
    frame.get(at..at + 6)?.try_into().ok()
}

fn run(words: &[String]) -> Result<(), String> {
    let [name, member, of, rest @ ..] = words else {
        return Err("usage: cellnet NAME MEMBER OF [FILE OFFSET SIZE]".to_owned());
    };
    let number = |text: &String| {
        let parsed = text.parse::<u64>();
        parsed.map_err(|e| format!("\"{text}\" is no number: {e}"))
    };
    let count = |text| Ok::<_, String>(usize::try_from(number(text)?).unwrap_or(usize::MAX));
    let (member, of) = (count(member)?, count(of)?);
    let window = match rest {
        [] => Window::find(name).map_err(|e| e.to_string())?,
        [file, offset, size] => Window::map(Path::new(file), number(offset)?, count(size)?)
            .map_err(|e| format!("cannot map {file}: {e}"))?,
        _ => return Err("name FILE, OFFSET and SIZE, or none of them".to_owned()),
    };
    let tap = tap::create(name).map_err(|e| {
        format!("cannot make the device {name}: {e}; run this as root, with the module tun")
    })?;
    let switch = Switch::new(tap, &window, member, of);
    let mut switch = switch.ok_or_else(|| {
        format!(
            "member {member} of {of} has no room in link {name}: 2 members need 2 MiB, 4 need 8"
        )
    })?;
    switch.run().map_err(|e| format!("device {name}: {e}"))
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("cellnet: {why}");
            ExitCode::FAILURE
        }
    }
}
