//! A machine for tests: counts every change, fails when it is told to, and
//! can be compared with what it was.

pub(crate) mod lines;
pub(crate) mod pci;

use crate::driver::{Driver, Reply};
use crate::error::{Error, Result};
use crate::journal;
use crate::state::{CellRecord, Payload, Policy};
use crate::sysfs::{Linux, Node, Pool};
use cellvisor_abi::ABI_VERSION;
use cellvisor_abi::call::{
    CellId, CellStatus, Code, Denied, Name, Progress, Start, State, StopReason,
};
use cellvisor_abi::ioctl::{Enable, Info};
use cellvisor_abi::plan::{CellPlan, Memory};
use cellvisor_abi::status::CallStatus;
use cellvisor_abi::wire::{self, Put};
use cellvisor_planner::config::{self, Console, Slice};
use cellvisor_planner::plan::{AssignedCpu, CellAssignment, MemoryShare};
use ipnet::Ipv4Net;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use vm_memory::{GuestAddress, GuestMemoryMmap, MmapRegion};

const PAGE: u64 = 2 << 20;

/// What `a.toml` says that describes the cell `a` in five lines, and then more.
pub(crate) fn slices(extra: &str) -> Vec<Slice> {
    let text = format!(
        "version = 1\ncell.name = \"a\"\ncpus.count = 1\nmemory.size = \"64MiB\"\n\
         kernel.image = \"vmlinuz\"\n{extra}\n"
    );
    config::parse(&text, Path::new("a.toml")).expect("a slice file")
}

/// Everything that a command can change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// CPUs that are offline.
    pub(crate) offline: BTreeSet<u32>,
    /// Huge pages in the pool.
    pub(crate) pages: u64,
    /// Pages of each pin.
    pub(crate) pins: BTreeMap<u64, u64>,
    /// Cells by number, which are used again.
    pub(crate) cells: BTreeMap<u32, (String, State)>,
    /// The monitor is on.
    pub(crate) on: bool,
    /// PCI functions.
    pub(crate) functions: pci::Functions,
    /// Linux forwards packets.
    pub(crate) forwards: bool,
    /// Links whose packets have a table.
    pub(crate) tables: BTreeSet<String>,
}

/// The stand-in for driver and Linux.
pub(crate) struct Fake {
    pub(crate) now: RefCell<Facts>,
    /// Changes so far.
    pub(crate) changes: Cell<u32>,
    /// The change that fails; `None`: none does.
    pub(crate) fail_at: Cell<Option<u32>>,
    /// The change from which on all fail, as after a crash.
    pub(crate) dead_from: Cell<Option<u32>>,
    /// After this change a signal asks to end.
    pub(crate) signal_after: Cell<Option<u32>>,
    /// Most huge pages that Linux can provide.
    pub(crate) most_pages: u64,
    /// This CPU is a sibling, and stays offline.
    pub(crate) nosmt: Option<u32>,
    script: RefCell<VecDeque<Reply>>,
}

impl Default for Fake {
    fn default() -> Self {
        Self {
            now: RefCell::new(Facts {
                offline: BTreeSet::new(),
                pages: 1,
                pins: BTreeMap::new(),
                cells: BTreeMap::new(),
                on: true,
                functions: pci::Functions::default(),
                forwards: false,
                tables: BTreeSet::new(),
            }),
            changes: Cell::new(0),
            fail_at: Cell::new(None),
            dead_from: Cell::new(None),
            signal_after: Cell::new(None),
            most_pages: 100,
            nosmt: None,
            script: RefCell::default(),
        }
    }
}

/// The record of a cell with two CPUs and 64 MiB.
pub(crate) fn record(name: &str) -> CellRecord {
    let cpu = |n| AssignedCpu {
        linux: n,
        apic_id: n * 2,
        node: 0,
    };
    let assignment = CellAssignment {
        name: name.to_owned(),
        cpus: vec![cpu(2), cpu(3)],
        memory: vec![MemoryShare::Pages {
            node: 0,
            bytes: 64 << 20,
            page_size: PAGE,
            fixed: false,
        }],
        functions: Vec::new(),
        ports: Vec::new(),
        class: None,
        console: Console::Virtual,
        links: Vec::new(),
        why: Vec::new(),
    };
    let payload = Payload {
        image: "/boot/vmlinuz".into(),
        initrd: Vec::new(),
        cmdline: "ro".into(),
    };
    let policy = Policy {
        restart_on_failure: false,
        restart_on_reboot: true,
        stop_timeout: 1,
        dump: false,
    };
    CellRecord::new(Path::new("/etc/a.toml"), assignment, payload, policy)
}

