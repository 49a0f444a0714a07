//! Frames as drivers mean them.

use super::*;
use crate::net::frame::{self, Frame, Lost};
use crate::net::{EVENT_IDX, GUEST_CSUM, GUEST_ECN, GUEST_TSO4, GUEST_TSO6, MERGE};

const SIZE: u16 = 256;
const ALL: u64 = EVENT_IDX | MERGE | GUEST_CSUM | GUEST_TSO4 | GUEST_TSO6 | GUEST_ECN;
const TO: [u8; 6] = [2, 1, 1, 1, 1, 1];
const FROM: [u8; 6] = [2, 1, 1, 1, 1, 2];

/// A header and a frame of so many bytes.
fn frame(header: [u8; 12], len: usize) -> Vec<u8> {
    let mut bytes = header.to_vec();
    bytes.extend(TO);
    bytes.extend(FROM);
    bytes.extend((0..len - 12).map(|i| (i % 251) as u8));
    bytes
}

/// A checksum to be computed over all behind byte 34, and put 16 bytes behind that.
const SUMMED: [u8; 12] = [1, 0, 0, 0, 0, 0, 34, 0, 16, 0, 0, 0];

/// The same for a large segment of this kind.
const fn segment(kind: u8) -> [u8; 12] {
    [1, kind, 54, 0, 0xa8, 5, 34, 0, 16, 0, 0, 0]
}

struct Both {
    machine: Machine,
    send: Queue,
    receive: Queue,
}

impl Both {
    fn new() -> Self {
        Self {
            machine: Machine::new(),
            send: queue(SIZE),
            receive: queue(SIZE),
        }
    }

    fn next(&mut self) -> (u16, Frame) {
        let found = frame::next(&self.send, &mut self.machine);
        let (number, frame) = found.expect("sense").expect("a frame");
        (number, frame.expect("one that makes sense"))
    }

    fn deliver(&mut self, features: u64) -> Result<bool, Lost> {
        let (_, frame) = self.next();
        frame.deliver(&mut self.machine, &mut self.receive, features)
    }

    /// What is in the receiver's memory of a frame that was delivered.
    fn arrived(&mut self, buffers: u16, stride: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for number in 0..buffers {
            let (head, len) = self.machine.given_back(Side::Receiver, SIZE, number);
            let start = BUFFERS as usize + head as usize * stride;
            bytes.extend(&self.machine.receiver[start..start + len as usize]);
        }
        bytes
    }
}

#[test]
fn a_frame_arrives_as_it_was_sent_however_it_is_cut() {
    for pieces in [&[][..], &[12], &[5, 9, 3], &[12, 14], &[1, 1, 1, 4093]] {
        let mut both = Both::new();
        let sent = frame([0; 12], 6000);
        both.machine.send(SIZE, &sent, pieces);
        both.machine.give_buffers(SIZE, 8, 1536);
        let (number, frame) = both.next();
        assert_eq!((frame.to(), frame.from()), (TO, FROM));
        let told = frame.deliver(&mut both.machine, &mut both.receive, ALL);
        assert_eq!(told, Ok(true), "{pieces:?}");
        let arrived = both.arrived(4, 1536);
        assert_eq!(arrived[10..12], [4, 0], "so many buffers");
        assert_eq!(arrived[12..], sent[12..], "{pieces:?}");
        assert_eq!(both.machine.short(Side::Receiver, USED + 2), 4);
        let told = frame::done(&mut both.send, &mut both.machine, number, ALL);
        assert_eq!(told, Some(true));
        let back = both.machine.given_back(Side::Sender, SIZE, 0);
        assert_eq!(back, (u32::from(number), 0));
        assert!(frame::rest(&both.send, &mut both.machine, ALL));
    }
}

#[test]
fn without_buffers_a_frame_is_lost_and_the_next_arrives() {
    let mut both = Both::new();
    both.machine.send(SIZE, &frame([0; 12], 6000), &[]);
    assert_eq!(both.deliver(ALL), Err(Lost::Receiver), "none at all");
    both.machine.give_buffers(SIZE, 3, 1536);
    assert_eq!(both.deliver(ALL), Err(Lost::Receiver), "too few");
    assert_eq!(both.machine.short(Side::Receiver, USED + 2), 0);
    both.machine.give_buffers(SIZE, 4, 1536);
    assert_eq!(both.deliver(ALL), Ok(true));
}

#[test]
fn who_does_not_merge_gets_a_frame_in_one_chain_or_not_at_all() {
    let features = ALL & !MERGE;
    let mut both = Both::new();
    both.machine.send(SIZE, &frame([0; 12], 2000), &[]);
    both.machine.give_buffers(SIZE, 4, 1536);
    assert_eq!(both.deliver(features), Err(Lost::Receiver));
    let mut both = Both::new();
    both.machine.send(SIZE, &frame([0; 12], 2000), &[]);
    let flags = IS_WRITTEN | HAS_NEXT;
    both.machine
        .describe(Side::Receiver, 0, (BUFFERS, 12), flags, 7);
    both.machine
        .describe(Side::Receiver, 7, (BUFFERS + 12, 4000), IS_WRITTEN, 0);
    both.machine.give(Side::Receiver, SIZE, 0);
    assert_eq!(both.deliver(features), Ok(true));
    assert_eq!(both.arrived(1, 0).len(), 2012);
}

