//! Two ports, with the monitor's own device between them.

use super::*;
use cellvisor_core::addr::{Gpa, PAGE_SIZE};
use cellvisor_core::net::{Adapter, Effect, Line, Queue, Queues, Ram, Side, Value, frame};
use core::cell::RefCell;
use core::convert::Infallible;
use proptest::collection::vec;
use proptest::prelude::*;
use std::vec;

const WORDS: usize = BYTES as usize / 8;
/// Frames that the device sends at once: fewer than a queue has.
const AT_ONCE: usize = 3;
/// Bytes of a frame's own header.
const ETHERNET: usize = 14;

fn memory() -> Vec<AtomicU64> {
    (0..WORDS).map(|_| AtomicU64::new(0)).collect()
}

struct Device {
    adapter: Adapter,
    queues: [cellvisor_core::net::Queue; 2],
    lines: [Line; 2],
}

impl Device {
    fn new() -> Self {
        let mut device = Self {
            adapter: Adapter::NONE,
            queues: [Queue::NONE; 2],
            lines: [Line::NONE; 2],
        };
        device.with(|adapter, queues| adapter.reset(0, Some([2, 0, 0, 0, 0, 1]), queues));
        device
    }

    fn with<T>(&mut self, f: impl FnOnce(&mut Adapter, &mut Queues<'_>) -> T) -> T {
        let [receive, send] = &mut self.queues;
        let [received, sent] = &mut self.lines;
        f(
            &mut self.adapter,
            &mut Queues {
                receive,
                received,
                send,
                sent,
            },
        )
    }
}

/// Two devices and the memories that their queues are in.
struct Net<'a> {
    devices: [Device; 2],
    memories: [&'a [AtomicU64]; 2],
}

impl<'a> Net<'a> {
    fn new(one: &'a [AtomicU64], other: &'a [AtomicU64]) -> RefCell<Self> {
        RefCell::new(Self {
            devices: [Device::new(), Device::new()],
            memories: [one, other],
        })
    }

    /// Sends what waits, as the monitor does; false if there is more.
    fn send(&mut self, from: usize) -> bool {
        let mut ram = Both([self.memories[from], self.memories[1 - from]]);
        let [first, second] = &mut self.devices;
        let (sender, receiver) = if from == 0 {
            (first, second)
        } else {
            (second, first)
        };
        let features = sender.adapter.features().expect("ready");
        for _ in 0..AT_ONCE {
            let next = frame::next(&sender.queues[1], &mut ram).expect("sense");
            let Some((number, frame)) = next else {
                return frame::rest(&sender.queues[1], &mut ram, features);
            };
            if let (Some(frame), Some(features)) = (frame, receiver.adapter.features()) {
                let told = frame.deliver(&mut ram, &mut receiver.queues[0], features);
                assert_ne!(told, Ok(true), "nobody asked for interrupts");
            }
            let told = frame::done(&mut sender.queues[1], &mut ram, number, features);
            assert_eq!(told, Some(false), "nor here");
        }
        false
    }
}

struct End<'n, 'a>(&'n RefCell<Net<'a>>, usize);

impl Registers for End<'_, '_> {
    type Error = Infallible;

    fn write(&mut self, offset: u16, size: u8, value: u64) -> Result<bool, Infallible> {
        let mut net = self.0.borrow_mut();
        let device = &mut net.devices[self.1];
        let effect =
            device.with(|adapter, queues| adapter.write(u64::from(offset), size, value, queues));
        Ok(match effect {
            Effect::Send => net.send(self.1),
            _ => true,
        })
    }
}

/// Memories of the sender and of the receiver.
struct Both<'a>([&'a [AtomicU64]; 2]);

impl Both<'_> {
    fn at(&self, side: Side, at: Gpa) -> Option<(&AtomicU64, u64)> {
        let word = self.0[side as usize].get(usize::try_from(at.0 / 8).ok()?)?;
        Some((word, at.0 % 8 * 8))
    }

    fn byte(&self, side: Side, at: Gpa) -> Option<u8> {
        let (word, shift) = self.at(side, at)?;
        Some((word.load(Ordering::Relaxed) >> shift) as u8)
    }

    fn set(&self, side: Side, at: Gpa, value: u64, bytes: u64) -> Option<()> {
        let (word, shift) = self.at(side, at)?;
        let mask = (u64::MAX >> (64 - 8 * bytes)) << shift;
        let kept = word.load(Ordering::Relaxed) & !mask;
        word.store(kept | value << shift & mask, Ordering::Release);
        Some(())
    }
}