impl Fake {
    /// Itself, as what steps act on.
    pub(crate) fn machine(&self) -> journal::Machine<'_> {
        journal::Machine {
            driver: self,
            linux: self,
            pci: self,
        }
    }

    /// The next call gets this answer, whatever it asks.
    pub(crate) fn script(&self, status: CallStatus, bytes: &[u8]) {
        self.script.borrow_mut().push_back(Reply {
            status: status.code(),
            bytes: bytes.to_vec(),
        });
    }

    /// Scripted answers that nobody took.
    pub(crate) fn calls_left(&self) -> usize {
        self.script.borrow().len()
    }

    /// Counts a change; the chosen one fails.
    pub(crate) fn change(&self, what: &str) -> Result<()> {
        let number = self.changes.get() + 1;
        self.changes.set(number);
        let dead = self.dead_from.get().is_some_and(|from| number >= from);
        if dead || self.fail_at.get() == Some(number) {
            return Err(Error::new(
                format!("change {number}: {what}"),
                "injected",
                "none",
            ));
        }
        Ok(())
    }

    fn create(&self, request: &[u8]) -> Result<Reply> {
        self.change("create")?;
        let plan: CellPlan<'_> =
            wire::decode(wire::open(request).expect("frame")).expect("cell plan");
        let mut now = self.now.borrow_mut();
        let name = String::from_utf8(plan.name.to_vec()).expect("a name");
        let used = |name: &str| now.cells.values().any(|(is, _)| is == name);
        assert!(!used(&name), "names are nobody else's");
        let id = (1..).find(|id| !now.cells.contains_key(id)).expect("free");
        now.cells.insert(id, (name, State::Loadable));
        Ok(ok(&CellId(id)))
    }

    fn status(&self, id: CellId) -> CellStatus {
        let now = self.now.borrow();
        let (name, state) = now.cells.get(&id.0).expect("a cell");
        Self::with_cell(id.0, name, *state)
    }

    /// What the monitor says of a cell with this number.
    pub(crate) fn with_cell(id: u32, name: &str, state: State) -> CellStatus {
        CellStatus {
            cell: CellId(id),
            name: Name::new(name.as_bytes()).expect("name"),
            state,
            cpus: 2,
            memory: 0,
            functions: 0,
            unprotected: false,
            pool_pages: 0,
            console_written: 0,
            starts: 0,
            denied: Denied::default(),
            failure: None,
        }
    }

    /// Takes a cell from one state to the next.
    fn life(&self, what: &str, id: CellId, from: fn(&State) -> bool, to: State) -> Result<()> {
        self.change(what)?;
        let mut now = self.now.borrow_mut();
        let (_, state) = now.cells.get_mut(&id.0).expect("a cell");
        assert!(from(state), "{what} of a cell that is {state:?}");
        *state = to;
        Ok(())
    }

    fn destroy(&self, id: CellId) -> Result<Reply> {
        self.change("destroy")?;
        let gone = self.now.borrow_mut().cells.remove(&id.0);
        let (name, state) = gone.expect("a cell");
        assert_ne!(state, State::Running, "{name} is stopped first");
        Ok(ok(&Progress { done: 1, total: 1 }))
    }
}

/// The number of a cell in a request.
fn cell_of(request: &[u8]) -> CellId {
    let started = || wire::decode::<Start>(request).map(|start| start.cell);
    wire::decode(request)
        .or_else(|_| started())
        .expect("a cell")
}

fn ok<T: Put>(value: &T) -> Reply {
    Reply {
        status: CallStatus::Ok.code(),
        bytes: wire::to_vec(value),
    }
}

impl Driver for Fake {
    fn info(&self) -> Result<Info> {
        Ok(Info {
            abi_version: ABI_VERSION,
            enabled: u32::from(self.now.borrow().on),
            tsc_khz: 1_000_000,
            pins: 0,
        })
    }

    fn enable(&self, _: &MmapRegion, _: u64, _: u64, _: u32) -> Result<Enable> {
        self.change("enable")?;
        self.now.borrow_mut().on = true;
        Ok(Enable::default())
    }

    fn disable(&self) -> Result<Enable> {
        self.change("disable")?;
        let mut now = self.now.borrow_mut();
        assert!(now.cells.is_empty(), "the monitor refuses it");
        now.on = false;
        now.pins.clear();
        Ok(Enable::default())
    }

    fn pin(&self, memory: &MmapRegion, page_size: u64, id: u64) -> Result<Vec<u64>> {
        self.change("pin")?;
        let pages = memory.size() as u64 / page_size;
        let before = self.now.borrow_mut().pins.insert(id, pages);
        assert_eq!(before, None, "no number is used twice");
        Ok((0..pages).map(|n| (n + 8) * page_size).collect())
    }

