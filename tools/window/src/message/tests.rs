//! Two members in two threads, and members whose other is not there.

use super::*;
use crate::ring::{LEAST_WORDS, between};
use rustix::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const SHORT: Duration = Duration::from_millis(200);

fn memory() -> Vec<AtomicU64> {
    let words = 4 * LEAST_WORDS.next_multiple_of(8);
    (0..words).map(|_| AtomicU64::new(0)).collect()
}

fn channel(memory: &[AtomicU64], me: usize, patience: Duration) -> Channel<'_> {
    let ring = |from, to| between(memory, 2, from, to).expect("room");
    let (from, to) = (Reader::new(ring(1 - me, me)), Writer::new(ring(me, 1 - me)));
    Channel::new(from, to, patience)
}

#[test]
fn requests_are_answered() {
    let memory = memory();
    let mut asks = channel(&memory, 0, PATIENCE);
    let mut answers = channel(&memory, 1, PATIENCE);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut count = 0;
            while count < 300 {
                count += usize::from(answers.answer().expect("taken"));
            }
        });
        for length in (0..300).map(|n| n * 100) {
            let request = vec![length as u8; length];
            assert_eq!(asks.ask(&request).expect("an answer"), request);
        }
    });
    assert!(matches!(
        asks.ask(&vec![0; MOST_BYTES + 1]),
        Err(Failed::TooLong)
    ));
}

/// Rings the other of two members, and counts how often.
#[derive(Debug)]
struct Bells {
    mine: UnixDatagram,
    others: UnixDatagram,
    rings: AtomicU64,
}

impl Bell for Bells {
    fn ring(&self, place: usize) {
        assert_eq!(place, 0, "there is one other");
        self.rings.fetch_add(1, Ordering::Relaxed);
        let _full = self.others.send(&[0]);
    }

    fn rung(&self) -> BorrowedFd<'_> {
        self.mine.as_fd()
    }

    fn clear(&self) {
        while self.mine.recv(&mut [0]).is_ok() {}
    }
}

/// Bells of two members, of which each has the socket that rings the other.
fn bells() -> [Bells; 2] {
    let pair = || UnixDatagram::pair().expect("a pair");
    let ((a, to_a), (b, to_b)) = (pair(), pair());
    [(a, to_b), (b, to_a)].map(|(mine, others)| {
        mine.set_nonblocking(true).expect("it can");
        others.set_nonblocking(true).expect("it can");
        let rings = AtomicU64::new(0);
        Bells {
            mine,
            others,
            rings,
        }
    })
}

#[test]
fn one_that_sleeps_is_rung_and_one_that_looks_is_not() {
    let memory = memory();
    let [here, there] = bells();
    let mut asks = channel(&memory, 0, PATIENCE).with_bell(&here, 0);
    let mut answers = channel(&memory, 1, PATIENCE).with_bell(&there, 0);
    // Nobody sleeps: the request is there before the other looks.
    asks.put(Kind::Request, b"one", "answer").expect("room");
    assert_eq!(here.rings.load(Ordering::Relaxed), 0);
    assert!(!answers.fall_asleep(), "there is something to read");
    assert!(answers.answer().expect("taken"));
    asks.wait(&[Kind::Answer], "answer").expect("an answer");
    // The other sleeps until it is rung: much longer than what is written takes.
    assert!(answers.fall_asleep());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            wait::for_bell(&there, PATIENCE);
            answers.wake_up();
            assert!(answers.answer().expect("taken"));
        });
        assert_eq!(asks.ask(b"two").expect("an answer"), b"two");
    });
    assert_eq!(here.rings.load(Ordering::Relaxed), 1);
}

#[test]
fn a_reader_that_always_claims_to_sleep_costs_its_writer_a_ring_for_each_frame() {
    let memory = memory();
    let [here, _there] = bells();
    let mut asks = channel(&memory, 0, SHORT).with_bell(&here, 0);
    let answers = channel(&memory, 1, SHORT);
    assert!(answers.fall_asleep());
    for count in 1..=5 {
        asks.put(Kind::Request, b"?", "answer").expect("room");
        assert_eq!(here.rings.load(Ordering::Relaxed), count);
    }
}

#[test]
fn a_bell_that_nobody_rings_keeps_nobody_from_looking() {
    let memory = memory();
    let [here, _there] = bells();
    let mut asks = channel(&memory, 0, PATIENCE).with_bell(&here, 0);
    let mut answers = channel(&memory, 1, PATIENCE);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(SHORT);
            while !answers.answer().expect("taken") {}
        });
        assert_eq!(asks.ask(b"late").expect("an answer"), b"late");
    });
}

