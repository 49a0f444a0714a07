//! Why a CPU cannot enter, and why a hypercall is refused.

use cellvisor_abi::call::{Conflict, Owner, Resource};
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

/// What a call refuses with.
#[derive(Clone, Copy)]
pub(crate) struct Refusal {
    pub(crate) status: CallStatus,
    pub(crate) conflict: Option<Conflict>,
}

impl From<CallStatus> for Refusal {
    fn from(status: CallStatus) -> Self {
        Self {
            status,
            conflict: None,
        }
    }
}

impl Refusal {
    /// Names the resource that stands in the way.
    pub(crate) const fn conflict(status: CallStatus, conflict: Conflict) -> Self {
        Self {
            status,
            conflict: Some(conflict),
        }
    }
}

pub(crate) fn bad(status: CallStatus, resource: Resource) -> Refusal {
    Refusal::conflict(
        status,
        Conflict {
            resource,
            owner: None,
        },
    )
}

pub(crate) fn taken(resource: Resource, owner: Owner) -> Refusal {
    Refusal::conflict(
        CallStatus::NotOwned,
        Conflict {
            resource,
            owner: Some(owner),
        },
    )
}
