//! `image import`: a disk image that was downloaded, raw or qcow2.
//!
//! Its format is told by its first bytes and given to `qemu-img`, which therefore
//! never guesses: a raw image whose system has written a qcow2 header into it must not
//! have a file of this machine read.

use super::place::{Place, Target};
use super::tools::{Scratch, Tools};
use super::{Made, finish, place};
use crate::cli;
use crate::error::{Error, Result};
use crate::output::size;
use crate::sysfs::Sysfs;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// What fails.
pub(super) const WHAT: &str = "cannot import a disk image";

/// Bytes that are copied at a time.
const CHUNK: usize = 1 << 20;

/// Beginnings of files that hold images in another form, and what to do first.
const OTHERS: [(&[u8], &str, &str); 6] = [
    (b"\xfd7zXZ\0", "is packed by xz", "xz -dk FILE"),
    (b"\x1f\x8b", "is packed by gzip", "gzip -dk FILE"),
    (b"\x28\xb5\x2f\xfd", "is packed by zstd", "zstd -d FILE"),
    (b"PK\x03\x04", "is packed by zip", "unzip FILE"),
    (b"KDMV", "is a VMDK", "qemu-img convert -O qcow2 FILE NEW"),
    (
        b"vhdxfile",
        "is a VHDX",
        "qemu-img convert -O qcow2 FILE NEW",
    ),
];

/// What an image is, and how large the disk in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Raw(u64),
    Qcow2(u64),
}

/// Takes the image over.
///
/// # Errors
///
/// What is wrong with it or missing here, before anything is done; what failed, after
/// which no file is left, and a namespace holds nothing of use.
pub(super) fn import(options: &cli::ImageImport, linux: &Sysfs, tools: &Tools) -> Result<Made> {
    let image = &options.file;
    let place = Place::of(&options.place, linux, WHAT)?;
    let format = format(image)?;
    tools.need(&["debugfs"])?;
    let (Format::Raw(bytes) | Format::Qcow2(bytes)) = format;
    if let Target::Device(path, room) = &place.target
        && *room < bytes
    {
        let why = format!(
            "{} has {}, the disk {}",
            path.display(),
            size(*room),
            size(bytes)
        );
        return Err(Error::new(WHAT, why, "name a larger namespace"));
    }
    let scratch = Scratch::new(&place.folder)?;
    let disk = place.disk(&scratch);
    match format {
        Format::Raw(_) => copy(image, &disk)?,
        Format::Qcow2(_) => {
            let words = ["convert", "-f", "qcow2", "-O", "raw"];
            let mut convert = tools.command("qemu-img", words)?;
            if matches!(place.target, Target::Device(..)) {
                convert.arg("-n");
            }
            convert.args([image, &disk]);
            tools.run(convert)?;
        }
    }
    debug_assert!(place::size_of(&disk)? >= bytes);
    finish(&place, &scratch, tools)
}

/// What the file is, by its beginning.
fn format(image: &Path) -> Result<Format> {
    let refused =
        |why: &str, help: &str| Err(Error::new(WHAT, format!("{} {why}", image.display()), help));
    let failed = |e| Error::file("cannot read", image, &e, "check the path");
    let mut head = Vec::new();
    let file = File::open(image).map_err(failed)?;
    (&file).take(104).read_to_end(&mut head).map_err(failed)?;
    if let Some((_, why, help)) = OTHERS.iter().find(|(begin, ..)| head.starts_with(begin)) {
        let help = format!(
            "first: {}",
            help.replace("FILE", &image.display().to_string())
        );
        return refused(why, &help);
    }
    if !head.starts_with(b"QFI\xfb") {
        return Ok(Format::Raw(place::size_of(image)?));
    }
    // Spec: QEMU "qcow2 format", "Header"; big-endian.
    let number = |at: usize| {
        let field = head.get(at..).and_then(|rest| rest.first_chunk::<8>());
        field.map_or(0, |bytes| u64::from_be_bytes(*bytes))
    };
    let version = number(0) & 0xffff_ffff;
    let outside = version > 2 && number(72) & 1 << 2 != 0;
    if number(8) != 0 || outside {
        return refused(
            "is a qcow2 that has data in another file",
            "make one of both, if you trust it: qemu-img convert -O qcow2 FILE NEW",
        );
    }
    Ok(Format::Qcow2(number(24)))
}

/// Copies an image to a new file, where zeros become holes, or to a device.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let source = File::open(from).map_err(|e| Error::file("cannot read", from, &e, "check it"))?;
    let sparse = !to.exists();
    let target = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(to);
    target
        .and_then(|target| copy_bytes(source, &target, sparse))
        .map_err(|e| Error::file("cannot write", to, &e, "make room there"))
}

fn copy_bytes(mut source: File, target: &File, sparse: bool) -> io::Result<()> {
    let mut chunk = Vec::with_capacity(CHUNK);
    let mut done = 0;
    loop {
        chunk.clear();
        (&mut source).take(CHUNK as u64).read_to_end(&mut chunk)?;
        if chunk.is_empty() {
            break;
        }
        if !sparse || chunk.iter().any(|byte| *byte != 0) {
            target.write_all_at(&chunk, done)?;
        }
        done += chunk.len() as u64;
    }
    if sparse {
        target.set_len(done)?;
    }
    target.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn told(head: &[u8]) -> Result<Format> {
        let dir = tempfile::tempdir().expect("temporary folder");
        let path = dir.path().join("image");
        fs::write(&path, head).expect("writes");
        format(&path)
    }

    /// A qcow2 header of version 3 for a disk of 3 GiB.
    fn qcow2() -> Vec<u8> {
        let mut head = b"QFI\xfb\0\0\0\x03".to_vec();
        head.resize(104, 0);
        head[24..32].copy_from_slice(&(3u64 << 30).to_be_bytes());
        head
    }

    #[test]
    fn formats_are_known_by_their_beginnings() {
        assert_eq!(told(&qcow2()).expect("good"), Format::Qcow2(3 << 30));
        assert_eq!(told(&[0; 2048]).expect("good"), Format::Raw(2048));
        let packed = told(b"\xfd7zXZ\0\0").expect_err("packed").to_string();
        assert!(
            packed.contains("is packed by xz") && packed.contains("xz -dk"),
            "{packed}"
        );
    }

    #[test]
    fn image_that_would_read_another_file_is_refused() {
        let mut backed = qcow2();
        backed[15] = 104;
        let mut outside = qcow2();
        outside[79] = 1 << 2;
        for head in [backed, outside] {
            let error = told(&head).expect_err("two files").to_string();
            assert!(error.contains("data in another file"), "{error}");
        }
    }

    #[test]
    fn copy_is_the_same_and_has_holes() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        let mut bytes = vec![0; 3 * CHUNK + 7];
        bytes[CHUNK] = 1;
        fs::write(&from, &bytes).expect("writes");
        copy(&from, &to).expect("copies");
        assert!(fs::read(&to).expect("reads") == bytes);
        let blocks = std::os::unix::fs::MetadataExt::blocks(&fs::metadata(&to).expect("there"));
        assert!(blocks * 512 <= 2 * CHUNK as u64, "{blocks}");
    }
}