#[test]
fn streams_come_whole_whoever_is_there_first() {
    for sender_first in [true, false] {
        let memory = memory();
        let bytes: Vec<u8> = (0..3_000_000u32)
            .map(|n| (n.wrapping_mul(n) >> 5) as u8)
            .collect();
        let (mut here, mut there) = (channel(&memory, 0, PATIENCE), channel(&memory, 1, PATIENCE));
        let late = |late| std::thread::sleep(if late { KNOCK * 2 } else { Duration::ZERO });
        std::thread::scope(|scope| {
            scope.spawn(|| {
                late(!sender_first);
                let sent = here.send(&mut bytes.as_slice()).expect("sent");
                assert_eq!(sent, bytes.len() as u64);
            });
            late(sender_first);
            let mut came = Vec::new();
            assert_eq!(
                there.receive(&mut came).expect("received"),
                bytes.len() as u64
            );
            assert!(came == bytes, "other bytes came");
        });
    }
}

#[test]
fn nobody_waits_for_ever() {
    let memory = memory();
    let mut channel = channel(&memory, 0, SHORT);
    assert!(matches!(
        channel.ask(b"anybody?"),
        Err(Failed::Silent("answer", waited)) if waited == SHORT
    ));
    assert!(matches!(
        channel.send(&mut &b"all"[..]),
        Err(Failed::Silent("receive", waited)) if waited == SHORT * ARRIVAL
    ));
    assert!(matches!(
        channel.receive(&mut Vec::new()),
        Err(Failed::Silent("send", waited)) if waited == SHORT * ARRIVAL
    ));
    let text = Failed::Silent("answer", PATIENCE).to_string();
    assert!(text.contains("for 10 s: is `cellmsg answer`"), "{text}");
}

#[test]
fn what_a_ring_lost_is_told_on_both_sides() {
    let memory = memory();
    let (mut here, mut there) = (channel(&memory, 0, SHORT), channel(&memory, 1, PATIENCE));
    std::thread::scope(|scope| {
        let receiver = scope.spawn(|| there.receive(&mut Vec::new()));
        here.wait(&[Kind::Ready], "receive").expect("a receiver");
        here.put(Kind::Data, b"three", "receive").expect("room");
        here.put(Kind::End, &8u64.to_le_bytes(), "receive")
            .expect("room");
        here.wait(&[Kind::Confirmed], "receive").expect("an answer");
        assert_eq!(here.sum(), 5);
        let told = receiver.join().expect("no panic");
        assert!(matches!(told, Err(Failed::Lost(8, 5))), "{told:?}");
    });
}

/// Sends a stream over the whole of the memory, and sees that it comes as it was.
fn works(memory: &[AtomicU64]) {
    let bytes: Vec<u8> = (0..100_000u32).map(|n| (n ^ (n >> 8)) as u8).collect();
    let mut here = channel(memory, 0, PATIENCE);
    let mut there = channel(memory, 1, PATIENCE);
    let mut came = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| here.send(&mut bytes.as_slice()).expect("sent"));
        there.receive(&mut came).expect("received");
    });
    assert!(came == bytes, "other bytes came");
}

#[test]
fn who_dies_in_the_middle_of_a_stream_is_missed_and_replaced() {
    let memory = memory();
    let mut here = channel(&memory, 0, PATIENCE);
    // Long enough for a thread that a busy machine lets wait, and waited for in full.
    let mut there = channel(&memory, 1, Duration::from_secs(1));
    std::thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            let mut came = Vec::new();
            (there.receive(&mut came), came)
        });
        here.wait(&[Kind::Ready], "receive").expect("a receiver");
        here.put(Kind::Data, b"the first part", "receive")
            .expect("room");
        let (told, came) = receiver.join().expect("no panic");
        assert!(matches!(told, Err(Failed::Silent("send", _))), "{told:?}");
        assert_eq!(came, b"the first part");
    });
    works(&memory);

    // A receiver that takes nothing after it has knocked: the ring is full at some time.
    let (mut here, mut there) = (channel(&memory, 0, SHORT), channel(&memory, 1, SHORT));
    there.put(Kind::Ready, &[], "send").expect("room");
    let told = here.send(&mut std::io::repeat(7));
    assert!(
        matches!(told, Err(Failed::Silent("receive", _))),
        "{told:?}"
    );
    works(&memory);
}

#[test]
fn a_member_that_writes_nonsense_everywhere_ends_exchanges_and_nothing_else() {
    let memory = memory();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = 88_172_645_463_325_252u64;
            while !stop.load(Ordering::Relaxed) {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let word = &memory[random as usize % memory.len()];
                // Among them small numbers, which could be lengths or positions.
                let value = if random & 1 == 0 {
                    random
                } else {
                    random >> 44
                };
                word.store(value, Ordering::Relaxed);
            }
        });
        for _ in 0..3 {
            let (mut here, mut there) = (channel(&memory, 0, SHORT), channel(&memory, 1, SHORT));
            let receiver = scope.spawn(move || there.receive(&mut io::sink()));
            // An end of either kind will do, but there has to be one.
            let _sent = here.send(&mut vec![5; 200_000].as_slice());
            let _came = receiver.join().expect("no panic");
        }
        stop.store(true, Ordering::Relaxed);
    });
    works(&memory);
}
