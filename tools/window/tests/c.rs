//! The header for C speaks the language of the crate: a program in C and this one talk over
//! one file.

use cellvisor_window::Window;
use cellvisor_window::ring::{MOST, Reader, Writer, between, least_bytes};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The next frame, while the other lives.
fn next(reader: &mut Reader<'_>, peer: &mut Child) -> Vec<u8> {
    let (begun, mut frame) = (Instant::now(), Vec::new());
    while reader.pop(&mut frame) != Ok(true) {
        let ended = peer.try_wait().expect("a child");
        assert!(ended.is_none(), "the peer ended: {ended:?}");
        assert!(begun.elapsed() < Duration::from_secs(60), "no answer");
        std::thread::yield_now();
    }
    frame
}

fn push(writer: &mut Writer<'_>, frame: &[u8]) {
    while writer.push(frame) != Ok(true) {
        std::thread::yield_now();
    }
}

#[test]
fn programs_in_c_and_in_rust_understand_each_other() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (program, file) = (dir.join("window-peer"), dir.join("window-shared"));
    let built = Command::new("gcc")
        .args(["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-I"])
        .arg(here.join("include"))
        .arg("-o")
        .args([&program, &here.join("tests/peer.c")])
        .status();
    assert!(built.expect("gcc is installed").success());
    let size = usize::try_from(least_bytes(2)).expect("a small link");
    std::fs::write(&file, vec![0; size]).expect("written");
    let window = Window::map(&file, &[(0, size)]).expect("mapped");
    let ring = |from, to| between(window.words(), 2, from, to).expect("a ring");
    let (mut reader, mut writer) = (Reader::new(ring(1, 0)), Writer::new(ring(0, 1)));
    let mut peer = Command::new(&program)
        .arg(&file)
        .arg(size.to_string())
        .spawn()
        .expect("runs");
    assert_eq!(next(&mut reader, &mut peer), b"here");
    assert_eq!(next(&mut reader, &mut peer), b"asleep");
    assert!(writer.is_to_ring());
    push(&mut writer, b"rise");
    assert_eq!(next(&mut reader, &mut peer), b"awake");
    assert!(!writer.is_to_ring());
    // Lengths around a word's, the longest, and several times around the ring.
    for length in [2, 7, 8, 9, 4000, MOST].into_iter().cycle().take(60) {
        let frame: Vec<u8> = (0..length).map(|n| (n * 7) as u8).collect();
        push(&mut writer, &frame);
        let answer: Vec<u8> = frame.iter().map(|byte| byte.wrapping_add(1)).collect();
        assert_eq!(next(&mut reader, &mut peer), answer, "{length} bytes");
    }
    // A head that cannot be.
    ring(0, 1)[0].fetch_add(1 << 40, Ordering::Release);
    assert_eq!(next(&mut reader, &mut peer), b"nonsense");
    push(&mut Writer::new(ring(0, 1)), b"after it");
    assert_eq!(next(&mut reader, &mut peer), b"bgufs!ju");
    push(&mut Writer::new(ring(0, 1)), b".");
    assert!(peer.wait().expect("ends").success());
}
