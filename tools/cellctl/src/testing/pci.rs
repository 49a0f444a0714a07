//! PCI functions of the machine for tests: a network card and an NVMe
//! controller with four VFs each, and a function without.

mod disk;

use super::lines::line;
use super::{Fake, record};
use crate::error::{Error, Result};
use crate::pci::{Acs, Admin, Binding, Line, Pci, Pin, Port, Vfs};
use crate::state::{CellFunction, CellRecord};
use cellvisor_abi::Bdf;
use cellvisor_abi::plan::Function;
use cellvisor_planner::config::{Isolation, Mac};
use cellvisor_planner::host::{Bar, Space};
use cellvisor_planner::plan::AssignedFunction;
use std::collections::{BTreeMap, BTreeSet};

pub(crate) const NIC: Bdf = Bdf::from_number(0x0100);
pub(crate) const DISK: Bdf = Bdf::from_number(0x0200);
pub(crate) const CARD: Bdf = Bdf::from_number(0x0300);

/// The port above them all.
pub(crate) const PORT: Bdf = Bdf::from_number(0x0008);

/// Controller ids: that of the disk's PF; VF *n* has *n* + 1.
const PRIMARY: u16 = 0;
const VFS: u16 = 4;
/// Flexible queues and interrupts of the disk, and most of them for a VF.
const FLEXIBLE: u16 = 8;
const MOST: u16 = 2;
/// Bytes of the disk that belong to no namespace.
pub(crate) const FREE: u64 = 40 << 30;
/// Bytes of its blocks as a power of two.
const BLOCK: u8 = 9;

/// All that steps change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Functions {
    pub(crate) bindings: BTreeMap<Bdf, Binding>,
    pub(crate) vfs: BTreeMap<Bdf, (u16, bool)>,
    pub(crate) link: bool,
    pub(crate) ports: BTreeMap<u16, Port>,
    /// What the primary controller has, and what it will have after a reset.
    primary: ([u16; 2], [u16; 2]),
    /// By controller id: online, queues and interrupts.
    pub(crate) secondaries: BTreeMap<u16, (bool, [u16; 2])>,
    /// Controllers of each namespace.
    pub(crate) namespaces: BTreeMap<u32, BTreeSet<u16>>,
    /// Blocks of 512 bytes of each namespace, and what it is known by.
    pub(crate) sizes: BTreeMap<u32, (u64, u8)>,
    /// Bytes of no namespace; `None`: the disk makes none.
    pub(crate) unallocated: Option<u64>,
    /// The namespace that a file system is on.
    pub(crate) mounted: u32,
    /// Who uses a disk of the function without VFs.
    pub(crate) user: Option<String>,
    /// How the port keeps its peers apart.
    pub(crate) acs: u16,
    /// Functions that are enabled without a driver.
    pub(crate) enabled: BTreeSet<Bdf>,
    /// The line of the function without VFs.
    pub(crate) line: Option<Line>,
    /// The card's interrupt pin.
    pub(crate) pin: Option<Pin>,
}

impl Default for Functions {
    fn default() -> Self {
        let driven = |driver: &str| Binding {
            driver: Some(driver.to_owned()),
            wanted: None,
        };
        Self {
            bindings: [(NIC, "igb"), (DISK, "nvme"), (CARD, "e1000e")]
                .map(|(at, driver)| (at, driven(driver)))
                .into(),
            vfs: [NIC, DISK].map(|pf| (pf, (0, true))).into(),
            link: false,
            ports: BTreeMap::new(),
            primary: ([FLEXIBLE; 2], [FLEXIBLE; 2]),
            secondaries: (1..=VFS).map(|id| (id, (false, [0; 2]))).collect(),
            // The first is everybody's, and the second nobody's.
            namespaces: [(1, (0..=VFS).collect()), (2, BTreeSet::new())].into(),
            sizes: [(1, (1 << 20, 1)), (2, (1 << 20, 2))].into(),
            unallocated: Some(FREE),
            mounted: 0,
            user: None,
            acs: 1,
            enabled: BTreeSet::new(),
            line: Some(line(&[])),
            pin: Some(Pin::Only),
        }
    }
}

/// VF `number` of a PF.
pub(crate) fn vf(pf: Bdf, number: u16) -> Bdf {
    pf.offset(0x80 + u32::from(number)).expect("on the bus")
}

/// The record of a cell that has this VF of both PFs, with a namespace.
pub(crate) fn record_with_vfs(name: &str, number: u16, namespace: u32) -> CellRecord {
    let mut record = record(name);
    let function = |pf: Bdf| AssignedFunction {
        address: vf(pf, number),
        pf: Some(pf),
        vf: Some(number),
        mac: (pf == NIC).then_some(Mac([2, 0, 0, 0, 0, number.to_le_bytes()[0]])),
        vlan: (pf == NIC).then_some(7),
        namespace: (pf == DISK).then_some(namespace),
        namespace_size: None,
        isolation: Isolation::Iommu,
        node: None,
    };
    record.assignment.functions = vec![function(NIC), function(DISK)];
    let found = record.assignment.functions.iter().map(planned);
    record.functions = found.collect();
    record
}

/// As the tables would place it.
pub(crate) fn planned(function: &AssignedFunction) -> CellFunction {
    CellFunction {
        plan: Function {
            bdf: function.address,
            guest: Bdf::from_number(8),
            pf: function.pf,
            bar_sizes: [0; 6],
            unprotected: false,
            wire: None,
        },
        kind: "device".into(),
        silent: None,
        ports: Vec::new(),
    }
}

