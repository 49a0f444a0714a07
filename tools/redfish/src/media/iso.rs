//! Files of an ISO 9660 image, read and not mounted: an image is anybody's bytes, and a
//! kernel that mounts them is everybody's.
//!
//! Names are Rock Ridge's where there are such, and told apart without regard to case.
//!
//! Spec: ECMA-119 "Volume and File Structure of CDROM for Information Interchange" (8.4
//! Primary Volume Descriptor, 9.1 Directory Record); IEEE P1282 "Rock Ridge Interchange
//! Protocol" (NM).

use std::io::{self, Read, Seek, SeekFrom, Write};

/// Bytes of a sector: descriptors and folders are whole ones.
const SECTOR: u64 = 2048;

/// Where volume descriptors begin, and how many are looked at.
const DESCRIPTORS: std::ops::Range<u64> = 16..48;

/// Bytes of a folder at most: some 20,000 names.
const FOLDER: u64 = 1 << 20;

/// What a directory record says of itself.
const IS_FOLDER: u8 = 1 << 1;
const GOES_ON: u8 = 1 << 7;

/// A file or a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    at: u64,
    pub(crate) size: u64,
    flags: u8,
}

impl Entry {
    /// A directory record's.
    fn of(record: &[u8]) -> Option<Self> {
        Some(Self {
            at: u64::from(word(record, 2)?) * SECTOR,
            size: word(record, 10)?.into(),
            flags: *record.get(25)?,
        })
    }

    fn is_folder(self) -> bool {
        self.flags & IS_FOLDER != 0
    }
}

/// An image.
pub(crate) struct Iso<F> {
    file: F,
    root: Entry,
}

fn bad(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// A number of 32 bits, as it stands first of its two forms.
fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes(*bytes))
}

impl<F: Read + Seek> Iso<F> {
    /// # Errors
    ///
    /// It is no such image, or cannot be read.
    pub(crate) fn open(mut file: F) -> io::Result<Self> {
        let mut sector = [0; SECTOR as usize];
        for number in DESCRIPTORS {
            file.seek(SeekFrom::Start(number * SECTOR))?;
            file.read_exact(&mut sector)
                .map_err(|_| bad("it is no ISO 9660 image"))?;
            match (sector[0], &sector[1..6]) {
                (1, b"CD001") => {
                    let root = Entry::of(&sector[156..190]).ok_or_else(|| bad("it has no root"))?;
                    return Ok(Self { file, root });
                }
                (255, b"CD001") => break,
                (_, b"CD001") => {}
                _ => return Err(bad("it is no ISO 9660 image")),
            }
        }
        Err(bad("it has no primary volume descriptor"))
    }

    /// The file at a path, if it is there.
    ///
    /// # Errors
    ///
    /// A folder on the way cannot be read, or is too large.
    pub(crate) fn find(&mut self, path: &str) -> io::Result<Option<Entry>> {
        let mut at = self.root;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            if !at.is_folder() {
                return Ok(None);
            }
            let folder = self.read(at, FOLDER)?;
            match named(&folder, name) {
                Some(entry) => at = entry,
                None => return Ok(None),
            }
        }
        match at.flags & (IS_FOLDER | GOES_ON) {
            0 => Ok(Some(at)),
            GOES_ON => Err(bad("a file of it is in several pieces")),
            _ => Ok(None),
        }
    }

    /// A file's bytes, at most `most`.
    ///
    /// # Errors
    ///
    /// There are more, or fewer than it says.
    pub(crate) fn read(&mut self, entry: Entry, most: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.copy(entry, most, &mut bytes)?;
        Ok(bytes)
    }

    /// Copies a file of at most `most` bytes.
    ///
    /// # Errors
    ///
    /// As [`Self::read`]; they cannot be written.
    pub(crate) fn copy(&mut self, entry: Entry, most: u64, to: &mut impl Write) -> io::Result<()> {
        if entry.size > most {
            return Err(bad("a file or folder of it is too large"));
        }
        self.file.seek(SeekFrom::Start(entry.at))?;
        let copied = io::copy(&mut (&mut self.file).take(entry.size), to)?;
        match copied == entry.size {
            true => Ok(()),
            false => Err(bad("it ends within a file: it is not whole")),
        }
    }
}

