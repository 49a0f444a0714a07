//! Cells that the tests describe.

use cellvisor_abi::plan::Ecam;
use cellvisor_acpi_tables::{
    Access, CellAcpi, Intx, NodeMemory, Numa, Pin, RootBridge, Shared, Window,
};

/// A server: two bridges of two segments on two nodes, one configuration space
/// below 4 GiB and one above, 300 CPUs so that both kinds of entries are there.
pub(crate) fn server() -> CellAcpi<'static> {
    const CPU_NODES: [u32; 300] = {
        let mut nodes = [0; 300];
        let mut i = 150;
        while i < 300 {
            nodes[i] = 1;
            i += 1;
        }
        nodes
    };
    CellAcpi {
        uarts: &[0x2f8],
        ecam: &[
            Ecam {
                base: 0xe000_0000,
                segment: 0,
                first_bus: 0x20,
                last_bus: 0x2b,
            },
            Ecam {
                base: 0x40_0000_0000,
                segment: 1,
                first_bus: 0,
                last_bus: 0xff,
            },
        ],
        bridges: &[
            RootBridge {
                segment: 0,
                first_bus: 0x20,
                last_bus: 0x2b,
                express: true,
                node: Some(0),
                windows: &[
                    Window::Io {
                        first: 0x6000,
                        last: 0x7fff,
                    },
                    Window::Memory {
                        first: 0xab00_0000,
                        last: 0xb87f_ffff,
                        prefetchable: false,
                    },
                    Window::Memory {
                        first: 0x3880_0000_0000,
                        last: 0x38bf_ffff_ffff,
                        prefetchable: true,
                    },
                ],
                intx: &[
                    Intx {
                        device: 0,
                        pin: Pin::A,
                        gsi: 16,
                    },
                    Intx {
                        device: 31,
                        pin: Pin::D,
                        gsi: 23,
                    },
                ],
            },
            RootBridge {
                segment: 1,
                first_bus: 0,
                last_bus: 0xff,
                express: false,
                node: Some(1),
                // All ports, and memory across the 4 GiB border: lengths that
                // 16 and 32 bits cannot hold.
                windows: &[
                    Window::Io {
                        first: 0,
                        last: 0xffff,
                    },
                    Window::Memory {
                        first: 0,
                        last: 0xffff_ffff,
                        prefetchable: false,
                    },
                    Window::Memory {
                        first: 0xf000_0000,
                        last: 0x1_0fff_ffff,
                        prefetchable: false,
                    },
                ],
                intx: &[],
            },
        ],
        numa: Some(Numa {
            nodes: 2,
            cpus: &CPU_NODES,
            memory: &[
                NodeMemory {
                    gpa: 0,
                    size: 0x4000_0000,
                    node: 0,
                },
                NodeMemory {
                    gpa: 0x1_0000_0000,
                    size: 0x10_0000_0000,
                    node: 1,
                },
            ],
            distances: &[10, 21, 21, 10],
            access: &[
                Access {
                    initiator: 0,
                    target: 0,
                    read_latency_ns: 80,
                    write_latency_ns: 85,
                    read_bandwidth_mbs: 204_800,
                    write_bandwidth_mbs: 102_400,
                },
                Access {
                    initiator: 1,
                    target: 1,
                    read_latency_ns: 350,
                    write_latency_ns: 0,
                    read_bandwidth_mbs: 25_600,
                    write_bandwidth_mbs: 12_800,
                },
            ],
        }),
        shared: &[
            Shared {
                name: "board-0",
                base: 0x20_0000_0000,
                size: 0x40_0000,
                writable: true,
                note: "member 1 of 2, address 10.1.2.1/24",
            },
            Shared {
                name: "watch",
                base: 0x20_4000_0000,
                size: 0x20_0000,
                writable: false,
                note: "",
            },
        ],
        ..CellAcpi::new(300)
    }
}
