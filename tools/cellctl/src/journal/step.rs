//! Steps as data: what is done to the machine, and what there was before.

use crate::functions::{self, Fresh, Namespace, PfBefore, Secondary};
use crate::pci::Port;
use crate::sysfs::Node;
use cellvisor_abi::Bdf;
use cellvisor_abi::call::CellId;
use serde::{Deserialize, Serialize};

/// One change of the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "step")]
pub(crate) enum Step {
    /// A CPU was taken from Linux.
    CpuOffline {
        /// Linux's number.
        cpu: u32,
    },
    /// A CPU that was offline was given to Linux.
    CpuOnline {
        /// Linux's number.
        cpu: u32,
    },
    /// A pool of huge pages was made larger.
    HugePages {
        /// NUMA node.
        node: Node,
        /// Bytes of a page.
        page_size: u64,
        /// Pages in the pool before.
        before: u64,
        /// Pages that were added.
        added: u64,
    },
    /// A pool is made smaller again: noted before it is, since nobody could tell
    /// afterwards whether it was.
    PoolBack {
        /// NUMA node.
        node: Node,
        /// Bytes of a page.
        page_size: u64,
        /// Pages in the pool before.
        from: u64,
        /// Pages that are left in it.
        to: u64,
    },
    /// Virtual functions were made, and their physical function made ready.
    Vfs {
        /// The physical function.
        pf: Bdf,
        /// What it was before the first cell had one of them.
        before: PfBefore,
    },
    /// MAC address or VLAN of a network card's VF were set.
    Port {
        /// The physical function.
        pf: Bdf,
        /// The number of the virtual one.
        vf: u16,
        /// What they were.
        before: Port,
    },
    /// An NVMe controller's VF got resources, and was brought online.
    Secondary {
        /// The physical function.
        pf: Bdf,
        /// The number of the virtual one.
        vf: u16,
        /// What it was.
        before: Secondary,
    },
    /// A namespace was made for a cell.
    NewNamespace {
        /// The physical function.
        pf: Bdf,
        /// The namespace, and those before it.
        fresh: Fresh,
    },
    /// An NVMe controller's VF got a namespace.
    Namespace {
        /// The physical function.
        pf: Bdf,
        /// What was attached to what.
        before: Namespace,
    },
    /// Linux's driver let go of a function.
    Driver {
        /// The function.
        function: Bdf,
        /// The driver that it had.
        before: functions::Driver,
    },
    /// Linux enabled a function without driver, which routes its interrupt.
    Enabled {
        /// The function.
        function: Bdf,
        /// How many had it enabled.
        before: u64,
    },
    /// A port or device was told to keep apart what is behind it.
    Acs {
        /// The port or the device's function.
        function: Bdf,
        /// What it was told before.
        before: u16,
    },
    /// Linux forwards for a link's network.
    Forwarding {
        /// The link.
        link: String,
        /// Linux did so before the first link wanted it.
        before: bool,
    },
    /// The driver pinned or claimed memory.
    Pin {
        /// Its number, which no other pin ever has.
        id: u64,
    },
    /// The monitor made a cell.
    Cell {
        /// Its name.
        name: String,
        /// Its id; `None` while it is not known.
        id: Option<CellId>,
    },
}

impl Step {
    /// True if it changed a PCI function.
    pub(super) const fn is_of_functions(&self) -> bool {
        matches!(
            self,
            Self::Vfs { .. }
                | Self::Port { .. }
                | Self::Secondary { .. }
                | Self::NewNamespace { .. }
                | Self::Namespace { .. }
                | Self::Driver { .. }
                | Self::Enabled { .. }
        )
    }
}

/// True if other functions cannot go back before this step is undone. They need not
/// wait for a namespace that is in nobody's way.
pub(super) fn holds_functions(entry: &Entry) -> bool {
    entry.step.is_of_functions() && !matches!(entry.step, Step::NewNamespace { .. })
}

/// A step and how far it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// What.
    #[serde(flatten)]
    pub(crate) step: Step,
    /// False from before it is taken until it is known to be done.
    pub(crate) done: bool,
}
