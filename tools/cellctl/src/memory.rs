//! Taking memory from Linux, for cells and for what they share.

use crate::error::Result;
use crate::journal::{Journal, Machine, Record, Step, reserve_pages};
use crate::loader::layout;
use crate::syscalls;
use cellvisor_abi::CHUNK_SIZE;
use cellvisor_abi::plan::Range;
use cellvisor_planner::plan::MemoryShare;

/// Takes one share of memory and pins it.
pub(crate) fn take_memory<R: Record>(
    journal: &mut Journal<'_, R>,
    share: &MemoryShare,
) -> Result<Vec<Range>> {
    match *share {
        MemoryShare::Pages {
            node,
            bytes,
            page_size,
            fixed,
        } => {
            let taken = take_pages(journal, node, page_size, bytes);
            if taken.is_ok() || fixed || page_size == CHUNK_SIZE {
                return taken;
            }
            // The planner chose large pages because they are faster; small
            // ones do as well.
            take_pages(journal, node, CHUNK_SIZE, bytes)
        }
        MemoryShare::Reserved { base, size, .. } => {
            let range = Range { start: base, size };
            let driver = journal.machine().driver;
            let id = syscalls::fresh_number();
            journal.take(Step::Pin { id }, || {
                driver.pin_reserved(base, size, CHUNK_SIZE, id)?;
                Ok((Step::Pin { id }, vec![range]))
            })
        }
    }
}

/// Takes huge pages of one size from one node and pins them.
fn take_pages<R: Record>(
    journal: &mut Journal<'_, R>,
    node: u32,
    page_size: u64,
    bytes: u64,
) -> Result<Vec<Range>> {
    let (node, pages) = (Some(node), bytes.div_ceil(page_size));
    reserve_pages(journal, node, page_size, pages)?;
    let Machine { linux, driver, .. } = journal.machine();
    let id = syscalls::fresh_number();
    journal.take(Step::Pin { id }, || {
        // The driver's pin keeps the pages when this mapping goes.
        let mapping = linux.map_huge(node, page_size, pages)?;
        let addresses = driver.pin(&mapping, page_size, id)?;
        let ranges = layout::pages_to_ranges(&addresses, page_size);
        Ok((Step::Pin { id }, ranges))
    })
}
