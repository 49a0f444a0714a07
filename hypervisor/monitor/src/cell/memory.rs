//! A guest's memory, as the monitor reads and writes it for one of its CPUs.

use crate::cell::Cell;
use crate::cell::cpu::Cpu;
use crate::mem::map::Window;
use cellvisor_abi::call::CellId;
use cellvisor_core::addr::{Gpa, Hpa};
use cellvisor_core::recent::Recent;

/// Translations that a CPU has used lately. Of cells only: theirs stay as they are
/// from the cell's making to its end, but for pages that it shares by its socket, and the
/// CPU forgets them when it is asked to, and when it gets another owner. The root's memory
/// comes and goes.
pub(crate) type Translations = Recent<8>;

/// What a CPU reaches the memory of its guest by.
pub(crate) struct Reach<'a> {
    pub(crate) cell: &'static Cell,
    pub(crate) window: &'a mut Window,
    pub(crate) translations: &'a mut Translations,
}

impl Reach<'_> {
    /// Where guest-physical memory is; `None` where there is none.
    pub(crate) fn find(&mut self, gpa: Gpa) -> Option<Hpa> {
        self.translations.find(gpa).or_else(|| self.walk(gpa))
    }

    /// The same by the tables of its owner.
    #[inline(never)]
    fn walk(&mut self, gpa: Gpa) -> Option<Hpa> {
        let space = self.cell.space.lock();
        let mapping = space.as_ref()?.translate(gpa)?;
        drop(space);
        if self.lasts() {
            self.translations.note(gpa, &mapping);
        }
        Some(mapping.hpa)
    }

    /// True if memory stays where it is: the root's comes and goes.
    pub(crate) fn lasts(&self) -> bool {
        self.cell.id != CellId::ROOT
    }
}

/// Copies to guest-physical memory, within a page. False if it is not there, or the
/// cell itself could not write there: a link that it only reads.
pub(crate) fn write(cpu: &mut Cpu<'_>, gpa: Gpa, bytes: &[u8]) -> bool {
    let space = cpu.cell.space.lock();
    let mapping = space.as_ref().and_then(|space| space.translate(gpa));
    drop(space);
    let mapping = mapping.filter(|mapping| mapping.attr.write);
    mapping.is_some_and(|mapping| {
        cpu.window.write(mapping.hpa, bytes);
        true
    })
}
