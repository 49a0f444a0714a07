//! `cellnet`: a network interface over a link.
//!
//! ```text
//! cellnet LINK
//! ```
//!
//! Makes a TAP device that is called as the link, with the address that the link's
//! files give this member, and carries its frames to the other members by rings in the
//! link's memory ([`cellvisor_window::ring`]): a frame goes to the member behind whom
//! its destination was seen last, or to all. Nothing exits for a frame: who has nothing
//! to do sleeps on the device and looks at the rings once in a millisecond; if the link has a
//! doorbell, it sleeps on that as well, is rung when a frame comes, and looks seldom. The
//! device goes when this ends, which it does when the link goes.
//!
//! On the root, of a network that the monitor carries, frames go to the monitor instead and
//! come from it ([`carried`]).

use carried::Carried;
use cellvisor_window::doorbell::{Bell, Doorbell};
use cellvisor_window::port::{HEADER, Port};
use cellvisor_window::ring::{MOST, Reader, Writer, between, least_bytes};
use cellvisor_window::{Adapter, Link, Member, Window};
use monitor::Monitor;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

mod carried;
mod monitor;
mod tap;

/// Rounds without a frame before it sleeps.
const PATIENCE: u32 = 64;
/// How long it sleeps unless the device has a frame.
const NAP: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 1_000_000,
};
/// The same where frames ring: what a lost ring costs.
const SLEEP: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};
/// How often it looks whether the link is there.
const LOOK: Duration = Duration::from_secs(1);
/// Most addresses that are remembered: more are a mistake or an attack.
const MOST_ADDRESSES: usize = 4096;
/// Bytes of a packet: a frame has a head of 14 bytes, or 18, beside.
const MTU: usize = 65_000;
/// Of the default route: a card of the cell's own has a smaller one, and comes first.
const METRIC: u32 = 1000;
/// Frames in a row from one side before the others are looked at.
const BURST: usize = 64;

/// How long a frame waits for room: a member that runs makes some in less.
const HOLD: Duration = Duration::from_millis(20);

type Address = [u8; 6];

/// What carries the frames of a device.
trait Carrier {
    /// The device.
    fn device(&self) -> &File;
    /// Takes frames from the device to the members; how many.
    ///
    /// # Errors
    ///
    /// The device fails, or what carries its frames.
    fn outwards(&mut self) -> io::Result<usize>;
    /// Takes frames from the members to the device; how many.
    ///
    /// # Errors
    ///
    /// As of [`Self::outwards`].
    fn inwards(&mut self) -> io::Result<usize>;
    /// True while a frame waits for what nobody tells of.
    fn waits(&self) -> bool;
    /// Sleeps until the device has a frame, or there may be one for it.
    ///
    /// # Errors
    ///
    /// As of [`Self::outwards`].
    fn sleep(&self) -> io::Result<()> {
        let mut device = [PollFd::new(self.device(), PollFlags::IN)];
        poll(&mut device, Some(&NAP))?;
        Ok(())
    }
}

/// Carries frames until that fails, or `is_there`, which is asked now and then, says that
/// the link is gone.
fn carry(carrier: &mut impl Carrier, is_there: impl Fn() -> bool) -> io::Result<()> {
    let (mut idle, mut looked) = (0, Instant::now());
    loop {
        if carrier.outwards()? + carrier.inwards()? > 0 {
            idle = 0;
            continue;
        }
        idle += 1;
        std::hint::spin_loop();
        if idle > PATIENCE && !carrier.waits() {
            carrier.sleep()?;
            if looked.elapsed() > LOOK {
                looked = Instant::now();
                if !is_there() {
                    return Err(io::Error::other("the link is gone, or another one"));
                }
            }
        }
    }
}

/// Another member, with a ring each way.
struct Peer<'a> {
    from: Reader<'a>,
    to: Writer<'a>,
    /// Its place among the members.
    place: usize,
    /// A frame was written since it was last looked whether it sleeps.
    has_news: bool,
    /// It made no room in time: frames do not wait for it until it does.
    stalled: bool,
}

/// A frame that waits for room, in `outgoing`.
#[derive(Clone, Copy)]
struct Held {
    peer: usize,
    length: usize,
    since: Instant,
}

