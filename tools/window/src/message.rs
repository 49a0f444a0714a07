//! Requests, answers and streams between two members, over a ring each way.
//!
//! A frame is a word of a kind and bytes. A stream begins when its receiver is there,
//! and ends with the sum of its bytes, which the receiver confirms: what a ring has lost
//! is noticed. Every wait for the other has an end.

use crate::doorbell::{Bell, MOST_SLEEP};
use crate::ring::{MOST, Reader, Writer};
use crate::wait;
use std::fmt;
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

/// How long the other may say nothing, or take nothing.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How many times longer the other side of a stream may take to be there: somebody starts
/// it by hand, on another console.
const ARRIVAL: u32 = 6;
/// How often one who waits for a stream says so.
const KNOCK: Duration = Duration::from_millis(50);
/// Looks at the ring before the CPU is left to others for a while.
const SPINS: u32 = 2000;
const NAP: Duration = Duration::from_micros(200);
/// Bytes of a stream in a frame: several fit into the smallest ring.
const PART: usize = 16 << 10;

/// Bytes before those of a frame.
const HEAD: usize = 8;
/// Most bytes of a request.
pub const MOST_BYTES: usize = MOST - HEAD;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
enum Kind {
    Request = 1,
    Answer,
    /// Someone waits for a stream.
    Ready,
    Data,
    /// The stream's sum of bytes, from its sender and back.
    End,
    Confirmed,
}

impl Kind {
    const ALL: [Self; 6] = [
        Self::Request,
        Self::Answer,
        Self::Ready,
        Self::Data,
        Self::End,
        Self::Confirmed,
    ];
}

/// Why an exchange did not come about.
#[derive(Debug)]
pub enum Failed {
    /// The other does nothing; what it should be doing, and how long it was waited for.
    Silent(&'static str, Duration),
    /// More than fits.
    TooLong,
    /// Bytes that were sent, and that came.
    Lost(u64, u64),
    /// What is read from or written to here.
    Here(io::Error),
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent(verb, waited) => {
                write!(
                    f,
                    "the other does nothing for {} s: is `cellmsg {verb}` running there?",
                    waited.as_secs()
                )
            }
            Self::TooLong => write!(
                f,
                "more than {MOST_BYTES} bytes fit into no frame: send a stream"
            ),
            Self::Lost(sent, came) => {
                write!(
                    f,
                    "{sent} bytes were sent and {came} came: somebody wrote to the ring"
                )
            }
            Self::Here(e) => write!(f, "{e}"),
        }
    }
}

impl std::error::Error for Failed {}

/// A way to another member and back.
#[derive(Debug)]
pub struct Channel<'a> {
    from: Reader<'a>,
    to: Writer<'a>,
    frame: Vec<u8>,
    patience: Duration,
    /// What rings the other, and its place.
    bell: Option<(&'a dyn Bell, usize)>,
}

impl<'a> Channel<'a> {
    /// By these two rings; what is in them is passed over.
    #[must_use]
    pub const fn new(from: Reader<'a>, to: Writer<'a>, patience: Duration) -> Self {
        Self {
            from,
            to,
            frame: Vec::new(),
            patience,
            bell: None,
        }
    }

    /// Sleeps by the link's doorbell, and rings the other, who is at `place`, when that does.
    #[must_use]
    pub const fn with_bell(mut self, bell: &'a dyn Bell, place: usize) -> Self {
        self.bell = Some((bell, place));
        self
    }

    /// Says that this end sleeps until it is rung; false if there is something to read.
    #[must_use]
    pub fn fall_asleep(&self) -> bool {
        self.from.fall_asleep()
    }

    /// Says that it sleeps no more.
    pub fn wake_up(&self) {
        self.from.wake_up();
    }

    /// Sends a request and returns the answer.
    ///
    /// # Errors
    ///
    /// It is too long, or nobody takes or answers it.
    pub fn ask(&mut self, request: &[u8]) -> Result<&[u8], Failed> {
        self.put(Kind::Request, request, "answer")?;
        self.wait(&[Kind::Answer], "answer")?;
        Ok(self.bytes())
    }

    /// Answers what is there with the same bytes; false if nothing was.
    ///
    /// # Errors
    ///
    /// Nobody takes the answer.
    pub fn answer(&mut self) -> Result<bool, Failed> {
        if self.look() != Some(Kind::Request) {
            return Ok(false);
        }
        let bytes = self.bytes().to_vec();
        self.put(Kind::Answer, &bytes, "echo")?;
        Ok(true)
    }

    /// Sends all that `source` has, and returns how many bytes that was.
    ///
    /// # Errors
    ///
    /// There is no receiver, it stops, or did not get all of it.
    pub fn send(&mut self, source: &mut impl Read) -> Result<u64, Failed> {
        let there = self.wait_for(&[Kind::Ready], self.arrival());
        there.ok_or(Failed::Silent("receive", self.arrival()))?;
        let (mut part, mut sum) = (vec![0; PART], 0);
        loop {
            let length = source.read(&mut part).map_err(Failed::Here)?;
            if length == 0 {
                break;
            }
            self.put(
                Kind::Data,
                part.get(..length).unwrap_or_default(),
                "receive",
            )?;
            sum += length as u64;
        }
        self.put(Kind::End, &sum.to_le_bytes(), "receive")?;
        self.wait(&[Kind::Confirmed], "receive")?;
        self.agree(sum, self.sum())
    }

