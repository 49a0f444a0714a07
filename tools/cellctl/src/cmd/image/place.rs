//! Where an image goes: to a new file, or into a namespace.

use super::boot::plain;
use super::tools::Scratch;
use crate::cli;
use crate::error::{Error, Result};
use crate::sysfs::Sysfs;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf, absolute};

/// Bytes at a namespace's beginning that are looked at: tables of partitions and
/// all usual file systems have something there.
const BEGINNING: usize = 1 << 20;

/// What the disk becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// A file that is not there yet.
    File(PathBuf),
    /// A namespace's block device, and its size in bytes.
    Device(PathBuf, u64),
}

/// Where all of an image goes.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) target: Target,
    /// The folder of kernel and initial RAM disk, and of all that is made on the way.
    pub(super) folder: PathBuf,
    /// What their names begin with.
    stem: String,
}

impl Place {
    /// The place that the command line names, after a look at it.
    ///
    /// # Errors
    ///
    /// A file of one of the names is there; no namespace has the number, or several; the
    /// device is in use, or something is in it that may not be lost.
    pub(super) fn of(options: &cli::ImagePlace, linux: &Sysfs, what: &str) -> Result<Self> {
        let refused = |why: String, help: &str| Err(Error::new(what, why, help));
        let device = options.namespace.as_deref();
        let device = device
            .map(|named| device_of(named, linux, what))
            .transpose()?;
        let failed = |path: &Path, e| Error::file("cannot use", path, &e, "check the path");
        let named = device.as_ref().or(options.out.as_ref());
        let named = named.map(PathBuf::as_path).unwrap_or(Path::new(""));
        let path = absolute(named).map_err(|e| failed(named, e))?;
        let beside = match &device {
            None => path.parent().unwrap_or(Path::new("/")),
            Some(_) => &options.boot,
        };
        let folder = fs::canonicalize(beside).map_err(|e| failed(beside, e))?;
        let stem = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let is_plain = |path: &Path| path.to_str().is_some_and(plain);
        if !is_plain(&folder) || !is_plain(&path) || stem.is_empty() {
            let why = format!(
                "{} has characters that debugfs does not take",
                path.display()
            );
            return refused(why, "take letters, digits, - and _ for files and folders");
        }
        let target = match device {
            Some(_) => Target::Device(path.clone(), vacant(&path, options.replace, what)?),
            None => Target::File(folder.join(path.file_name().unwrap_or_default())),
        };
        let place = Self {
            target,
            folder,
            stem,
        };
        let mut names = vec![place.beside("vmlinuz"), place.beside("initrd")];
        if let Target::File(file) = &place.target {
            names.push(file.clone());
        }
        match names.iter().find(|name| name.symlink_metadata().is_ok()) {
            Some(name) => refused(
                format!("{} is there already", name.display()),
                "take another name, or move it away",
            ),
            None => Ok(place),
        }
    }

    /// The file or the device.
    pub(super) fn path(&self) -> &Path {
        match &self.target {
            Target::File(path) | Target::Device(path, _) => path,
        }
    }

    /// A file beside the disk.
    pub(super) fn beside(&self, end: &str) -> PathBuf {
        self.folder.join(format!("{}.{end}", self.stem))
    }

    /// Where the disk is until all is ready.
    pub(super) fn disk(&self, scratch: &Scratch) -> PathBuf {
        match &self.target {
            Target::File(_) => scratch.0.join("disk.img"),
            Target::Device(path, _) => path.clone(),
        }
    }
}

/// The block device of a namespace that is named by it or by a number.
fn device_of(named: &Path, linux: &Sysfs, what: &str) -> Result<PathBuf> {
    let Some(number) = named.to_str().and_then(|text| text.parse().ok()) else {
        return Ok(named.to_owned());
    };
    let mut disks = linux.namespaces(number);
    let (why, help) = match (disks.pop(), disks.is_empty()) {
        (Some(only), true) => return Ok(only),
        (Some(last), false) => {
            disks.push(last);
            let names: Vec<_> = disks
                .iter()
                .map(|disk| disk.display().to_string())
                .collect();
            (
                format!("namespace {number} may be {}", names.join(" or ")),
                "name the device",
            )
        }
        (None, _) => (
            format!("no namespace of this Linux has the number {number}"),
            "name a device, as `lsblk` shows them; one that a cell has is not this Linux's",
        ),
    };
    Err(Error::new(what, why, help))
}

/// The size of a file or a block device, in bytes.
pub(super) fn size_of(path: &Path) -> Result<u64> {
    let size = File::open(path).and_then(|mut file| file.seek(SeekFrom::End(0)));
    size.map_err(|e| Error::file("cannot read", path, &e, "check the path"))
}

