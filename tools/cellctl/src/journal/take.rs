//! Steps that both cells and the monitor take: CPUs and huge pages.

use super::{Journal, Record, Step};
use crate::error::{Error, Result};
use crate::output::size;
use crate::sysfs::Node;

/// Takes a CPU from Linux.
pub(crate) fn take_cpu<R: Record>(journal: &mut Journal<'_, R>, cpu: u32) -> Result<()> {
    let linux = journal.machine().linux;
    // One that was offline is offline again afterwards: nothing is to be noted.
    if !linux.cpu_online(cpu)? {
        return Ok(());
    }
    let step = Step::CpuOffline { cpu };
    journal.take(step.clone(), || {
        linux.set_cpu_online(cpu, false)?;
        Ok((step, ()))
    })
}

/// Makes sure that `pages` huge pages of `node` are free, and adds what lacks.
///
/// # Errors
///
/// If Linux cannot provide them; the pool is as before then.
pub(crate) fn reserve_pages<R: Record>(
    journal: &mut Journal<'_, R>,
    node: Node,
    page_size: u64,
    pages: u64,
) -> Result<()> {
    let linux = journal.machine().linux;
    let pool = linux.huge_pages(node, page_size)?;
    let lacking = pages.saturating_sub(pool.free);
    if lacking == 0 {
        return Ok(());
    }
    let step = |added| Step::HugePages {
        node,
        page_size,
        before: pool.total,
        added,
    };
    let wanted = pool.total + lacking;
    let got = journal.take(step(lacking), || {
        let mut got = linux.set_huge_pages(node, page_size, wanted)?;
        if got < wanted {
            linux.compact_memory();
            got = linux.set_huge_pages(node, page_size, wanted)?;
        }
        if got < wanted {
            linux.set_huge_pages(node, page_size, pool.total)?;
            return Ok((step(0), got));
        }
        Ok((step(lacking), got))
    })?;
    if got >= wanted {
        return Ok(());
    }
    let place = node.map_or_else(|| "this machine".to_owned(), |n| format!("NUMA node {n}"));
    Err(Error::new(
        format!(
            "cannot reserve {pages} huge pages of {} on {place}",
            size(page_size)
        ),
        format!(
            "only {} can be had: free memory is short or scattered",
            pool.free + got.saturating_sub(pool.total)
        ),
        "end programs that use much memory, ask for less, take another node, or reserve the pages \
         when Linux boots (hugepages= on its command line)",
    ))
}
