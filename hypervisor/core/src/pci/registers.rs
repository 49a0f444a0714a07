//! How each register of a cell's function behaves.
//!
//! Allow-lists: a register that is not named here is read-only, a capability
//! that is not shown reads zero.

use super::caps::{ADVANCED, Capability, EXPRESS, ExtCapability, MSI, MSIX, PM};
use super::function::{Effect, Function, MsixControl, Write};
use super::{Bar, bar};

/// What stands at a multiple of 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spot {
    Ids,
    Command,
    /// Class and revision, subsystem.
    ReadOnly,
    /// Cache line, latency, header type, self-test.
    Header,
    Bar(usize),
    /// The expansion ROM's address: there is none.
    Rom,
    FirstCapability,
    Interrupt,
    /// A capability and the offset in it.
    Capability(Capability, u8),
    Extended(ExtCapability, u16),
    /// Offset 100H while the capability there is hidden.
    FirstExtended,
    Hidden,
}

const COMMAND_IO: u32 = 1 << 0;
const COMMAND_MEMORY: u32 = 1 << 1;
const COMMAND_MASTER: u32 = 1 << 2;
const COMMAND_PARITY: u32 = 1 << 6;
const COMMAND_NO_INTX: u32 = 1 << 10;
/// Command bits of a cell. SERR is not among them: it can end in an NMI for
/// the whole machine.
const COMMAND: u32 =
    COMMAND_IO | COMMAND_MEMORY | COMMAND_MASTER | COMMAND_PARITY | COMMAND_NO_INTX;
/// Status bits that are cleared by ones.
const STATUS_CLEAR: u32 = 0xf900 << 16;

/// Device control: relaxed ordering, extended tags, no snoop, read size. Not
/// the error messages, for the reason above, and not the payload size, which
/// the bridges have to agree on.
const DEVICE_CONTROL: u32 = 1 << 4 | 1 << 8 | 1 << 11 | 7 << 12;
const DEVICE_RESET: u32 = 1 << 15;
const DEVICE_STATUS_CLEAR: u32 = 0xf << 16;
/// Device control 2: completion time-out.
const DEVICE_CONTROL_2: u32 = 0x1f;

const MSI_ENABLE: u32 = 1 << 16;
/// Number of messages, asked for and granted: one.
const MSI_COUNTS: u32 = 0x3f << 17;
const MSIX_ENABLE: u32 = 1 << 31;
const MSIX_MASKED: u32 = 1 << 30;
/// Power state that the cell sees; the hardware stays in D0, for it would
/// lose its BARs.
const POWER_STATE: u32 = 3;
const POWER_KEEPS_STATE: u32 = 1 << 3;

impl Spot {
    pub(super) fn find(function: &Function, dword: u16) -> Self {
        match dword {
            0x00 => Self::Ids,
            0x04 => Self::Command,
            0x08 | 0x2c => Self::ReadOnly,
            0x0c => Self::Header,
            0x10..=0x24 => Self::Bar(usize::from(dword - 0x10) / 4),
            0x30 => Self::Rom,
            0x34 => Self::FirstCapability,
            0x3c => Self::Interrupt,
            0x40..0x100 => {
                let found = function.caps.iter().find_map(|cap| {
                    let inside = dword.checked_sub(u16::from(cap.offset))? as u8;
                    (inside < cap.len).then_some(Self::Capability(*cap, inside))
                });
                found.unwrap_or(Self::Hidden)
            }
            0x100.. => {
                let found = function.extended.iter().find_map(|cap| {
                    let inside = dword.checked_sub(cap.offset)?;
                    (inside < cap.len).then_some(Self::Extended(*cap, inside))
                });
                match found {
                    None if dword == 0x100 => Self::FirstExtended,
                    found => found.unwrap_or(Self::Hidden),
                }
            }
            _ => Self::Hidden,
        }
    }
}

