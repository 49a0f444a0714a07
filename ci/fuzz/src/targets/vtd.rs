//! A root that writes anything to its remapping unit's registers, queue and
//! interrupt entries.

use crate::input::Numbers;
use cellvisor_core::icr::Dest;
use cellvisor_core::iommu::vtd::registers::{GCMD, GSTS, IQA, IQT, IRTA, QUEUE, TRANSLATION};
use cellvisor_core::iommu::vtd::root_filter::{Request, root_entry};
use cellvisor_core::iommu::vtd::{Irte, Mode, Shadow};

/// A cell has this CPU and this function.
const CELLS_CPU: u32 = 3;
const CELLS_FUNCTION: u16 = 0x0182;

/// Translation stays off for the root, the queue is walked within its bounds and
/// ends, and no entry that stands reaches a cell.
pub(crate) fn root(bytes: &[u8]) {
    let mut numbers = Numbers::new(bytes);
    let mut shadow = Shadow::new(|offset| if offset == GSTS { QUEUE } else { 0 });
    while !numbers.is_over() {
        match numbers.byte() % 4 {
            0 => {
                let offset = u64::from(numbers.word() % 0x120);
                let sizes = [1, 2, 4, 8];
                shadow.write(
                    offset,
                    sizes[usize::from(numbers.byte() % 4)],
                    numbers.long(),
                );
            }
            1 => {
                let (offset, size) =
                    [(GCMD, 4), (IQA, 8), (IQT, 8), (IRTA, 8)][usize::from(numbers.byte() % 4)];
                shadow.write(offset, size, numbers.long());
            }
            2 => walk(&mut shadow),
            _ => entry(&mut numbers),
        }
        assert!(!shadow.has(TRANSLATION));
        if let Some((_, count, _)) = shadow.table() {
            assert!((2..=65_536).contains(&count));
        }
    }
}

fn walk(shadow: &mut Shadow) {
    let address = shadow.read(IQA, 8);
    let (base, size) = (address & !0xfff, 0x1000u64 << (address & 7));
    let mut count = 0;
    while let Some(descriptor) = shadow.take_request() {
        let inside = descriptor.0.wrapping_sub(base);
        assert!(inside < size && inside.is_multiple_of(16), "{descriptor:x}");
        count += 1;
        assert!(count <= size / 16, "does not end");
    }
}

/// By the manual's fields, read anew: fixed or lowest priority, remapped, an
/// ordinary vector, a destination that is the root's, a source that is no cell's.
fn entry(numbers: &mut Numbers<'_>) {
    let (low, high) = (numbers.long(), numbers.long());
    let irte = Irte { low, high };
    let kept = root_entry(
        irte,
        Mode::X2apic,
        |dest| matches!(dest, Dest::Physical(cpu) if cpu != CELLS_CPU),
        [CELLS_FUNCTION],
    );
    let field = |shift: u32, bits: u32| low >> shift & ((1 << bits) - 1);
    let (sid, sq, svt) = (high & 0xffff, high >> 16 & 3, high >> 18 & 3);
    let function = u64::from(CELLS_FUNCTION);
    let ignored = [0, 4, 6, 7][sq as usize];
    let takes = match svt {
        1 => sid & !ignored == function & !ignored,
        2 => (sid >> 8..=sid & 0xff).contains(&(function >> 8)),
        _ => true,
    };
    let good = field(0, 1) == 1
        && field(2, 1) == 0
        && field(5, 3) <= 1
        && field(15, 1) == 0
        && field(16, 8) >= 16
        && !matches!(field(32, 32) as u32, CELLS_CPU | u32::MAX)
        && !takes;
    assert_eq!(kept, if good { irte } else { Irte::BLOCKED });
    if let Request::Interrupts(first, count) = Request::decode(low, high) {
        assert!(count == u32::MAX || first + count <= 0x1_0000);
    }
}