impl Ram for Both<'_> {
    fn word(&mut self, side: Side, at: Gpa) -> Option<u64> {
        self.at(side, at)
            .map(|(word, _)| word.load(Ordering::Acquire))
    }

    fn put(&mut self, side: Side, at: Gpa, value: Value) -> Option<()> {
        match value {
            Value::Short(value) => self.set(side, at, value.into(), 2),
            Value::Long(value) => self.set(side, at, value.into(), 4),
        }
    }

    fn load(&mut self, at: Gpa, out: &mut [u8]) -> Option<()> {
        for (n, byte) in (0..).zip(out) {
            *byte = self.byte(Side::Sender, at + n)?;
        }
        Some(())
    }

    fn store(&mut self, at: Gpa, bytes: &[u8]) -> Option<()> {
        assert!(at.page_offset() + bytes.len() as u64 <= PAGE_SIZE);
        (0..)
            .zip(bytes)
            .try_for_each(|(n, byte)| self.set(Side::Receiver, at + n, (*byte).into(), 1))
    }

    fn copy(&mut self, from: Gpa, to: Gpa, len: u64) -> Option<()> {
        (0..len).try_for_each(|n| {
            let byte = self.byte(Side::Sender, from + n)?;
            self.set(Side::Receiver, to + n, byte.into(), 1)
        })
    }
}

type Ported<'n, 'a> = Port<'a, End<'n, 'a>>;

fn port<'n, 'a>(net: &'n RefCell<Net<'a>>, end: usize) -> Ported<'n, 'a> {
    let memory = net.borrow().memories[end];
    let Ok(port) = Port::new(memory, End(net, end));
    port.expect("large enough")
}

fn tell(port: &mut Ported<'_, '_>) -> bool {
    let Ok(all) = port.tell();
    all
}

/// A frame behind an empty header.
fn frame(seed: u8, len: usize) -> Vec<u8> {
    let mut frame = vec![0; HEADER];
    frame.extend((0..len).map(|n| seed.wrapping_add((n / 7) as u8)));
    frame
}

/// What arrives is the frame, with a header that says how many buffers it took.
fn assert_arrived(out: &[u8], sent: &[u8]) {
    let buffers = sent.len().div_ceil(BUFFER as usize) as u16;
    let (header, rest) = out.split_at(HEADER);
    assert_eq!(header[..HEADER - 2], sent[..HEADER - 2]);
    assert_eq!(header[HEADER - 2..], buffers.to_le_bytes());
    assert!(rest == &sent[HEADER..], "{} bytes", sent.len());
}

fn assert_goes(from: &mut Ported<'_, '_>, to: &mut Ported<'_, '_>, sent: &[u8]) {
    let mut out = Vec::new();
    assert_eq!(from.send(sent), Ok(true));
    assert!(tell(from));
    assert_eq!(to.receive(&mut out), Ok(true));
    assert_arrived(&out, sent);
    assert_eq!(to.receive(&mut out), Ok(false));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn frames_go_each_way_as_they_were_sent(
        steps in vec((0..2usize, any::<u8>(), ETHERNET..2000usize), 1..200),
        long in vec(ETHERNET..65_550usize, 1..4),
    ) {
        let (one, other) = (memory(), memory());
        let net = Net::new(&one, &other);
        let mut ends = [port(&net, 0), port(&net, 1)];
        let long = long.into_iter().map(|len| (1, 9, len));
        for (from, seed, len) in steps.into_iter().chain(long) {
            let [first, second] = &mut ends;
            let (from, to) = if from == 0 { (first, second) } else { (second, first) };
            assert_goes(from, to, &frame(seed, len));
        }
    }

    #[test]
    fn nonsense_in_the_memory_ends_and_a_new_port_begins_anew(
        places in vec((0..RECEIVE_BUFFERS / 8, any::<u64>()), 1..40),
        small in vec((0..RECEIVE_BUFFERS / 8, 0..0x4_0000u64), 1..40),
        counts in vec((0..u64::from(RECEIVED), any::<u16>()), 1..20),
    ) {
        let (one, other) = (memory(), memory());
        let net = Net::new(&one, &other);
        let (mut sender, mut receiver) = (port(&net, 0), port(&net, 1));
        let mut out = Vec::new();
        for number in 0..20 {
            sender.send(&frame(number, 100)).expect("sense");
            tell(&mut sender);
        }
        for (at, value) in places.into_iter().chain(small) {
            other[at as usize].store(value, Ordering::Relaxed);
            while receiver.receive(&mut out) == Ok(true) {}
            prop_assert!(out.len() <= usize::from(RECEIVED) * BUFFER as usize);
            let _refused = receiver.send(&frame(1, 60));
        }
        for (buffer, count) in counts {
            let at = (RECEIVE_BUFFERS + buffer * BUFFER) / 8 + 1;
            other[at as usize].store(u64::from(count) << 16, Ordering::Relaxed);
            let _refused = receiver.receive(&mut out);
        }
        let mut anew = port(&net, 1);
        assert_goes(&mut sender, &mut anew, &frame(3, 5000));
        assert_goes(&mut anew, &mut sender, &frame(4, 5000));
    }
}

