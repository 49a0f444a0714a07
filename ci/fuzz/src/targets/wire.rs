//! Plans and the requests of hypercalls.

use cellvisor_abi::Bdf;
use cellvisor_abi::call::{
    CellId, Code, ConsoleWrite, FunctionRequest, ReadRequest, Start, StatsRequest,
};
use cellvisor_abi::plan::{
    Adapter, CellPlan, Class, Cpu, Devices, Ecam, Function, Inject, IoApic, Iommu, IommuKind, Link,
    Memory, Ports, Range, Share, Socket, SystemPlan, Wire,
};
use cellvisor_abi::wire::{self, ListBuf, Put, Take};

/// Plans with something in each list, made anew so that they are of this version.
pub(crate) fn examples() -> Vec<Vec<u8>> {
    [cell(), system()].concat()
}

/// Bare and in its frame.
fn both<T: Put>(plan: &T) -> Vec<Vec<u8>> {
    vec![wire::to_vec(plan), wire::seal(plan)]
}

fn cell() -> Vec<Vec<u8>> {
    let memory = ListBuf::new(&[0, 1, 2].map(|n| Memory {
        gpa: n << 21,
        hpa: 1 << 32 | n << 22,
        size: 2 << 20,
        share: if n == 2 { Share::Read } else { Share::Own },
    }));
    let ports = ListBuf::new(&[Ports {
        first: 0xc000,
        count: 32,
    }]);
    let functions = ListBuf::new(&[Function {
        bdf: Bdf::new(0, 2, 0x10),
        guest: Bdf::new(0, 0, 8),
        pf: Some(Bdf::new(0, 2, 0)),
        bar_sizes: [14, 0, 0, 14, 0, 0],
        unprotected: false,
        wire: Some(Wire {
            io_apic: 0xfec0_0000,
            pin: 17,
            gsi: 16,
        }),
    }]);
    let adapters = ListBuf::new(&[Adapter {
        link: [b'l'; 31],
        mac: [2, 1, 2, 3, 4, 5],
    }]);
    let cpus = ListBuf::new(&[2u32, 300]);
    both(&CellPlan {
        name: b"example-0",
        cpus: cpus.list(),
        memory: memory.list(),
        ports: ports.list(),
        functions: functions.list(),
        adapters: adapters.list(),
        console: true,
        socket: Some(Socket {
            memory: 0x12_3456_7000,
            number: 1,
            members: 3,
            gsi: 7,
        }),
        devices: Devices::STANDARD,
        dump: true,
        many_nodes: false,
        class: Class::ROOT,
        link: Some(Link { root: true }),
    })
}

fn system() -> Vec<Vec<u8>> {
    let range = |start, size| Range { start, size };
    let (cpus, ram) = (
        ListBuf::new(&[0, 1, 2].map(|n| Cpu {
            linux: n,
            apic_id: n * 2,
        })),
        ListBuf::new(&[range(0x1000, 0x9_e000), range(1 << 20, 3 << 30)]),
    );
    let (ecam, iommus, io_apics) = (
        ListBuf::new(&[Ecam {
            base: 0xb000_0000,
            segment: 0,
            first_bus: 0,
            last_bus: 255,
        }]),
        ListBuf::new(&[Iommu {
            kind: IommuKind::AmdVi,
            base: 0xfed9_0000,
            segment: 0,
        }]),
        ListBuf::new(&[IoApic {
            base: 0xfec0_0000,
            source: Some(0xf0f8),
        }]),
    );
    both(&SystemPlan {
        cpus: cpus.list(),
        ram: ram.list(),
        ecam: ecam.list(),
        iommus: iommus.list(),
        io_apics: io_apics.list(),
        tsc_khz: 2_000_000,
        log_port: 0x2f8,
        inject: Some(Inject::FaultAtPort(0x80)),
    })
}

/// Any bytes as a frame and as the payloads of frames: decoding ends, and what
/// decodes encodes to the same bytes.
pub(crate) fn plans(bytes: &[u8]) {
    if let Ok(payload) = wire::open(bytes) {
        payloads(payload);
    }
    // The checksum keeps nearly all random bytes out: try without.
    payloads(bytes);
}

fn payloads(bytes: &[u8]) {
    if let Ok(plan) = wire::decode::<CellPlan<'_>>(bytes) {
        let limit = bytes.len() + 1;
        assert!(plan.cpus.iter().count() <= limit);
        assert!(plan.memory.iter().count() <= limit);
        assert!(plan.ports.iter().count() <= limit);
        assert!(plan.functions.iter().count() <= limit);
        let frame = wire::seal(&plan);
        assert_eq!(wire::open(&frame), Ok(bytes));
    }
    if let Ok(plan) = wire::decode::<SystemPlan<'_>>(bytes) {
        let limit = bytes.len() + 1;
        assert!(plan.cpus.iter().count() <= limit);
        assert!(plan.ram.iter().count() <= limit);
        assert!(plan.ecam.iter().count() <= limit);
        assert!(plan.iommus.iter().count() <= limit);
        assert!(plan.io_apics.iter().count() <= limit);
        assert_eq!(wire::to_vec(&plan), bytes);
    }
}

/// Any bytes as a request: it is refused, or encodes to the same bytes.
pub(crate) fn calls(bytes: &[u8]) {
    let number = bytes.first().copied().map_or(0, u64::from);
    if let Some(code) = Code::from_code(number) {
        assert_eq!(code as u64, number);
    }
    for skip in 0..bytes.len().min(8) {
        let request = &bytes[skip..];
        same::<CellId>(request);
        same::<Start>(request);
        same::<StatsRequest>(request);
        same::<ReadRequest>(request);
        same::<FunctionRequest>(request);
        same::<ConsoleWrite<'_>>(request);
    }
}

/// A value has one form: what is read is written as it was.
fn same<'a, T: Take<'a> + Put>(request: &'a [u8]) {
    if let Ok(value) = wire::decode::<T>(request) {
        assert_eq!(wire::to_vec(&value), request);
    }
}
