//! Doorbells of windows: what wakes a member that sleeps.
//!
//! Each member of a link with `doorbell = true` has a network adapter that the monitor
//! plays and the kernel's own driver (virtio-net) drives. To ring is to send a frame of a
//! type that nobody else has to the adapter of one other member: one exit of the sender's.
//! It interrupts the other without an exit, and wakes who sleeps on its socket.
//!
//! A ring may be lost (the other does not run, or has more frames than it takes), and may
//! come for no reason: who sleeps does so for a limited time, and looks after it.
#![expect(
    unsafe_code,
    reason = "addresses of packet sockets, and flags of interfaces"
)]

use crate::{Find, Link};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::ioctl::{Opcode, Setter, Updater, ioctl};
use rustix::net::addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, sendto,
    socket_with, sockopt,
};
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Longest sleep: what is lost by a ring that is, is this.
pub const MOST_SLEEP: std::time::Duration = std::time::Duration::from_millis(100);

/// Type of a ring's frame: the first that IEEE leaves to everybody (802, "Local
/// Experimental EtherTypes").
const TYPE: u16 = 0x88b5;
/// Bytes of it: with its head a frame of the least length.
const RING: [u8; 46] = [0; 46];
/// Rings that are taken in a row: what comes faster is not waited for.
const MOST_RINGS: usize = 64;
/// Room of a socket for rings: the kernel's least. One is as good as many.
const ROOM: usize = 0;

const INTERFACES: &str = "/sys/class/net";
const SETTINGS: &str = "/proc/sys/net/ipv6/conf";

/// What wakes the members of a link.
pub trait Bell: fmt::Debug + Sync {
    /// Wakes the member at `place`, if it sleeps.
    fn ring(&self, place: usize);
    /// What can be read when this one was rung.
    fn rung(&self) -> BorrowedFd<'_>;
    /// Forgets that it was.
    fn clear(&self);
}

/// An Ethernet address.
type Address = [u8; 6];

/// The doorbell of a window: this member's own, and the way to the others'.
#[derive(Debug)]
pub struct Doorbell {
    socket: OwnedFd,
    index: i32,
    address: Address,
}

impl Doorbell {
    /// That of a link; `None` if it has none. Its interface is up afterwards.
    ///
    /// # Errors
    ///
    /// No interface is the doorbell, or it may not be used.
    pub fn open(link: &Link) -> Result<Option<Self>, Find> {
        let Some(mac) = &link.doorbell else {
            return Ok(None);
        };
        let found = address(mac).zip(interface(Path::new(INTERFACES), mac));
        let (address, name) = found.ok_or_else(|| Find::Deaf(link.name.clone(), mac.clone()))?;
        let failed = |e| Find::File(PathBuf::from(INTERFACES).join(&name), e);
        Self::of(address, &name).map(Some).map_err(failed)
    }

    fn of(address: Address, name: &str) -> io::Result<Self> {
        let socket = socket_with(
            AddressFamily::PACKET,
            SocketType::DGRAM,
            SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
            Some(protocol()),
        )?;
        sockopt::set_socket_recv_buffer_size(&socket, ROOM)?;
        set_up(&socket, name)?;
        let index = fs::read_to_string(Path::new(INTERFACES).join(name).join("ifindex"))?;
        let index = index.trim().parse().map_err(io::Error::other)?;
        bind(&socket, &Place::new(index, [0; 6]))?;
        Ok(Self {
            socket,
            index,
            address,
        })
    }
}

impl Bell for Doorbell {
    fn ring(&self, place: usize) {
        if let Some(address) = other(self.address, place) {
            let to = Place::new(self.index, address);
            // One that does not run is not waited for, nor one that is rung all the time.
            let _lost = sendto(&self.socket, &RING, SendFlags::DONTWAIT, &to);
        }
    }

