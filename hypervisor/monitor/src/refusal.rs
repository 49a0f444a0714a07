//! Why a CPU cannot enter, and why a hypercall is refused.

use cellvisor_abi::Bdf;
use cellvisor_abi::call::{CellId, Conflict, Owner, Resource};
use cellvisor_abi::status::{CallStatus, EnterStatus, MissingFeature, Unsupported};

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
/// Two words, so that it travels in registers: it is passed on everywhere.
#[derive(Clone, Copy)]
pub(crate) struct Refusal {
    /// Why.
    pub(crate) status: CallStatus,
    kind: Kind,
    holder: Holder,
    /// The cell of [`Holder::Cell`] and [`Holder::Device`]: ids are places in a
    /// short table.
    cell: u16,
    /// Which resource of its kind.
    number: u64,
}

const _: () = assert!(size_of::<Result<(), Refusal>>() == 16);

/// Kinds of [`Resource`].
#[derive(Clone, Copy)]
enum Kind {
    /// No resource stands in the way.
    None,
    Page,
    GuestPage,
    Cpu,
    Port,
    Function,
}

/// Kinds of [`Owner`].
#[derive(Clone, Copy)]
enum Holder {
    /// Nobody is named.
    None,
    Root,
    Monitor,
    Cell,
    Device,
}

impl From<CallStatus> for Refusal {
    fn from(status: CallStatus) -> Self {
        Self {
            status,
            kind: Kind::None,
            holder: Holder::None,
            cell: 0,
            number: 0,
        }
    }
}

impl Refusal {
    /// The resource that stands in the way.
    pub(crate) fn conflict(&self) -> Option<Conflict> {
        let resource = match self.kind {
            Kind::None => return None,
            Kind::Page => Resource::Page(self.number),
            Kind::GuestPage => Resource::GuestPage(self.number),
            Kind::Cpu => Resource::Cpu(self.number as u32),
            Kind::Port => Resource::Port(self.number as u16),
            Kind::Function => Resource::Function(Bdf::from_number(self.number as u32)),
        };
        let owner = match self.holder {
            Holder::None => None,
            Holder::Root => Some(Owner::Root),
            Holder::Monitor => Some(Owner::Monitor),
            Holder::Cell => Some(Owner::Cell(CellId(self.cell.into()))),
            Holder::Device => Some(Owner::Device(CellId(self.cell.into()))),
        };
        Some(Conflict { resource, owner })
    }
}

/// Names the resource that stands in the way.
pub(crate) fn bad(status: CallStatus, resource: Resource) -> Refusal {
    let (kind, number) = match resource {
        Resource::Page(address) => (Kind::Page, address),
        Resource::GuestPage(address) => (Kind::GuestPage, address),
        Resource::Cpu(apic_id) => (Kind::Cpu, apic_id.into()),
        Resource::Port(port) => (Kind::Port, port.into()),
        Resource::Function(bdf) => (Kind::Function, bdf.number().into()),
    };
    Refusal {
        kind,
        number,
        ..status.into()
    }
}

/// Names the resource that stands in the way, and who has it.
pub(crate) fn taken(resource: Resource, owner: Owner) -> Refusal {
    let (holder, cell) = match owner {
        Owner::Root => (Holder::Root, 0),
        Owner::Monitor => (Holder::Monitor, 0),
        Owner::Cell(cell) => (Holder::Cell, cell.0 as u16),
        Owner::Device(cell) => (Holder::Device, cell.0 as u16),
    };
    Refusal {
        holder,
        cell,
        ..bad(CallStatus::NotOwned, resource)
    }
}
