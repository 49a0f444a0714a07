//! Two members in two threads, and members whose other is not there.

use super::*;
use crate::ring::{LEAST_WORDS, between};
use std::sync::atomic::AtomicU64;

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
