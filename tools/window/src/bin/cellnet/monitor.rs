//! The registers of the root's adapter: hypercalls, by the driver.
#![expect(unsafe_code, reason = "ioctls")]

use cellvisor_abi::ABI_VERSION;
use cellvisor_abi::call::{CellId, Code, LinkWrite};
use cellvisor_abi::ioctl::{self, Call, DEVICE, Info};
use cellvisor_abi::status::CallStatus;
use cellvisor_abi::wire;
use cellvisor_window::port::Registers;
use rustix::ioctl::{Getter, Opcode, Updater, opcode};
use std::fs::File;
use std::io;
use std::thread;
use std::time::Duration;

const INFO: Opcode = opcode::read::<Info>(ioctl::TYPE, ioctl::INFO);
const CALL: Opcode = opcode::read_write::<Call>(ioctl::TYPE, ioctl::CALL);

/// Bytes of a request, and of what is answered to one that is refused.
const BUFFER: usize = 256;

/// How often a call is tried while another one is under way, and how long apart.
const TRIES: u32 = 1000;
const PAUSE: Duration = Duration::from_millis(1);

/// The monitor, asked about one link.
pub(crate) struct Monitor {
    driver: File,
    link: CellId,
}

impl Monitor {
    /// Opens the driver, for the link with this number.
    ///
    /// # Errors
    ///
    /// There is no driver, it may not be used, or it is of another version.
    pub(crate) fn open(link: u32) -> io::Result<Self> {
        let driver = File::options().read(true).write(true).open(DEVICE)?;
        // SAFETY: INFO writes one `Info`, all of whose bit patterns are valid.
        let info: Info = unsafe { rustix::ioctl::ioctl(&driver, Getter::<INFO, Info>::new()) }?;
        if info.abi_version != ABI_VERSION {
            let versions = format!(
                "the driver speaks ABI version {}, cellnet {ABI_VERSION}: take both of one release",
                info.abi_version
            );
            return Err(io::Error::other(versions));
        }
        let link = CellId(link);
        Ok(Self { driver, link })
    }

    /// Makes a call, once.
    fn call(&self, request: &[u8]) -> io::Result<u32> {
        let mut buffer = [0; BUFFER];
        let room = buffer.get_mut(..request.len());
        room.ok_or(io::ErrorKind::InvalidInput)?
            .copy_from_slice(request);
        let mut argument = Call {
            buffer: buffer.as_mut_ptr() as u64,
            code: Code::LinkWrite as u32,
            request_len: request.len() as u32,
            capacity: BUFFER as u32,
            ..Call::default()
        };
        // SAFETY: CALL reads `request_len` bytes of `buffer` and writes at most `capacity`,
        // which is all of it.
        unsafe { rustix::ioctl::ioctl(&self.driver, Updater::<CALL, Call>::new(&mut argument)) }?;
        Ok(argument.status)
    }
}

impl Registers for Monitor {
    type Error = io::Error;

    fn write(&mut self, offset: u16, size: u8, value: u64) -> io::Result<bool> {
        let request = wire::to_vec(&LinkWrite {
            link: self.link,
            offset,
            size,
            value,
        });
        for _ in 0..TRIES {
            let status = self.call(&request)?;
            match CallStatus::from_code(status) {
                Some(CallStatus::Ok) => return Ok(true),
                Some(CallStatus::Again) => return Ok(false),
                Some(CallStatus::Busy) => thread::sleep(PAUSE),
                Some(CallStatus::NoSuchCell | CallStatus::WrongState) => {
                    return Err(io::Error::other("the link is gone"));
                }
                _ => {
                    let why = format!("the monitor refuses it, with status {status}");
                    return Err(io::Error::other(why));
                }
            }
        }
        Err(io::Error::other("the monitor has other calls to answer"))
    }
}
