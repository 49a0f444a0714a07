//! The switch between a socket that stands in for the device, and rings.

use super::*;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::sync::Mutex;

const HERE: Address = [2, 0, 0, 0, 0, 1];
const THERE: Address = [2, 0, 0, 0, 0, 2];

/// A frame of a length.
fn frame(to: Address, from: Address, length: usize) -> Vec<u8> {
    let mut frame = [to, from].concat();
    frame.resize(length, 0x5a);
    frame
}

/// Memory for two members.
fn window(name: &str) -> Window {
    let size = usize::try_from(least_bytes(2)).expect("a small link");
    let path = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
    std::fs::write(&path, vec![0; size]).expect("written");
    let window = Window::map(std::path::Path::new(&path), &[(0, size)]).expect("mapped");
    std::fs::remove_file(&path).expect("removed");
    window
}

#[test]
fn a_frame_without_room_waits_for_a_member_that_reads_and_for_no_other() {
    let window = window("cellnet-waits");
    let ring = |from, to| between(window.words(), 2, from, to).expect("a ring");
    let (device, kernel) = UnixDatagram::pair().expect("a pair");
    device.set_nonblocking(true).expect("it can");
    kernel.set_nonblocking(true).expect("it can");
    let device = File::from(OwnedFd::from(device));
    let member = Member { place: 0, of: 2 };
    let mut switch = Switch::new(device, &window, None, member).expect("rings");
    let (mut theirs, mut out) = (Reader::new(ring(0, 1)), Vec::new());
    // Whom a frame is for is learnt from what comes.
    let hello = frame(HERE, THERE, 60);
    assert_eq!(Writer::new(ring(1, 0)).push(&hello), Ok(true));
    assert_eq!(switch.inwards().expect("writes"), 1);
    let long = frame(THERE, HERE, 60_000);
    let fill = |switch: &mut Switch<'_>| {
        let mut count = 0;
        while switch.held.is_none() {
            assert!(count < 100, "the ring never fills");
            kernel.send(&long).expect("there is room");
            assert_eq!(switch.outwards().expect("reads"), 1);
            count += 1;
        }
        count
    };
    assert!(fill(&mut switch) >= 2);
    assert_eq!(switch.outwards().expect("reads"), 0, "it waits");
    assert_eq!(theirs.pop(&mut out), Ok(true));
    assert_eq!(switch.outwards().expect("reads"), 0, "nothing is behind it");
    assert!(switch.held.is_none(), "it had room");

    // Nobody reads any more: the first frame is lost after a while, others at once.
    fill(&mut switch);
    std::thread::sleep(HOLD);
    assert_eq!(switch.outwards().expect("reads"), 0);
    assert!(switch.held.is_none());
    kernel.send(&long).expect("there is room");
    assert_eq!(switch.outwards().expect("reads"), 1);
    assert!(switch.held.is_none(), "lost at once");

    // The member reads again.
    while theirs.pop(&mut out) == Ok(true) {}
    let last = frame(THERE, HERE, 100);
    kernel.send(&last).expect("there is room");
    assert_eq!(switch.outwards().expect("reads"), 1);
    assert_eq!(theirs.pop(&mut out), Ok(true));
    assert_eq!(out, last);
    assert!(switch.peers.iter().all(|peer| !peer.stalled));
}

/// A bell that notes whom it rings, and is rung by a socket.
#[derive(Debug)]
struct Notes {
    rung: UnixDatagram,
    rang: Mutex<Vec<usize>>,
}

impl Bell for Notes {
    fn ring(&self, place: usize) {
        self.rang.lock().expect("held").push(place);
    }

    fn rung(&self) -> BorrowedFd<'_> {
        self.rung.as_fd()
    }

    fn clear(&self) {
        while self.rung.recv(&mut [0]).is_ok() {}
    }
}

#[test]
fn a_member_that_sleeps_is_rung_once_for_what_goes_to_it() {
    let window = window("cellnet-rings");
    let ring = |from, to| between(window.words(), 2, from, to).expect("a ring");
    let (device, kernel) = UnixDatagram::pair().expect("a pair");
    let (rung, rings) = UnixDatagram::pair().expect("a pair");
    device.set_nonblocking(true).expect("it can");
    rung.set_nonblocking(true).expect("it can");
    let rang = Mutex::default();
    let bell = Notes { rung, rang };
    let member = Member { place: 1, of: 2 };
    let device = File::from(OwnedFd::from(device));
    let mut switch = Switch::new(device, &window, Some(&bell), member).expect("rings");
    let theirs = Reader::new(ring(1, 0));

    // It is awake.
    kernel.send(&frame(THERE, HERE, 60)).expect("there is room");
    assert_eq!(switch.outwards().expect("reads"), 1);
    assert!(bell.rang.lock().expect("held").is_empty());
    // It has read all of it, and sleeps.
    let mut theirs = theirs;
    assert!(!theirs.fall_asleep(), "there is something to read");
    assert_eq!(theirs.pop(&mut Vec::new()), Ok(true));
    assert!(theirs.fall_asleep());
    for _ in 0..3 {
        kernel.send(&frame(THERE, HERE, 60)).expect("there is room");
    }
    assert_eq!(switch.outwards().expect("reads"), 3);
    assert_eq!(*bell.rang.lock().expect("held"), [0]);
    assert_eq!(switch.outwards().expect("reads"), 0);
    assert_eq!(
        *bell.rang.lock().expect("held"),
        [0],
        "there is nothing new"
    );

    // This one sleeps until it is rung, and not over what came before.
    let begun = Instant::now();
    let mut writer = Writer::new(ring(0, 1));
    assert_eq!(writer.push(&frame(HERE, THERE, 60)), Ok(true));
    assert!(!writer.is_to_ring());
    switch.sleep().expect("looks");
    assert_eq!(switch.inwards().expect("writes"), 1);
    rings.send(&[0]).expect("there is room");
    switch.sleep().expect("is rung");
    assert!(begun.elapsed() < Duration::from_millis(90), "it slept");
    switch.sleep().expect("wakes by itself");
    assert!(
        begun.elapsed() >= Duration::from_millis(90),
        "it was rung once"
    );
    assert!(!writer.is_to_ring(), "it is awake");
}
