use super::*;
use crate::icr::{Dest, Kind};
use proptest::prelude::*;
use std::vec::Vec;

/// CPUID of a machine with these signatures at the two places.
fn machine(first: &[u8; 12], second: &[u8; 12]) -> Outer {
    let signed = |name: &[u8; 12]| {
        let word = |n: usize| u32::from_le_bytes(core::array::from_fn(|i| name[n + i]));
        [0, word(0), word(4), word(8)]
    };
    detect(|leaf| match leaf {
        1 => [0, 0, HYPERVISOR, 0],
        0x4000_0000 => signed(first),
        0x4000_0100 => signed(second),
        0x4000_0001 if first == kvmclock::SIGNATURE => [0x1ff, 0, 0, 0],
        0x4000_0101 if second == kvmclock::SIGNATURE => [0x2ff, 0, 0, 0],
        _ => [0; 4],
    })
}

#[test]
fn hypervisors_are_told_apart() {
    const NOBODY: &[u8; 12] = &[0; 12];
    const HYPER_V: &[u8; 12] = b"Microsoft Hv";
    assert_eq!(detect(|_| [0; 4]), Outer::None);
    assert_eq!(machine(NOBODY, NOBODY), Outer::None);
    assert_eq!(machine(b"TCGTCGTCGTCG", NOBODY), Outer::Tcg);
    assert_eq!(machine(HYPER_V, NOBODY), Outer::Other(name(HYPER_V)));
    let kvm = |features| Outer::Kvm { features };
    assert_eq!(machine(kvmclock::SIGNATURE, NOBODY), kvm(0x1ff));
    assert_eq!(machine(HYPER_V, kvmclock::SIGNATURE), kvm(0x2ff));
}

#[test]
fn areas_end_with_their_last_byte_and_off_is_none() {
    let area = |msr| {
        AREAS
            .into_iter()
            .find(|area| area.msr == msr)
            .expect("known")
    };
    let steal = area(0x4b56_4d03);
    assert_eq!(steal.bytes(0x1000), None);
    assert_eq!(steal.bytes(0x1041), Some((0x1040, 0x107f)));
    // Flags are no part of the address, and the end of memory is no way round.
    assert_eq!(area(ASYNC_PF).bytes(0x200f), Some((0x2000, 0x203f)));
    assert_eq!(steal.bytes(u64::MAX).map(|(_, last)| last), Some(u64::MAX));
    // Four bytes at the end of a page are none of the next one.
    assert_eq!(area(0x4b56_4d04).bytes(0x2ffd), Some((0x2ffc, 0x2fff)));
    // The date is written at once, whatever the bits are.
    assert_eq!(
        area(kvmclock::MSR_WALL_CLOCK).bytes(0x3000),
        Some((0x3000, 0x300b))
    );
    assert_eq!(AREAS.iter().take_while(|area| area.lasts).count(), LASTING);
    assert!(AREAS.iter().skip(LASTING).all(|area| !area.lasts));
}

#[test]
fn decodes_what_linux_calls() {
    assert_eq!(call(5, [0, 3, 0, 0]), Call::Kick(3));
    assert_eq!(call(11, [2, 0, 0, 0]), Call::Yield(2));
    assert_eq!(call(9, [0x5000, 0, 0, 0]), Call::Unknown);
    assert_eq!(call(12, [0; 4]), Call::Unknown);
    // CPUs 4 and 68, an NMI.
    let sent: Vec<Ipi> = match call(10, [1, 1, 4, 0x400]) {
        Call::Interrupt(interrupts) => interrupts.each().expect("a command").collect(),
        _ => Vec::new(),
    };
    let nmi = |id| Ipi {
        kind: Kind::Nmi,
        dest: Dest::Physical(id),
    };
    assert_eq!(sent, [nmi(4), nmi(68)]);
}

#[test]
fn calls_of_the_monitor_are_none_of_kvms() {
    for code in 0..=0xffff {
        assert_eq!(cellvisor_abi::call::Code::from_code(code), None);
    }
}

proptest! {
    /// Whatever a root asks for names single CPUs, so that each is checked.
    #[test]
    fn interrupts_never_mean_all(low: u64, high: u64, first: u64, command: u64) {
        if let Call::Interrupt(interrupts) = call(10, [low, high, first, command])
            && let Some(each) = interrupts.each()
        {
            let mut count = 0;
            for ipi in each {
                count += 1;
                prop_assert!(matches!(ipi.dest, Dest::Physical(id) if id != u32::MAX), "{:?}", ipi);
            }
            prop_assert!(count <= low.count_ones() + high.count_ones());
        }
    }
}