/// The device, the other members, and who is behind whom.
struct Switch<'a> {
    tap: File,
    bell: Option<&'a dyn Bell>,
    peers: Vec<Peer<'a>>,
    behind: BTreeMap<Address, usize>,
    frame: Vec<u8>,
    /// Room for a frame of the device.
    outgoing: Vec<u8>,
    held: Option<Held>,
}

impl<'a> Switch<'a> {
    fn new(
        tap: File,
        window: &'a Window,
        bell: Option<&'a dyn Bell>,
        member: Member,
    ) -> Option<Self> {
        let Member { place, of } = member;
        let others = (0..of).filter(|other| *other != place);
        let peer = |other| {
            Some(Peer {
                from: Reader::new(between(window.words(), of, other, place)?),
                to: Writer::new(between(window.words(), of, place, other)?),
                place: other,
                has_news: false,
                stalled: false,
            })
        };
        Some(Self {
            tap,
            bell,
            peers: others.map(peer).collect::<Option<_>>()?,
            behind: BTreeMap::new(),
            frame: Vec::with_capacity(MOST),
            outgoing: vec![0; MOST],
            held: None,
        })
    }

    /// Sends what is in `outgoing`; false if it has to wait. A member that is not there has
    /// a full ring: its frames are lost, as on a wire.
    fn send(&mut self, peer: usize, length: usize) -> bool {
        let (Some(peer), Some(frame)) = (self.peers.get_mut(peer), self.outgoing.get(..length))
        else {
            return true;
        };
        match peer.to.push(frame) {
            Ok(true) => (peer.stalled, peer.has_news) = (false, true),
            Ok(false) => return peer.stalled,
            Err(_) => {}
        }
        true
    }

    /// Tries the frame that waits, if there is one; false if it goes on waiting.
    fn retry(&mut self) -> bool {
        let Some(Held {
            peer,
            length,
            since,
        }) = self.held
        else {
            return true;
        };
        if !self.send(peer, length) {
            if since.elapsed() < HOLD {
                return false;
            }
            if let Some(peer) = self.peers.get_mut(peer) {
                peer.stalled = true;
            }
        }
        self.held = None;
        true
    }

    /// Takes frames from the device; how many.
    fn take(&mut self) -> io::Result<usize> {
        if !self.retry() {
            return Ok(0);
        }
        for count in 0..BURST {
            let length = match self.tap.read(&mut self.outgoing) {
                Ok(length) => length,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(count),
                Err(e) => return Err(e),
            };
            let frame = self.outgoing.get(..length).unwrap_or_default();
            let Some(peer) = address(frame, 0)
                .and_then(|to| self.behind.get(&to))
                .copied()
            else {
                // What is for all waits for nobody.
                for peer in &mut self.peers {
                    peer.has_news |= peer.to.push(frame) == Ok(true);
                }
                continue;
            };
            if !self.send(peer, length) {
                let since = Instant::now();
                self.held = Some(Held {
                    peer,
                    length,
                    since,
                });
                return Ok(count + 1);
            }
        }
        Ok(BURST)
    }

    /// Rings those that sleep over frames, once for all of them.
    fn ring(&mut self) {
        let Some(bell) = self.bell else { return };
        for peer in &mut self.peers {
            if std::mem::take(&mut peer.has_news) && peer.to.is_to_ring() {
                bell.ring(peer.place);
            }
        }
    }
}

impl Carrier for Switch<'_> {
    fn device(&self) -> &File {
        &self.tap
    }

    fn waits(&self) -> bool {
        self.held.is_some()
    }

    /// What has no room waits, and the device's queue behind it, so that the senders of the
    /// kernel wait as well.
    fn outwards(&mut self) -> io::Result<usize> {
        let taken = self.take();
        self.ring();
        taken
    }

    fn sleep(&self) -> io::Result<()> {
        let device = PollFd::new(&self.tap, PollFlags::IN);
        let Some(bell) = self.bell else {
            poll(&mut [device], Some(&NAP))?;
            return Ok(());
        };
        let mut sleeps = self.peers.iter().map(|peer| peer.from.fall_asleep());
        if sleeps.all(|sleeps| sleeps) {
            let rung = PollFd::from_borrowed_fd(bell.rung(), PollFlags::IN);
            poll(&mut [device, rung], Some(&SLEEP))?;
            bell.clear();
        }
        self.peers.iter().for_each(|peer| peer.from.wake_up());
        Ok(())
    }

    fn inwards(&mut self) -> io::Result<usize> {
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
        Ok(count)
    }
}

