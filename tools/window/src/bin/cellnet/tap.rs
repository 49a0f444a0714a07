//! A TAP device.
#![expect(unsafe_code, reason = "an ioctl")]

use rustix::ioctl::{IntegerSetter, Opcode, Setter, ioctl, opcode};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;

/// Longest name of a device with its zero (`IFNAMSIZ`).
const NAME: usize = 16;
/// `IFF_TAP`, `IFF_NO_PI`: whole frames, with nothing before them.
const FLAGS: u16 = 0x0002 | 0x1000;
/// `IFF_VNET_HDR`: but for a header that says what is left to do with the frame.
const WITH_HEADER: u16 = 0x4000;
/// What may be left: the checksum, and cutting of TCP's segments over IPv4 and IPv6, with
/// congestion notification (`TUN_F_CSUM`, `TUN_F_TSO4`, `TUN_F_TSO6`, `TUN_F_TSO_ECN`).
const OFFLOADS: usize = 0xf;
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

/// TUNSETVNETHDRSZ: how many bytes such a header has.
const SET_HEADER: Opcode = opcode::write::<i32>(b'T', 216);
/// TUNSETOFFLOAD: a number, and not where one is.
const SET_OFFLOAD: Opcode = opcode::write::<u32>(b'T', 208);

/// Makes a device of this name; it goes when the file is closed.
///
/// # Errors
///
/// What Linux says: no rights, no module `tun`, a name that is too long or taken.
pub(crate) fn create(name: &str) -> io::Result<File> {
    make(name, FLAGS)
}

/// The same with a header of so many bytes before each frame.
///
/// # Errors
///
/// As of [`create`].
pub(crate) fn create_with_header(name: &str, bytes: usize) -> io::Result<File> {
    let file = make(name, FLAGS | WITH_HEADER)?;
    let bytes = i32::try_from(bytes).map_err(io::Error::other)?;
    // SAFETY: TUNSETVNETHDRSZ reads an int.
    unsafe { ioctl(&file, Setter::<SET_HEADER, i32>::new(bytes)) }?;
    // SAFETY: TUNSETOFFLOAD takes a number and touches no memory of this process.
    unsafe { ioctl(&file, IntegerSetter::<SET_OFFLOAD>::new_usize(OFFLOADS)) }?;
    Ok(file)
}

fn make(name: &str, flags: u16) -> io::Result<File> {
    let mut request = Request {
        name: [0; NAME],
        flags,
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
