//! `/dev/cellvisor`: what the tools ask of the driver.

use crate::error::{Error, Kind, Result};
use crate::syscalls;
use cellvisor_abi::ioctl::{self, Enable, Info};
use cellvisor_abi::plan::Memory;
use cellvisor_abi::{ABI_VERSION, call::Code};
use rustix::event::{PollFd, PollFlags};
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::Path;
use vm_memory::mmap::MmapRegionError;
use vm_memory::{FileOffset, GuestAddress, GuestMemoryMmap, GuestRegionMmap, MmapRegion};

/// Response to a hypercall: its status and its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    /// [`cellvisor_abi::status::CallStatus`] as a number.
    pub(crate) status: u32,
    /// The response, in the form of [`cellvisor_abi::wire`].
    pub(crate) bytes: Vec<u8>,
}

/// The driver, or in tests a stand-in for it.
pub(crate) trait Driver {
    /// Versions and whether the monitor is on.
    fn info(&self) -> Result<Info>;
    /// Enters the monitor whose image and plan lie in `memory`; the plan names
    /// `cpus` CPUs.
    fn enable(
        &self,
        memory: &MmapRegion,
        plan_offset: u64,
        plan_len: u64,
        cpus: u32,
    ) -> Result<Enable>;
    /// Leaves the monitor.
    fn disable(&self) -> Result<Enable>;
    /// Pins all of `memory` under the number `id`: the host address of each page.
    fn pin(&self, memory: &MmapRegion, page_size: u64, id: u64) -> Result<Vec<u64>>;
    /// Claims a range reserved at boot under the number `id`.
    fn pin_reserved(&self, base: u64, size: u64, page_size: u64, id: u64) -> Result<()>;
    /// Gives a pin or claim back; does nothing if there is none.
    fn unpin(&self, id: u64) -> Result<()>;
    /// Passes a hypercall.
    fn call(&self, code: Code, request: &[u8]) -> Result<Reply>;
    /// Waits until something happens to a cell that was not waited for before.
    fn wait(&self) -> Result<()>;
    /// Maps a cell's memory at its guest-physical addresses.
    fn map(&self, memory: &[Memory]) -> Result<GuestMemoryMmap>;
}

/// What the device is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// States, counters and events: whoever may read the device.
    Look,
    /// Everything: root.
    Manage,
}

/// The real driver.
#[derive(Debug)]
pub(crate) struct Device {
    file: File,
}

impl Device {
    /// Opens the device and compares ABI versions.
    ///
    /// # Errors
    ///
    /// [`Kind::Absent`] if the driver is not loaded.
    pub(crate) fn open(path: &Path, access: Access) -> Result<Self> {
        let file = open(path, access)?;
        let device = Self { file };
        let version = device.info()?.abi_version;
        if version == ABI_VERSION {
            return Ok(device);
        }
        Err(Error::new(
            format!("cannot use {}", path.display()),
            format!("the driver speaks ABI version {version}, cellctl {ABI_VERSION}"),
            "build and load the driver that belongs to this cellctl",
        ))
    }
}

/// Refuses who may only look, before anything else is asked of them. A driver that
/// is not there is none of this one's business.
///
/// # Errors
///
/// This user may not change cells.
pub(crate) fn may_manage(path: &Path) -> Result<()> {
    match OpenOptions::new().read(true).write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open(path, Access::Manage).map(drop)
        }
        _ => Ok(()),
    }
}

fn open(path: &Path, access: Access) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .write(access == Access::Manage)
        .open(path)
        .map_err(|error| {
            let may_look = access == Access::Manage && File::open(path).is_ok();
            cannot_open(path, may_look, &error)
        })
}

/// Why the device cannot be opened, told by the error's kind.
fn cannot_open(path: &Path, may_look: bool, error: &io::Error) -> Error {
    let what = format!("cannot open {}", path.display());
    match error.kind() {
        io::ErrorKind::NotFound => Error::new(
            what,
            "cellvisor's driver is not loaded",
            "load it: modprobe cellvisor (or insmod cellvisor.ko)",
        )
        .kind(Kind::Absent),
        io::ErrorKind::PermissionDenied if may_look => Error::new(
            format!("{what} for changes"),
            "this user may look at cells, and not change them",
            "run this as root; for cells that are services: systemctl start cell@NAME",
        ),
        io::ErrorKind::PermissionDenied => Error::new(
            what,
            "only root may use it, and its group may look",
            "run this as root, or join the group to look: adduser USER cellvisor",
        ),
        _ => Error::new(what, error.to_string(), "see `dmesg | grep cellvisor`"),
    }
}

/// Turns an errno of the driver into a sentence.
fn refused(what: &str, error: &io::Error) -> Error {
    match error.raw_os_error() {
        Some(libc::ENODEV) => Error::new(
            what,
            "the monitor is off",
            "turn it on: cellctl enable (or cellctl create FILE.toml)",
        )
        .kind(Kind::Absent),
        Some(libc::EBUSY) => Error::new(
            what,
            "the driver is busy or the monitor is on already",
            "see `cellctl status`; try again when no other cellctl is at work",
        ),
        Some(libc::EAGAIN) => Error::new(
            what,
            "this machine is about to be suspended",
            "try again when it is awake",
        ),
        Some(libc::EPERM | libc::EACCES) => Error::new(
            what,
            "the driver did not allow it",
            "run this as root; only pinned memory of a loadable cell can be mapped",
        ),
        Some(libc::ENOMEM) => Error::new(
            what,
            "Linux is short of memory",
            "free some memory, or ask for less",
        ),
        _ => Error::new(
            what,
            format!("the driver said: {error}"),
            "its reason stands in `dmesg | grep cellvisor`",
        ),
    }
}