#[test]
fn a_receiver_is_told_only_what_its_driver_takes() {
    for (header, needed) in [
        (SUMMED, GUEST_CSUM),
        (segment(1), GUEST_CSUM | GUEST_TSO4),
        (segment(4), GUEST_CSUM | GUEST_TSO6),
        (segment(0x81), GUEST_CSUM | GUEST_TSO4 | GUEST_ECN),
    ] {
        for features in [ALL, needed | MERGE] {
            let mut both = Both::new();
            both.machine.send(SIZE, &frame(header, 9000), &[]);
            both.machine.give_buffers(SIZE, 8, 2048);
            assert!(both.deliver(features).is_ok(), "{header:?}");
            let arrived = both.arrived(5, 2048);
            assert_eq!(arrived[..10], header[..10]);
        }
        for bit in 0..64 {
            let mut both = Both::new();
            both.machine.send(SIZE, &frame(header, 9000), &[]);
            both.machine.give_buffers(SIZE, 8, 2048);
            let lacks = needed & 1 << bit != 0;
            let told = both.deliver(ALL & !(1 << bit | EVENT_IDX));
            let lost = told == Err(Lost::Receiver);
            assert_eq!(lost, lacks || 1 << bit == MERGE, "{header:?} {bit}");
        }
    }
}

#[test]
fn what_a_sender_must_not_say_of_a_frame_is_said_to_nobody() {
    let mut beyond = SUMMED;
    [beyond[6], beyond[7]] = 8990u16.to_le_bytes();
    let mut unsliced = segment(1);
    [unsliced[4], unsliced[5]] = [0, 0];
    let mut unsummed = segment(1);
    unsummed[0] = 0;
    for header in [
        beyond,
        unsliced,
        unsummed,
        segment(3),
        segment(5),
        segment(2),
        segment(0x80),
    ] {
        let mut both = Both::new();
        both.machine.send(SIZE, &frame(header, 9000), &[]);
        both.machine.give_buffers(SIZE, 8, 2048);
        assert_eq!(both.deliver(ALL), Err(Lost::Sender), "{header:?}");
    }
    // What only a device says is left out.
    let mut both = Both::new();
    both.machine
        .send(SIZE, &frame([2, 0, 1, 1, 1, 1, 1, 1, 1, 1, 9, 9], 100), &[]);
    both.machine.give_buffers(SIZE, 1, 2048);
    assert!(both.deliver(ALL).is_ok());
    assert_eq!(
        both.arrived(1, 2048)[..12],
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]
    );
}

#[test]
fn interrupts_come_when_they_were_asked_for() {
    let mut both = Both::new();
    both.machine.give_buffers(SIZE, 8, 2048);
    let mut told = Vec::new();
    // Asked to be told of the second.
    let event = AVAILABLE + 4 + 2 * u64::from(SIZE);
    both.machine.set(Side::Receiver, event, &1u16.to_le_bytes());
    for _ in 0..3 {
        both.machine.send(SIZE, &frame([0; 12], 100), &[]);
        let (number, frame) = both.next();
        told.push(frame.deliver(&mut both.machine, &mut both.receive, ALL));
        frame::done(&mut both.send, &mut both.machine, number, ALL).expect("given back");
    }
    assert_eq!(told, [Ok(false), Ok(true), Ok(false)]);
    // Without event indexes: as the flags say.
    for (flags, wants) in [(0u16, true), (1, false)] {
        both.machine
            .set(Side::Receiver, AVAILABLE, &flags.to_le_bytes());
        both.machine.send(SIZE, &frame([0; 12], 100), &[]);
        let (number, frame) = both.next();
        let told = frame.deliver(&mut both.machine, &mut both.receive, ALL & !EVENT_IDX);
        assert_eq!(told, Ok(wants));
        frame::done(&mut both.send, &mut both.machine, number, ALL).expect("given back");
    }
}

#[test]
fn the_device_asks_to_be_told_of_the_next_frame_and_looks_again() {
    let mut both = Both::new();
    both.machine.send(SIZE, &frame([0; 12], 100), &[]);
    let (number, _) = both.next();
    frame::done(&mut both.send, &mut both.machine, number, ALL).expect("given back");
    assert!(frame::rest(&both.send, &mut both.machine, ALL));
    let event = USED + 4 + 8 * u64::from(SIZE);
    assert_eq!(both.machine.short(Side::Sender, event), 1);
    both.machine.send(SIZE, &frame([0; 12], 100), &[]);
    assert!(
        !frame::rest(&both.send, &mut both.machine, ALL),
        "there is one"
    );
}

#[test]
fn no_descriptor_that_is_believed_is_read_twice() {
    let mut both = Both::new();
    both.machine
        .send(SIZE, &frame([0; 12], 6000), &[12, 14, 100, 2000]);
    both.machine.give_buffers(SIZE, 8, 1536);
    both.machine.read.clear();
    both.deliver(ALL).expect("arrives");
    let table = TABLE..TABLE + 16 * u64::from(SIZE);
    let of_sender = |read: &&(Side, u64)| read.0 == Side::Sender && table.contains(&read.1);
    let mut seen: Vec<_> = both.machine.read.iter().filter(of_sender).collect();
    let reads = seen.len();
    seen.sort_by_key(|read| read.1);
    seen.dedup();
    assert_eq!(reads, seen.len());
}
