//! The root's frames in a network that the monitor carries.
//!
//! Each frame has a header before it, the same for the device here and for the monitor: what
//! is left to do with it goes along, and large segments of TCP are cut by nobody on the way.

use super::{BURST, Carrier};
use cellvisor_window::port::{MOST, Port, Registers};
use cellvisor_window::ring::Garbage;
use std::fs::File;
use std::io::{self, Read, Write};

/// The device, and the way to the monitor.
pub(crate) struct Carried<'a, R> {
    tap: File,
    port: Port<'a, R>,
    frame: Vec<u8>,
    /// Room for a frame of the device.
    outgoing: Vec<u8>,
}

impl<'a, R> Carried<'a, R> {
    pub(crate) fn new(tap: File, port: Port<'a, R>) -> Self {
        Self {
            tap,
            port,
            frame: Vec::new(),
            outgoing: vec![0; MOST],
        }
    }
}

impl<R: Registers<Error = io::Error>> Carrier for Carried<'_, R> {
    fn device(&self) -> &File {
        &self.tap
    }

    /// The monitor has taken all, or is told again.
    fn waits(&self) -> bool {
        false
    }

    fn outwards(&mut self) -> io::Result<usize> {
        if !self.port.tell()? {
            return Ok(1);
        }
        // All was sent, so there is.
        if !self.port.has_room().map_err(nonsense)? {
            return Err(nonsense(Garbage));
        }
        let mut count = 0;
        while self.port.has_room().map_err(nonsense)? {
            let length = match self.tap.read(&mut self.outgoing) {
                Ok(length) => length,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            };
            let frame = self.outgoing.get(..length).unwrap_or_default();
            self.port.send(frame).map_err(nonsense)?;
            count += 1;
        }
        self.port.tell()?;
        Ok(count)
    }

    fn inwards(&mut self) -> io::Result<usize> {
        for count in 0..BURST {
            if !self.port.receive(&mut self.frame).map_err(nonsense)? {
                return Ok(count);
            }
            // A frame that the device does not take (its header makes no sense, the device
            // is down) is lost.
            let _lost = self.tap.write(&self.frame);
        }
        Ok(BURST)
    }
}

/// Somebody else writes to the link's memory.
fn nonsense(_: Garbage) -> io::Error {
    io::Error::other("what stands in the link's memory makes no sense")
}
