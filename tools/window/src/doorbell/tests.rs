//! Doorbells as far as they need no adapter.

use super::*;
use crate::wait;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

/// A bell of two sockets.
#[derive(Debug)]
struct Pair(UnixDatagram);

impl Bell for Pair {
    fn ring(&self, _: usize) {
        self.0.send(&RING).expect("there is room");
    }

    fn rung(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    fn clear(&self) {
        while self.0.recv(&mut [0]).is_ok() {}
    }
}

#[test]
fn who_sleeps_is_woken_and_who_is_not_rung_wakes_by_itself() {
    let (here, there) = UnixDatagram::pair().expect("a pair");
    here.set_nonblocking(true).expect("it can");
    let (here, there) = (Pair(here), Pair(there));
    let begun = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(20));
            there.ring(0);
        });
        wait::for_bell(&here, Duration::from_secs(60));
    });
    assert!(begun.elapsed() < Duration::from_secs(30), "it was rung");
    let begun = Instant::now();
    wait::for_bell(&here, Duration::from_millis(30));
    assert!(begun.elapsed() >= Duration::from_millis(20), "rung once");
}

#[test]
fn members_are_rung_by_their_places() {
    let mine = address("02:aa:bb:cc:0d:03").expect("an address");
    assert_eq!(mine, [2, 0xaa, 0xbb, 0xcc, 0x0d, 3]);
    assert_eq!(other(mine, 0), Some([2, 0xaa, 0xbb, 0xcc, 0x0d, 1]));
    assert_eq!(other(mine, 254), Some([2, 0xaa, 0xbb, 0xcc, 0x0d, 255]));
    assert_eq!(other(mine, 255), None);
    for nonsense in [
        "",
        "02:aa:bb:cc:0d",
        "02:aa:bb:cc:0d:0g",
        "02:aa:bb:cc:0d:03:1",
        "2:a:b:c:d:e",
    ] {
        assert_eq!(address(nonsense), None, "{nonsense}");
    }
}

#[test]
fn what_is_laid_over_the_adapter_is_not_taken_for_it() {
    let all = std::env::temp_dir().join(format!("doorbell-{}", std::process::id()));
    let mac = "02:00:00:00:00:01";
    for (name, address, is_device) in [
        ("bridge", mac, false),
        ("card", "02:00:00:00:00:02", true),
        ("eth7", mac, true),
    ] {
        let dir = all.join(name);
        fs::create_dir_all(&dir).expect("made");
        fs::write(dir.join("address"), format!("{address}\n")).expect("written");
        if is_device {
            fs::create_dir(dir.join("device")).expect("made");
        }
    }
    assert_eq!(interface(&all, mac).as_deref(), Some("eth7"));
    assert_eq!(interface(&all, "02:00:00:00:00:03"), None);
    fs::remove_dir_all(&all).expect("removed");
    assert_eq!(interface(&all, mac), None);
}

#[test]
fn a_link_without_a_doorbell_has_none_and_one_whose_adapter_is_missing_says_so() {
    let mut link = Link::of_note("net", "member 1 of 2");
    assert!(Doorbell::open(&link).expect("nothing fails").is_none());
    link.doorbell = Some("02:ff:ff:ff:ff:01".to_owned());
    let why = Doorbell::open(&link)
        .expect_err("no such interface")
        .to_string();
    assert!(why.contains("virtio_net"), "{why}");
}
