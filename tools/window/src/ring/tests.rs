//! Rings against a queue, against nonsense, and across threads.

use super::*;
use proptest::prelude::*;
use std::collections::VecDeque;

fn memory(words: usize) -> Vec<AtomicU64> {
    (0..words).map(|_| AtomicU64::new(0)).collect()
}

/// A frame of this many bytes that looks like no other.
fn frame(seed: u8, len: usize) -> Vec<u8> {
    (0..len).map(|n| seed.wrapping_add(n as u8)).collect()
}

proptest! {
    #[test]
    fn a_ring_is_a_queue_of_frames(
        steps in proptest::collection::vec(proptest::option::of((any::<u8>(), 1..90usize)), 1..300),
        size in 20..60usize,
    ) {
        let memory = memory(FRAMES + size);
        let (mut writer, mut reader) = (Writer::new(&memory), Reader::new(&memory));
        let (mut model, mut used) = (VecDeque::new(), 0);
        let mut out = Vec::new();
        for step in steps {
            match step {
                Some((seed, len)) => {
                    let fits = used + words(len) <= size;
                    prop_assert_eq!(writer.push(&frame(seed, len)), Ok(fits));
                    if fits {
                        used += words(len);
                        model.push_back(frame(seed, len));
                    }
                }
                None => {
                    let next = model.pop_front();
                    prop_assert_eq!(reader.pop(&mut out), Ok(next.is_some()));
                    if let Some(next) = next {
                        used -= words(next.len());
                        prop_assert_eq!(&out, &next);
                    }
                }
            }
        }
    }

    #[test]
    fn nonsense_costs_frames_and_nothing_else(
        words in proptest::collection::vec((0..80usize, any::<u64>()), 0..60),
        small in proptest::collection::vec((0..80usize, 0..100u64), 0..60),
    ) {
        let memory = memory(80);
        let (mut writer, mut reader) = (Writer::new(&memory), Reader::new(&memory));
        let mut out = Vec::new();
        for (at, value) in words.into_iter().chain(small) {
            memory[at].store(value, Ordering::Relaxed);
            let _lost = writer.push(b"some frame");
            if reader.pop(&mut out) == Ok(true) {
                prop_assert!((1..=MOST).contains(&out.len()));
            }
        }
        // Both ends agree again as soon as the peer behaves.
        let _lost = writer.push(b"one that may be lost");
        while reader.pop(&mut out) != Ok(false) {}
        let _lost = writer.push(b"another");
        while reader.pop(&mut out) != Ok(false) {}
        prop_assert_eq!(writer.push(b"the next"), Ok(true));
        prop_assert_eq!(reader.pop(&mut out), Ok(true));
        prop_assert_eq!(out.as_slice(), b"the next");
    }
}

#[test]
fn frames_that_cannot_be_are_refused() {
    let memory = memory(LEAST_WORDS);
    let mut writer = Writer::new(&memory);
    assert_eq!(writer.push(&[]), Ok(false));
    assert_eq!(writer.push(&vec![1; MOST + 1]), Ok(false));
    assert_eq!(writer.push(&vec![1; MOST]), Ok(true));
    assert_eq!(writer.push(&vec![1; MOST]), Ok(true));
    assert_eq!(writer.push(&[1]), Ok(false), "full");
}

#[test]
fn ends_that_begin_anew_find_their_way() {
    let memory = memory(200);
    let mut out = Vec::new();
    let mut reader = Reader::new(&memory);
    assert_eq!(Writer::new(&memory).push(b"first"), Ok(true));
    assert_eq!(Writer::new(&memory).push(b"second"), Ok(true));
    assert_eq!(reader.pop(&mut out), Ok(true));
    assert_eq!(out, b"first");
    let mut late = Reader::new(&memory);
    assert_eq!(late.pop(&mut out), Ok(false), "old frames are for nobody");
    assert_eq!(Writer::new(&memory).push(b"third"), Ok(true));
    assert_eq!(late.pop(&mut out), Ok(true));
    assert_eq!(out, b"third");
}

#[test]
fn memory_that_is_too_small_is_no_ring() {
    for size in 0..=FRAMES {
        let memory = memory(size);
        let mut out = Vec::new();
        assert_eq!(Writer::new(&memory).push(b"a"), Ok(false));
        assert_eq!(Reader::new(&memory).pop(&mut out), Ok(false));
    }
}

#[test]
fn pairs_have_rings_of_their_own() {
    let all = memory((2 << 20) / WORD);
    let mut seen = Vec::new();
    for from in 0..2 {
        for to in 0..2 {
            let ring = between(&all, 2, from, to);
            assert_eq!(ring.is_some(), from != to);
            seen.extend(ring.map(|r| r.as_ptr_range()));
        }
    }
    assert!(seen[0].end <= seen[1].start);
    assert!(between(&all, 2, 0, 2).is_none());
    assert!(between(&all, 4, 0, 1).is_none(), "too small for four");
    for members in 2..10 {
        let least = least_bytes(members);
        assert!(between(&memory(least as usize / WORD), members, 0, 1).is_some());
        let less = memory((least as usize - (2 << 20)) / WORD);
        assert!(between(&less, members, 0, 1).is_none(), "{members}");
    }
    assert!(between(&all, 0, 0, 0).is_none());
}

#[test]
fn frames_cross_threads_whole_and_in_order() {
    const FRAMES: u64 = 20_000;
    let memory = memory(500);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut writer = Writer::new(&memory);
            for n in 0..FRAMES {
                let frame = n.to_le_bytes().repeat(1 + (n % 40) as usize);
                while writer.push(&frame) != Ok(true) {
                    std::thread::yield_now();
                }
            }
        });
        let (mut reader, mut out) = (
            Reader {
                memory: &memory,
                tail: 0,
            },
            Vec::new(),
        );
        for n in 0..FRAMES {
            while reader.pop(&mut out) != Ok(true) {
                std::thread::yield_now();
            }
            assert_eq!(out, n.to_le_bytes().repeat(1 + (n % 40) as usize));
        }
    });
}
