//! Memory for links, and whether running cells are in them.

use super::memory::take;
use super::pool::Pool;
use super::{AssignedFunction, CellAssignment, MemoryShare, NewLink, Taken};
use crate::config::{Link, LinkKind, LinkWish, Slice, collision};
use crate::host::{Function, Host};
use crate::report::Finding;
use crate::size::{MIB, Size};
use crate::words::count;
use std::collections::BTreeSet;

/// Bytes of a link's page.
const PAGE: u64 = 2 * MIB;

/// The links of cells that are to be made, with memory for those that do not exist.
pub(super) fn plan(
    pool: &mut Pool<'_>,
    met: &[(&Slice, CellAssignment)],
    taken: &Taken,
) -> Vec<NewLink> {
    let running: BTreeSet<&str> = taken.cells.iter().map(|c| c.name.as_str()).collect();
    let fresh = met
        .iter()
        .filter(|(s, _)| !running.contains(s.name.as_str()));
    let mut seen = BTreeSet::new();
    let mut links = Vec::new();
    for (slice, cell) in fresh {
        for wish in &slice.links {
            if seen.insert(wish.link.name.as_str()) && !exists(pool, wish, taken) {
                apart(pool, wish, taken);
                let memory = memory(pool, wish, cell);
                links.extend(memory.map(|memory| NewLink {
                    link: wish.link.clone(),
                    memory,
                }));
            }
        }
    }
    links
}

/// True if running cells have the link; tells of those that should, or have another
/// of that name.
fn exists(pool: &mut Pool<'_>, wish: &LinkWish, taken: &Taken) -> bool {
    let link = &wish.link;
    let name = &link.name;
    let same = |cell: &CellAssignment| cell.links.iter().any(|other| other.name == *name);
    for cell in &taken.cells {
        let other = cell.links.iter().find(|other| other.name == *name);
        let (message, cause, help) = match other {
            Some(other) if other != link => (
                format!("link `{name}` is another one already"),
                format!("cell `{}` runs with it: {}", cell.name, described(other)),
                "describe it as it is, or take another name".to_owned(),
            ),
            None if link.has(&cell.name) => (
                format!(
                    "link `{name}` names cell `{}`, which runs without it",
                    cell.name
                ),
                "a cell gets its links when it is created".to_owned(),
                format!(
                    "write the `[[link]]` into its file, too, destroy it, and create it anew: \
                     cellctl destroy {}",
                    cell.name
                ),
            ),
            None if cell.name == *name => (
                format!("a cell and a link are called `{name}`"),
                "the cell runs".to_owned(),
                "give the link another name".to_owned(),
            ),
            _ => continue,
        };
        pool.errors += 1;
        let finding = Finding::error(message).at(wish.place("name"));
        pool.report.push(finding.because(cause).help(help));
    }
    taken.cells.iter().any(same)
}

/// Tells of networks of running cells that overlap with that of a new link, for somebody
/// who is in both.
fn apart(pool: &mut Pool<'_>, wish: &LinkWish, taken: &Taken) {
    let mut seen = BTreeSet::new();
    for cell in &taken.cells {
        for other in cell.links.iter().filter(|l| seen.insert(l.name.as_str())) {
            let there = format!("is there already: cell `{}` has it", cell.name);
            if let Some(finding) = collision(wish, other, &there) {
                pool.errors += 1;
                pool.report.push(finding);
            }
        }
    }
}

/// What to tell of a link in the plan of a cell that gets these functions.
pub(super) fn told(host: &Host, link: &Link, functions: &[AssignedFunction]) -> Vec<String> {
    let mut told = vec![format!("link {}: {}", link.name, link.who())];
    told.extend(better(host, link, functions));
    told
}

/// What is better for packets than a link: a card that switches between virtual functions
/// of its own, if it can have one for each of the cells.
fn better(host: &Host, link: &Link, functions: &[AssignedFunction]) -> Option<String> {
    if link.is_window() && link.addresses.is_none() {
        return None;
    }
    let cells = link.cells().count();
    let has = |card: &Function| functions.iter().any(|f| f.pf == Some(card.address));
    let can = |card: &&Function| {
        let most = card.sriov.as_ref().map_or(0, |sriov| sriov.total_vfs);
        card.what() == "network" && usize::from(most) >= cells && host.has_iommu(card.address)
    };
    let mut cards: Vec<&Function> = host.functions.iter().filter(can).collect();
    cards.sort_by_key(|card| !has(card));
    let card = cards.first()?;
    let whose = match has(card) {
        true => ", of which it has one,",
        false => "",
    };
    Some(format!(
        "link {}: the first choice for packets are virtual functions of {}{whose}: the card \
         switches between them, and no CPU copies",
        link.name, card.address
    ))
}

/// A link in a few words.
fn described(link: &Link) -> String {
    match link.kind {
        LinkKind::Ethernet => format!("Ethernet, {}", link.who()),
        LinkKind::ExtendedSocket => format!("Extended Socket, {}", link.who()),
        LinkKind::Window => format!("{}, {}", Size(link.size), link.who()),
    }
}

/// Small pages near the first of its cells, then wherever they are.
fn memory(pool: &mut Pool<'_>, wish: &LinkWish, cell: &CellAssignment) -> Option<Vec<MemoryShare>> {
    let near = cell.cpus.first().map_or(0, |cpu| cpu.node);
    let mut nodes: Vec<u32> = pool.memory.keys().copied().collect();
    nodes.sort_by_key(|node| (pool.host.distance(near, *node), *node));
    let before = pool.memory.clone();
    let (mut shares, mut missing) = (Vec::new(), wish.link.size);
    for node in nodes {
        if let Some(memory) = pool.memory.get_mut(&node) {
            missing -= take(memory, node, missing, Some(PAGE), &mut shares);
        }
    }
    if missing == 0 {
        return Some(shares);
    }
    pool.memory = before;
    pool.errors += 1;
    let had = count((wish.link.size - missing) / PAGE, "page");
    let message = format!(
        "link `{}` wants {} of memory",
        wish.link.name,
        Size(wish.link.size)
    );
    let finding = Finding::error(message).at(wish.place("size"));
    let cause = format!("{had} of {} can be had beside the slices' own", Size(PAGE));
    let help = "write less, or give the slices less";
    pool.report.push(finding.because(cause).help(help));
    None
}
