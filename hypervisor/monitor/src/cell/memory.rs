//! A cell's memory, as the monitor reads and writes it.

use crate::cell::Cell;
use crate::mem::map::Window;
use cellvisor_core::addr::Gpa;

/// Copies from guest-physical memory of `cell`, within a page. False if it is
/// not there.
pub(crate) fn read(cell: &Cell, window: &mut Window, gpa: Gpa, out: &mut [u8]) -> bool {
    let mapping = cell
        .space
        .lock()
        .as_ref()
        .and_then(|space| space.translate(gpa));
    mapping.is_some_and(|mapping| {
        window.read(mapping.hpa, out);
        true
    })
}

/// Copies to guest-physical memory of `cell`, within a page. False if it is not
/// there, or the cell itself could not write there: a link that it only reads.
pub(crate) fn write(cell: &Cell, window: &mut Window, gpa: Gpa, bytes: &[u8]) -> bool {
    let mapping = cell
        .space
        .lock()
        .as_ref()
        .and_then(|space| space.translate(gpa));
    let mapping = mapping.filter(|mapping| mapping.attr.write);
    mapping.is_some_and(|mapping| {
        window.write(mapping.hpa, bytes);
        true
    })
}