impl Function {
    /// What four bytes read.
    pub(super) fn value(&self, spot: Spot, dword: u16, hardware: impl FnOnce(u16) -> u32) -> u32 {
        match spot {
            Spot::Ids => match self.about.virtual_ids {
                Some((vendor, device)) => u32::from(device) << 16 | u32::from(vendor),
                None => hardware(dword),
            },
            Spot::Command => {
                let decode = match self.about.virtual_ids {
                    Some(_) if self.state.decode => COMMAND_MEMORY,
                    _ => 0,
                };
                hardware(dword) | decode
            }
            Spot::ReadOnly => hardware(dword),
            Spot::Header => {
                let siblings = u32::from(self.about.siblings) << 23;
                hardware(dword) & 0xffff | siblings
            }
            Spot::Bar(index) => self.bar_value(index),
            Spot::FirstCapability => self.caps.first().map_or(0, |cap| u32::from(cap.offset)),
            Spot::Interrupt => {
                let line = u32::from(self.state.interrupt_line);
                hardware(dword) & 0xffff_0000 | u32::from(self.about.pin) << 8 | line
            }
            Spot::Capability(cap, inside) => self.capability_value(cap, inside, hardware(dword)),
            Spot::Extended(cap, 0) => {
                hardware(dword) & 0xf_ffff | u32::from(self.next_extended(cap.offset)) << 20
            }
            Spot::Extended(..) => hardware(dword),
            Spot::FirstExtended => u32::from(self.next_extended(0)) << 20,
            Spot::Rom | Spot::Hidden => 0,
        }
    }

    /// What becomes of a write.
    pub(super) fn apply(
        &mut self,
        spot: Spot,
        write: Write,
        hardware: impl FnOnce(u16) -> u32,
    ) -> Effect {
        match spot {
            Spot::Command => self.write_command(write, hardware),
            // Linux writes its cache line's size; PCI Express ignores it.
            Spot::Header | Spot::Rom => Effect::Done,
            Spot::Bar(index) => self.write_bar(index, write),
            Spot::Interrupt => {
                self.state.interrupt_line = write.onto(u32::from(self.state.interrupt_line)) as u8;
                Effect::Done
            }
            Spot::Capability(cap, inside) => self.write_capability(cap, inside, write, hardware),
            _ => Effect::Refused,
        }
    }

    fn write_command(&mut self, write: Write, hardware: impl FnOnce(u16) -> u32) -> Effect {
        if self.about.virtual_ids.is_none() {
            return write.pass(COMMAND, STATUS_CLEAR, hardware);
        }
        if write.touches(COMMAND_MEMORY) {
            self.state.decode = write.part & COMMAND_MEMORY != 0;
        }
        // Hardware has no such bit in virtual functions and ignores it; QEMU's
        // decode by it.
        write.pass(COMMAND_MEMORY | COMMAND_MASTER, STATUS_CLEAR, hardware)
    }

    fn bar(&self, index: usize) -> Bar {
        self.about.bars.get(index).copied().unwrap_or_default()
    }

    /// The register `index` as it is, and as it reads while it is sized.
    pub(super) fn bar_values(&self, index: usize) -> (u32, u32) {
        match (self.bar(index), index.checked_sub(1)) {
            (Bar::Upper, Some(lower)) => self.bar(lower).upper(),
            (bar, _) => (bar.value(), bar.sizing()),
        }
    }

    fn bar_value(&self, index: usize) -> u32 {
        let (value, sizing) = self.bar_values(index);
        if self.state.sizing & 1 << index == 0 {
            value
        } else {
            sizing
        }
    }

    /// Writing ones asks for the size, writing the address ends that; a BAR
    /// never moves.
    fn write_bar(&mut self, index: usize, write: Write) -> Effect {
        let (value, sizing) = self.bar_values(index);
        let written = write.onto(self.bar_value(index));
        let address = match self.bar(index) {
            Bar::Unused => return Effect::Done,
            bar => bar::address_bits(bar),
        };
        self.state.sizing &= !(1 << index);
        if written & address == address {
            self.state.sizing |= 1 << index;
            return Effect::Done;
        }
        let moved = (written ^ value) & address & sizing != 0;
        if moved { Effect::Refused } else { Effect::Done }
    }

    fn capability_value(&self, cap: Capability, inside: u8, hardware: u32) -> u32 {
        let state = &self.state;
        match (cap.id, inside) {
            (_, 0) => {
                let next = self.next_capability(cap.offset);
                let header = hardware & 0xffff_00ff | u32::from(next) << 8;
                match cap.id {
                    // No wake-up events.
                    PM => header & 0x07ff_ffff,
                    MSI => {
                        header & !(MSI_COUNTS | MSI_ENABLE) | flag(MSI_ENABLE, state.msi.enabled)
                    }
                    MSIX => {
                        header & !(MSIX_ENABLE | MSIX_MASKED)
                            | flag(MSIX_ENABLE, state.msix.enabled)
                            | flag(MSIX_MASKED, state.msix.masked)
                    }
                    _ => header,
                }
            }
            (PM, _) => POWER_KEEPS_STATE | u32::from(state.power),
            (MSI, _) => match MsiRegister::at(cap, inside) {
                MsiRegister::Address => state.msi.address as u32,
                MsiRegister::UpperAddress => (state.msi.address >> 32) as u32,
                MsiRegister::Data => u32::from(state.msi.data),
                MsiRegister::Mask | MsiRegister::Pending => hardware & 1,
            },
            _ => hardware,
        }
    }

