//! The monitor's image and its hand-over from the driver.
//!
//! `cellctl` copies the image file to the start of a run of huge pages, puts
//! the framed [`crate::plan::SystemPlan`] behind [`ImageHeader::memory_size`]
//! and hands the range to the driver. The driver pins it, checks the header,
//! fills in [`BootInfo`], builds the bridge tables and calls the entry on
//! every CPU with interrupts off.
//!
//! **Bridge tables** are the page tables under which the entry runs: a copy of
//! Linux's top-level table with one free slot ([`BRIDGE_SLOT`]) pointing at the
//! monitor's memory. Linux's own mappings stay valid, so that an NMI in this
//! phase finds its handler.

/// First bytes of an image.
pub const MAGIC: [u8; 8] = *b"CELLVISR";

/// Virtual address at which the monitor is linked and runs; chunk n of its
/// memory is mapped at `BASE + n * CHUNK_SIZE`.
pub const BASE: u64 = 0x2000_0000_0000;

/// Slot of the level-4 table that holds [`BASE`].
pub const BRIDGE_SLOT: u64 = (BASE >> 39) & 0x1ff;

/// Most chunks that the monitor's memory may have (1 GiB).
pub const MAX_CHUNKS: usize = 512;

/// At offset 0 of the image. All offsets and sizes are in bytes.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct ImageHeader {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// [`crate::ABI_VERSION`] that the image was built with.
    pub abi_version: u32,
    /// Size of this header.
    pub header_size: u32,
    /// Virtual address of the entry (see the module's text).
    ///
    /// `extern "C" fn(bridge_cr3: u64, linux_cr3: u64) -> u64`, called with
    /// interrupts off on every CPU. Returns a [`crate::status::EnterStatus`]
    /// in bits 31:0 and a detail in bits 63:32. On success the caller goes on
    /// as a guest; on failure nothing has changed on this CPU.
    pub entry: u64,
    /// Size of the image file.
    pub file_size: u64,
    /// Memory that the image takes with its zeroed part, a multiple of 4 KiB.
    pub memory_size: u64,
    /// Where [`BootInfo`] lies.
    pub boot_info: u64,
    /// Where the four pages for the bridge tables lie: copy of Linux's
    /// top-level table (level 5 or 4), level 4 (used under a level 5 only),
    /// level 3, level 2. The first lies at an even page, so that bit 12 of the
    /// bridge CR3 is clear (Linux with page-table isolation takes that bit for
    /// "user tables"). The copy has Linux's kernel half; of the user half just
    /// [`BRIDGE_SLOT`]. The driver uses these tables for the entry only and
    /// brings its own for the way out.
    pub bridge_tables: u64,
}

/// What the driver tells the monitor. The driver fills it in before the entry.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct BootInfo {
    /// [`crate::ABI_VERSION`] of the driver.
    pub abi_version: u32,
    /// How many CPUs will enter. The monitor refuses if fewer arrive in time.
    pub cpu_count: u32,
    /// Entries used in `chunks`.
    pub chunk_count: u32,
    /// Non-zero if Linux uses five-level paging.
    pub la57: u32,
    /// Offset of the system plan's frame in the monitor's memory, in bytes.
    pub plan_offset: u64,
    /// Length of the frame, in bytes.
    pub plan_len: u64,
    /// Host-physical address of each chunk, in the order of their mapping.
    pub chunks: [u64; MAX_CHUNKS],
}

const _: () = assert!(size_of::<ImageHeader>() == 56);
const _: () = assert!(size_of::<BootInfo>() == 32 + 8 * MAX_CHUNKS);
