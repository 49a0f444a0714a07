//! How fast memory is: HMAT.
//!
//! Spec: ACPI 6.5, "Heterogeneous Memory Attribute Table (HMAT)". Written out
//! here, as the crate's own table has the header's revision 1, in which latencies
//! have another unit, and calls a pair unreachable of which nothing is known.

use crate::table;
use acpi_tables::AmlSink;
use alloc::vec::Vec;

/// Latencies in picoseconds, bandwidths in MB/s.
const REVISION: u8 = 2;

/// "Memory Proximity Domain Attributes Structure".
const ATTRIBUTES: u16 = 0;
const ATTRIBUTES_SIZE: u32 = 40;
/// The initiator is named ("Proximity Domain for the Attached Initiator").
const INITIATOR_VALID: u16 = 1;

/// "System Locality Latency and Bandwidth Information Structure".
const LOCALITY: u16 = 1;
const LOCALITY_SIZE: u32 = 32;

/// The greatest entry that is a value: 0xffff means "unreachable".
const MOST: u64 = 0xfffe;

const PICOSECONDS_IN_A_NANOSECOND: u64 = 1000;

/// How CPUs of one node reach memory of another, or of their own. A value that
/// nobody knows is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Node of the CPUs, in the guest's numbering.
    pub initiator: u32,
    /// Node of the memory, in the guest's numbering.
    pub target: u32,
    /// Time that a read takes, in nanoseconds.
    pub read_latency_ns: u32,
    /// Time that a write takes, in nanoseconds.
    pub write_latency_ns: u32,
    /// What can be read, in MB/s.
    pub read_bandwidth_mbs: u32,
    /// What can be written, in MB/s.
    pub write_bandwidth_mbs: u32,
}

/// One kind of value: its number ("Data Type"), its unit in the table, and where
/// it comes from.
type Kind = (u8, u64, fn(&Access) -> u32);

const KINDS: [Kind; 4] = [
    (1, PICOSECONDS_IN_A_NANOSECOND, |a| a.read_latency_ns),
    (2, PICOSECONDS_IN_A_NANOSECOND, |a| a.write_latency_ns),
    (4, 1, |a| a.read_bandwidth_mbs),
    (5, 1, |a| a.write_bandwidth_mbs),
];

/// Who reaches which memory best, and how fast.
pub(crate) fn hmat(access: &[Access]) -> Vec<u8> {
    let mut body = Vec::new();
    body.dword(0); // reserved
    let initiators = sorted(access.iter().map(|a| a.initiator));
    let targets = sorted(access.iter().map(|a| a.target));
    for target in &targets {
        let mut from = access.iter().filter(|a| a.target == *target);
        // Of several that reach it equally well, none is attached: a guest
        // finds them all by their equal values.
        if let (Some(only), None) = (from.next(), from.next()) {
            attributes(only.initiator, *target, &mut body);
        }
    }
    for kind in &KINDS {
        locality(kind, access, &initiators, &targets, &mut body);
    }
    table(*b"HMAT", REVISION, &body)
}

/// Each number once, in ascending order.
fn sorted(numbers: impl Iterator<Item = u32>) -> Vec<u32> {
    let mut numbers: Vec<u32> = numbers.collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// The initiator that a memory belongs to.
fn attributes(initiator: u32, target: u32, body: &mut Vec<u8>) {
    body.word(ATTRIBUTES);
    body.word(0); // reserved
    body.dword(ATTRIBUTES_SIZE);
    body.word(INITIATOR_VALID);
    body.word(0); // reserved
    body.dword(initiator);
    body.dword(target);
    body.vec(&[0; 20]); // reserved
}

/// The matrix of one kind of value, unless nobody knows any.
fn locality(
    kind: &Kind,
    access: &[Access],
    initiators: &[u32],
    targets: &[u32],
    body: &mut Vec<u8>,
) {
    let (data_type, unit, value) = *kind;
    let mut entries = alloc::vec![0u16; initiators.len() * targets.len()];
    let Some(scale) = scale(access.iter().map(value)) else {
        return;
    };
    for pair in access {
        let row = initiators.binary_search(&pair.initiator).ok();
        let column = targets.binary_search(&pair.target).ok();
        let place = row.zip(column).map(|(r, c)| r * targets.len() + c);
        if let Some(entry) = place.and_then(|place| entries.get_mut(place)) {
            *entry = scaled(value(pair), scale);
        }
    }
    let lists = 4 * (initiators.len() + targets.len()) + 2 * entries.len();
    body.word(LOCALITY);
    body.word(0); // reserved
    body.dword(LOCALITY_SIZE + lists as u32);
    body.byte(0); // flags: of memory itself, not of a cache beside it
    body.byte(data_type);
    body.byte(0); // minimum transfer size: none
    body.byte(0); // reserved
    body.dword(initiators.len() as u32);
    body.dword(targets.len() as u32);
    body.dword(0); // reserved
    body.qword(scale * unit); // entry base unit
    for node in initiators.iter().chain(targets) {
        body.dword(*node);
    }
    for entry in entries {
        body.word(entry);
    }
}

/// What entries of these values count: their greatest common divisor, which
/// keeps them exact, or the least number that lets the greatest fit. `None` if
/// no value is known.
fn scale(values: impl Iterator<Item = u32>) -> Option<u64> {
    let (mut common, mut most) = (0, 0);
    for value in values.map(u64::from) {
        common = divisor(common, value);
        most = most.max(value);
    }
    (most > 0).then(|| common.max(most.div_ceil(MOST)))
}

/// Greatest common divisor; that with 0 is the other.
const fn divisor(mut a: u64, mut b: u64) -> u64 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// The entry next to a value; a known one stays apart from 0.
fn scaled(value: u32, scale: u64) -> u16 {
    if value == 0 {
        return 0;
    }
    let entry = (u64::from(value) + scale / 2) / scale;
    u16::try_from(entry.clamp(1, MOST)).unwrap_or(u16::MAX - 1)
}