    fn write_capability(
        &mut self,
        cap: Capability,
        inside: u8,
        write: Write,
        hardware: impl FnOnce(u16) -> u32,
    ) -> Effect {
        match (cap.id, inside) {
            (PM, 4) => {
                if write.touches(POWER_STATE) {
                    self.state.power = (write.part & POWER_STATE) as u8;
                }
                Effect::Done
            }
            (MSI, _) => self.write_msi(cap, inside, write, hardware),
            (MSIX, 0) => self.write_msix(write),
            (EXPRESS, 0x08) if write.part & DEVICE_RESET != 0 => Effect::Reset,
            (EXPRESS, 0x08) => write.pass(DEVICE_CONTROL, DEVICE_STATUS_CLEAR, hardware),
            (EXPRESS, 0x28) => write.pass(DEVICE_CONTROL_2, 0, hardware),
            (ADVANCED, 4) if write.part & 1 != 0 => Effect::Reset,
            _ => Effect::Refused,
        }
    }

    fn write_msi(
        &mut self,
        cap: Capability,
        inside: u8,
        write: Write,
        hardware: impl FnOnce(u16) -> u32,
    ) -> Effect {
        let before = self.state.msi;
        let msi = &mut self.state.msi;
        if inside == 0 {
            if write.touches(MSI_ENABLE) {
                msi.enabled = write.part & MSI_ENABLE != 0;
            }
        } else {
            let half = |address: u64, shift| u64::from(write.onto((address >> shift) as u32));
            match MsiRegister::at(cap, inside) {
                MsiRegister::Address => {
                    msi.address = msi.address & !0xffff_ffff | half(msi.address, 0) & !3;
                }
                MsiRegister::UpperAddress => {
                    msi.address = msi.address & 0xffff_ffff | half(msi.address, 32) << 32;
                }
                MsiRegister::Data => msi.data = write.onto(u32::from(msi.data)) as u16,
                MsiRegister::Mask => return write.pass(1, 0, hardware),
                MsiRegister::Pending => return Effect::Refused,
            }
        }
        changed(before != *msi, Effect::Msi)
    }

    fn write_msix(&mut self, write: Write) -> Effect {
        let before = self.state.msix;
        if write.touches(MSIX_ENABLE | MSIX_MASKED) {
            self.state.msix = MsixControl {
                enabled: write.part & MSIX_ENABLE != 0,
                masked: write.part & MSIX_MASKED != 0,
            };
        }
        changed(before != self.state.msix, Effect::Msix)
    }

    /// Offset of the shown capability after the one at `offset`; 0 for none.
    fn next_capability(&self, offset: u8) -> u8 {
        let mut rest = self.caps.iter().skip_while(|cap| cap.offset != offset);
        rest.nth(1).map_or(0, |cap| cap.offset)
    }

    /// The same of extended ones; the list begins after offset 0.
    fn next_extended(&self, offset: u16) -> u16 {
        let next = match offset {
            0 => self.extended.first(),
            _ => {
                let mut rest = self.extended.iter().skip_while(|cap| cap.offset != offset);
                rest.nth(1)
            }
        };
        next.map_or(0, |cap| cap.offset)
    }
}

/// Registers of an MSI capability after its header.
enum MsiRegister {
    Address,
    UpperAddress,
    Data,
    Mask,
    Pending,
}

impl MsiRegister {
    /// By the capability's length, which gives its form.
    const fn at(cap: Capability, inside: u8) -> Self {
        let wide = matches!(cap.len, 16 | 24);
        match (inside, wide) {
            (4, _) => Self::Address,
            (8, true) => Self::UpperAddress,
            (8, false) | (12, true) => Self::Data,
            (12, false) | (16, true) => Self::Mask,
            _ => Self::Pending,
        }
    }
}

const fn flag(bit: u32, set: bool) -> u32 {
    if set { bit } else { 0 }
}

fn changed(yes: bool, effect: Effect) -> Effect {
    if yes { effect } else { Effect::Done }
}
