//! The registers of all members of a link.

use super::command::{Buffer, Command};
use super::{MOST, Wrong};
use crate::addr::Gpa;
use cellvisor_abi::plan::MAX_SOCKET_MEMBERS;

/// Offsets of the registers, of 32 bits each: the own number, how many there are, reset,
/// a command and how it is going, where status bytes are, where requests and answers are,
/// what has happened, which of it interrupts, and what happens to another member.
const OWN: u64 = 0x00;
const COUNT: u64 = 0x04;
const CONTROL: u64 = 0x10;
const COMMAND: u64 = 0x20;
const STATE: u64 = 0x24;
const STATUS: u64 = 0x28;
const REQUEST: u64 = 0x34;
const RESPONSE: u64 = 0x44;
const HAPPENED: u64 = 0x80;
const MASK: u64 = 0x84;
const UNMASK: u64 = 0x88;
const RING: u64 = 0x8c;

/// Registers that are memory of the driver's for the monitor: addresses, whose low half comes
/// first, behind the lengths of what is there.
const PLAIN: core::ops::Range<u64> = STATUS..RESPONSE + 12;
const PLAIN_COUNT: usize = (RESPONSE + 12 - STATUS) as usize / 4;

/// Bit of [`CONTROL`].
const RESET: u32 = 1;

/// Bits of [`COMMAND`] besides the code: it failed, why, and it starts.
const FAILED: u32 = 1 << 30;
const WHY_SHIFT: u32 = 16;
const START: u32 = 1 << 31;

/// Bits of [`STATE`] besides the code.
const BUSY: u32 = 1 << 30;
const COMPLETE: u32 = 1 << 31;

/// Bits of [`HAPPENED`] besides who made it happen: anything has; causes.
const ASSERTED: u32 = 1 << 31;
const CAUSE_SHIFT: u32 = 16;
const CAUSES: usize = 5;
/// All causes, as [`MASK`], [`UNMASK`] and [`RING`] have them.
const ALL_CAUSES: u32 = 0x1f << CAUSE_SHIFT;
/// The other one is no more.
const STOPPED: u32 = 1 << 19;
/// Who is there, or shares, has changed.
const CHANGED: u32 = 1 << 20;

/// A member.
#[derive(Clone, Copy, Debug)]
struct Member {
    /// Its cell runs.
    runs: bool,
    /// What it read and wrote last.
    command: u32,
    /// CPUs of its cell may know yet where pages led before.
    is_busy: bool,
    plain: [u32; PLAIN_COUNT],
    /// Causes that do not interrupt.
    masked: u32,
    /// Who has made what happen: a bit for each member, by cause.
    pending: [u8; CAUSES],
    /// Status bytes are not what they should be.
    is_stale: bool,
    /// A bit for each member that it shares pages with.
    shares: u8,
    /// Those of which its status bytes say that they share with it.
    told: u8,
}

impl Member {
    /// After a reset.
    const NEW: Self = Self {
        runs: false,
        command: 0,
        is_busy: false,
        plain: [0; PLAIN_COUNT],
        masked: ALL_CAUSES,
        pending: [0; CAUSES],
        is_stale: false,
        shares: 0,
        told: 0,
    };

    /// A cause that interrupts and has happened, and who made it happen.
    fn next(&self) -> Option<(usize, u8)> {
        let (cause, who) = (0..).zip(self.pending).find(|(cause, who)| {
            *who != 0 && self.masked >> (CAUSE_SHIFT + *cause as u32) & 1 == 0
        })?;
        Some((cause, who.trailing_zeros() as u8))
    }

    /// True if there is something to read that is to interrupt.
    fn is_asserted(&self) -> bool {
        self.masked != ALL_CAUSES && (self.is_stale || self.next().is_some())
    }

    /// Does something to what can interrupt; true if it is to interrupt by that.
    fn change(&mut self, f: impl FnOnce(&mut Self)) -> bool {
        let before = self.is_asserted();
        f(self);
        !before && self.is_asserted()
    }

    /// What has happened, one cause and one member at a time, which is forgotten. While
    /// nothing interrupts, that is all of it: the driver begins anew.
    fn take(&mut self) -> u32 {
        let was_stale = core::mem::take(&mut self.is_stale);
        if self.masked == ALL_CAUSES {
            self.pending = [0; CAUSES];
            return 0;
        }
        let Some((cause, who)) = self.next() else {
            return if was_stale { ASSERTED } else { 0 };
        };
        if let Some(pending) = self.pending.get_mut(cause) {
            *pending &= !(1 << who);
        }
        ASSERTED | 1 << (CAUSE_SHIFT + cause as u32) | u32::from(who)
    }

    fn read(&self, offset: u64) -> u32 {
        match offset {
            CONTROL => u32::from(self.is_busy),
            COMMAND => self.command,
            STATE => {
                let how = if self.is_busy { BUSY } else { COMPLETE };
                self.command & 0xffff | how
            }
            MASK => self.masked,
            _ => self.plain(offset),
        }
    }

