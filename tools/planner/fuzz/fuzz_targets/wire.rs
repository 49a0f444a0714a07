//! Any bytes as a frame and as the payloads of frames: decoding ends, and what
//! decodes encodes again.
#![no_main]

use cellvisor_abi::plan::{CellPlan, SystemPlan};
use cellvisor_abi::wire;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(payload) = wire::open(bytes) {
        payloads(payload);
    }
    // The checksum keeps nearly all random bytes out: try without.
    payloads(bytes);
});

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
