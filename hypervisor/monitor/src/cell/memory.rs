//! A guest's memory, as the monitor reads and writes it for one of its CPUs.

use crate::cell::cpu::Cpu;
use cellvisor_core::addr::{Gpa, Hpa};
use cellvisor_core::recent::Recent;

/// Translations that a CPU has used lately. Of cells only: theirs stay as they are
/// from the cell's making to its end, and the CPU forgets them when it gets another
/// owner. The root's memory comes and goes.
pub(crate) type Translations = Recent<8>;

/// Where guest-physical memory is; `None` where there is none.
#[inline(always)] // As `word`.
fn translate(cpu: &mut Cpu<'_>, gpa: Gpa) -> Option<Hpa> {
    match cpu.translations.find(gpa) {
        Some(hpa) => Some(hpa),
        None => walk(cpu, gpa),
    }
}

/// The same by the tables of its owner.
#[inline(never)]
fn walk(cpu: &mut Cpu<'_>, gpa: Gpa) -> Option<Hpa> {
    let space = cpu.cell.space.lock();
    let mapping = space.as_ref()?.translate(gpa)?;
    drop(space);
    if !cpu.is_root() {
        cpu.translations.note(gpa, &mapping);
    }
    Some(mapping.hpa)
}

/// Reads eight bytes at a multiple of eight. `None` if they are not there.
#[inline(never)] // In one piece: several of them are on the way to each instruction.
pub(crate) fn word(cpu: &mut Cpu<'_>, gpa: Gpa) -> Option<u64> {
    let hpa = translate(cpu, gpa)?;
    Some(cpu.window.word(hpa))
}

/// So many bytes of guest-physical memory, within a page. `None` if they are not there.
#[inline(always)] // As `word`.
pub(crate) fn array<const N: usize>(cpu: &mut Cpu<'_>, gpa: Gpa) -> Option<[u8; N]> {
    let hpa = translate(cpu, gpa)?;
    cpu.window.array(hpa)
}

/// Copies from guest-physical memory, within a page. False if it is not there.
pub(crate) fn read(cpu: &mut Cpu<'_>, gpa: Gpa, out: &mut [u8]) -> bool {
    let hpa = translate(cpu, gpa);
    hpa.is_some_and(|hpa| {
        cpu.window.read(hpa, out);
        true
    })
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
