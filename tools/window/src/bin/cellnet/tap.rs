//! A TAP device.
#![expect(unsafe_code, reason = "an ioctl")]

use rustix::ioctl::{Opcode, Setter, ioctl, opcode};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;

/// Longest name of a device with its zero (`IFNAMSIZ`).
const NAME: usize = 16;
/// `IFF_TAP`, `IFF_NO_PI`: whole frames, with nothing before them.
const FLAGS: u16 = 0x0002 | 0x1000;
const O_NONBLOCK: i32 = 0o4000;

/// `struct ifreq`, as TUNSETIFF reads it.
#[repr(C)]
struct Request {
    name: [u8; NAME],
    flags: u16,
    rest: [u8; 22],
}

/// TUNSETIFF: an int by its number, a request by what it reads.
const SET_INTERFACE: Opcode = opcode::write::<i32>(b'T', 202);

/// Makes a device of this name; it goes when the file is closed.
///
/// # Errors
///
/// What Linux says: no rights, no module `tun`, a name that is too long or taken.
pub(crate) fn create(name: &str) -> io::Result<File> {
    let mut request = Request {
        name: [0; NAME],
        flags: FLAGS,
        rest: [0; 22],
    };
    let room = request.name.get_mut(..name.len());
    let room = room.filter(|room| room.len() < NAME);
    room.ok_or(io::ErrorKind::InvalidFilename)?
        .copy_from_slice(name.as_bytes());
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(O_NONBLOCK);
    let file = options.open("/dev/net/tun")?;
    // SAFETY: TUNSETIFF reads a `struct ifreq`, which `Request` is, and writes nothing
    // that is looked at.
    unsafe { ioctl(&file, Setter::<SET_INTERFACE, Request>::new(request)) }?;
    Ok(file)
}
