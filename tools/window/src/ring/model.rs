//! The ring under all orders in which two CPUs can see each other's accesses:
//! `cargo xtask test --only ring-model`.

use super::*;
use loom::sync::Arc;

/// Frames of one byte each, which take two words: the ring has room for two.
const ROOM: usize = 4;
const FRAMES_SENT: u8 = 3;

fn memory() -> Arc<Vec<AtomicU64>> {
    Arc::new((0..FRAMES + ROOM).map(|_| AtomicU64::new(0)).collect())
}

fn reader(memory: &[AtomicU64]) -> Reader<'_> {
    Reader { memory, tail: 0 }
}

#[test]
fn frames_cross_cpus_whole_and_in_order() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let memory = memory();
        let theirs = Arc::clone(&memory);
        let writing = loom::thread::spawn(move || {
            let mut writer = Writer::new(&theirs);
            for n in 1..=FRAMES_SENT {
                while writer.push(&[n]) != Ok(true) {
                    loom::thread::yield_now();
                }
            }
        });
        let (mut reader, mut frame) = (reader(&memory), Vec::new());
        for n in 1..=FRAMES_SENT {
            while !reader.pop(&mut frame).expect("nobody writes nonsense") {
                loom::thread::yield_now();
            }
            assert_eq!(frame, [n]);
        }
        writing.join().expect("it ends");
    });
}

/// What is written while a reader falls asleep is seen by it, or it is rung.
#[test]
fn nobody_sleeps_over_a_frame() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let (memory, bell) = (memory(), Arc::new(AtomicU64::new(0)));
        let (theirs, rung) = (Arc::clone(&memory), Arc::clone(&bell));
        let writing = loom::thread::spawn(move || {
            let mut writer = Writer::new(&theirs);
            assert_eq!(writer.push(&[1]), Ok(true));
            if writer.is_to_ring() {
                rung.store(1, Ordering::Relaxed);
            }
        });
        let mut reader = reader(&memory);
        let sleeps = reader.fall_asleep();
        writing.join().expect("it ends");
        assert!(!sleeps || bell.load(Ordering::Relaxed) == 1);
        assert_eq!(reader.pop(&mut Vec::new()), Ok(true));
    });
}

#[test]
fn nonsense_in_the_midst_of_a_frame_harms_nobody() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let memory = memory();
        let theirs = Arc::clone(&memory);
        let hostile = loom::thread::spawn(move || {
            let mut writer = Writer::new(&theirs);
            let _lost = writer.push(&[1]);
            for (at, value) in [(FRAMES, u64::MAX), (HEAD, 1 << 40), (FRAMES + 1, 9)] {
                theirs[at].store(value, Ordering::Relaxed);
            }
        });
        let (mut reader, mut frame) = (reader(&memory), Vec::new());
        for _ in 0..3 {
            let _any = reader.pop(&mut frame);
            assert!(frame.len() <= MOST);
        }
        hostile.join().expect("it ends");
        // With an honest writer it goes on.
        let _lost = reader.pop(&mut frame);
        let mut writer = Writer::new(&memory);
        while reader.pop(&mut frame) != Ok(false) {}
        assert_eq!(writer.push(&[7]), Ok(true));
        assert_eq!(reader.pop(&mut frame), Ok(true));
        assert_eq!(frame, [7]);
    });
}
