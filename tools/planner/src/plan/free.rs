//! What nobody has.

use super::Taken;
use super::pool::{Core, Pool};
use crate::host::Host;
use std::collections::BTreeMap;

/// What further cells could have of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Free {
    /// CPUs, by Linux's numbers, ascending.
    pub cpus: Vec<u32>,
    /// Cores whose CPUs are all among them.
    pub cores: Vec<Vec<u32>>,
    /// Bytes of memory by node.
    pub memory: BTreeMap<u32, u64>,
}

impl Free {
    /// What is free on a machine on which cells hold `taken`.
    #[must_use]
    pub fn of(host: &Host, taken: &Taken) -> Self {
        let pool = Pool::new(host, taken);
        let mut cpus: Vec<u32> = host.cpus.iter().map(|c| c.linux).collect();
        cpus.retain(|cpu| pool.is_free(*cpu));
        cpus.sort_unstable();
        let whole = |core: &Core| core.cpus.iter().all(|cpu| pool.is_free(*cpu));
        let cores = pool.cores.iter().filter(|core| whole(core));
        Self {
            cores: cores.map(|core| core.cpus.clone()).collect(),
            memory: pool.left().iter().map(|n| (n.node, n.memory)).collect(),
            cpus,
        }
    }
}
