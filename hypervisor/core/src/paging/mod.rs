//! Second-level translation tables: EPT, NPT, VT-d and AMD-Vi.
//!
//! Pure logic: table pages live behind [`TableMem`], entry layouts behind
//! [`EntryFormat`]. Other CPUs and devices may walk the tables at any time, so
//! every step is one atomic store that leaves each translation either as it was
//! or as it shall be: a large page is split by filling the new table first, and
//! what has been taken out stays allocated until the caller has flushed the
//! walkers' caches and says so through the [`Stale`] token.
//!
//! The caller owns those flushes; who may map what is decided elsewhere.

mod amdvi;
mod any;
mod edit;
mod ept;
mod npt;
mod vtd;

pub use amdvi::AmdVi;
pub use any::AnyFormat;
pub use edit::Stale;
pub use ept::Ept;
pub use npt::Npt;
pub use vtd::{Vtd, Width};

use crate::addr::{Gpa, Hpa, PAGE_SIZE, SIZE_1G, SIZE_2M};

/// Entries of a table.
pub const ENTRIES: usize = 512;

/// Where table pages come from.
pub trait TableMem {
    /// A zeroed page; `None` if there is none left.
    fn alloc(&mut self) -> Option<Hpa>;
    /// Takes a page back.
    fn free(&mut self, table: Hpa);
    /// Reads entry `index`, below [`ENTRIES`], of the table page at `table`.
    fn read(&self, table: Hpa, index: usize) -> u64;
    /// Writes an entry in one atomic store, after everything written before, and
    /// cleans the cache line where walkers do not snoop.
    fn write(&mut self, table: Hpa, index: usize, entry: u64);
}

/// How entries of one kind of table look.
///
/// Levels count from the leaves: 1 maps 4 KiB, 2 maps 2 MiB, 3 maps 1 GiB. In
/// all formats an entry with its low three bits clear is not present.
pub trait EntryFormat: Copy {
    /// Level of the root table.
    fn levels(&self) -> u8;
    /// An entry that maps memory at `hpa`; `level` is at most 3.
    fn leaf(&self, hpa: Hpa, level: u8, attr: Attr) -> u64;
    /// An entry at `level` that points to the table at `hpa`.
    fn table(&self, hpa: Hpa, level: u8) -> u64;
    /// True if walkers follow or use the entry.
    fn present(&self, entry: u64) -> bool;
    /// True if a present entry at `level` maps memory.
    fn is_leaf(&self, entry: u64, level: u8) -> bool;
    /// What a leaf at `level` allows.
    fn attr(&self, entry: u64, level: u8) -> Attr;
    /// Address in a present entry.
    fn addr(&self, entry: u64) -> Hpa {
        Hpa(entry & ADDRESS)
    }
}

/// Bits 51:12, where all formats keep the address.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// What a mapping allows. Formats keep what they can express.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attr {
    /// Reads.
    pub read: bool,
    /// Writes.
    pub write: bool,
    /// Instruction fetches.
    pub execute: bool,
    /// How it is cached.
    pub mem_type: MemType,
}

impl Attr {
    /// Memory for all uses, write-back.
    pub const RAM: Self = Self {
        read: true,
        write: true,
        execute: true,
        mem_type: MemType::WriteBack,
    };
    /// Device registers: no fetches, not cached.
    pub const DEVICE: Self = Self {
        execute: false,
        mem_type: MemType::Uncached,
        ..Self::RAM
    };
}

/// Memory types, numbered as in MTRRs and EPT entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum MemType {
    /// UC.
    Uncached = 0,
    /// WC.
    WriteCombining = 1,
    /// WT.
    WriteThrough = 4,
    /// WP.
    WriteProtected = 5,
    /// WB.
    WriteBack = 6,
}

impl MemType {
    /// The type with this number; UC for those that do not exist, which is what
    /// a CPU makes of the worst case.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        match bits {
            1 => Self::WriteCombining,
            4 => Self::WriteThrough,
            5 => Self::WriteProtected,
            6 => Self::WriteBack,
            _ => Self::Uncached,
        }
    }
}

/// Sizes of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PageSize {
    /// 4 KiB.
    Size4K,
    /// 2 MiB.
    Size2M,
    /// 1 GiB.
    Size1G,
}

