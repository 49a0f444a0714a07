//! NVMe controllers through the devices that Linux's driver made of them.

use super::Admin;
use super::sysfs::{names, read};
use crate::error::{Error, Result};
use crate::syscalls;
use crate::sysfs::{Sysfs, read_number};
use cellvisor_abi::Bdf;
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// How often a controller is asked whether it works again, [`PAUSE`] apart:
/// 20 s in all.
const TRIES: u32 = 400;
const PAUSE: Duration = Duration::from_millis(50);

impl Sysfs {
    /// Folder of the controller that Linux's driver made of a function.
    fn controller(&self, function: Bdf) -> Result<PathBuf> {
        let folder = self.function(function, "nvme");
        let name = names(&folder).into_iter().next().ok_or_else(|| {
            Error::new(
                format!("cannot use the NVMe controller {function}"),
                "Linux's driver does not have it",
                "load the module nvme first: VFs are set up through the controller",
            )
        })?;
        Ok(folder.join(name))
    }

    /// Waits until a function works again after its reset, if it is a controller.
    pub(super) fn works_again(&self, function: Bdf) -> Result<()> {
        let Ok(controller) = self.controller(function) else {
            return Ok(());
        };
        for _ in 0..TRIES {
            if read(&controller.join("state"))? == "live" {
                return Ok(());
            }
            thread::sleep(PAUSE);
        }
        Err(Error::new(
            format!("cannot go on with {function}"),
            "the controller does not work again 20 s after its reset",
            "see the end of `dmesg`",
        ))
    }

    /// Sends an admin command, and returns its answer.
    pub(super) fn nvme_admin(
        &self,
        controller: Bdf,
        command: &Admin,
        data: &mut [u8],
    ) -> Result<u32> {
        let folder = self.controller(controller)?;
        let name = folder.file_name().unwrap_or_default();
        let device = self.path("dev").join(name);
        let file = File::open(&device)
            .map_err(|e| Error::file("cannot open", &device, &e, "run this as root"))?;
        let what = || {
            let opcode = command.opcode;
            format!("cannot set up {controller} (NVMe admin command {opcode:#x})")
        };
        let help = "see the end of `dmesg`; the controller may lack this feature";
        match syscalls::nvme_admin(file.as_fd(), command, data) {
            Ok(answer) if answer.status == 0 => Ok(answer.result),
            Ok(answer) => Err(Error::new(
                what(),
                format!("the controller answered with status {:#x}", answer.status),
                help,
            )),
            Err(e) => Err(Error::new(what(), e.to_string(), help)),
        }
    }

    /// True if Linux uses this namespace of the controller.
    pub(super) fn nvme_in_use(&self, controller: Bdf, namespace: u32) -> Result<bool> {
        let folder = self.controller(controller)?;
        for name in names(&folder) {
            let id = read_number(&folder.join(&name).join("nsid"));
            if id.is_ok_and(|id| id == u64::from(namespace)) {
                return Ok(busy(&self.path("dev").join(disk(&name))));
            }
        }
        Ok(false)
    }

    /// Block devices of the namespaces that have this number, each once.
    pub(crate) fn namespaces(&self, number: u32) -> Vec<PathBuf> {
        let controllers = self.path("sys/class/nvme");
        let mut disks = Vec::new();
        for controller in names(&controllers) {
            let folder = controllers.join(controller);
            let here = names(&folder).into_iter().filter(|name| {
                let id = read_number(&folder.join(name).join("nsid"));
                id.is_ok_and(|id| id == u64::from(number))
            });
            disks.extend(here.map(|name| self.path("dev").join(disk(&name))));
        }
        disks.sort();
        disks.dedup();
        disks
    }
}

/// Name of the block device of a namespace, whose folder may name the path to
/// it as well: `nvme0c1n2` is a path of `nvme0n2`.
pub(super) fn disk(name: &str) -> String {
    let path = name.rfind('c').zip(name.rfind('n'));
    match path {
        Some((from, to)) if from < to => format!("{}{}", &name[..from], &name[to..]),
        _ => name.to_owned(),
    }
}

/// True if Linux has claimed a block device for a file system or the like.
pub(super) fn busy(device: &Path) -> bool {
    let opened = rustix::fs::open(device, OFlags::RDONLY | OFlags::EXCL, Mode::empty());
    opened.is_err_and(|e| e == rustix::io::Errno::BUSY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_to_a_namespace_names_its_disk() {
        assert_eq!(disk("nvme0n2"), "nvme0n2");
        assert_eq!(disk("nvme0c12n2"), "nvme0n2");
    }

    #[test]
    fn namespace_that_two_controllers_lead_to_is_one_disk() {
        let dir = tempfile::tempdir().expect("temporary folder");
        for (path, id) in [
            ("nvme0/nvme0c0n2", 2),
            ("nvme1/nvme0c1n2", 2),
            ("nvme2/nvme2n1", 1),
        ] {
            let folder = dir.path().join("sys/class/nvme").join(path);
            std::fs::create_dir_all(&folder).expect("makes");
            std::fs::write(folder.join("nsid"), format!("{id}\n")).expect("writes");
        }
        let linux = Sysfs::new(dir.path());
        assert_eq!(linux.namespaces(2), [dir.path().join("dev/nvme0n2")]);
        assert_eq!(linux.namespaces(1), [dir.path().join("dev/nvme2n1")]);
        assert!(linux.namespaces(3).is_empty());
    }
}