#[test]
fn more_than_the_device_sends_at_once_is_sent_by_telling_again() {
    let (one, other) = (memory(), memory());
    let net = Net::new(&one, &other);
    let (mut sender, mut receiver) = (port(&net, 0), port(&net, 1));
    for number in 0..SENT {
        assert_eq!(sender.send(&frame(number as u8, 60)), Ok(true));
    }
    assert_eq!(sender.send(&frame(0, 60)), Ok(false), "no room");
    let mut told = 1;
    while !tell(&mut sender) {
        told += 1;
    }
    assert_eq!(told, usize::from(SENT) / AT_ONCE + 1);
    assert_eq!(sender.send(&frame(0, MOST)), Ok(false), "too long");
    let mut out = Vec::new();
    for number in 0..SENT {
        assert_eq!(receiver.receive(&mut out), Ok(true));
        assert_arrived(&out, &frame(number as u8, 60));
    }
}

#[test]
fn who_does_not_receive_loses_frames_and_gets_the_next_ones() {
    let (one, other) = (memory(), memory());
    let net = Net::new(&one, &other);
    let (mut sender, mut receiver) = (port(&net, 0), port(&net, 1));
    let long = frame(5, 60_000);
    for _ in 0..100 {
        assert_eq!(sender.send(&long), Ok(true));
        assert!(tell(&mut sender), "who sends waits for nobody");
    }
    let (mut out, mut count) = (Vec::new(), 0);
    while receiver.receive(&mut out) == Ok(true) {
        assert_arrived(&out, &long);
        count += 1;
    }
    assert_eq!(count, usize::from(RECEIVED) / 15, "all buffers were used");
    assert_goes(&mut sender, &mut receiver, &long);
}

#[test]
fn what_is_left_to_do_with_a_frame_goes_with_it() {
    let (one, other) = (memory(), memory());
    let net = Net::new(&one, &other);
    let (mut sender, mut receiver) = (port(&net, 0), port(&net, 1));
    // A segment of TCP over IPv4, whose checksum is to be computed.
    let mut segment = frame(7, 30_000);
    segment[..10].copy_from_slice(&[1, 1, 54, 0, 0xa0, 5, 34, 0, 16, 0]);
    assert_goes(&mut sender, &mut receiver, &segment);
}

#[test]
fn one_that_ends_in_the_middle_is_followed_by_one_that_begins_anew() {
    let (one, other) = (memory(), memory());
    let net = Net::new(&one, &other);
    let mut sender = port(&net, 0);
    {
        let mut receiver = port(&net, 1);
        for number in 0..7 {
            assert_goes(&mut sender, &mut receiver, &frame(number, 9000));
        }
        assert_eq!(sender.send(&frame(0, 100)), Ok(true));
        assert!(tell(&mut sender));
        assert_eq!(receiver.send(&frame(0, 100)), Ok(true));
    }
    let mut receiver = port(&net, 1);
    assert_eq!(receiver.receive(&mut Vec::new()), Ok(false), "lost");
    for number in 0..7 {
        assert_goes(&mut sender, &mut receiver, &frame(number, 9000));
        assert_goes(&mut receiver, &mut sender, &frame(number, 9000));
    }
}

#[test]
fn too_little_memory_is_none() {
    let (one, other) = (memory(), memory());
    let net = Net::new(&one, &other);
    let Ok(port) = Port::new(&one[1..], End(&net, 0));
    assert!(port.is_none());
}
