//! Virtual media: of an image the kernel and the initial RAM disks are kept, and booted by
//! the next start of the system that it is inserted in.
//!
//! This process, which has no rights, fetches images and reads them. Root is given three
//! files: see [`crate::power`].

mod entry;
mod fetch;
pub(crate) mod iso;
mod policy;

pub(crate) use policy::Policy;

use crate::boots::{Boots, FOLDER, INITRD, KERNEL, WORDS};
use crate::error::{Error, Result};
use entry::Entry;
use iso::Iso;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Semaphore;

/// Images that are fetched at a time.
const AT_A_TIME: usize = 2;

/// Bytes of a boot menu, and of a kernel, at most.
const MENU: u64 = 256 << 10;
const LARGEST_KERNEL: u64 = 256 << 20;

/// How long what was asked for as the next boot's source holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Enabled {
    #[default]
    Disabled,
    Once,
    Continuous,
}

/// What is booted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Target {
    #[default]
    None,
    /// The image that is inserted.
    Cd,
    /// What the slice says.
    Hdd,
}

/// A system's drive, and what the system boots next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Drive {
    /// Where the image came from that is inserted.
    pub(crate) image: Option<String>,
    pub(crate) enabled: Enabled,
    pub(crate) target: Target,
}

impl Drive {
    /// What the next start boots. As firmware goes on to the next device, so an empty
    /// drive leads to what the slice says.
    fn boots(&self) -> Boots {
        match (self.enabled, self.target, &self.image) {
            (Enabled::Once, Target::Cd, Some(_)) => Boots::Media,
            (Enabled::Continuous, Target::Cd, Some(_)) => Boots::MediaAgain,
            _ => Boots::Slice,
        }
    }
}

type Drives = BTreeMap<String, Drive>;

/// All drives.
pub(crate) struct Media {
    policy: Option<Policy>,
    home: PathBuf,
    drives: Mutex<Drives>,
    gate: Semaphore,
}

/// What became of an insertion.
#[derive(Debug)]
pub(crate) enum Inserted {
    Yes,
    /// The policy names no place that it is below.
    Forbidden,
    Busy,
}

impl Media {
    /// # Errors
    ///
    /// What is kept from before cannot be read.
    pub(crate) fn new(policy: Option<Policy>, state: &Path) -> Result<Self> {
        let home = state.join(FOLDER);
        let drives = match std::fs::read(home.join("drives.json")) {
            Ok(text) => serde_json::from_slice(&text).map_err(|e| {
                let help = "delete it: images are inserted again";
                Error::file("cannot use", &home.join("drives.json"), e, help)
            })?,
            Err(_) => Drives::default(),
        };
        Ok(Self {
            policy,
            home,
            drives: Mutex::new(drives),
            gate: Semaphore::new(AT_A_TIME),
        })
    }

    /// True if there are drives at all.
    pub(crate) fn is_there(&self) -> bool {
        self.policy.is_some()
    }

    /// The drive of a system.
    pub(crate) fn drive(&self, system: &str) -> Drive {
        self.drives().get(system).cloned().unwrap_or_default()
    }

    /// What the next start of a system boots.
    pub(crate) fn boots(&self, system: &str) -> Boots {
        match self.is_there() {
            true => self.drive(system).boots(),
            false => Boots::Slice,
        }
    }

    /// Fetches an image and puts it in a system's drive; what was there goes.
    ///
    /// # Errors
    ///
    /// It cannot be fetched, or nothing in it can be booted.
    pub(crate) async fn insert(&self, system: &str, image: &str) -> Result<Inserted> {
        let policy = self.policy.as_ref();
        let found = policy.and_then(|policy| Some((policy, policy.source(image)?)));
        let Some((policy, source)) = found else {
            return Ok(Inserted::Forbidden);
        };
        let Ok(_permit) = self.gate.try_acquire() else {
            return Ok(Inserted::Busy);
        };
        let fresh = self.home.join(format!("{system}.new"));
        empty(&fresh)?;
        let file = fetch::image(policy, source, &fresh).await?;
        let (to, most) = (fresh.clone(), policy.largest());
        let unpacked = tokio::task::spawn_blocking(move || unpack(file, &to, most)).await;
        let unpacked = unpacked.map_err(|e| useless(e.to_string()))?;
        if let Err(why) = unpacked {
            // Why it was of no use is what is told.
            let _ = std::fs::remove_dir_all(&fresh);
            return Err(why);
        }
        let place = self.home.join(system);
        remove(&place)?;
        std::fs::rename(&fresh, &place).map_err(|e| unwritten(&place, e))?;
        self.change(system, |drive| drive.image = Some(image.to_owned()))?;
        Ok(Inserted::Yes)
    }

    /// Takes the image out of a system's drive.
    ///
    /// # Errors
    ///
    /// Its files cannot be removed.
    pub(crate) fn eject(&self, system: &str) -> Result<()> {
        self.change(system, |drive| drive.image = None)?;
        remove(&self.home.join(system))
    }

