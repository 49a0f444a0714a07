//! Why a CPU cannot enter, and why a hypercall is refused.

use cellvisor_abi::Bdf;
use cellvisor_abi::call::{CellId, Conflict, Owner, Resource};
use cellvisor_abi::status::{CallStatus, EnterStatus, MissingFeature, Unsupported};
use core::num::NonZeroU64;

/// Why a CPU cannot enter the monitor.
#[derive(Clone, Copy)]
pub(crate) struct EnterError {
    pub(crate) status: EnterStatus,
    pub(crate) detail: u32,
}

impl From<EnterStatus> for EnterError {
    fn from(status: EnterStatus) -> Self {
        Self { status, detail: 0 }
    }
}

impl From<MissingFeature> for EnterError {
    fn from(missing: MissingFeature) -> Self {
        Self {
            status: EnterStatus::MissingFeature,
            detail: missing.code(),
        }
    }
}

impl From<Unsupported> for EnterError {
    fn from(unsupported: Unsupported) -> Self {
        Self {
            status: EnterStatus::Unsupported,
            detail: unsupported.code(),
        }
    }
}

/// What a call refuses with, and what stands in the way.
///
/// Two numbers, so that it travels in registers, as does a result that is nothing or
/// this: it is passed on everywhere.
#[derive(Clone, Copy)]
pub(crate) struct Refusal {
    what: What,
    /// Which resource of its kind.
    number: u64,
}

/// Why; which kind of resource stands in the way, and who has it, if anything does.
#[derive(Clone, Copy)]
struct What(NonZeroU64);

impl What {
    /// A byte that is not 0, one each for status, kind and holder, and the holder's id.
    const fn new(status: CallStatus, kind: u8, holder: u8, cell: CellId) -> Self {
        let [a, b, c, d] = cell.0.to_le_bytes();
        let bytes = [1, status.code() as u8, kind, holder, a, b, c, d];
        Self(match NonZeroU64::new(u64::from_le_bytes(bytes)) {
            Some(number) => number,
            None => NonZeroU64::MIN,
        })
    }
}

const _: () = assert!(size_of::<Result<(), Refusal>>() == 16);

/// Kinds of [`Resource`].
const PAGE: u8 = 1;
const GUEST_PAGE: u8 = 2;
const CPU: u8 = 3;
const PORT: u8 = 4;
const FUNCTION: u8 = 5;

/// Kinds of [`Owner`].
const ROOT: u8 = 1;
const MONITOR: u8 = 2;
const CELL: u8 = 3;
const DEVICE: u8 = 4;

impl From<CallStatus> for Refusal {
    #[inline(always)] // Of a status that is known it is a constant.
    fn from(status: CallStatus) -> Self {
        let what = What::new(status, 0, 0, CellId::ROOT);
        Self { what, number: 0 }
    }
}

impl Refusal {
    /// Code of the [`CallStatus`].
    pub(crate) fn code(&self) -> u32 {
        let [_, code, ..] = self.what.0.get().to_le_bytes();
        code.into()
    }

    /// The resource that stands in the way.
    pub(crate) fn conflict(&self) -> Option<Conflict> {
        let number = self.number;
        let [_, _, kind, holder, cell @ ..] = self.what.0.get().to_le_bytes();
        let cell = CellId(u32::from_le_bytes(cell));
        let resource = match kind {
            PAGE => Resource::Page(number),
            GUEST_PAGE => Resource::GuestPage(number),
            CPU => Resource::Cpu(number as u32),
            PORT => Resource::Port(number as u16),
            FUNCTION => Resource::Function(Bdf::from_number(number as u32)),
            _ => return None,
        };
        let owner = match holder {
            ROOT => Some(Owner::Root),
            MONITOR => Some(Owner::Monitor),
            CELL => Some(Owner::Cell(cell)),
            DEVICE => Some(Owner::Device(cell)),
            _ => None,
        };
        Some(Conflict { resource, owner })
    }
}

/// Names the resource that stands in the way.
#[inline(always)] // Of a kind that is known two numbers are left.
pub(crate) fn bad(status: CallStatus, resource: Resource) -> Refusal {
    refusal(status, resource, 0, CellId::ROOT)
}

/// Names the resource that stands in the way, and who has it.
#[inline(never)] // For all who name one.
pub(crate) fn taken(resource: Resource, owner: Owner) -> Refusal {
    let (holder, cell) = match owner {
        Owner::Root => (ROOT, CellId::ROOT),
        Owner::Monitor => (MONITOR, CellId::ROOT),
        Owner::Cell(cell) => (CELL, cell),
        Owner::Device(cell) => (DEVICE, cell),
    };
    refusal(CallStatus::NotOwned, resource, holder, cell)
}

#[inline(always)] // As `bad`.
fn refusal(status: CallStatus, resource: Resource, holder: u8, cell: CellId) -> Refusal {
    let (kind, number) = match resource {
        Resource::Page(address) => (PAGE, address),
        Resource::GuestPage(address) => (GUEST_PAGE, address),
        Resource::Cpu(apic_id) => (CPU, apic_id.into()),
        Resource::Port(port) => (PORT, port.into()),
        Resource::Function(bdf) => (FUNCTION, bdf.number().into()),
    };
    let what = What::new(status, kind, holder, cell);
    Refusal { what, number }
}