impl Driver for Device {
    fn info(&self) -> Result<Info> {
        syscalls::info(self.file.as_fd()).map_err(|e| refused("cannot ask the driver", &e))
    }

    fn enable(
        &self,
        memory: &MmapRegion,
        plan_offset: u64,
        plan_len: u64,
        cpus: u32,
    ) -> Result<Enable> {
        syscalls::enable(self.file.as_fd(), memory, plan_offset, plan_len, cpus)
            .map_err(|e| refused("cannot turn the monitor on", &e))
    }

    fn disable(&self) -> Result<Enable> {
        syscalls::disable(self.file.as_fd()).map_err(|e| refused("cannot turn the monitor off", &e))
    }

    fn pin(&self, memory: &MmapRegion, page_size: u64, id: u64) -> Result<Vec<u64>> {
        syscalls::pin(self.file.as_fd(), memory, page_size, id)
            .map_err(|e| refused("cannot pin huge pages", &e))
    }

    fn pin_reserved(&self, base: u64, size: u64, page_size: u64, id: u64) -> Result<()> {
        let what = format!("cannot claim the range {base:#x}..{:#x}", base + size);
        syscalls::pin_reserved(self.file.as_fd(), base, size, page_size, id)
            .map_err(|e| refused(&what, &e))
    }

    fn unpin(&self, id: u64) -> Result<()> {
        match syscalls::unpin(self.file.as_fd(), id) {
            // Turning the monitor off drops all pins.
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            done => done.map_err(|e| refused("cannot unpin memory", &e)),
        }
    }

    fn call(&self, code: Code, request: &[u8]) -> Result<Reply> {
        let too_long = || {
            Error::new(
                "cannot pass a request to the monitor",
                format!(
                    "it has {} bytes, more than the {} that fit",
                    request.len(),
                    ioctl::CALL_BUFFER
                ),
                "use fewer pieces: larger pages (page-size = \"1GiB\"), or a range reserved at boot",
            )
        };
        let mut buffer = vec![0; ioctl::CALL_BUFFER as usize];
        buffer
            .get_mut(..request.len())
            .ok_or_else(too_long)?
            .copy_from_slice(request);
        let len = u32::try_from(request.len()).map_err(|_| too_long())?;
        let (status, len) = syscalls::call(self.file.as_fd(), code as u32, &mut buffer, len)
            .map_err(|e| refused("cannot call the monitor", &e))?;
        buffer.truncate(len);
        Ok(Reply {
            status,
            bytes: buffer,
        })
    }

    fn wait(&self) -> Result<()> {
        let what = "cannot wait for events";
        let mut ready = [PollFd::new(&self.file, PollFlags::IN)];
        rustix::event::poll(&mut ready, None).map_err(|e| refused(what, &e.into()))?;
        if ready.iter().any(|fd| fd.revents().contains(PollFlags::ERR)) {
            return Err(Error::new(
                what,
                "this kernel gives the driver no vector to be told by",
                "look at the cells from time to time: cellctl list",
            ));
        }
        // Seen; what happens from now on ends the next wait.
        let mut count = [0; 8];
        let read = (&self.file).read(&mut count);
        read.map(drop).map_err(|e| refused(what, &e))
    }

    fn map(&self, memory: &[Memory]) -> Result<GuestMemoryMmap> {
        let what = "cannot map the cell's memory";
        let mut regions = Vec::with_capacity(memory.len());
        for part in memory {
            let region = map_part(&self.file, part).map_err(|e| refused(what, &e))?;
            let region = GuestRegionMmap::new(region, GuestAddress(part.gpa)).ok_or_else(|| {
                Error::internal(what, format!("{:#x} is no good address", part.gpa))
            })?;
            regions.push(region);
        }
        GuestMemoryMmap::from_regions(regions).map_err(|e| Error::internal(what, e))
    }
}

/// Maps one stretch: the device's offsets are host-physical addresses.
fn map_part(file: &File, part: &Memory) -> io::Result<MmapRegion> {
    let size = usize::try_from(part.size).map_err(io::Error::other)?;
    MmapRegion::build(
        Some(FileOffset::new(file.try_clone()?, part.hpa)),
        size,
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_SHARED,
    )
    .map_err(|e| match e {
        MmapRegionError::Mmap(e) => e,
        other => io::Error::other(other),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_device_names_driver_and_remedy() {
        let error = Device::open(Path::new("/nonexistent/cellvisor"), Access::Look)
            .expect_err("no such file");
        assert_eq!(
            error.to_string(),
            "cannot open /nonexistent/cellvisor: cellvisor's driver is not loaded\n  \
             help: load it: modprobe cellvisor (or insmod cellvisor.ko)"
        );
        assert_eq!(error.code(), Kind::Absent as u8);
    }

    #[test]
    fn who_may_not_is_told_what_would_be_allowed() {
        let denied = io::Error::from_raw_os_error(libc::EACCES);
        let told = |may_look| cannot_open(Path::new("/dev/x"), may_look, &denied).to_string();
        assert!(told(true).contains("for changes: this user may look at cells"));
        assert!(told(false).contains("adduser USER cellvisor"));
    }

    #[test]
    fn errno_enodev_means_the_monitor_is_off() {
        let error = refused("cannot call", &io::Error::from_raw_os_error(libc::ENODEV));
        assert_eq!(error.code(), Kind::Absent as u8);
        assert!(error.to_string().contains("the monitor is off"), "{error}");
    }
}
