//! Function-level reset: which one a function offers, how it is set off, and
//! what has to be put back.
//!
//! Nothing here waits. The monitor sets a reset off and goes on; until
//! [`SETTLE_MS`] have passed the function reads as absent, which is what a
//! kernel that asked for the reset waits for anyway; the next access then puts
//! the saved registers back first.

use super::caps::{ADVANCED, Capability, EXPRESS, PM};
use super::{Bar, Function};
use heapless::Vec;

/// Time after a reset in which a function need not answer, in milliseconds
/// (PCI Express Base 5.0, "Function Level Reset").
pub const SETTLE_MS: u32 = 100;

/// A reset that a function offers. Offsets are those of its capabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// By PCI Express' device control register.
    Express(u16),
    /// By the advanced-features capability.
    Advanced(u16),
    /// By a trip to D3hot and back, where that loses the state.
    Power(u16),
}

/// Device capabilities: function-level reset.
const EXPRESS_FLR: u32 = 1 << 28;
/// Advanced features: transactions-pending bit and function-level reset.
const ADVANCED_FLR: u32 = 3 << 24;
/// Power management: D3hot keeps the state.
const KEEPS_STATE: u32 = 1 << 3;
/// Device status, advanced-features status: transactions are pending.
const EXPRESS_PENDING: u32 = 1 << 21;
const ADVANCED_PENDING: u32 = 1 << 8;

impl Method {
    /// The best that the function offers; `None` if it cannot be reset on its
    /// own. `read` returns four bytes of its configuration space.
    pub fn find(function: &Function, mut read: impl FnMut(u16) -> u32) -> Option<Self> {
        let mut by = |id, inside, bits, wanted| {
            let has = |cap: &&Capability| cap.id == id;
            let cap = function.capabilities().iter().find(has)?;
            let offset = u16::from(cap.offset);
            (read(offset + inside) & bits == wanted).then_some(offset)
        };
        let express = by(EXPRESS, 4, EXPRESS_FLR, EXPRESS_FLR).map(Self::Express);
        express
            .or_else(|| by(ADVANCED, 0, ADVANCED_FLR, ADVANCED_FLR).map(Self::Advanced))
            .or_else(|| by(PM, 4, KEEPS_STATE, 0).map(Self::Power))
    }

    /// True while the function still waits for answers to its own requests:
    /// bus mastering is off and this is worth waiting for, but not for long.
    pub fn is_pending(self, read: impl FnOnce(u16) -> u32) -> bool {
        match self {
            Self::Express(offset) => read(offset + 8) & EXPRESS_PENDING != 0,
            Self::Advanced(offset) => read(offset + 4) & ADVANCED_PENDING != 0,
            Self::Power(_) => false,
        }
    }

    /// Two-byte writes that set it off, in this order. After a power trip the
    /// function wants 10 ms between the two.
    #[must_use]
    pub const fn trigger(self) -> (Write, Option<Write>) {
        match self {
            Self::Express(offset) => (Write::new(offset + 8, 1 << 15), None),
            Self::Advanced(offset) => (Write::new(offset + 4, 1), None),
            Self::Power(offset) => (Write::new(offset + 4, 3), Some(Write::new(offset + 4, 0))),
        }
    }
}

/// A write of two bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    /// Where.
    pub offset: u16,
    /// What.
    pub value: u16,
}

impl Write {
    const fn new(offset: u16, value: u16) -> Self {
        Self { offset, value }
    }
}

/// Registers that a reset clears and that are not the cell's to set up: four
/// bytes each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saved(Vec<(u16, u32), 12>);

impl Saved {
    /// What has to be put back after a reset of `function`. Bus mastering and
    /// interrupts stay off: the cell switches them on again.
    pub fn take(function: &Function, mut read: impl FnMut(u16) -> u32) -> Self {
        let mut saved = Self::default();
        let mut keep = |offset, value| {
            // Six BARs, the command register and three others fit.
            let _fits = saved.0.push((offset, value));
        };
        if function.about().virtual_ids.is_none() {
            for (index, bar) in function.about().bars.iter().enumerate() {
                let (value, _) = function.bar_values(index);
                if *bar != Bar::Unused {
                    keep(0x10 + 4 * index as u16, value);
                }
            }
            keep(0x0c, read(0x0c) & 0xffff);
            keep(0x04, read(0x04) & 0x0003);
        }
        let express = |cap: &&Capability| cap.id == EXPRESS;
        if let Some(cap) = function.capabilities().iter().find(express) {
            let control = u16::from(cap.offset) + 8;
            keep(control, read(control) & 0x7fff);
        }
        saved
    }

    /// Four-byte writes that put it all back, in this order.
    pub fn writes(&self) -> impl Iterator<Item = (u16, u32)> + '_ {
        self.0.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{physical, vf};
    use super::*;

    #[test]
    fn virtual_functions_are_reset_by_express() {
        let (function, device) = vf();
        let read = |offset| device.read(offset);
        let method = Method::find(&function, read);
        assert_eq!(method, Some(Method::Express(0xa0)));
        let method = method.expect("has one");
        assert_eq!(method.trigger(), (Write::new(0xa8, 0x8000), None));
        assert!(!method.is_pending(read));
        assert!(method.is_pending(|_| 1 << 21));
        let saved = Saved::take(&function, read);
        assert!(saved.writes().eq([(0xa8, 0x2810)]), "no BARs of its own");
    }

    #[test]
    fn physical_functions_get_their_bars_back() {
        let (function, device) = physical();
        let read = |offset| device.read(offset);
        assert_eq!(Method::find(&function, read), Some(Method::Power(0xc8)));
        let saved = Saved::take(&function, read);
        let expected = [
            (0x10, 0xfeb8_0000),
            (0x14, 0xc001),
            (0x0c, 0x4010),
            (0x04, 0x0003), // decoding on, bus mastering off
        ];
        assert!(saved.writes().eq(expected));
    }

    #[test]
    fn state_that_survives_is_no_reset() {
        let (function, device) = physical();
        let read = |offset| match offset {
            0xcc => KEEPS_STATE,
            _ => device.read(offset),
        };
        assert_eq!(Method::find(&function, read), None);
    }
}
