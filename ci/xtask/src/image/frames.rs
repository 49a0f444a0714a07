//! Requests to the monitor that no tool would send, for `provoke` in a root: a name,
//! the number of the call, and the request in hexadecimal digits in each line.

use cellvisor_abi::Bdf;
use cellvisor_abi::call::{CellId, Code, LinkWrite, Start};
use cellvisor_abi::plan::{CellPlan, Class, Devices, Function, Memory, Share};
use cellvisor_abi::wire::{ListBuf, seal, to_vec};

/// A page of device registers on every machine here, and one of RAM.
const IO_APIC: u64 = 0xfec0_0000;
const RAM: u64 = 0x4000_0000;

/// A CPU that the root has given up. The one that makes the call no cell can have, whatever
/// else is asked for.
const CPU: u32 = 2;

/// All of them.
pub(super) fn all() -> String {
    let start = to_vec(&Start::at_zero(CellId(1)));
    let create = Code::CellCreate;
    let bell = LinkWrite {
        link: CellId(1),
        offset: 0x300,
        size: 2,
        value: 1,
    };
    let requests = [
        ("info", Code::Info, Vec::new()),
        ("leave", Code::Leave, Vec::new()),
        ("start-running", Code::CellStart, start),
        ("nmi-to-the-root", Code::CellNmi, to_vec(&CellId::ROOT)),
        ("bell-of-a-cell", Code::LinkWrite, to_vec(&bell)),
        ("foreign-cpu", create, plan("foreign", 3, RAM)),
        ("no-cpu", create, plan("nobody", 77, RAM)),
        ("device-memory", create, plan("device", CPU, IO_APIC)),
        ("beyond-memory", create, plan("beyond", CPU, 1 << 51)),
        ("taken-name", create, plan("victim", CPU, RAM)),
        ("console-of-lines", create, with_console("lines")),
        (
            "short-bar",
            create,
            with_function("short", Bdf::new(0, 3, 0), [12, 0, 0, 0, 0, 0]),
        ),
        (
            "loose-ports",
            create,
            with_function("loose", Bdf::new(0, 0, 0xfb), [0, 0, 0, 0, 6, 0]),
        ),
    ];
    let line = |(name, code, bytes): &(&str, Code, Vec<u8>)| {
        format!("{name} {:#x} {}\n", *code as u32, hex(bytes))
    };
    requests.iter().map(line).collect()
}

/// A cell with one CPU and one page.
fn plan(name: &str, cpu: u32, hpa: u64) -> Vec<u8> {
    seal(&cell(name, &Lists::of(cpu, hpa)))
}

/// The same with a console that takes lines, which the small monitor has not.
fn with_console(name: &str) -> Vec<u8> {
    seal(&CellPlan {
        console: true,
        ..cell(name, &Lists::of(CPU, RAM))
    })
}

/// A cell with the function at `bdf`, of whose BARs the plan says this. On machines
/// here 03:00.0 has one of 1 MiB (`edu`), and 00:1f.3 one of 64 ports (SMBus).
fn with_function(name: &str, bdf: Bdf, bar_sizes: [u8; 6]) -> Vec<u8> {
    let function = Function {
        bdf,
        guest: Bdf::new(0, 0, 0x10),
        pf: None,
        bar_sizes,
        unprotected: false,
        wire: None,
    };
    seal(&CellPlan {
        functions: ListBuf::new(&[function]).list(),
        ..cell(name, &Lists::of(CPU, RAM))
    })
}

/// What a plan borrows.
struct Lists {
    cpus: ListBuf,
    memory: ListBuf,
    none: ListBuf,
}

impl Lists {
    /// One CPU, and one page.
    fn of(cpu: u32, hpa: u64) -> Self {
        Self {
            cpus: ListBuf::new(&[cpu]),
            memory: ListBuf::new(&[Memory {
                gpa: 0,
                hpa,
                size: 4096,
                share: Share::Own,
            }]),
            none: ListBuf::default(),
        }
    }
}

fn cell<'a>(name: &'a str, lists: &'a Lists) -> CellPlan<'a> {
    CellPlan {
        name: name.as_bytes(),
        cpus: lists.cpus.list(),
        memory: lists.memory.list(),
        ports: lists.none.list(),
        functions: lists.none.list(),
        adapters: lists.none.list(),
        console: false,
        socket: None,
        devices: Devices::STANDARD,
        dump: false,
        many_nodes: false,
        class: Class::ROOT,
        link: None,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