    fn rung(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn clear(&self) {
        let mut any = [0; 1];
        for _ in 0..MOST_RINGS {
            if recv(&self.socket, &mut any, RecvFlags::DONTWAIT).is_err() {
                return;
            }
        }
    }
}

/// The address of the member at `place`: they differ in their last bytes.
fn other([a, b, c, d, e, _]: Address, place: usize) -> Option<Address> {
    Some([a, b, c, d, e, u8::try_from(place).ok()?.checked_add(1)?])
}

/// An address from its text.
fn address(text: &str) -> Option<Address> {
    let mut address = [0; 6];
    let mut bytes = text.split(':');
    for (byte, text) in address.iter_mut().zip(&mut bytes) {
        *byte = u8::from_str_radix(text, 16).ok()?;
    }
    (text.len() == 17 && bytes.next().is_none()).then_some(address)
}

/// The interface of a device that has this address: what is laid over it has it as well.
fn interface(all: &Path, mac: &str) -> Option<String> {
    let has = |entry: &fs::DirEntry| {
        let address = fs::read_to_string(entry.path().join("address"));
        address.is_ok_and(|address| address.trim() == mac) && entry.path().join("device").exists()
    };
    let found = fs::read_dir(all).ok()?.flatten().find(has)?;
    found.file_name().into_string().ok()
}

fn protocol() -> Protocol {
    let number = u32::from(TYPE.to_be());
    Protocol::from_raw(std::num::NonZeroU32::new(number).unwrap_or(std::num::NonZeroU32::MIN))
}

/// `struct sockaddr_ll`.
#[repr(C)]
struct Place {
    family: u16,
    protocol: u16,
    index: i32,
    hardware: u16,
    kind: u8,
    length: u8,
    address: [u8; 8],
}

impl Place {
    const fn new(index: i32, [a, b, c, d, e, f]: Address) -> Self {
        Self {
            family: AddressFamily::PACKET.as_raw(),
            protocol: TYPE.to_be(),
            index,
            hardware: 0,
            kind: 0,
            length: 6,
            address: [a, b, c, d, e, f, 0, 0],
        }
    }
}

// SAFETY: the pointer is that of a whole `sockaddr_ll`, with its size.
unsafe impl SocketAddrArg for Place {
    unsafe fn with_sockaddr<R>(
        &self,
        f: impl FnOnce(*const SocketAddrOpaque, SocketAddrLen) -> R,
    ) -> R {
        f(std::ptr::from_ref(self).cast(), size_of::<Self>() as u32)
    }
}

/// Longest name of an interface with its zero (`IFNAMSIZ`).
const NAME: usize = 16;
const GET_FLAGS: Opcode = 0x8913;
const SET_FLAGS: Opcode = 0x8914;
/// `IFF_UP`, `IFF_NOARP`.
const FLAGS: u16 = 1 | 0x80;

/// `struct ifreq`, as far as flags are concerned.
#[repr(C)]
struct Request {
    name: [u8; NAME],
    flags: u16,
    rest: [u8; 22],
}

/// Makes the interface ready, and keeps the kernel from sending by it what nobody wants.
fn set_up(socket: &OwnedFd, name: &str) -> io::Result<()> {
    let mut request = Request {
        name: [0; NAME],
        flags: 0,
        rest: [0; 22],
    };
    let room = request.name.get_mut(..name.len());
    let room = room.filter(|room| room.len() < NAME);
    room.ok_or(io::ErrorKind::InvalidFilename)?
        .copy_from_slice(name.as_bytes());
    // SAFETY: SIOCGIFFLAGS reads the name of a `struct ifreq` and writes its flags.
    unsafe { ioctl(socket, Updater::<GET_FLAGS, Request>::new(&mut request)) }?;
    if request.flags & FLAGS == FLAGS {
        return Ok(());
    }
    // A kernel without IPv6 has no such file.
    let _quiet = fs::write(Path::new(SETTINGS).join(name).join("disable_ipv6"), "1");
    request.flags |= FLAGS;
    // SAFETY: SIOCSIFFLAGS reads a `struct ifreq`.
    unsafe { ioctl(socket, Setter::<SET_FLAGS, Request>::new(request)) }?;
    Ok(())
}

#[cfg(test)]
mod tests;
