//! Intel VT-d in legacy mode: second-stage translation by requester id, and
//! interrupt remapping.
//!
//! Spec: Intel Virtualization Technology for Directed I/O, revision 4.

mod context;
mod fault;
#[cfg(test)]
mod golden;
mod invalidate;
mod irte;
pub mod registers;
pub mod root_filter;
mod shadow;
mod update;

pub use context::{ContextEntry, RootEntry, Translation};
pub use fault::{Access, FaultRecord, Reason};
pub use invalidate::{Descriptor, Invalidate};
pub use irte::{Irte, Mode};
pub use registers::Capabilities;
pub use shadow::{Effect, Shadow};
pub use update::{Half, Step, Steps, context_update, irte_update};
