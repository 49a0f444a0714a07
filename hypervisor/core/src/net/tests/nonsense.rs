//! Guests that write anything anywhere.

use super::*;
use crate::net::frame;
use proptest::collection::vec;
use proptest::prelude::*;

const EVERYTHING: u64 = u64::MAX;

/// Most accesses to RAM for a frame: its own limits, some for each descriptor and page.
const MOST: usize = 2000;

pub(super) fn chain(machine: &mut Machine, side: Side, entries: &[(u16, u64, u32, u16, u16)]) {
    for (index, at, len, flags, next) in entries {
        machine.describe(side, index % 32, (*at, *len), *flags, *next);
    }
}

pub(super) fn descriptor() -> impl Strategy<Value = (u16, u64, u32, u16, u16)> {
    let at = prop_oneof![0..(1u64 << 20) + 100, any::<u64>()];
    let len = prop_oneof![0u32..3000, any::<u32>()];
    let flags = prop_oneof![0u16..4, any::<u16>()];
    let next = prop_oneof![0u16..32, any::<u16>()];
    (any::<u16>(), at, len, flags, next)
}

/// Sends what is there, as the monitor does; false if the queue makes no sense.
fn play(machine: &mut Machine, send: &mut Queue, receive: &mut Queue, features: u64) -> bool {
    for _ in 0..8 {
        let before = machine.touched;
        let number = match frame::next(send, machine) {
            Ok(Some((number, None))) => number,
            Ok(Some((number, Some(frame)))) => {
                let _lost = frame.deliver(machine, receive, features);
                number
            }
            Ok(None) => return true,
            Err(_) => return false,
        };
        assert!(
            machine.touched - before < MOST,
            "{}",
            machine.touched - before
        );
        if frame::done(send, machine, number, features).is_none() {
            return false;
        }
    }
    true
}

proptest! {
    #[test]
    fn descriptors_of_any_kind_end_and_spoil_nobody_elses_memory(
        sent in vec(descriptor(), 1..40),
        taken in vec(descriptor(), 1..40),
        heads in vec(any::<u16>(), 1..20),
        start in vec(any::<u8>(), 26),
        features in prop_oneof![Just(EVERYTHING), any::<u64>()],
    ) {
        let mut machine = Machine::new();
        let (mut send, mut receive) = (queue(32), queue(32));
        machine.set(Side::Sender, BUFFERS, &start);
        chain(&mut machine, Side::Sender, &sent);
        chain(&mut machine, Side::Receiver, &taken);
        for head in &heads {
            machine.give(Side::Sender, 32, *head);
            machine.give(Side::Receiver, 32, head.rotate_left(3));
        }
        let before = machine.sender.clone();
        play(&mut machine, &mut send, &mut receive, features);
        // Of the sender's memory the device writes its used ring.
        let used = USED as usize..USED as usize + 4 + 8 * 32 + 2;
        prop_assert_eq!(&machine.sender[..used.start], &before[..used.start]);
        prop_assert_eq!(&machine.sender[used.end..], &before[used.end..]);
    }

    #[test]
    fn queues_anywhere_with_any_content_end(
        places in vec(prop_oneof![0..(1u64 << 20) + 100, any::<u64>()], 6),
        sizes in (any::<u16>(), 0u32..16),
        bytes in vec(any::<u8>(), 4096),
        features: u64,
    ) {
        let mut machine = Machine::new();
        for start in (0..super::SIZE).step_by(bytes.len()) {
            machine.sender[start..start + bytes.len()].copy_from_slice(&bytes);
            machine.receiver[start..start + bytes.len()].copy_from_slice(&bytes);
        }
        let mut queues = [Queue::new(sizes.0, 0), Queue::new(1 << sizes.1, 0)];
        for (queue, places) in queues.iter_mut().zip(places.chunks(3)) {
            [queue.table, queue.available, queue.used] = [places[0] & !15, places[1] & !1, places[2] & !3];
            queue.enable();
        }
        let [mut send, mut receive] = queues;
        play(&mut machine, &mut send, &mut receive, features);
    }
}

#[test]
fn loops_and_tables_and_wrong_directions_are_broken() {
    for (flags, next) in [(HAS_NEXT, 0), (4, 0), (IS_WRITTEN, 0), (HAS_NEXT, 32)] {
        let mut machine = Machine::new();
        let mut send = queue(32);
        machine.describe(Side::Sender, 0, (BUFFERS, 0), flags, next);
        machine.give(Side::Sender, 32, 0);
        let found = frame::next(&send, &mut machine).expect("sense");
        assert!(matches!(found, Some((0, None))), "{flags} {next}");
        assert!(frame::done(&mut send, &mut machine, 0, EVERYTHING).is_some());
    }
}

#[test]
fn more_chains_than_a_queue_has_are_broken() {
    let mut machine = Machine::new();
    let send = queue(32);
    machine.set(Side::Sender, AVAILABLE + 2, &33u16.to_le_bytes());
    assert!(frame::next(&send, &mut machine).is_err());
    machine.set(Side::Sender, AVAILABLE + 2, &32u16.to_le_bytes());
    assert!(frame::next(&send, &mut machine).is_ok());
}

#[test]
fn of_a_queue_that_is_not_enabled_nothing_is_touched() {
    let mut machine = Machine::new();
    let mut send = queue(32);
    machine.give(Side::Sender, 32, 0);
    machine.touched = 0;
    // Not even aligned: it cannot be enabled.
    send.used = USED + 0xffb;
    assert!(!send.enable());
    assert!(frame::next(&send, &mut machine).is_err());
    assert_eq!(machine.touched, 0);
}
