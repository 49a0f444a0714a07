//! All CPUs do something together, or none does: entering the monitor, leaving it.
//!
//! Each CPU arrives, fit or unfit. The last one, if all are fit, commits: it does
//! what must be done once, while the others wait; then all go. One that is unfit,
//! or whose patience ends before all have come, makes all go back. A round ends
//! when all that came have gone, and the next may begin.
//!
//! All of it is one word, and every step one exchange of that word, so that there
//! is no order of two stores for another CPU to fall between. The tests drive two
//! and three CPUs through all interleavings, patience ending anywhere.

/// The word that the CPUs share. Every method gives the word to put in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Agreement(u32);

/// What a CPU does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Wait for the [`Verdict`].
    Wait,
    /// It is the last: do what is done once, and say so ([`Agreement::committed`]).
    Commit,
    /// Go back at once, without [`Agreement::depart`]: the CPU was not counted.
    TooLate,
}

/// What all do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Go,
    /// Go back.
    Back,
}

/// Bits 15:0: CPUs that have come and not gone.
const PRESENT: u32 = 0xffff;
const PHASE_SHIFT: u32 = 16;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// CPUs come.
    Gathering,
    /// All have come; the last one commits.
    Committing,
    /// All go on.
    Go,
    /// All that came go back.
    Back,
}

impl Agreement {
    /// Nobody has come.
    pub const NEW: Self = Self(0);

    /// From the bits of [`Self::bits`].
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The word as a number.
    pub const fn bits(self) -> u32 {
        self.0
    }

    const fn phase(self) -> Phase {
        match self.0 >> PHASE_SHIFT {
            0 => Phase::Gathering,
            1 => Phase::Committing,
            2 => Phase::Go,
            _ => Phase::Back,
        }
    }

    /// CPUs that have come and not gone.
    pub const fn present(self) -> u32 {
        self.0 & PRESENT
    }

    const fn with(phase: Phase, present: u32) -> Self {
        Self((phase as u32) << PHASE_SHIFT | present & PRESENT)
    }

    /// A CPU comes, one of `expected` (at most 65,535).
    ///
    /// An unfit one makes all go back, and learns the verdict as they do.
    pub const fn arrive(self, expected: u32, fit: bool) -> (Self, Arrival) {
        if !matches!(self.phase(), Phase::Gathering) {
            // A round before is being given up, or has been decided without it.
            return (self, Arrival::TooLate);
        }
        let present = self.present() + 1;
        if !fit {
            (Self::with(Phase::Back, present), Arrival::Wait)
        } else if present == expected {
            (Self::with(Phase::Committing, present), Arrival::Commit)
        } else {
            (Self::with(Phase::Gathering, present), Arrival::Wait)
        }
    }

    /// The committing CPU is ready: all go on, unless a CPU has given it up
    /// meanwhile ([`Self::give_up`]). Then it must undo what it has done.
    pub const fn committed(self) -> Self {
        match self.phase() {
            Phase::Committing => Self::with(Phase::Go, self.present()),
            _ => self,
        }
    }

    /// A waiting CPU's patience has ended. Who has all CPUs here waits for the
    /// committing one, which does not take for ever.
    pub const fn lose_patience(self) -> Self {
        match self.phase() {
            Phase::Gathering => Self::with(Phase::Back, self.present()),
            _ => self,
        }
    }

    /// The committing CPU does not come to an end, against all expectation.
    pub const fn give_up(self) -> Self {
        match self.phase() {
            Phase::Gathering | Phase::Committing => Self::with(Phase::Back, self.present()),
            _ => self,
        }
    }

    /// The verdict, once there is one.
    pub const fn verdict(self) -> Option<Verdict> {
        match self.phase() {
            Phase::Gathering | Phase::Committing => None,
            Phase::Go => Some(Verdict::Go),
            Phase::Back => Some(Verdict::Back),
        }
    }

    /// A CPU that came goes back. The last one to go lets the next round begin.
    pub const fn depart(self) -> Self {
        match self.present() {
            0 | 1 => Self::NEW,
            present => Self::with(self.phase(), present - 1),
        }
    }
}

#[cfg(test)]
mod tests;
