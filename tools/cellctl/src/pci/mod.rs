//! PCI functions of the running Linux as steps act on them: virtual functions
//! made and set up, drivers taken off and put back.

mod lines;
mod netlink;
mod nvme;
mod sysfs;
mod users;

use crate::error::Result;
use cellvisor_abi::Bdf;
use cellvisor_planner::host::Bar;
pub(crate) use lines::{Line, Lines, Pin};
use serde::{Deserialize, Serialize};

/// What Linux and the functions can be asked for, or in tests a stand-in.
pub(crate) trait Pci: Lines {
    /// Base class and subclass of a function.
    fn class(&self, function: Bdf) -> Result<u32>;
    /// The VFs of a PF.
    fn vfs(&self, pf: Bdf) -> Result<Vfs>;
    /// Makes this many VFs; Linux goes from one number to another by way of 0.
    fn set_vfs(&self, pf: Bdf, number: u16) -> Result<()>;
    /// Whether Linux looks for drivers of VFs that are made.
    fn set_autoprobe(&self, pf: Bdf, on: bool) -> Result<()>;
    /// Address of a VF; `None` if it does not exist.
    fn vf(&self, pf: Bdf, number: u16) -> Result<Option<Bdf>>;
    /// BARs of a function.
    fn bars(&self, function: Bdf) -> Result<Vec<Bar>>;
    /// Who drives a function; `None` if it does not exist.
    fn binding(&self, function: Bdf) -> Result<Option<Binding>>;
    /// Lets only this driver have the function; `None`: whichever fits.
    fn set_wanted(&self, function: Bdf, driver: Option<&str>) -> Result<()>;
    /// Takes the driver off.
    fn unbind(&self, function: Bdf, driver: &str) -> Result<()>;
    /// Puts the driver on.
    fn bind(&self, function: Bdf, driver: &str) -> Result<()>;
    /// Resets a function that keeps its driver, and waits until it works again.
    fn reset(&self, function: Bdf) -> Result<()>;
    /// How a port or device keeps its peers apart; `None` if it cannot.
    fn acs(&self, function: Bdf) -> Result<Option<Acs>>;
    /// Sets [`Acs::on`].
    fn set_acs(&self, function: Bdf, on: u16) -> Result<()>;
    /// Whether the network interface of a function is up; `None` without one.
    fn link(&self, function: Bdf) -> Result<Option<bool>>;
    /// Turns the network interface of a function on or off.
    fn set_link(&self, function: Bdf, up: bool) -> Result<()>;
    /// MAC address and VLAN of a network card's VF.
    fn port(&self, pf: Bdf, vf: u16) -> Result<Port>;
    /// Sets what differs from [`Pci::port`].
    fn set_port(&self, pf: Bdf, vf: u16, port: Port) -> Result<()>;
    /// Sends an admin command to an NVMe controller, and returns its answer
    /// besides the data.
    fn admin(&self, controller: Bdf, command: &Admin, data: &mut [u8]) -> Result<u32>;
    /// True if Linux uses this namespace of the controller, as a file system's
    /// for instance.
    fn namespace_in_use(&self, controller: Bdf, namespace: u32) -> Result<bool>;
    /// Who of this Linux uses a disk of the function, as a sentence; `None` if
    /// nobody does or it has none.
    fn user_of_disks(&self, function: Bdf) -> Option<String>;
}

/// The VFs of a PF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Vfs {
    /// How many there are.
    pub(crate) number: u16,
    /// Linux looks for drivers of new ones.
    pub(crate) autoprobe: bool,
}

/// Access control services of a port or device, one bit for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Acs {
    /// What there are.
    pub(crate) can: u16,
    /// What is on.
    pub(crate) on: u16,
}

/// Who drives a function.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Binding {
    /// The driver that has it.
    pub(crate) driver: Option<String>,
    /// The only driver that may have it (`driver_override`).
    pub(crate) wanted: Option<String>,
}

/// What a network card's VF is to its PF.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Port {
    /// MAC address; zeros: the VF's driver chooses one.
    pub(crate) mac: [u8; 6],
    /// VLAN; 0 for none.
    pub(crate) vlan: u16,
}

/// An admin command of NVMe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Admin {
    /// Which command.
    pub(crate) opcode: u8,
    /// Namespace that it is about.
    pub(crate) nsid: u32,
    /// Its first argument.
    pub(crate) cdw10: u32,
    /// Its second argument.
    pub(crate) cdw11: u32,
}