    /// Writes a stream to `sink`, and returns how many bytes that was.
    ///
    /// # Errors
    ///
    /// There is no sender, it stops, or bytes were lost.
    pub fn receive(&mut self, sink: &mut impl Write) -> Result<u64, Failed> {
        let mut kind = self.knock()?;
        let mut sum = 0;
        while kind == Kind::Data {
            sum += self.bytes().len() as u64;
            sink.write_all(self.bytes()).map_err(Failed::Here)?;
            kind = self.wait(&[Kind::Data, Kind::End], "send")?;
        }
        let sent = self.sum();
        self.put(Kind::Confirmed, &sum.to_le_bytes(), "send")?;
        self.agree(sent, sum)
    }

    const fn agree(&self, sent: u64, came: u64) -> Result<u64, Failed> {
        if sent == came {
            Ok(sent)
        } else {
            Err(Failed::Lost(sent, came))
        }
    }

    /// Says that it waits for a stream until one begins.
    fn knock(&mut self) -> Result<Kind, Failed> {
        let begun = Instant::now();
        loop {
            self.put(Kind::Ready, &[], "send")?;
            match self.wait_for(&[Kind::Data, Kind::End], KNOCK) {
                Some(kind) => return Ok(kind),
                None if begun.elapsed() < self.arrival() => {}
                None => return Err(Failed::Silent("send", self.arrival())),
            }
        }
    }

    /// How long the other side of a stream may take to be there.
    const fn arrival(&self) -> Duration {
        self.patience.saturating_mul(ARRIVAL)
    }

    /// The bytes of the last frame.
    fn bytes(&self) -> &[u8] {
        self.frame.get(HEAD..).unwrap_or_default()
    }

    /// The sum that the last frame tells of.
    fn sum(&self) -> u64 {
        let bytes = self.bytes().first_chunk();
        bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    /// The next frame, if there is one that makes sense.
    fn look(&mut self) -> Option<Kind> {
        if self.from.pop(&mut self.frame) != Ok(true) {
            return None;
        }
        let kind = u64::from_le_bytes(*self.frame.first_chunk()?);
        Kind::ALL.into_iter().find(|known| *known as u64 == kind)
    }

    /// Writes a frame, as soon as there is room for it.
    fn put(&mut self, kind: Kind, bytes: &[u8], verb: &'static str) -> Result<(), Failed> {
        if bytes.len() > MOST_BYTES {
            return Err(Failed::TooLong);
        }
        let frame = [&(kind as u64).to_le_bytes(), bytes].concat();
        // After nonsense it is tried anew, as when there is no room. Who makes some is awake.
        let attempt = |channel: &mut Self| {
            let done = channel.to.push(&frame).ok().filter(|done| *done);
            if done.is_none() {
                channel.to.wait();
            }
            done
        };
        let done = self.poll(self.patience, attempt, |_, _| std::thread::sleep(NAP));
        done.ok_or(Failed::Silent(verb, self.patience))?;
        if let Some((bell, place)) = self.bell
            && self.to.is_to_ring()
        {
            bell.ring(place);
        }
        Ok(())
    }

    fn wait(&mut self, kinds: &[Kind], verb: &'static str) -> Result<Kind, Failed> {
        let found = self.wait_for(kinds, self.patience);
        found.ok_or(Failed::Silent(verb, self.patience))
    }

    /// Waits for one of these; what else comes is passed over.
    fn wait_for(&mut self, kinds: &[Kind], limit: Duration) -> Option<Kind> {
        let attempt = |channel: &mut Self| {
            let found = channel.look().filter(|kind| kinds.contains(kind));
            if found.is_none() {
                channel.from.wait();
            }
            found
        };
        self.poll(limit, attempt, Self::sleep)
    }

    /// Leaves the CPU to others until there may be something to read.
    fn sleep(&self, left: Duration) {
        let Some((bell, _)) = self.bell else {
            return std::thread::sleep(NAP);
        };
        if self.fall_asleep() {
            wait::for_bell(bell, left.min(MOST_SLEEP));
            self.wake_up();
        }
    }

    /// Tries until something comes of it, or the time is over, and sleeps in between when it
    /// has tried often. An attempt waits a moment before it says that nothing came.
    fn poll<T>(
        &mut self,
        limit: Duration,
        mut attempt: impl FnMut(&mut Self) -> Option<T>,
        sleep: impl Fn(&Self, Duration),
    ) -> Option<T> {
        let begun = Instant::now();
        let mut spins = 0;
        loop {
            if let Some(result) = attempt(self) {
                return Some(result);
            }
            spins += 1;
            if spins < SPINS {
                continue;
            }
            let left = limit.checked_sub(begun.elapsed())?;
            sleep(self, left);
        }
    }
}

#[cfg(test)]
mod tests;
