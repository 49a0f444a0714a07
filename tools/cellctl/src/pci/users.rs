//! What this Linux does with the disks of a controller.
//!
//! Mounted file systems are the least of it: swap, volumes of LVM, disks of RAID
//! and ZFS, the second disk of a btrfs, a disk that a program writes to directly.

use super::nvme::{busy, disk};
use super::sysfs::names;
use crate::sysfs::Sysfs;
use cellvisor_abi::Bdf;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

impl Sysfs {
    /// Who uses a disk of the function, as a sentence; `None` if nobody does.
    pub(super) fn user_of(&self, function: Bdf) -> Option<String> {
        let disks = self.disks(function);
        let swaps = fs::read_to_string(self.path("proc/swaps")).unwrap_or_default();
        disks.iter().find_map(|disk| {
            let device = self.path("dev").join(disk);
            self.part_of(disk)
                .or_else(|| swapped_to(&swaps, disk))
                .or_else(|| self.file_system_over(disk))
                .or_else(|| busy(&device).then(|| format!("a part of this Linux has {disk}")))
                .or_else(|| self.opened(disk))
        })
    }

    /// Disks and partitions of a function, by name.
    fn disks(&self, function: Bdf) -> BTreeSet<String> {
        let class = self.path("sys/class/block");
        let address = function.to_string();
        // Behind several paths, a namespace's disk is no child of its controller.
        let paths: BTreeSet<String> = names(&self.function(function, "nvme"))
            .iter()
            .flat_map(|controller| names(&self.function(function, "nvme").join(controller)))
            .filter(|name| name.starts_with("nvme"))
            .map(|name| disk(&name))
            .collect();
        let is_below = |name: &str| {
            let Ok(real) = fs::canonicalize(class.join(name)) else {
                return false;
            };
            real.components().any(|part| {
                let part = part.as_os_str().to_string_lossy();
                part == address || paths.contains(part.as_ref())
            })
        };
        names(&class)
            .into_iter()
            .filter(|name| is_below(name))
            .collect()
    }

    /// The volume that a disk is part of.
    fn part_of(&self, disk: &str) -> Option<String> {
        let class = self.path("sys/class/block");
        let holder = names(&class.join(disk).join("holders"))
            .into_iter()
            .next()?;
        let name = fs::read_to_string(class.join(&holder).join("dm/name"));
        let name = name.map_or_else(|_| holder.clone(), |name| name.trim().to_owned());
        Some(format!("{disk} is part of {name}"))
    }

    /// The file system that is over several disks, and this is one.
    fn file_system_over(&self, disk: &str) -> Option<String> {
        let all = self.path("sys/fs/btrfs");
        let has = |id: &&String| all.join(id).join("devices").join(disk).exists();
        let found = names(&all);
        let id = found.iter().find(has)?;
        Some(format!("{disk} belongs to the btrfs {id}"))
    }

    /// The process that has a disk open.
    fn opened(&self, disk: &str) -> Option<String> {
        let device = Path::new("/dev").join(disk);
        let all = self.path("proc");
        let has_it = |pid: &&String| {
            let open = all.join(pid).join("fd");
            let is = |fd: String| fs::read_link(open.join(fd)).is_ok_and(|to| to == device);
            pid.parse::<u32>().is_ok() && names(&open).into_iter().any(is)
        };
        let found = names(&all);
        let pid = found.iter().find(has_it)?;
        let name = fs::read_to_string(all.join(pid).join("comm")).unwrap_or_default();
        Some(format!("{} (PID {pid}) has {disk} open", name.trim()))
    }
}

/// Whether /proc/swaps names the disk.
fn swapped_to(swaps: &str, disk: &str) -> Option<String> {
    let device = format!("/dev/{disk}");
    let mut files = swaps
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    files
        .any(|file| file == device)
        .then(|| format!("this Linux swaps to {disk}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    const CONTROLLER: Bdf = Bdf::from_number(0x0010);
    const AT: &str = "sys/devices/pci0000:00/0000:00:02.0";

    /// A controller with a disk and a partition, and another's disk.
    fn machine() -> (tempfile::TempDir, Sysfs) {
        let dir = tempfile::tempdir().expect("temporary folder");
        let make = |path: &str| fs::create_dir_all(dir.path().join(path)).expect("folder");
        make("sys/class/block");
        for (name, at) in [
            ("sda", format!("{AT}/ata1/block/sda")),
            ("sda1", format!("{AT}/ata1/block/sda/sda1")),
            (
                "sdb",
                "sys/devices/pci0000:00/0000:00:03.0/block/sdb".into(),
            ),
        ] {
            make(&at);
            let link = dir.path().join("sys/class/block").join(name);
            symlink(dir.path().join(at), link).expect("link");
        }
        let sysfs = Sysfs::new(dir.path());
        (dir, sysfs)
    }

    fn user_with(put: impl FnOnce(&dyn Fn(&str, &str))) -> Option<String> {
        let (dir, sysfs) = machine();
        put(&|path, text| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().expect("has one")).expect("folder");
            fs::write(path, text).expect("file");
        });
        sysfs.user_of(CONTROLLER)
    }

    #[test]
    fn disk_that_nobody_uses_is_nobody_s() {
        assert_eq!(user_with(|_| ()), None);
        let other = user_with(|put| put("proc/swaps", "Filename\n/dev/sdb partition\n"));
        assert_eq!(other, None, "that of another controller");
    }

    #[test]
    fn whoever_uses_a_disk_or_partition_is_named() {
        let swap = user_with(|put| put("proc/swaps", "Filename Type\n/dev/sda1 partition 9\n"));
        assert_eq!(swap.as_deref(), Some("this Linux swaps to sda1"));
        let volume = user_with(|put| {
            put(&format!("{AT}/ata1/block/sda/sda1/holders/dm-3"), "");
            put("sys/class/block/dm-3/dm/name", "vg0-home\n");
        });
        assert_eq!(volume.as_deref(), Some("sda1 is part of vg0-home"));
        let raid = user_with(|put| put(&format!("{AT}/ata1/block/sda/holders/md127"), ""));
        assert_eq!(raid.as_deref(), Some("sda is part of md127"));
        let btrfs = user_with(|put| put("sys/fs/btrfs/1234-abcd/devices/sda", ""));
        assert_eq!(btrfs.as_deref(), Some("sda belongs to the btrfs 1234-abcd"));
    }

    #[test]
    fn program_that_writes_to_a_disk_is_named() {
        let (dir, sysfs) = machine();
        let open = dir.path().join("proc/42/fd");
        fs::create_dir_all(&open).expect("folder");
        fs::write(dir.path().join("proc/42/comm"), "ceph-osd\n").expect("file");
        symlink("/dev/sda", open.join("7")).expect("link");
        let user = sysfs.user_of(CONTROLLER);
        assert_eq!(user.as_deref(), Some("ceph-osd (PID 42) has sda open"));
    }
}