/// The entry of this name in a folder's bytes.
fn named(folder: &[u8], name: &str) -> Option<Entry> {
    // No record crosses sectors: a zero length ends one.
    folder.chunks(SECTOR as usize).find_map(|sector| {
        let mut rest = sector;
        while let Some((length, record)) = rest.first().and_then(|length| {
            let length = usize::from(*length);
            Some((length, rest.get(..length)?)).filter(|(length, _)| *length > 33)
        }) {
            if is_called(record, name.as_bytes()) {
                return Entry::of(record);
            }
            rest = &rest[length..];
        }
        None
    })
}

/// True if a record's name is this one.
fn is_called(record: &[u8], name: &[u8]) -> bool {
    let length = usize::from(record[32]);
    let Some(own) = record.get(33..33 + length) else {
        return false;
    };
    // A zero byte makes the name's length even.
    let system_use = record.get(33 + length + usize::from(length.is_multiple_of(2))..);
    match system_use.map(rock_ridge) {
        Some(longer) if !longer.is_empty() => longer.eq_ignore_ascii_case(name),
        _ => plain(own).eq_ignore_ascii_case(name),
    }
}

/// A name without its version, and without the dot of an empty extension.
fn plain(name: &[u8]) -> &[u8] {
    let end = name.iter().position(|byte| *byte == b';');
    let name = &name[..end.unwrap_or(name.len())];
    name.strip_suffix(b".").unwrap_or(name)
}