    fn pin_reserved(&self, _: u64, size: u64, page_size: u64, id: u64) -> Result<()> {
        self.change("pin")?;
        self.now.borrow_mut().pins.insert(id, size / page_size);
        Ok(())
    }

    fn unpin(&self, id: u64) -> Result<()> {
        self.change("unpin")?;
        self.now.borrow_mut().pins.remove(&id);
        Ok(())
    }

    fn call(&self, code: Code, request: &[u8]) -> Result<Reply> {
        if let Some(reply) = self.script.borrow_mut().pop_front() {
            return Ok(reply);
        }
        match code {
            Code::CellCreate => self.create(request),
            Code::CellList => {
                let now = self.now.borrow();
                let ids: Vec<u8> = now.cells.keys().flat_map(|id| id.to_le_bytes()).collect();
                Ok(ok(&ids.as_slice()))
            }
            Code::CellStatus => Ok(ok(&self.status(cell_of(request)))),
            Code::CellStart => {
                let is = |state: &State| *state == State::Loadable;
                self.life("start", cell_of(request), is, State::Running)?;
                Ok(ok(&()))
            }
            Code::CellStop => {
                let is = |state: &State| *state == State::Running;
                let stopped = State::Stopped(StopReason::Root);
                self.life("stop", cell_of(request), is, stopped)?;
                Ok(ok(&()))
            }
            Code::CellReload => {
                let is = |state: &State| matches!(state, State::Stopped(_));
                self.life("reload", cell_of(request), is, State::Loadable)?;
                Ok(ok(&Progress { done: 1, total: 1 }))
            }
            Code::CellDestroy => self.destroy(cell_of(request)),
            _ => Ok(ok(&())),
        }
    }

    fn wait(&self) -> Result<()> {
        Err(Error::new("wait", "nothing ever happens here", "none"))
    }

    fn map(&self, memory: &[Memory]) -> Result<GuestMemoryMmap> {
        let ranges: Vec<_> = memory
            .iter()
            .map(|m| (GuestAddress(m.gpa), m.size as usize))
            .collect();
        GuestMemoryMmap::from_ranges(&ranges).map_err(|e| Error::internal("map", e))
    }
}

impl Linux for Fake {
    fn cpu_online(&self, cpu: u32) -> Result<bool> {
        Ok(!self.now.borrow().offline.contains(&cpu))
    }

    fn set_cpu_online(&self, cpu: u32, online: bool) -> Result<()> {
        self.change("CPU")?;
        if online && self.nosmt == Some(cpu) {
            return Err(Error::new("CPU", "not permitted", ""));
        }
        let mut now = self.now.borrow_mut();
        if online {
            now.offline.remove(&cpu);
        } else {
            now.offline.insert(cpu);
        }
        Ok(())
    }

    fn interrupted(&self) -> Option<&'static str> {
        let now = self.changes.get();
        self.signal_after.get().filter(|after| now >= *after)?;
        Some("Ctrl-C (SIGINT)")
    }

    fn siblings_stay_offline(&self) -> bool {
        self.nosmt.is_some()
    }

    fn huge_pages(&self, _: Node, _: u64) -> Result<Pool> {
        let now = self.now.borrow();
        let pinned: u64 = now.pins.values().sum();
        Ok(Pool {
            total: now.pages,
            free: now.pages - pinned,
        })
    }

    fn set_huge_pages(&self, _: Node, _: u64, pages: u64) -> Result<u64> {
        self.change("huge pages")?;
        let got = pages.min(self.most_pages);
        self.now.borrow_mut().pages = got;
        Ok(got)
    }

    fn compact_memory(&self) {}

    fn map_huge(&self, _: Node, page_size: u64, pages: u64) -> Result<MmapRegion> {
        self.change("map")?;
        assert_eq!(page_size, PAGE);
        MmapRegion::new((pages * page_size) as usize).map_err(|e| Error::internal("map", e))
    }

    fn forwards(&self) -> Result<bool> {
        Ok(self.now.borrow().forwards)
    }

    fn set_forwards(&self, on: bool) -> Result<()> {
        self.change("forwarding")?;
        self.now.borrow_mut().forwards = on;
        Ok(())
    }

    fn put_table(&self, link: &str, _: Ipv4Net) -> Result<()> {
        self.change("table")?;
        self.now.borrow_mut().tables.insert(link.to_owned());
        Ok(())
    }

    fn forget_table(&self, link: &str) -> Result<bool> {
        self.change("table")?;
        let tables = &mut self.now.borrow_mut().tables;
        tables.remove(link);
        Ok(tables.is_empty())
    }
}