    /// Says what a system boots next.
    ///
    /// # Errors
    ///
    /// It cannot be kept.
    pub(crate) fn set(&self, system: &str, enabled: Enabled, target: Target) -> Result<()> {
        self.change(system, |drive| {
            (drive.enabled, drive.target) = (enabled, target);
        })
    }

    /// A system was started: what was to hold for one start is over.
    ///
    /// # Errors
    ///
    /// It cannot be kept.
    pub(crate) fn started(&self, system: &str) -> Result<()> {
        if self.drive(system).enabled != Enabled::Once {
            return Ok(());
        }
        self.set(system, Enabled::Disabled, Target::None)
    }

    fn change(&self, system: &str, change: impl FnOnce(&mut Drive)) -> Result<()> {
        let mut drives = self.drives();
        let mut drive = drives.get(system).cloned().unwrap_or_default();
        change(&mut drive);
        let mut now = drives.clone();
        match drive == Drive::default() {
            true => now.remove(system),
            false => now.insert(system.to_owned(), drive),
        };
        self.keep(&now)?;
        *drives = now;
        Ok(())
    }

    /// Writes all drives down, whole or not at all.
    fn keep(&self, drives: &Drives) -> Result<()> {
        let path = self.home.join("drives.json");
        let kept = std::fs::create_dir_all(&self.home).and_then(|()| {
            let mut file = tempfile::NamedTempFile::new_in(&self.home)?;
            file.write_all(serde_json::json!(drives).to_string().as_bytes())?;
            file.as_file().sync_all()?;
            file.persist(&path).map(drop).map_err(|e| e.error)
        });
        kept.map_err(|e| unwritten(&path, e))
    }

    fn drives(&self) -> MutexGuard<'_, Drives> {
        self.drives.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unwritten(path: &Path, why: std::io::Error) -> Error {
    let help = "its folder has to be there, with room, and of user cellvisor-redfish";
    Error::file("cannot write", path, why, help)
}

fn remove(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(unwritten(folder, e)),
        _ => Ok(()),
    }
}

fn empty(folder: &Path) -> Result<()> {
    remove(folder)?;
    std::fs::create_dir_all(folder).map_err(|e| unwritten(folder, e))
}

fn useless(why: impl Into<String>) -> Error {
    let help = "an ISO 9660 image with a kernel, and a menu of ISOLINUX or GRUB that boots it";
    Error::new("cannot boot the image", why, help)
}

/// Writes what an image boots to files in `folder`, with at most `most` bytes of initial
/// RAM disks.
fn unpack(file: File, folder: &Path, most: u64) -> Result<()> {
    let mut iso = Iso::open(file).map_err(|e| useless(e.to_string()))?;
    let entry = bootable(&mut iso).map_err(|e| useless(e.to_string()))?;
    let entry =
        entry.ok_or_else(|| useless("no menu names a kernel, and none is in a usual place"))?;
    if !entry::is_command_line(&entry.words) {
        return Err(useless("its command line is too long, or no plain text"));
    }
    write(&folder.join(WORDS), |to| {
        to.write_all(entry.words.as_bytes())
    })?;
    let mut copy = |path: &str, to: &mut File, most: u64| {
        let found = iso.find(path)?;
        let found = found.ok_or_else(|| std::io::Error::other(format!("{path} is not in it")))?;
        iso.copy(found, most, to).map(|()| found.size)
    };
    write(&folder.join(KERNEL), |to| {
        copy(&entry.kernel, to, LARGEST_KERNEL).map(drop)
    })?;
    if entry.initrds.is_empty() {
        return Ok(());
    }
    write(&folder.join(INITRD), |to| {
        let mut left = most;
        for path in &entry.initrds {
            let size = copy(path, to, left)?;
            left -= size;
            // Archives in it begin at multiples of four.
            to.write_all(&[0; 3][..(size.next_multiple_of(4) - size) as usize])?;
        }
        Ok(())
    })
}

/// What an image boots, if anything.
fn bootable<F: std::io::Read + std::io::Seek>(iso: &mut Iso<F>) -> std::io::Result<Option<Entry>> {
    for menu in entry::MENUS {
        let Some(found) = iso.find(menu)? else {
            continue;
        };
        let text = iso.read(found, MENU)?;
        if let Some(entry) = entry::of_menu(menu, &String::from_utf8_lossy(&text)) {
            return Ok(Some(entry));
        }
    }
    for (kernel, initrd) in entry::PLACES {
        if iso.find(kernel)?.is_some() && iso.find(initrd)?.is_some() {
            return Ok(Some(Entry::of(kernel, initrd)));
        }
    }
    Ok(None)
}

fn write(path: &Path, fill: impl FnOnce(&mut File) -> std::io::Result<()>) -> Result<()> {
    let mut file = File::create(path).map_err(|e| unwritten(path, e))?;
    fill(&mut file).map_err(|e| useless(e.to_string()))
}

#[cfg(test)]
mod tests;