impl PageSize {
    /// Size in bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        match self {
            Self::Size4K => PAGE_SIZE,
            Self::Size2M => SIZE_2M,
            Self::Size1G => SIZE_1G,
        }
    }

    /// Level of the tables whose entries map such pages.
    const fn level(self) -> u8 {
        match self {
            Self::Size4K => 1,
            Self::Size2M => 2,
            Self::Size1G => 3,
        }
    }
}

/// Why a change is refused. No translation has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapError {
    /// An address or the size is no multiple of 4 KiB, or the size is 0.
    Misaligned,
    /// The page at this address is mapped already.
    Overlap(Gpa),
    /// An address is beyond what the tables can express.
    TooHigh,
    /// No page for a table. Tables that were made before stay, empty; they are
    /// used by the next `map` and given back by `unmap` of the same range.
    NoMemory,
}

/// What an address translates to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Where it leads.
    pub hpa: Hpa,
    /// Bytes from there to the end of the page that maps it.
    pub size_left: u64,
    /// What is allowed.
    pub attr: Attr,
}

/// One set of tables. The pages stay with [`TableMem`]: end with
/// [`Tables::destroy`], or they are lost.
#[derive(Debug)]
pub struct Tables<F> {
    root: Hpa,
    max_leaf: PageSize,
    format: F,
}

impl<F: EntryFormat + Default> Tables<F> {
    /// Empty tables in the format's usual shape, with pages of up to
    /// `max_leaf`. `None` without a page for the root.
    #[must_use]
    pub fn new(mem: &mut impl TableMem, max_leaf: PageSize) -> Option<Self> {
        Self::with_format(F::default(), mem, max_leaf)
    }
}

impl<F: EntryFormat> Tables<F> {
    /// Empty tables in a chosen shape. `None` without a page for the root.
    #[must_use]
    pub fn with_format(format: F, mem: &mut impl TableMem, max_leaf: PageSize) -> Option<Self> {
        Some(Self {
            root: mem.alloc()?,
            max_leaf,
            format,
        })
    }

    /// Address of the root table.
    #[must_use]
    pub const fn root(&self) -> Hpa {
        self.root
    }

    /// The shape of the tables.
    #[must_use]
    pub const fn format(&self) -> F {
        self.format
    }

    /// What `gpa` translates to; `None` where nothing is mapped.
    #[must_use]
    pub fn translate(&self, mem: &impl TableMem, gpa: Gpa) -> Option<Mapping> {
        if gpa.0 >= self.limit() {
            return None;
        }
        let mut table = self.root;
        for level in (1..=self.format.levels()).rev() {
            let entry = mem.read(table, index(gpa.0, level));
            if !self.format.present(entry) {
                return None;
            }
            if self.format.is_leaf(entry, level) {
                let offset = gpa.0 & (page_bytes(level) - 1);
                return Some(Mapping {
                    hpa: Hpa(self.format.addr(entry).0 + offset),
                    size_left: page_bytes(level) - offset,
                    attr: self.format.attr(entry, level),
                });
            }
            table = self.format.addr(entry);
        }
        None
    }

    /// Gives all table pages back. Nothing may walk the tables any more.
    pub fn destroy(mut self, mem: &mut impl TableMem) {
        self.free_all(mem);
    }

    /// The same for an owner that cannot give the tables away, as it is dropped.
    /// They must not be used afterwards.
    pub fn free_all(&mut self, mem: &mut impl TableMem) {
        let mut stale = Stale::new();
        let cursor = edit::Cursor::new(self);
        cursor.collect_below(mem, &mut stale);
        stale.flushed(mem);
        mem.free(self.root);
    }

    /// First guest-physical address that the tables cannot express.
    fn limit(&self) -> u64 {
        page_bytes(self.format.levels() + 1)
    }
}

/// Bytes that one entry at `level` covers.
const fn page_bytes(level: u8) -> u64 {
    1 << shift(level)
}

/// Their binary logarithm.
const fn shift(level: u8) -> u32 {
    12 + 9 * (level as u32 - 1)
}

/// Index of the entry for `gpa` in a table at `level`.
const fn index(gpa: u64, level: u8) -> usize {
    (gpa >> shift(level)) as usize % ENTRIES
}

#[cfg(test)]
mod fake;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;
