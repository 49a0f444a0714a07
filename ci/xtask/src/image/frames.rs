//! Requests to the monitor that no tool would send, for `provoke` in a root: a name
//! and hexadecimal digits in each line.

use anyhow::Result;
use cellvisor_abi::call::{CellId, Start};
use cellvisor_abi::plan::{Boot, CellPlan, Devices, Memory};
use cellvisor_abi::wire::{ListBuf, seal};

/// A page of device registers on every machine here, and one of RAM.
const IO_APIC: u64 = 0xfec0_0000;
const RAM: u64 = 0x4000_0000;

/// All of them.
///
/// # Errors
///
/// A request cannot be encoded.
pub(super) fn all() -> Result<String> {
    let start = Start {
        cell: CellId(1),
        boot: Boot {
            rip: 0,
            rsi: 0,
            cr3: 0,
            gdt: 0,
            gdt_limit: 0,
        },
        wall_ns: 0,
        wall_tsc: 0,
    };
    let mut room = [0; 64];
    let start = cellvisor_abi::wire::encode(&start, &mut room);
    let start = start.map_or_else(Vec::new, |bytes| bytes.to_vec());
    let requests = [
        ("start-running", start),
        ("foreign-cpu", plan("foreign", 3, RAM)?),
        ("no-cpu", plan("nobody", 77, RAM)?),
        ("device-memory", plan("device", 1, IO_APIC)?),
        ("beyond-memory", plan("beyond", 1, 1 << 51)?),
        ("taken-name", plan("victim", 1, RAM)?),
    ];
    let line = |(name, bytes): &(&str, Vec<u8>)| format!("{name} {}\n", hex(bytes));
    Ok(requests.iter().map(line).collect())
}

/// A cell with one CPU and one page.
fn plan(name: &str, cpu: u32, hpa: u64) -> Result<Vec<u8>> {
    let cpus = ListBuf::new(&[cpu])?;
    let memory = ListBuf::new(&[Memory {
        gpa: 0,
        hpa,
        size: 4096,
    }])?;
    let none = ListBuf::default();
    Ok(seal(&CellPlan {
        name,
        cpus: cpus.list(),
        memory: memory.list(),
        ports: none.list(),
        functions: none.list(),
        devices: Devices::STANDARD,
    })?)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