impl Pci for Fake {
    fn class(&self, function: Bdf) -> Result<u32> {
        Ok(if function == DISK { 0x0108 } else { 0x0200 })
    }

    fn vfs(&self, pf: Bdf) -> Result<Vfs> {
        let (number, autoprobe) = self.now.borrow().functions.vfs[&pf];
        Ok(Vfs { number, autoprobe })
    }

    fn set_vfs(&self, pf: Bdf, number: u16) -> Result<()> {
        self.change("VFs")?;
        let mut now = self.now.borrow_mut();
        let now = &mut now.functions;
        let (before, autoprobe) = now.vfs[&pf];
        assert!(before == 0 || number == 0, "by way of none");
        now.vfs.insert(pf, (number, autoprobe));
        for n in 0..before {
            let gone = now.bindings.remove(&vf(pf, n)).expect("it was there");
            assert_ne!(gone.wanted.as_deref(), Some("cellvisor"), "a cell has it");
        }
        for n in 0..number {
            let driver = autoprobe.then(|| "vf".to_owned());
            let new = Binding {
                driver,
                wanted: None,
            };
            now.bindings.insert(vf(pf, n), new);
        }
        match pf {
            NIC => now.ports = (0..number).map(|n| (n, Port::default())).collect(),
            _ if number == 0 => now.secondaries = Functions::default().secondaries,
            _ => {}
        }
        Ok(())
    }

    fn set_autoprobe(&self, pf: Bdf, on: bool) -> Result<()> {
        self.change("autoprobe")?;
        let mut now = self.now.borrow_mut();
        now.functions.vfs.get_mut(&pf).expect("a PF").1 = on;
        Ok(())
    }

    fn vf(&self, pf: Bdf, number: u16) -> Result<Option<Bdf>> {
        let exists = number < self.now.borrow().functions.vfs[&pf].0;
        Ok(exists.then(|| vf(pf, number)))
    }

    fn bars(&self, function: Bdf) -> Result<Vec<Bar>> {
        let bar = |index, space, start, size| Bar {
            index,
            space,
            start,
            size,
            prefetchable: false,
            wide: space == Space::Mem,
        };
        let memory = bar(0, Space::Mem, 0xfe00_0000, 0x4000);
        let ports = bar(2, Space::Io, 0xc000, 32);
        Ok(match function {
            CARD => vec![memory, ports],
            _ => vec![memory],
        })
    }

    fn binding(&self, function: Bdf) -> Result<Option<Binding>> {
        Ok(self.now.borrow().functions.bindings.get(&function).cloned())
    }

    fn set_wanted(&self, function: Bdf, driver: Option<&str>) -> Result<()> {
        self.change("driver override")?;
        let mut now = self.now.borrow_mut();
        let binding = now.functions.bindings.get_mut(&function).expect("exists");
        binding.wanted = driver.map(str::to_owned);
        Ok(())
    }

    fn unbind(&self, function: Bdf, driver: &str) -> Result<()> {
        self.change("unbind")?;
        let mut now = self.now.borrow_mut();
        let binding = now.functions.bindings.get_mut(&function).expect("exists");
        assert_eq!(binding.driver.take().as_deref(), Some(driver));
        Ok(())
    }

    fn bind(&self, function: Bdf, driver: &str) -> Result<()> {
        self.change("bind")?;
        let mut now = self.now.borrow_mut();
        let binding = now.functions.bindings.get_mut(&function).expect("exists");
        assert_eq!(binding.wanted.as_deref(), Some(driver), "by name");
        binding.driver = Some(driver.to_owned());
        Ok(())
    }

    fn reset(&self, function: Bdf) -> Result<()> {
        self.change("reset")?;
        let mut now = self.now.borrow_mut();
        assert!((function, now.functions.vfs[&DISK].0) == (DISK, 0));
        now.functions.primary.0 = now.functions.primary.1;
        Ok(())
    }

    fn acs(&self, function: Bdf) -> Result<Option<Acs>> {
        let on = self.now.borrow().functions.acs;
        Ok((function == PORT).then_some(Acs { can: 0xff, on }))
    }

    fn set_acs(&self, _: Bdf, on: u16) -> Result<()> {
        self.change("ACS")?;
        self.now.borrow_mut().functions.acs = on;
        Ok(())
    }

    fn link(&self, function: Bdf) -> Result<Option<bool>> {
        Ok((function == NIC).then_some(self.now.borrow().functions.link))
    }

    fn set_link(&self, _: Bdf, up: bool) -> Result<()> {
        self.change("link")?;
        self.now.borrow_mut().functions.link = up;
        Ok(())
    }

    fn port(&self, _: Bdf, vf: u16) -> Result<Port> {
        Ok(self.now.borrow().functions.ports[&vf])
    }

    fn set_port(&self, _: Bdf, vf: u16, port: Port) -> Result<()> {
        self.change("port")?;
        self.now.borrow_mut().functions.ports.insert(vf, port);
        Ok(())
    }

    fn admin(&self, controller: Bdf, command: &Admin, data: &mut [u8]) -> Result<u32> {
        assert_eq!(controller, DISK);
        if command.opcode != 6 {
            self.change("NVMe")?;
        }
        let refused = || Error::new(format!("{command:?}"), "the disk refuses", "");
        self.command(command, data).ok_or_else(refused)
    }

    fn namespace_in_use(&self, _: Bdf, namespace: u32) -> Result<bool> {
        Ok(self.now.borrow().functions.mounted == namespace)
    }

    fn user_of_disks(&self, function: Bdf) -> Option<String> {
        let user = self.now.borrow().functions.user.clone();
        user.filter(|_| function == CARD)
    }
}
