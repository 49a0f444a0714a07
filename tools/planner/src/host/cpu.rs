//! CPUs and what they share.

use crate::list::List;
use serde::{Deserialize, Serialize};

/// One logical CPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Cpu {
    /// Linux's number.
    pub linux: u32,
    /// Physical APIC id.
    pub apic_id: u32,
    /// Package (socket).
    #[serde(default)]
    pub package: u32,
    /// Core in the package; CPUs that share it are SMT siblings.
    pub core: u32,
    /// NUMA node.
    #[serde(default)]
    pub node: u32,
    /// True if Linux runs on it now.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub online: bool,
}

/// Serde's default for [`Cpu::online`].
const fn yes() -> bool {
    true
}

/// Keeps what is usual out of saved files.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
const fn is_true(value: &bool) -> bool {
    *value
}

/// One cache.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Cache {
    /// 1 to 4.
    pub level: u32,
    /// `Data`, `Instruction` or `Unified`.
    pub kind: String,
    /// Bytes.
    pub size: u64,
    /// CPUs that share it.
    pub cpus: List,
}
