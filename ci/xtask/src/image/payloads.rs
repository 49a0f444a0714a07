//! What cells boot other than a distribution's bzImage: the `vmlinux` in one,
//! programs of other packages, bare-metal programs of the repository.

use super::archive::{Archive, Mode};
use crate::build::bare;
use crate::paths::{Paths, read};
use crate::scenario::Cells;
use crate::setup::{kernels, payload};
use anyhow::{Context, Result, bail, ensure};
use std::path::Path;
use std::process::{Command, Stdio};

/// Adds them to a folder of an image.
pub(super) fn add(paths: &Paths, image: &mut Archive, dir: &str, cells: &Cells) -> Result<()> {
    if cells.vmlinux {
        let kernel = cells.kernels.first().context("vmlinux of no kernel")?;
        let file = kernels::files(paths, *kernel)?.image;
        let content = vmlinux(paths, &file)?;
        image.file(&format!("{dir}/vmlinux"), &content, Mode::Plain)?;
    }
    for wish in &cells.package_files {
        let file = payload::file(paths, wish)?;
        let name = file.file_name().and_then(|name| name.to_str());
        let name = name.with_context(|| format!("{wish} names no file"))?;
        image.file(&format!("{dir}/{name}"), &read(&file)?, Mode::Plain)?;
    }
    for name in &cells.bare {
        let file = bare::build(paths, name)?;
        image.file(&format!("{dir}/{name}"), &read(&file)?, Mode::Plain)?;
    }
    Ok(())
}

/// Unpacks the ELF file that a bzImage's decompressor would unpack.
fn vmlinux(paths: &Paths, image: &Path) -> Result<Vec<u8>> {
    let bytes = read(image)?;
    let part = payload_of(&bytes)
        .with_context(|| format!("{} has no payload where its header says", image.display()))?;
    let packed = paths.images().join("vmlinux.packed");
    std::fs::write(&packed, part).with_context(|| format!("cannot write {}", packed.display()))?;
    let (program, words) = unpacker(part)?;
    // What stands behind the payload, its unpacked size, is no error of it.
    let output = Command::new(program)
        .args(words)
        .arg(&packed)
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {program}: run `cargo xtask setup`"))?;
    let elf = output.stdout;
    ensure!(
        elf.starts_with(b"\x7fELF"),
        "{program} finds no ELF file in {}",
        image.display()
    );
    Ok(elf)
}

/// The packed kernel (Linux, "The Linux/x86 Boot Protocol": `payload_offset`,
/// `payload_length`).
fn payload_of(image: &[u8]) -> Option<&[u8]> {
    let number = |at: usize| {
        let bytes = image.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    };
    let sectors = match image.get(0x1f1)? {
        0 => 4,
        sectors => usize::from(*sectors),
    };
    let start = (sectors + 1) * 512 + number(0x248)?;
    image.get(start..start.checked_add(number(0x24c)?)?)
}

/// The program that unpacks what starts so, and its arguments.
fn unpacker(packed: &[u8]) -> Result<(&'static str, &'static [&'static str])> {
    if packed.starts_with(b"\xfd7zXZ\0") {
        return Ok(("xz", &["--single-stream", "-dc"]));
    }
    if packed.starts_with(b"\x28\xb5\x2f\xfd") {
        return Ok(("zstd", &["-dcq"]));
    }
    bail!("the kernel is packed neither with xz nor with zstd")
}

#[cfg(test)]
mod tests {
    use super::payload_of;

    #[test]
    fn payload_is_where_the_header_says_or_nowhere() {
        let mut image = vec![0; 2048];
        image[0x1f1] = 1;
        image[0x248..0x24c].copy_from_slice(&16u32.to_le_bytes());
        image[0x24c..0x250].copy_from_slice(&4u32.to_le_bytes());
        image[1040..1044].copy_from_slice(b"pack");
        assert_eq!(payload_of(&image), Some(&b"pack"[..]));
        image[0x24c..0x250].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(payload_of(&image), None);
        assert_eq!(payload_of(b"MZ"), None);
    }
}
