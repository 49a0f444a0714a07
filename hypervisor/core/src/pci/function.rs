//! One function as its cell sees it.
//!
//! Reads and writes go through here; the hardware is reached only by the
//! closures and effects that the monitor serves. What is hidden reads zero.

use super::caps::{self, Capability, ExtCapability, WalkError};
use super::msix::Layout;
use super::registers::Spot;
use super::{ABSENT, Access, Bar, Bdf};
use heapless::Vec;

/// What the monitor must know to make a [`Function`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Description {
    /// Where it is.
    pub bdf: Bdf,
    /// For a virtual function: vendor and device id, from its physical one.
    pub virtual_ids: Option<(u16, u16)>,
    /// Its BARs; a virtual function's from its physical one.
    pub bars: [Bar; 6],
    /// Interrupt pin, 1 to 4; 0 for none.
    pub pin: u8,
    /// The cell owns other functions of the same device.
    pub siblings: bool,
}

/// Why a function cannot be given to a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeError {
    /// There is none at this address.
    Absent,
    /// It is a bridge: its header has this type.
    Bridge(u8),
    /// Its capability lists are broken.
    Capabilities(WalkError),
}

/// Message-signalled interrupt, as the cell set it up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MsiState {
    /// It is on.
    pub enabled: bool,
    /// Message address.
    pub address: u64,
    /// Message data.
    pub data: u16,
}

/// Control bits of MSI-X, as the cell set them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MsixControl {
    /// It is on.
    pub enabled: bool,
    /// All entries are masked.
    pub masked: bool,
}

/// What a write leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing that the hardware must see.
    Done,
    /// It was dropped, and counts as denied.
    Refused,
    /// Write these four bytes at this offset.
    Hardware {
        /// A multiple of 4.
        offset: u16,
        /// What to write.
        value: u32,
    },
    /// [`Function::msi`] has changed.
    Msi,
    /// [`Function::msix_control`] has changed.
    Msix,
    /// The cell asked for a function-level reset; call [`Function::reset`]
    /// when it is done.
    Reset,
}

/// Registers that the cell has written and only the model keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// Memory decoding of a virtual function, which has no such bit.
    pub(super) decode: bool,
    /// BARs that read their size, one bit for each.
    pub(super) sizing: u8,
    pub(super) interrupt_line: u8,
    /// 0 is D0, 3 is D3hot.
    pub(super) power: u8,
    pub(super) msi: MsiState,
    pub(super) msix: MsixControl,
}

/// A function that a cell owns.
#[derive(Clone, Debug)]
#[repr(C)] // What is small comes first, within a byte's reach of instructions.
pub struct Function {
    pub(super) state: State,
    msix: Option<Layout>,
    pub(super) caps: Vec<Capability, { caps::MAX }>,
    pub(super) extended: Vec<ExtCapability, { caps::MAX }>,
    pub(super) about: Description,
}

impl Function {
    /// Looks at a function. `read` returns four bytes of its configuration space
    /// at a multiple of 4.
    ///
    /// # Errors
    ///
    /// See [`ProbeError`].
    pub fn probe(about: Description, mut read: impl FnMut(u16) -> u32) -> Result<Self, ProbeError> {
        // A virtual function has no ids, but all else.
        if about.virtual_ids.is_none() && read(0x00) == ABSENT || read(0x08) == ABSENT {
            return Err(ProbeError::Absent);
        }
        let kind = (read(0x0c) >> 16 & 0x7f) as u8;
        if kind != 0 {
            return Err(ProbeError::Bridge(kind));
        }
        let (caps, extended) = caps::walk(&mut read).map_err(ProbeError::Capabilities)?;
        let msix = caps.iter().find(|cap| cap.id == caps::MSIX).map(|cap| {
            let at = u16::from(cap.offset);
            Layout::new(read(at), read(at + 4), read(at + 8))
        });
        Ok(Self {
            about,
            caps,
            extended,
            msix,
            state: State::default(),
        })
    }

    /// What it was made from.
    #[must_use]
    pub const fn about(&self) -> &Description {
        &self.about
    }

    /// Shown capabilities in the first 256 bytes.
    #[must_use]
    pub fn capabilities(&self) -> &[Capability] {
        &self.caps
    }

    /// Its MSI-X table, if it has one.
    #[must_use]
    pub const fn msix(&self) -> Option<Layout> {
        self.msix
    }

    /// Its MSI registers.
    #[must_use]
    pub const fn msi(&self) -> MsiState {
        self.state.msi
    }

    /// Its MSI-X control bits.
    #[must_use]
    pub const fn msix_control(&self) -> MsixControl {
        self.state.msix
    }

    /// The function was reset: so is what the cell had written.
    pub fn reset(&mut self) {
        self.state = State::default();
    }

    /// What the cell reads. `hardware` returns four bytes at a multiple of 4.
    pub fn read(&self, access: Access, hardware: impl FnOnce(u16) -> u32) -> u32 {
        let spot = Spot::find(self, access.dword());
        access.extract(self.value(spot, access.dword(), hardware))
    }

    /// What becomes of a write by the cell. `hardware` as in [`Self::read`].
    pub fn write(
        &mut self,
        access: Access,
        value: u32,
        hardware: impl FnOnce(u16) -> u32,
    ) -> Effect {
        let dword = access.dword();
        let spot = Spot::find(self, dword);
        let write = Write {
            access,
            part: access.merge(0, value),
            offset: dword,
        };
        self.apply(spot, write, hardware)
    }
}

/// A write to four bytes, of which it changes some.
#[derive(Clone, Copy)]
pub(super) struct Write {
    access: Access,
    /// What is written, at its place; zero elsewhere.
    pub(super) part: u32,
    offset: u16,
}

impl Write {
    /// The four bytes afterwards if they were `before`.
    pub(super) const fn onto(self, before: u32) -> u32 {
        before & !self.mask() | self.part
    }

    /// True if one of the bits in `bits` is written.
    pub(super) const fn touches(self, bits: u32) -> bool {
        self.mask() & bits != 0
    }

    /// Passes the bits in `keep` on; bits in `clear` are cleared by writing
    /// ones, and so must not be written back as they read.
    pub(super) fn pass(self, keep: u32, clear: u32, hardware: impl FnOnce(u16) -> u32) -> Effect {
        if !self.touches(keep | clear) {
            return Effect::Refused;
        }
        let keep = keep & self.mask();
        let before = hardware(self.offset) & !keep & !clear;
        Effect::Hardware {
            offset: self.offset,
            value: before | self.part & (keep | clear),
        }
    }

    const fn mask(self) -> u32 {
        self.access.merge(0, u32::MAX)
    }
}
