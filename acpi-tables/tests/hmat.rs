//! How fast memory is, byte by byte and as a kernel reads it.
//!
//! Source: ACPI 6.5, "Heterogeneous Memory Attribute Table (HMAT)".

mod cells;

use cellvisor_acpi_tables::{Access, CellAcpi, NodeMemory, Numa, build};
use proptest::prelude::*;

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from(u16::from_le_bytes(
        bytes[at..at + 2].try_into().expect("two bytes"),
    ))
}

fn dword(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn qword(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// The HMAT of a cell with a CPU and memory on each of `nodes` nodes.
fn hmat(nodes: u32, access: &[Access]) -> Option<Vec<u8>> {
    let cpus: Vec<u32> = (0..nodes).collect();
    let memory = cpus.iter().map(|node| NodeMemory {
        gpa: u64::from(*node) << 30,
        size: 1 << 30,
        node: *node,
    });
    let memory: Vec<_> = memory.collect();
    let pairs = cpus.iter().flat_map(|a| cpus.iter().map(move |b| (a, b)));
    let distances: Vec<u8> = pairs.map(|(a, b)| if a == b { 10 } else { 20 }).collect();
    let cell = CellAcpi {
        numa: Some(Numa {
            nodes,
            cpus: &cpus,
            memory: &memory,
            distances: &distances,
            access,
        }),
        ..CellAcpi::new(nodes)
    };
    let tables = build(&cell).expect("tables");
    tables.table(b"HMAT").map(<[u8]>::to_vec)
}

#[test]
fn each_node_names_its_initiator_and_the_matrices_their_units() {
    let tables = build(&cells::server()).expect("tables");
    let hmat = tables.table(b"HMAT").expect("an HMAT");
    assert_eq!((hmat[8], &hmat[36..40]), (2, &[0; 4][..]), "revision");
    let (first, rest) = hmat[40..].split_at(40);
    let (second, mut rest) = rest.split_at(40);
    for (node, attributes) in [(0, first), (1, second)] {
        let mut bytes = vec![0, 0, 0, 0, 40, 0, 0, 0, 1, 0, 0, 0];
        bytes.extend([node, 0, 0, 0, node, 0, 0, 0]);
        bytes.extend([0; 20]);
        assert_eq!(attributes, bytes);
    }
    // Type, unit, and the values from 0 and 1 to 0 and 1: 80 and 350 ns are 8 and
    // 35 times 10,000 ps; 204,800 and 25,600 MB/s are 8 and 1 times 25,600.
    for (data_type, unit, entries) in [
        (1, 10_000u64, [8, 0, 0, 35]),
        (2, 85_000, [1, 0, 0, 0]),
        (4, 25_600, [8, 0, 0, 1]),
        (5, 12_800, [8, 0, 0, 1]),
    ] {
        let mut bytes = vec![1, 0, 0, 0, 56, 0, 0, 0, 0, data_type, 0, 0];
        bytes.extend([2, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend(unit.to_le_bytes());
        bytes.extend([0, 0, 0, 0, 1, 0, 0, 0]);
        bytes.extend([0, 0, 0, 0, 1, 0, 0, 0]);
        bytes.extend(entries.into_iter().flat_map(u16::to_le_bytes));
        let (structure, others) = rest.split_at(56);
        assert_eq!(structure, bytes, "type {data_type}");
        rest = others;
    }
    assert!(rest.is_empty());
}

#[test]
fn nothing_known_is_no_table_and_unknown_values_are_no_matrix() {
    assert_eq!(hmat(2, &[]), None);
    let pair = Access {
        initiator: 0,
        target: 1,
        ..Access::default()
    };
    let only = hmat(2, &[pair]).expect("an HMAT");
    assert_eq!(only.len(), 40 + 40, "just who reaches it");
    let fast = Access {
        read_bandwidth_mbs: 7,
        ..pair
    };
    let one = hmat(2, &[fast]).expect("an HMAT");
    assert_eq!(one.len(), 40 + 40 + 32 + 4 + 4 + 2);
}

#[test]
fn of_two_equal_initiators_none_is_attached() {
    let pair = |initiator| Access {
        initiator,
        target: 0,
        read_latency_ns: 90,
        ..Access::default()
    };
    let hmat = hmat(3, &[pair(2), pair(0)]).expect("an HMAT");
    assert_eq!(word(&hmat, 40), 1, "no attributes come before the matrix");
    let lists = [72, 76, 80].map(|at| dword(&hmat, at));
    assert_eq!(lists, [0, 2, 0], "initiators in order, then the target");
    assert_eq!((word(&hmat, 84), word(&hmat, 86)), (1, 1));
}

#[test]
fn sixty_four_nodes_take_their_matrices_and_no_more() {
    let access: Vec<_> = (0..64)
        .map(|node| Access {
            initiator: node,
            target: node,
            read_latency_ns: 80 + node,
            write_latency_ns: 85 + node,
            read_bandwidth_mbs: 9_000 + node,
            write_bandwidth_mbs: 5_000 + node,
        })
        .collect();
    let hmat = hmat(64, &access).expect("an HMAT");
    assert_eq!(
        hmat.len(),
        40 + 64 * 40 + 4 * (32 + 2 * 64 * 4 + 64 * 64 * 2)
    );
}

/// All values of a table, by data type, initiator and target, in the unit that
/// its type has.
fn read(hmat: &[u8]) -> Vec<(u8, u32, u32, u64, u64)> {
    let mut found = Vec::new();
    let mut at = 40;
    while at < hmat.len() {
        let len = dword(hmat, at + 4) as usize;
        if word(hmat, at) == 1 {
            let [rows, columns] = [12, 16].map(|o| dword(hmat, at + o) as usize);
            let unit = qword(hmat, at + 24);
            let lists = at + 32;
            let entries = lists + 4 * (rows + columns);
            for (row, column) in (0..rows).flat_map(|r| (0..columns).map(move |c| (r, c))) {
                let initiator = dword(hmat, lists + 4 * row);
                let target = dword(hmat, lists + 4 * (rows + column));
                let entry = word(hmat, entries + 2 * (row * columns + column));
                found.push((hmat[at + 9], initiator, target, entry, unit));
            }
        }
        at += len;
    }
    assert_eq!(at, hmat.len());
    found
}

fn values() -> impl Strategy<Value = u32> {
    prop_oneof![
        Just(0),
        1..=1000u32,
        (1..=65_534u32).prop_map(|n| n * 100),
        any::<u32>()
    ]
}

proptest! {
    /// Whatever is known comes back, exactly if all values have a unit in
    /// which they fit, else to half a unit; what is not known is 0 everywhere,
    /// what is known never, and nothing is unreachable.
    #[test]
    fn values_come_back(
        pairs in proptest::collection::btree_map((0..5u32, 0..5u32), [values(), values(), values(), values()], 1..25),
    ) {
        let access: Vec<_> = pairs
            .iter()
            .map(|((initiator, target), v)| Access {
                initiator: *initiator,
                target: *target,
                read_latency_ns: v[0],
                write_latency_ns: v[1],
                read_bandwidth_mbs: v[2],
                write_bandwidth_mbs: v[3],
            })
            .collect();
        let found = read(&hmat(5, &access).expect("an HMAT"));
        for (data_type, place, per) in [(1, 0, 1000), (2, 1, 1000), (4, 2, 1), (5, 3, 1)] {
            let all: Vec<u64> = pairs.values().map(|v| u64::from(v[place])).collect();
            let most = all.iter().copied().max().unwrap_or(0);
            let mine = found.iter().filter(|f| f.0 == data_type);
            prop_assert_eq!(mine.clone().count() == 0, most == 0);
            for (_, initiator, target, entry, unit) in mine {
                let known = pairs.get(&(*initiator, *target)).map_or(0, |v| u64::from(v[place]));
                prop_assert_ne!(*entry, 0xffff);
                prop_assert_eq!(*entry == 0, known == 0);
                let (told, wanted) = (entry * unit, known * per);
                let exact = all.iter().all(|v| (v * per).is_multiple_of(*unit));
                prop_assert!(exact || *unit <= (most * per).div_ceil(0xfffe) + per);
                let off = told.abs_diff(wanted);
                let most_off = if exact { 0 } else { *unit };
                prop_assert!(off <= most_off, "{} is told as {}", wanted, told);
            }
        }
    }
}
