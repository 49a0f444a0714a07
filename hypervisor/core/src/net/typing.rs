//! What a cell writes to its console, and what is typed for it.
//!
//! Spec: VIRTIO 1.2, "Device Operation" of the console device: the buffers have bytes, and
//! nothing else.

use super::frame::{Lost, MOST_SENT, Sink};
use super::queue::{Broken, Queue, Ram, Side};
use crate::addr::PAGE_SIZE;

/// Bytes that are read at once.
const PART: usize = 128;

/// Most parts of a buffer: a page, in as many pieces as it may be in. What is behind them is
/// dropped.
const MOST_PARTS: usize = PAGE_SIZE as usize / PART + MOST_SENT as usize;

/// Takes the next buffer that a cell writes, and gives what is in it to `out`, part by part;
/// the number by which the buffer is given back.
///
/// # Errors
///
/// The queue itself says what it must not.
pub fn next(
    queue: &Queue,
    ram: &mut impl Ram,
    mut out: impl FnMut(&[u8]),
) -> Result<Option<u16>, Broken> {
    if queue.waiting(ram, Side::Sender)? == 0 {
        return Ok(None);
    }
    let mut chain = queue.chain(ram, Side::Sender, 0, MOST_SENT)?;
    let head = chain.head;
    let mut bytes = [0; PART];
    for _ in 0..MOST_PARTS {
        let Ok(Some((at, len))) = chain.piece(ram) else {
            break;
        };
        let len = len.min(PART as u64);
        let Some(part) = bytes.get_mut(..len as usize) else {
            break;
        };
        if ram.load(at, part).is_none() {
            break;
        }
        out(part);
        chain.advance(len);
    }
    Ok(Some(head))
}

/// Copies what is typed into a buffer of `queue`; whether its driver wants to be interrupted.
///
/// # Errors
///
/// There is no buffer for it, or the queue says what it must not: nothing has arrived.
pub fn deliver(bytes: &[u8], ram: &mut impl Ram, queue: &mut Queue) -> Result<bool, Lost> {
    let mut sink = Sink::new(queue, ram, 0)?;
    sink.write(ram, bytes)?;
    let buffers = sink.finish(ram)?;
    queue
        .give_back(ram, Side::Receiver, buffers, false)
        .ok_or(Lost::Receiver)
}
