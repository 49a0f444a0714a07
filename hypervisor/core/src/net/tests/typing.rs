//! A console as its driver means it.

use super::*;
use crate::net::frame::{self, Lost};
use crate::net::queue::Broken;
use crate::net::typing;
use proptest::prelude::*;

const SIZE: u16 = 8;

/// What the cell has written, and by which number it is given back.
fn written(machine: &mut Machine, queue: &Queue) -> Result<Option<(u16, Vec<u8>)>, Broken> {
    let mut bytes = Vec::new();
    let number = typing::next(queue, machine, |part| bytes.extend(part))?;
    Ok(number.map(|number| (number, bytes)))
}

#[test]
fn what_a_cell_writes_comes_in_its_order_whatever_pieces_it_is_in() {
    let text: Vec<u8> = (0..3000).map(|i| (i % 251) as u8).collect();
    for pieces in [&[][..], &[1], &[0, 7, 0, 128, 129], &[1000; 2]] {
        let mut machine = Machine::new();
        let mut send = queue(SIZE);
        assert_eq!(written(&mut machine, &send), Ok(None));
        for turn in 0..2 * SIZE {
            machine.send(SIZE, &text, pieces);
            let found = written(&mut machine, &send).expect("sense");
            assert_eq!(found, Some((0, text.clone())), "{pieces:?}");
            assert_eq!(frame::done(&mut send, &mut machine, 0, 0), Some(true));
            assert_eq!(machine.given_back(Side::Sender, SIZE, turn), (0, 0));
        }
        assert_eq!(written(&mut machine, &send), Ok(None));
    }
}

#[test]
fn of_a_buffer_without_end_no_more_than_two_pages_are_read() {
    let mut machine = Machine::new();
    let send = queue(SIZE);
    machine.describe(Side::Sender, 0, (BUFFERS, u32::MAX), 0, 0);
    machine.give(Side::Sender, SIZE, 0);
    let (_, bytes) = written(&mut machine, &send).expect("sense").expect("some");
    assert!((4096..=2 * 4096).contains(&bytes.len()), "{}", bytes.len());
}

#[test]
fn what_is_typed_arrives_in_one_buffer_or_not_at_all() {
    let mut machine = Machine::new();
    let mut receive = queue(SIZE);
    let none = typing::deliver(b"ls\n", &mut machine, &mut receive);
    assert_eq!(none, Err(Lost::Receiver), "no buffer");
    machine.give_buffers(SIZE, 2, 16);
    let long = typing::deliver(&[b'x'; 17], &mut machine, &mut receive);
    assert_eq!(long, Err(Lost::Receiver), "no room in the first");
    for (number, text) in [b"ls\n".as_slice(), &[b'y'; 16]].into_iter().enumerate() {
        let told = typing::deliver(text, &mut machine, &mut receive);
        assert_eq!(told, Ok(true));
        let number = number as u16;
        let given = machine.given_back(Side::Receiver, SIZE, number);
        assert_eq!(given, (u32::from(number), text.len() as u32));
        let at = BUFFERS as usize + 16 * usize::from(number);
        assert_eq!(&machine.receiver[at..at + text.len()], text);
    }
}

#[test]
fn a_driver_that_polls_is_not_interrupted() {
    let mut machine = Machine::new();
    let mut receive = queue(SIZE);
    machine.give_buffers(SIZE, 1, 16);
    machine.set(Side::Receiver, AVAILABLE, &1u16.to_le_bytes());
    assert_eq!(typing::deliver(b"x", &mut machine, &mut receive), Ok(false));
}

proptest! {
    #[test]
    fn whatever_a_guest_writes_ends_and_spoils_no_memory(
        entries in proptest::collection::vec(nonsense::descriptor(), 1..40),
        heads in proptest::collection::vec(any::<u16>(), 1..8),
        typed in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut machine = Machine::new();
        let (send, mut receive) = (queue(32), queue(32));
        for side in [Side::Sender, Side::Receiver] {
            nonsense::chain(&mut machine, side, &entries);
            heads.iter().for_each(|head| machine.give(side, 32, *head));
        }
        let before = machine.sender.clone();
        let found = written(&mut machine, &send).expect("the ring itself is good");
        let (number, bytes) = found.expect("some wait");
        prop_assert_eq!(number, heads[0]);
        prop_assert!(bytes.len() <= 2 * 4096 + 128);
        let _told = typing::deliver(&typed, &mut machine, &mut receive);
        prop_assert!(machine.touched < 4000, "{}", machine.touched);
        prop_assert_eq!(&machine.sender, &before);
    }
}
