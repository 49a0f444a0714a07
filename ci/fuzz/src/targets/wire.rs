//! Plans and the requests of hypercalls.

use cellvisor_abi::call::{
    CellId, Code, ConsoleWrite, FunctionRequest, ReadRequest, Start, StatsRequest,
};
use cellvisor_abi::plan::{CellPlan, SystemPlan};
use cellvisor_abi::wire;

/// Any bytes as a frame and as the payloads of frames: decoding ends, and what
/// decodes encodes again.
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
        let frame = wire::seal(&plan).expect("it was encoded once");
        let again = wire::open(&frame).expect("a frame");
        wire::decode::<CellPlan<'_>>(again).expect("the same plan");
    }
    if let Ok(plan) = wire::decode::<SystemPlan<'_>>(bytes) {
        let limit = bytes.len() + 1;
        assert!(plan.cpus.iter().count() <= limit);
        assert!(plan.ram.iter().count() <= limit);
        assert!(plan.ecam.iter().count() <= limit);
        assert!(plan.iommus.iter().count() <= limit);
    }
}

/// Any bytes as a request: it is refused or says the same when it is encoded
/// again, and needs no byte that is not there.
pub(crate) fn calls(bytes: &[u8]) {
    let number = bytes.first().copied().map_or(0, u64::from);
    if let Some(code) = Code::from_code(number) {
        assert_eq!(code as u64, number);
    }
    for skip in 0..bytes.len().min(8) {
        let request = &bytes[skip..];
        same(request, wire::decode::<CellId>(request).ok());
        same(request, wire::decode::<Start>(request).ok());
        same(request, wire::decode::<StatsRequest>(request).ok());
        same(request, wire::decode::<ReadRequest>(request).ok());
        same(request, wire::decode::<FunctionRequest>(request).ok());
        let write = wire::decode::<ConsoleWrite<'_>>(request);
        let mut buffer = [0; 512];
        if let Ok(write) = write
            && let Some(again) = wire::encode(&write, &mut buffer)
        {
            assert!(again.len() <= request.len());
            let second = wire::decode::<ConsoleWrite<'_>>(again).expect("was encoded");
            assert_eq!(second.bytes, write.bytes);
        }
    }
}

/// The encoding may be shorter (numbers have more than one), and means the same.
fn same<T>(request: &[u8], value: Option<T>)
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let Some(value) = value else {
        return;
    };
    let mut buffer = [0; 512];
    let again = wire::encode(&value, &mut buffer).expect("fits");
    assert!(again.len() <= request.len());
    assert_eq!(wire::decode::<T>(again).expect("was encoded"), value);
}