    fn plain(&self, offset: u64) -> u32 {
        let word = word(offset).and_then(|word| self.plain.get(word));
        word.copied().unwrap_or(0)
    }

    /// The address in the registers at this offset.
    fn address(&self, offset: u64) -> u64 {
        u64::from(self.plain(offset)) | u64::from(self.plain(offset + 4)) << 32
    }

    fn buffer(&self, offset: u64) -> Buffer {
        Buffer {
            len: self.plain(offset),
            at: self.address(offset + 4),
        }
    }

    fn write(&mut self, offset: u64, value: u32) {
        match offset {
            MASK => self.masked |= value & ALL_CAUSES,
            UNMASK => self.masked &= !value,
            _ => {
                let word = word(offset).and_then(|word| self.plain.get_mut(word));
                if let Some(word) = word {
                    *word = value;
                }
            }
        }
    }
}

/// The place of a register that is memory, if it is one.
fn word(offset: u64) -> Option<usize> {
    let is_one = PLAIN.contains(&offset) && offset.is_multiple_of(4);
    is_one.then_some((offset.wrapping_sub(STATUS) / 4) as usize)
}

/// What follows from a write to a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The member with this number is interrupted, if any.
    Interrupt(Option<u8>),
    /// A command is to be carried out, and [`Members::finish`] comes then.
    Command(Command),
    /// All pages are to be put back, and [`Members::finish`] comes then.
    Reset,
}

/// What has come of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered, and nothing has changed.
    Told,
    /// Pages are shared with this member.
    Shared(u8),
    /// No pages are shared with this member any more.
    Unshared(u8),
    /// No pages are shared with anybody any more.
    Reset,
    /// Nothing has changed.
    Failed(Wrong),
}

/// All members of a link, a bit for each in what follows for them.
#[derive(Debug)]
pub struct Members {
    /// How many there are; 0 before the first of them is taken.
    count: u8,
    taken: u8,
    members: [Member; MOST],
}

impl Members {
    /// Of a link that nobody shares.
    pub const NONE: Self = Self {
        count: 0,
        taken: 0,
        members: [Member::NEW; MOST],
    };

    /// A cell is to be the member with this number of `count`; false if it cannot be.
    pub fn take(&mut self, number: u8, count: u8) -> bool {
        let fits = number < count && (2..=MAX_SOCKET_MEMBERS).contains(&count);
        let agreed = self.taken == 0 || self.count == count;
        if !fits || !agreed || self.taken >> number & 1 != 0 {
            return false;
        }
        self.count = count;
        self.taken |= 1 << number;
        self.get(number).is_some_and(|member| {
            *member = Member::NEW;
            true
        })
    }

    /// It is not any more.
    pub fn leave(&mut self, number: u8) {
        self.taken &= !(1 << number);
    }

    /// Its cell is about to start; no pages are shared.
    pub fn start(&mut self, number: u8) {
        if let Some(member) = self.get(number) {
            *member = Member {
                runs: true,
                ..Member::NEW
            };
        }
    }

    /// Its cell does not run any more: those that share with it are to be interrupted.
    pub fn stop(&mut self, number: u8) -> u8 {
        let with_it = self.with_it(number);
        if let Some(member) = self.get(number) {
            *member = Member::NEW;
        }
        self.parted(number, with_it, STOPPED)
    }

    /// The member reads a register; `is_flushed` tells if no CPU of its cell knows any more
    /// where pages led. And true if it is to be interrupted again.
    pub fn read(
        &mut self,
        number: u8,
        offset: u64,
        is_flushed: impl FnOnce() -> bool,
    ) -> (u32, bool) {
        let count = self.count;
        let Some(member) = self.get(number) else {
            return (u32::MAX, false);
        };
        member.is_busy = member.is_busy && !is_flushed();
        match offset {
            OWN => (u32::from(number), false),
            COUNT => (u32::from(count), false),
            HAPPENED => (member.take(), member.is_asserted()),
            _ => (member.read(offset), false),
        }
    }

    /// The member writes a register; `is_flushed` as above.
    pub fn write(
        &mut self,
        number: u8,
        offset: u64,
        value: u32,
        is_flushed: impl FnOnce() -> bool,
    ) -> Effect {
        let none = Effect::Interrupt(None);
        let (count, running) = (self.count, self.running());
        let Some(member) = self.get(number) else {
            return none;
        };
        match offset {
            CONTROL if value & RESET != 0 => Effect::Reset,
            RING => Effect::Interrupt(self.ring(number, value)),
            COMMAND if value & START != 0 => {
                member.is_busy = member.is_busy && !is_flushed();
                member.command = value & 0xffff;
                if member.is_busy {
                    member.command |= failed(Wrong::State);
                    return none;
                }
                Effect::Command(Command {
                    code: value as u16,
                    number,
                    count,
                    running,
                    request: member.buffer(REQUEST),
                    response: member.buffer(RESPONSE),
                })
            }
            _ => {
                let due = member.change(|member| {
                    member.write(offset, value);
                    if member.masked == ALL_CAUSES {
                        member.pending = [0; CAUSES];
                    }
                });
                Effect::Interrupt(due.then_some(number))
            }
        }
    }

