//! Links: memory of their own that several cells map.
//!
//! To the monitor a link is a cell without CPUs: its pages have it as their only
//! owner, are zeroed and given back as a cell's, and are out of the root's sight
//! while it runs, unless the root is a member. What is decided here is who may map
//! them, and until when they stay.

use crate::addr::PAGE_SIZE;
use crate::paging::Attr;
use cellvisor_abi::call::{CellId, Owner, State};
use cellvisor_abi::plan::{CellPlan, MAX_LINKS, Memory, Share};

/// Links that a cell shares, each once.
pub type Links = heapless::Vec<CellId, MAX_LINKS>;

/// True if a plan describes all of a cell, or a link and nothing else. An adapter of a
/// link is the root's, which sees the memory that its queues are in.
#[must_use]
pub fn is_whole(plan: &CellPlan<'_>) -> bool {
    let bare = plan.cpus.is_empty() && plan.functions.is_empty() && plan.ports.is_empty();
    match plan.link {
        None => !plan.cpus.is_empty(),
        Some(link) => {
            let few = plan.adapters.len() <= usize::from(link.root);
            bare && !plan.console && plan.socket.is_none() && few
        }
    }
}

/// True if a cell may be made that shares a link in this state: what the root is not
/// to see has left its view.
#[must_use]
pub const fn may_share(state: State) -> bool {
    matches!(state, State::Running)
}

/// Notes that a cell shares `memory`, whose pages are `owner`'s from the first to
/// `next`; `is_open` tells if a number is that of a link that cells may share. False
/// if the cell cannot have it, or has too many links.
pub fn share(
    links: &mut Links,
    memory: &Memory,
    (owner, next): (Owner, u64),
    is_open: impl FnOnce(CellId) -> bool,
) -> bool {
    let end = (memory.hpa + memory.size) / PAGE_SIZE;
    match owner {
        Owner::Cell(link) if next >= end && is_open(link) => {
            links.contains(&link) || links.push(link).is_ok()
        }
        _ => false,
    }
}

/// True if one of the cells shares `link`, which then goes on running.
pub fn is_shared<'a>(link: CellId, cells: impl IntoIterator<Item = &'a Links>) -> bool {
    cells.into_iter().any(|links| links.contains(&link))
}

/// What a cell may do with memory: no instructions come from where others write.
#[must_use]
pub const fn attr(share: Share) -> Attr {
    Attr {
        write: !matches!(share, Share::Read),
        execute: matches!(share, Share::Own),
        ..Attr::RAM
    }
}

#[cfg(test)]
mod tests;
