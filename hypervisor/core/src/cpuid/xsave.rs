//! Sizes of the XSAVE area.
//!
//! Spec: SDM 1, "XSAVE-Managed State Organization".

use super::Regs;

/// The leaf that describes it.
pub(super) const LEAF: u32 = 0xd;

/// Subleaf 1, EAX.
pub(super) const XSAVEC: u32 = 1 << 1;
pub(super) const XSAVES: u32 = 1 << 3;

/// Legacy region and header, in bytes.
const BASE: u32 = 576;

/// Compacted, it begins at a multiple of 64 (ECX of its subleaf).
const ALIGNED: u32 = 1 << 1;

/// Bytes of the standard format when the bits of `features` are in use;
/// `component` gives the subleaf of each: size, offset, flags.
pub(super) fn standard_size(features: u64, component: impl Fn(u32) -> Option<Regs>) -> u32 {
    in_use(features, component).fold(BASE, |size, [length, offset, ..]| {
        size.max(length.saturating_add(offset))
    })
}

/// Bytes of the compacted format, in which components follow each other.
pub(super) fn compacted_size(features: u64, component: impl Fn(u32) -> Option<Regs>) -> u32 {
    in_use(features, component).fold(BASE, |size, [length, _, flags, _]| {
        let begin = match flags & ALIGNED != 0 {
            true => size.checked_next_multiple_of(64).unwrap_or(size),
            false => size,
        };
        begin.saturating_add(length)
    })
}

fn in_use(features: u64, component: impl Fn(u32) -> Option<Regs>) -> impl Iterator<Item = Regs> {
    (2..63)
        .filter(move |i| features >> i & 1 != 0)
        .filter_map(component)
}