    /// A command of the member has come to this: who is to be interrupted.
    pub fn finish(&mut self, number: u8, outcome: Outcome) -> u8 {
        let with_it = self.with_it(number);
        // It may have been stopped meanwhile.
        let Some(member) = self.get(number).filter(|member| member.runs) else {
            return 0;
        };
        // What failed may have changed pages and put them back.
        member.is_busy |= outcome != Outcome::Told;
        match outcome {
            Outcome::Told => 0,
            Outcome::Failed(wrong) => {
                member.command |= failed(wrong);
                0
            }
            Outcome::Shared(other) => {
                member.shares |= 1 << other;
                self.joined(number, other)
            }
            Outcome::Unshared(other) => {
                let left = member.shares & 1 << other;
                member.shares &= !left;
                self.parted(number, left & with_it, 0)
            }
            Outcome::Reset => {
                let left = member.shares;
                // Where its memory is stays, and what its status bytes say is taken back by
                // whoever asks for the next one.
                member.command = 0;
                member.masked = ALL_CAUSES;
                member.pending = [0; CAUSES];
                member.is_stale = false;
                member.shares = 0;
                self.parted(number, left & with_it, 0)
            }
        }
    }

    /// A status byte of the member that is not what it should be, where it is and what it
    /// should be. It is taken for that from now on.
    pub fn next_status(&mut self, number: u8) -> Option<(Gpa, u8)> {
        let sharing = self.sharing(number);
        let member = self.get(number)?;
        let wrong = member.told ^ sharing;
        if wrong == 0 {
            return None;
        }
        let other = wrong.trailing_zeros();
        member.told ^= 1 << other;
        let at = member.address(STATUS).wrapping_add(u64::from(other));
        Some((Gpa(at), sharing >> other & 1))
    }

    fn get(&mut self, number: u8) -> Option<&mut Member> {
        self.members.get_mut(usize::from(number))
    }

    /// A bit for each member whose cell runs.
    fn running(&self) -> u8 {
        self.those(|member| member.runs)
    }

    /// Those that share with the member, and it with them.
    fn sharing(&self, number: u8) -> u8 {
        let shares = self.members.get(usize::from(number));
        shares.map_or(0, |member| member.shares) & self.with_it(number)
    }

    /// Those that share with the member, whatever it does.
    fn with_it(&self, number: u8) -> u8 {
        self.those(|member| member.shares >> number & 1 != 0)
    }

    fn those(&self, is: impl Fn(&Member) -> bool) -> u8 {
        let members = (0..).zip(&self.members);
        members.fold(0, |all, (number, member)| {
            all | u8::from(is(member)) << number
        })
    }

    /// The member makes happen what `value` says, to another one.
    fn ring(&mut self, from: u8, value: u32) -> Option<u8> {
        let to = (value & 0xffff) as usize;
        let to = u8::try_from(to).ok().filter(|to| *to != from)?;
        self.raise(from, to, value & ALL_CAUSES, false)
            .then_some(to)
    }

    /// Makes these causes happen to a member, whose status bytes may be stale by that; true
    /// if it is to be interrupted.
    fn raise(&mut self, from: u8, to: u8, causes: u32, is_stale: bool) -> bool {
        let Some(member) = self.get(to).filter(|member| member.runs) else {
            return false;
        };
        member.change(|member| {
            member.is_stale |= is_stale;
            for (cause, pending) in (0..).zip(&mut member.pending) {
                *pending |= ((causes >> (CAUSE_SHIFT + cause) & 1) as u8) << from;
            }
        })
    }

    /// The member shares with `other` from now on. If that is not mutual the other one is
    /// asked to share as well.
    fn joined(&mut self, number: u8, other: u8) -> u8 {
        let is_mutual = self.sharing(number) >> other & 1 != 0;
        let causes = if is_mutual { 0 } else { CHANGED };
        u8::from(self.raise(number, other, causes, true)) << other
    }

    /// The member does not share with `those` any more: who is to be interrupted.
    fn parted(&mut self, number: u8, those: u8, causes: u32) -> u8 {
        (0..MAX_SOCKET_MEMBERS)
            .filter(|other| those >> other & 1 != 0)
            .fold(0, |all, other| {
                all | u8::from(self.raise(number, other, causes, true)) << other
            })
    }
}

/// What a command that failed reads as besides its code.
const fn failed(wrong: Wrong) -> u32 {
    FAILED | (wrong as u32) << WHY_SHIFT
}
