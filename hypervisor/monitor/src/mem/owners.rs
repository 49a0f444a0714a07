//! The one place that knows who owns which page and which port.
//!
//! CPUs tell their owner themselves ([`crate::cpu::percpu::CpuShared::owner`]).

use crate::lock::{self, Guard, Mutex, PartGuard};
use crate::mem::page::PageVec;
use crate::mem::pool::Pages;
use crate::provoke::{self, Step};
use cellvisor_abi::PAGE_SIZE;
use cellvisor_abi::call::Owner;
use cellvisor_core::addr::Hpa;
use cellvisor_core::locks::Rank;
use cellvisor_core::ownership::{OwnError, OwnerMap, Span};
use core::ops::Range;

/// Pages of the pool for each map's spans.
const PAGE_MAP_PAGES: Pages = Pages(8);
const PORT_MAP_PAGES: Pages = Pages(1);

/// Ownership of all that is counted in numbers.
pub(crate) struct Owners {
    /// Host-physical pages, by page number.
    pub(crate) pages: OwnerMap<'static>,
    /// I/O ports.
    pub(crate) ports: OwnerMap<'static>,
}

static OWNERS: Mutex<Option<Owners>, { Rank::Owners as u8 }> = Mutex::new(None);

/// Makes empty maps: all is the root's. `None` if the pool is too small.
pub(crate) fn init() -> Option<()> {
    let pages = OwnerMap::new(storage(PAGE_MAP_PAGES)?);
    let ports = OwnerMap::new(storage(PORT_MAP_PAGES)?);
    *OWNERS.lock() = Some(Owners { pages, ports });
    Some(())
}

fn storage(pages: Pages) -> Option<&'static mut [Span]> {
    let count = (pages.0 * PAGE_SIZE) as usize / size_of::<Span>();
    Some(PageVec::filled(count, || Span::UNUSED)?.leak())
}

/// Runs `f` with the maps locked; `None` before [`init`], and when a CPU died that was
/// about to change them.
pub(crate) fn with<T>(f: impl FnOnce(&mut Owners) -> T) -> Option<T> {
    Some(f(&mut *known()?))
}

#[inline(never)] // All of it stood in each caller of `with`.
fn known() -> Option<PartGuard<'static, Owners, { Rank::Owners as u8 }>> {
    let whole = !lock::damage().has(Rank::Owners);
    Guard::try_map(OWNERS.lock(), |owners| owners.as_mut().filter(|_| whole)).ok()
}

/// Makes `owner` that of pages, by their numbers, which must be the root's.
pub(crate) fn take_pages(pages: Range<u64>, owner: Owner) -> Result<(), OwnError> {
    take(|owners| &mut owners.pages, pages, owner)
}

/// Makes `owner` that of ports, which must be the root's.
pub(crate) fn take_ports(ports: Range<u64>, owner: Owner) -> Result<(), OwnError> {
    take(|owners| &mut owners.ports, ports, owner)
}

fn take(
    map: impl FnOnce(&mut Owners) -> &mut OwnerMap<'static>,
    range: Range<u64>,
    owner: Owner,
) -> Result<(), OwnError> {
    if provoke::fails(Step::Owner) {
        return Err(OwnError::Full);
    }
    let taken = with(|owners| map(owners).transfer(range.start, range.end, Owner::Root, owner));
    taken.unwrap_or(Err(OwnError::Full))
}

/// True if all pages of this range are the root's.
pub(crate) fn is_roots(range: Range<Hpa>) -> bool {
    let end = range.end.0.div_ceil(PAGE_SIZE);
    with(|owners| {
        let check = owners.pages.check(range.start.page(), end, Owner::Root);
        check.is_ok()
    }) == Some(true)
}

/// Who owns the page of a host-physical address; `None` before [`init`].
pub(crate) fn of(address: Hpa) -> Option<Owner> {
    with(|owners| owners.pages.owner(address.page()))
}