/// The size of a block device that nobody uses, and that is empty unless `replace` says
/// that what is in it may go.
fn vacant(path: &Path, replace: bool, what: &str) -> Result<u64> {
    let refused = |why: &str, help: &str| {
        let why = format!("{} {why}", path.display());
        Err(Error::new(what, why, help))
    };
    match fs::metadata(path) {
        Ok(found) if !found.file_type().is_block_device() => {
            return refused(
                "is no block device",
                "name a namespace as Linux shows it, such as /dev/nvme0n1",
            );
        }
        _ => {}
    }
    // Nobody else has it mounted, or holds it, if it opens so.
    let device = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_EXCL)
        .open(path);
    let mut device = match device {
        Err(e) if e.kind() == io::ErrorKind::ResourceBusy => {
            return refused("is in use", "unmount it, or name another");
        }
        opened => opened.map_err(|e| Error::file("cannot open", path, &e, "run this as root"))?,
    };
    let failed = |e| Error::file("cannot read", path, &e, "check the device");
    let size = device.seek(SeekFrom::End(0)).map_err(failed)?;
    if !replace && !is_empty(&device).map_err(failed)? {
        return refused(
            "has something in it",
            "if nobody needs that, add --replace; it is lost then",
        );
    }
    Ok(size)
}

/// True if a device begins with nothing but zeros.
fn is_empty(device: &File) -> io::Result<bool> {
    let mut beginning = vec![0; BEGINNING];
    let count = device.read_at(&mut beginning, 0)?;
    Ok(beginning.iter().take(count).all(|byte| *byte == 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(out: &Path) -> Result<Place> {
        let options = cli::ImagePlace {
            out: Some(out.to_owned()),
            namespace: None,
            boot: PathBuf::from("."),
            replace: false,
        };
        Place::of(&options, &Sysfs::new("/"), "cannot make an image")
    }

    #[test]
    fn nothing_that_is_there_is_replaced() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let out = dir.path().join("web.img");
        let good = place(&out).expect("free");
        assert!(good.beside("vmlinuz").ends_with("web.vmlinuz"));
        for name in ["web.vmlinuz", "web.initrd", "web.img"] {
            let path = dir.path().join(name);
            fs::write(&path, "").expect("writes");
            let told = place(&out).expect_err("is there").to_string();
            assert!(told.contains(&format!("{name} is there already")), "{told}");
            fs::remove_file(&path).expect("removes");
        }
        let odd = place(&dir.path().join("a b.img")).expect_err("two words");
        assert!(odd.to_string().contains("debugfs does not take"), "{odd}");
        assert!(place(&dir.path().join("none/web.img")).is_err());
    }

    #[test]
    fn only_block_devices_are_namespaces() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let file = dir.path().join("nvme0n1");
        fs::write(&file, "").expect("writes");
        let told = vacant(&file, true, "cannot make an image").expect_err("a file");
        assert!(told.to_string().contains("is no block device"), "{told}");
        assert!(vacant(&dir.path().join("none"), true, "cannot").is_err());
    }

    #[test]
    fn number_names_the_one_namespace_that_has_it() {
        let dir = tempfile::tempdir().expect("temporary folder");
        for (path, id) in [
            ("nvme0/nvme0n1", 1),
            ("nvme0/nvme0n2", 2),
            ("nvme1/nvme1n1", 1),
        ] {
            let folder = dir.path().join("sys/class/nvme").join(path);
            fs::create_dir_all(&folder).expect("makes");
            fs::write(folder.join("nsid"), format!("{id}\n")).expect("writes");
        }
        let linux = Sysfs::new(dir.path());
        let of = |named: &str| device_of(Path::new(named), &linux, "cannot make an image");
        assert_eq!(of("2").expect("one"), dir.path().join("dev/nvme0n2"));
        assert_eq!(
            of("/dev/nvme7n7").expect("a name"),
            Path::new("/dev/nvme7n7")
        );
        let told = of("1").expect_err("two").to_string();
        assert!(
            told.contains("nvme0n1 or ") && told.contains("nvme1n1"),
            "{told}"
        );
        let told = of("3").expect_err("none").to_string();
        assert!(told.contains("has the number 3"), "{told}");
    }

    #[test]
    fn a_device_is_empty_if_it_begins_with_zeros() {
        let file = tempfile::tempfile().expect("a file");
        file.set_len(2 << 20).expect("grows");
        assert!(is_empty(&file).expect("reads"));
        file.write_all_at(&[1], BEGINNING as u64 - 1)
            .expect("writes");
        assert!(!is_empty(&file).expect("reads"));
    }
}
