//! Where file systems begin on a disk: its partitions, of a GPT or an MBR, and what
//! an ext4 file system says of itself. Disks come from anywhere: nothing they say is
//! believed before it is checked.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes of a sector; images for disks with others are rare, and none of clouds'.
const SECTOR: u64 = 512;

/// Most partitions that are looked at.
const MOST: u32 = 128;

/// Sizes of a GPT's entries that are believed.
const ENTRY: std::ops::RangeInclusive<u32> = 128..=512;

/// An ext2, ext3 or ext4 file system on a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ext4 {
    /// Where it begins, in bytes.
    pub(super) offset: u64,
    /// Its UUID, as Linux writes it.
    pub(super) uuid: String,
}

/// The ext4 file systems of a disk, in their order on it: that which fills it, or
/// those of its partitions.
///
/// # Errors
///
/// What the disk says when it is read.
pub(super) fn file_systems(disk: &File) -> io::Result<Vec<Ext4>> {
    let mut offsets = vec![0];
    offsets.extend(partitions(disk)?);
    let mut found = Vec::new();
    for offset in offsets {
        found.extend(ext4(disk, offset)?);
    }
    Ok(found)
}

/// Reads `N` bytes; zeros where the disk has no more.
fn read<const N: usize>(disk: &File, offset: u64) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    match disk.read_exact_at(&mut bytes, offset) {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok([0; N]),
        done => done.map(|()| bytes),
    }
}

/// A number of `N` bytes in little-endian order at `at`.
fn number<const N: usize>(bytes: &[u8], at: usize) -> u64 {
    let field = bytes.get(at..).and_then(|rest| rest.get(..N));
    let digits = field.unwrap_or_default().iter().rev();
    digits.fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// Where partitions begin, in bytes.
///
/// Spec: UEFI "GUID Partition Table (GPT) Disk Layout".
fn partitions(disk: &File) -> io::Result<Vec<u64>> {
    let header: [u8; 92] = read(disk, SECTOR)?;
    if header.starts_with(b"EFI PART") {
        return gpt(disk, &header);
    }
    let boot: [u8; 512] = read(disk, 0)?;
    if !boot.ends_with(&[0x55, 0xaa]) {
        return Ok(Vec::new());
    }
    let begins = (0..4).map(|n| 446 + 16 * n).filter_map(|entry| {
        let kind = number::<1>(&boot, entry + 4);
        (kind != 0).then(|| number::<4>(&boot, entry + 8) * SECTOR)
    });
    Ok(begins.filter(|begin| *begin != 0).collect())
}

fn gpt(disk: &File, header: &[u8]) -> io::Result<Vec<u64>> {
    let table = number::<8>(header, 72).checked_mul(SECTOR);
    let count = number::<4>(header, 80).min(u64::from(MOST));
    let size = u32::try_from(number::<4>(header, 84)).unwrap_or_default();
    let (Some(table), true) = (table, ENTRY.contains(&size)) else {
        return Ok(Vec::new());
    };
    let mut begins = Vec::new();
    for entry in 0..count {
        let Some(at) = table.checked_add(entry * u64::from(size)) else {
            break;
        };
        let entry: [u8; 128] = read(disk, at)?;
        let used = entry.iter().take(16).any(|byte| *byte != 0);
        let begin = number::<8>(&entry, 32).checked_mul(SECTOR);
        begins.extend(begin.filter(|begin| used && *begin != 0));
    }
    Ok(begins)
}

/// The ext4 file system that begins at `offset`, if there is one.
///
/// Spec: Linux "ext4 Data Structures and Algorithms", "Super Block".
fn ext4(disk: &File, offset: u64) -> io::Result<Option<Ext4>> {
    let Some(at) = offset.checked_add(1024).filter(|at| *at < i64::MAX as u64) else {
        return Ok(None);
    };
    let block: [u8; 0x78] = read(disk, at)?;
    if number::<2>(&block, 0x38) != 0xef53 {
        return Ok(None);
    }
    let uuid = block.get(0x68..).unwrap_or_default().iter();
    let uuid = uuid.enumerate().map(|(at, byte)| {
        let dash = if matches!(at, 4 | 6 | 8 | 10) {
            "-"
        } else {
            ""
        };
        format!("{dash}{byte:02x}")
    });
    Ok(Some(Ext4 {
        offset,
        uuid: uuid.collect(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A disk with these bytes at these places.
    fn disk(parts: &[(u64, &[u8])]) -> File {
        let file = tempfile::tempfile().expect("a file");
        for (at, bytes) in parts {
            file.write_all_at(bytes, *at).expect("writes");
        }
        file
    }

    /// A super block with a UUID of this byte alone.
    fn super_block(uuid: u8) -> Vec<u8> {
        let mut block = vec![0; 1024];
        block[0x38..0x3a].copy_from_slice(&[0x53, 0xef]);
        block[0x68..0x78].fill(uuid);
        block
    }

    fn found(disk: &File) -> Vec<(u64, String)> {
        let all = file_systems(disk).expect("reads");
        all.into_iter().map(|fs| (fs.offset, fs.uuid)).collect()
    }

    #[test]
    fn file_system_may_fill_the_disk() {
        let disk = disk(&[(1024, &super_block(0xab))]);
        let uuid = "abababab-abab-abab-abab-abababababab".to_owned();
        assert_eq!(found(&disk), [(0, uuid)]);
    }

    #[test]
    fn partitions_of_a_gpt_and_of_an_mbr_are_looked_into() {
        let mut header = b"EFI PART".to_vec();
        header.resize(92, 0);
        header[72] = 2;
        header[80] = 3;
        header[84] = 128;
        let mut entries = vec![0; 3 * 128];
        // The second entry is not used, the third is no ext4.
        for (entry, sector) in [(0, 8u8), (2, 100)] {
            entries[entry * 128] = 1;
            entries[entry * 128 + 32] = sector;
        }
        let block = super_block(1);
        let gpt = disk(&[(512, &header), (1024, &entries), (8 * 512 + 1024, &block)]);
        assert_eq!(found(&gpt).len(), 1);
        assert_eq!(found(&gpt)[0].0, 8 * 512);

        let mut boot = vec![0; 512];
        boot[446 + 16 + 4] = 0x83;
        boot[446 + 16 + 8] = 4;
        boot[510..].copy_from_slice(&[0x55, 0xaa]);
        let mbr = disk(&[(0, &boot), (4 * 512 + 1024, &block)]);
        assert_eq!(found(&mbr)[0].0, 4 * 512);
    }

    proptest! {
        /// Whatever a disk says, it is read without a panic and in bounded time.
        #[test]
        fn any_table_is_read(header in prop::collection::vec(any::<u8>(), 84), gpt in any::<bool>()) {
            let mut sector = b"EFI PART".to_vec();
            sector.extend(&header);
            if !gpt {
                sector[0] = 0;
            }
            let disk = disk(&[(512, &sector), (446, &header[..64]), (510, &[0x55, 0xaa])]);
            prop_assert!(found(&disk).is_empty());
        }
    }
}