/// Rock Ridge's name: the parts that are in the record itself.
fn rock_ridge(mut fields: &[u8]) -> Vec<u8> {
    let mut name = Vec::new();
    while let [kind @ .., length, _version] = fields.get(..4).unwrap_or_default() {
        let length = usize::from(*length);
        let Some(field) = fields.get(..length).filter(|_| length >= 4) else {
            break;
        };
        if kind == b"NM" {
            name.extend_from_slice(field.get(5..).unwrap_or_default());
        }
        fields = &fields[length..];
    }
    name
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Cursor;

    fn both(number: u32) -> [u8; 8] {
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&number.to_le_bytes());
        bytes[4..].copy_from_slice(&number.to_be_bytes());
        bytes
    }

    fn record(name: &[u8], longer: &str, at: u32, size: u32, flags: u8) -> Vec<u8> {
        let mut record = vec![0, 0];
        record.extend(both(at));
        record.extend(both(size));
        record.extend([0; 7]);
        record.push(flags);
        record.extend([0; 6]);
        record.push(name.len() as u8);
        record.extend(name);
        if name.len().is_multiple_of(2) {
            record.push(0);
        }
        if !longer.is_empty() {
            record.extend([b'N', b'M', 5 + longer.len() as u8, 1, 0]);
            record.extend(longer.as_bytes());
        }
        if record.len() % 2 == 1 {
            record.push(0);
        }
        record[0] = record.len() as u8;
        record
    }

    /// An image with these files, in at most one folder each.
    pub(crate) fn image(files: &[(&str, &[u8])]) -> Vec<u8> {
        let sectors = |bytes: &[u8]| bytes.len().div_ceil(SECTOR as usize).max(1) as u32;
        let folders: std::collections::BTreeSet<_> = files
            .iter()
            .filter_map(|(path, _)| Some(path.split_once('/')?.0))
            .collect();
        let mut root = Vec::new();
        let (root_at, mut at) = (18, 19 + folders.len() as u32);
        let mut inner = vec![Vec::new(); folders.len()];
        let mut data = Vec::new();
        for (path, bytes) in files {
            let (folder, name) = path.split_once('/').unwrap_or(("", path));
            let short = format!("{}.;1", name.to_uppercase().replace('.', "_"));
            let entry = record(short.as_bytes(), name, at, bytes.len() as u32, 0);
            match folders.iter().position(|known| *known == folder) {
                Some(index) => inner[index].extend(entry),
                None => root.extend(entry),
            }
            data.extend_from_slice(bytes);
            data.resize((data.len()).next_multiple_of(SECTOR as usize), 0);
            if bytes.is_empty() {
                data.resize(data.len() + SECTOR as usize, 0);
            }
            at += sectors(bytes);
        }
        for (index, folder) in folders.iter().enumerate() {
            let upper = folder.to_uppercase();
            let place = 19 + index as u32;
            root.extend(record(
                upper.as_bytes(),
                "",
                place,
                SECTOR as u32,
                IS_FOLDER,
            ));
        }
        let mut image = vec![0; 16 * SECTOR as usize];
        let mut sector = |mut bytes: Vec<u8>| {
            bytes.resize(SECTOR as usize, 0);
            image.extend(bytes);
        };
        let mut primary = vec![0; 156];
        primary[0] = 1;
        primary[1..6].copy_from_slice(b"CD001");
        primary.extend(record(&[0], "", root_at, SECTOR as u32, IS_FOLDER));
        sector(primary);
        sector([&[255], &b"CD001"[..]].concat());
        sector(root);
        inner.into_iter().for_each(&mut sector);
        image.extend(data);
        image
    }

    #[test]
    fn files_are_found_by_either_name() {
        let bytes = image(&[("vmlinuz", b"kernel"), ("boot/initrd.img", b"disk")]);
        let mut iso = Iso::open(Cursor::new(bytes)).expect("an image");
        for (path, content) in [
            ("/vmlinuz", b"kernel".to_vec()),
            ("VMLINUZ", b"kernel".to_vec()),
            ("/boot/initrd.img", b"disk".to_vec()),
            ("/BOOT/Initrd.img", b"disk".to_vec()),
        ] {
            let entry = iso.find(path).expect("folders").expect(path);
            assert_eq!(iso.read(entry, 100).expect("bytes"), content);
        }
        for path in ["", "/boot", "/boot/initrd", "/vmlinuz/x", "/x"] {
            assert_eq!(iso.find(path).expect("folders"), None, "{path}");
        }
        let entry = iso.find("vmlinuz").expect("folders").expect("it");
        iso.read(entry, 5).expect_err("too large");
    }

    #[test]
    fn names_without_rock_ridge_lose_their_version() {
        assert_eq!(plain(b"VMLINUZ.;1"), b"VMLINUZ");
        assert_eq!(plain(b"INITRD.IMG;1"), b"INITRD.IMG");
    }

    #[test]
    fn what_is_no_image_is_told() {
        for bytes in [Vec::new(), vec![0; 100_000], b"text".repeat(20_000)] {
            let told = Iso::open(Cursor::new(bytes)).map(drop).expect_err("none");
            assert_eq!(told.kind(), io::ErrorKind::InvalidData);
        }
        let mut cut = image(&[("vmlinuz", &[7; 5000])]);
        cut.truncate(cut.len() - 4096);
        let mut iso = Iso::open(Cursor::new(cut)).expect("an image");
        let entry = iso.find("vmlinuz").expect("folders").expect("it");
        iso.read(entry, 5000).expect_err("cut");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_read_more_than_allowed(
            changes in prop::collection::vec((0_usize..50_000, any::<u8>()), 0..40),
            path in "/?[a-z]{0,4}(/[a-z.]{1,10})?",
        ) {
            let mut bytes = image(&[("vmlinuz", b"kernel"), ("boot/initrd.img", b"disk")]);
            for (at, byte) in changes {
                let at = 16 * 2048 + at % (bytes.len() - 16 * 2048);
                bytes[at] = byte;
            }
            if let Ok(mut iso) = Iso::open(Cursor::new(bytes))
                && let Ok(Some(entry)) = iso.find(&path)
                && let Ok(read) = iso.read(entry, 3000)
            {
                prop_assert!(read.len() <= 3000);
            }
        }
    }
}