/// The address at byte `at` of a frame.
fn address(frame: &[u8], at: usize) -> Option<Address> {
    frame.get(at..at + 6)?.try_into().ok()
}

/// Gives the device an Ethernet address of its own, its address on the network, if files
/// name one, and the way out of it, for who has no better one. What goes by rings has room
/// for large packets; who is in a network with network cards sends packets as theirs are.
fn set_up(link: &Link, member: Member) -> Result<(), String> {
    let name = &link.name;
    let ip = |words: &str| {
        let words: Vec<&str> = words.split_whitespace().collect();
        let status = Command::new("ip").args(&words).status();
        let what = words.join(" ");
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("`ip {what}` ended with {status}")),
            Err(e) => Err(format!("cannot run `ip {what}`: {e}")),
        }
    };
    match &link.adapter {
        Some(Adapter { mac, .. }) => ip(&format!("link set dev {name} address {mac}"))?,
        None => {
            let number = member.place + 1;
            let mac = format!("02:00:00:00:00:{number:02x}");
            ip(&format!("link set dev {name} address {mac}"))?;
            ip(&format!("link set dev {name} mtu {MTU}"))?;
        }
    }
    if let Some(address) = &link.address {
        ip(&format!("addr add {address} dev {name}"))?;
    }
    ip(&format!("link set dev {name} up"))?;
    if let Some(gateway) = &link.gateway {
        ip(&format!(
            "route add default via {gateway} dev {name} metric {METRIC}"
        ))?;
    }
    Ok(())
}

fn run(words: &[String]) -> Result<(), String> {
    let [name] = words else {
        return Err("usage: cellnet LINK".to_owned());
    };
    let link = Link::find(name).map_err(|e| e.to_string())?;
    match &link.adapter {
        Some(adapter) => join(&link, adapter),
        None => exchange(&link),
    }
}

/// Exchanges frames with the other members by rings.
fn exchange(link: &Link) -> Result<(), String> {
    let name = &link.name;
    let window = link.map().map_err(|e| e.to_string())?;
    let member = link.member.ok_or("no member")?;
    let bell = Doorbell::open(link).map_err(|e| e.to_string())?;
    let bell = bell.as_ref().map(|bell| bell as &dyn Bell);
    let tap = tap::create(name).map_err(|e| no_device(name, &e))?;
    let switch = Switch::new(tap, &window, bell, member);
    let switch = switch.ok_or_else(|| {
        let (of, least) = (member.of, least_bytes(member.of) >> 20);
        format!("link {name} is too small for rings between {of} members: give it {least} MiB")
    })?;
    serve(link, member, switch)
}

/// Joins a network that the monitor carries.
fn join(link: &Link, adapter: &Adapter) -> Result<(), String> {
    let name = &link.name;
    let number = adapter.number.ok_or("the link is being made")?;
    let window = link.queues().map_err(|e| e.to_string())?;
    let member = link.member.ok_or("no member")?;
    let tap = tap::create_with_header(name, HEADER).map_err(|e| no_device(name, &e))?;
    let port = Monitor::open(number).and_then(|monitor| Port::new(window.words(), monitor));
    let port = port.map_err(|e| format!("cannot join {name}: {e}"))?;
    let port = port.ok_or_else(|| format!("link {name} is too small: create its cells anew"))?;
    serve(link, member, Carried::new(tap, port))
}

fn no_device(name: &str, why: &io::Error) -> String {
    format!("cannot make the device {name}: {why}; run this as root, with the module tun")
}

/// Makes the device an interface, and carries its frames.
fn serve(link: &Link, member: Member, mut carrier: impl Carrier) -> Result<(), String> {
    let name = &link.name;
    set_up(link, member)?;
    println!(
        "cellnet: {name} is up, {}",
        link.address.as_deref().unwrap_or("without an address")
    );
    // On the root a link goes with its last cell, and what comes after is another one.
    let is_there = || Link::find(name).is_ok_and(|now| now == *link);
    carry(&mut carrier, is_there).map_err(|e| format!("device {name}: {e}"))
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

#[cfg(test)]
mod tests;
