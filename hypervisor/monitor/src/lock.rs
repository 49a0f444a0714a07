//! Locks, and what becomes of those that a CPU holds when it dies.
//!
//! Their order, and the turns in which CPUs get them, are `cellvisor_core::locks`'.
//!
//! Source: SDM 1, "Stack Behavior in 64-Bit Mode"; SDM 2B, "UD—Undefined Instruction".

use crate::boot::{SHARED_OFFSET, STACK_STRIDE, STACKS, boot_info};
use crate::sync::{Later, Micros, wait_for};
use cellvisor_core::addr::Hva;
use cellvisor_core::locks::{Rank, Ranks, Turn, Turns};
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use x86::bits64::registers::rsp;

/// A lock that CPUs get in the order in which they ask.
///
/// Each CPU notes the locks that it holds, so that they can be given up for it when it
/// dies, and an image that is built with the feature `checked` refuses to ask for them
/// in an order other than [`Rank`]'s.
///
/// `RANK` is the place of a [`Rank`]: a field for it would make the large statics data
/// that does not start as zeros, which the image would have to hold.
pub(crate) type Mutex<T, const RANK: u8> = lock_api::Mutex<Gate<RANK>, T>;

/// What a lock guards, while it is held.
pub(crate) type Guard<'a, T, const RANK: u8> = lock_api::MutexGuard<'a, Gate<RANK>, T>;

/// A part of it.
pub(crate) type PartGuard<'a, T, const RANK: u8> = lock_api::MappedMutexGuard<'a, Gate<RANK>, T>;

/// What a lock is beside its value. The work is done by [`Line`], in one place: put
/// into each caller, it stood in the image a hundred times. For a cell's devices alone
/// it is in the callers while the lock is free: each access to a console asks for it.
pub(crate) struct Gate<const RANK: u8>(Line);

impl<const RANK: u8> Gate<RANK> {
    const RANK: Rank = Rank::ALL[RANK as usize];
    const IN_CALLERS: bool = RANK == Rank::Devices as u8;

    #[inline(never)] // Callers need not know the rank.
    fn enter(&self) {
        self.0.enter_by_call(Self::RANK);
    }
}

// SAFETY: a line lets in one CPU at a time.
unsafe impl<const RANK: u8> lock_api::RawMutex for Gate<RANK> {
    const INIT: Self = Self(Line::new());

    type GuardMarker = lock_api::GuardNoSend;

    /// Waits until it is free. Asked for out of order, the monitor's own fault.
    #[inline(always)]
    fn lock(&self) {
        if Self::IN_CALLERS {
            self.0.enter(Self::RANK);
        } else {
            self.enter();
        }
    }

    fn try_lock(&self) -> bool {
        self.0.try_enter(Self::RANK)
    }

    #[inline(always)]
    unsafe fn unlock(&self) {
        if Self::IN_CALLERS {
            self.0.leave();
        } else {
            self.0.leave_by_call();
        }
    }
}

/// CPUs that have a lock or wait for it.
#[repr(C)]
struct Line {
    turns: Turns,
    /// Where the CPU that has it has noted that.
    noted: Later<AtomicPtr<Self>>,
}

/// The image checks the order of locks.
pub(crate) const CHECKED: bool = cfg!(feature = "checked");

/// How long a CPU waits for a lock. Those before it may each wait for a device; nobody
/// takes so long whose CPU is alive.
const LOCK_PATIENCE: Micros = Micros(120_000_000);

impl Line {
    const fn new() -> Self {
        Self {
            turns: Turns::new(),
            noted: Later::new(),
        }
    }

    #[inline(never)]
    fn enter_by_call(&self, rank: Rank) {
        self.enter(rank);
    }

    #[inline(never)]
    fn leave_by_call(&self) {
        self.leave();
    }

    #[inline(always)] // See `Gate`.
    fn enter(&self, rank: Rank) {
        if CHECKED {
            check_order(rank);
        }
        let turn = self.turns.ask();
        if self.turns.is_up(turn) && is_guarded(rsp()) {
            self.note(Some(notes_behind(Hva(rsp()))), rank);
        } else {
            self.enter_later(turn, rank);
        }
    }

    /// When the turn comes, or on another stack.
    #[cold]
    #[inline(never)]
    fn enter_later(&self, turn: Turn, rank: Rank) {
        let notes = notes();
        let awaited = |line: *const Self| {
            if let Some(notes) = notes {
                notes.turn.store(turn.0, Ordering::Relaxed);
                notes.awaited.store(line.cast_mut(), Ordering::Relaxed);
            }
        };
        awaited(self);
        if !wait_for(LOCK_PATIENCE, || self.turns.is_up(turn)) {
            complain(rank, None);
        }
        awaited(core::ptr::null());
        self.note(notes, rank);
    }

    fn try_enter(&self, rank: Rank) -> bool {
        let free = self.turns.ask_if_free();
        if free {
            self.note(notes(), rank);
        }
        free
    }

    #[inline(always)] // What is known of its arguments leaves two stores.
    fn note(&self, notes: Option<&'static Notes>, rank: Rank) {
        let place = notes.and_then(|notes| notes.held.get(rank as usize));
        self.noted.set(place);
        if let Some(place) = place {
            place.store(core::ptr::from_ref(self).cast_mut(), Ordering::Relaxed);
        }
    }

    #[inline(always)] // See `Gate`.
    fn leave(&self) {
        if let Some(place) = self.noted.get() {
            place.store(core::ptr::null_mut(), Ordering::Relaxed);
        }
        self.turns.pass_on();
    }
}

fn check_order(wanted: Rank) {
    let held = notes().and_then(|notes| notes.ranks().innermost());
    if !wanted.may_follow(held) {
        complain(wanted, held);
    }
}

/// What a CPU notes about itself for the case that it dies.
#[repr(C)]
pub(crate) struct Notes {
    /// Where its stack is when it gives its work up; 0 while it cannot (`cpu::stack`).
    pub(crate) refuge: AtomicU64,
    /// The locks that it holds, by rank: it has one of a kind at a time.
    held: [AtomicPtr<Line>; Rank::ALL.len()],
    /// The lock that it waits for, and its turn there.
    awaited: AtomicPtr<Line>,
    turn: AtomicU32,
}

/// Where they lie in the page of what others see of a CPU.
pub(crate) const NOTES_OFFSET: usize = 48;

/// Where the large stack ends, and the stack pointer that the CPU had which has it now.
static BORROWED_END: AtomicU64 = AtomicU64::new(0);
static BORROWER: AtomicU64 = AtomicU64::new(0);

/// Bytes of the large stack.
pub(crate) const LARGE_STACK: usize = 32 << 10;

/// From now on what runs on the large stack, which ends at `end`, is this CPU.
pub(crate) fn borrow_stack(end: u64) {
    BORROWED_END.store(end, Ordering::Relaxed);
    BORROWER.store(rsp(), Ordering::Relaxed);
}

/// Who runs on the large stack: the stack pointer that it had before; this one, if it
/// does not point there.
fn borrower(pointer: u64) -> u64 {
    let to_end = BORROWED_END.load(Ordering::Relaxed).wrapping_sub(pointer);
    if to_end > LARGE_STACK as u64 {
        return pointer;
    }
    BORROWER.load(Ordering::Relaxed)
}

/// True for a stack pointer between guard pages, or one that has run over.
const fn is_guarded(pointer: u64) -> bool {
    pointer >> 30 == STACKS.0 >> 30
}

/// What the CPU has noted that had this stack pointer when it faulted.
pub(crate) fn notes_of(pointer: u64) -> Option<&'static Notes> {
    let end = STACKS + u64::from(boot_info().cpu_count) * STACK_STRIDE;
    own_stack(pointer)
        .filter(|stack| *stack < end)
        .map(notes_behind)
}

/// What this CPU has noted; `None` while it has no stack of its own between guard pages.
fn notes() -> Option<&'static Notes> {
    own_stack(rsp()).map(notes_behind)
}

/// A place on the guarded stack of the CPU that has this stack pointer.
fn own_stack(pointer: u64) -> Option<Hva> {
    if is_guarded(pointer) {
        return Some(Hva(pointer));
    }
    Some(borrower(pointer))
        .filter(|own| is_guarded(*own))
        .map(Hva)
}

#[inline(always)] // Each lock asks it.
fn notes_behind(stack: Hva) -> &'static Notes {
    let at = stack.align_down(STACK_STRIDE) + (SHARED_OFFSET + NOTES_OFFSET) as u64;
    // SAFETY: behind the guarded stack of a CPU the page is mapped that others see of
    // it (`mem::map`), as long as the monitor runs; the notes are there, all of them
    // atomic, and zeros are valid ones.
    unsafe { &*at.ptr() }
}

impl Notes {
    /// Of the locks that it holds.
    fn ranks(&self) -> Ranks {
        let held = Rank::ALL.iter().zip(&self.held);
        held.filter(|(_, line)| !line.load(Ordering::Relaxed).is_null())
            .fold(Ranks::default(), |ranks, (rank, _)| ranks.with(*rank))
    }

    /// Gives up what a CPU holds that will not go on with its work, and the place that
    /// it has in a line; the ranks of what it held. Their damage is noted before
    /// anybody else can look at it.
    pub(crate) fn give_up(&self) -> Ranks {
        if let Some(line) = forget(&self.awaited) {
            let turn = Turn(self.turn.load(Ordering::Relaxed));
            if wait_for(LOCK_PATIENCE, || line.turns.is_up(turn)) {
                line.turns.pass_on();
            }
        }
        let ranks = self.ranks();
        DAMAGE.fetch_or(ranks.damage().bits(), Ordering::AcqRel);
        for line in self.held.iter().filter_map(forget) {
            line.turns.pass_on();
        }
        ranks
    }
}

/// The lock that is noted here, which is not noted any more.
fn forget(place: &AtomicPtr<Line>) -> Option<&Line> {
    let line = place.swap(core::ptr::null_mut(), Ordering::Relaxed);
    // SAFETY: a lock that a CPU holds or waits for is static or a cell's, and no cell
    // goes away while one of its CPUs, or a hypercall, uses it. It is looked at once.
    unsafe { line.as_ref() }
}

static DAMAGE: AtomicU32 = AtomicU32::new(0);

/// What CPUs have left half changed when they died.
pub(crate) fn damage() -> Ranks {
    Ranks::from_bits(DAMAGE.load(Ordering::Acquire))
}

/// The last complaint about the use of a lock: a byte for the lock, one for another that
/// was held; ranks from 1 on, 0 for none.
static COMPLAINT: AtomicU32 = AtomicU32::new(0);

/// Raises an exception, whose handler tells of the complaint: `wanted` was asked for while
/// `held` was, which comes later in the order, or does not come free.
#[cold]
#[inline(never)]
fn complain(wanted: Rank, held: Option<Rank>) -> ! {
    let held = held.map_or(0, |held| 1 + held as u32);
    COMPLAINT.store((1 + wanted as u32) | (held << 8), Ordering::Relaxed);
    give_up_work()
}

/// The complaint that made a CPU give its work up, 0 if none did; once.
pub(crate) fn complaint() -> u32 {
    COMPLAINT.swap(0, Ordering::Relaxed)
}

unsafe extern "C" {
    /// Ends what this CPU does, by an exception whose handler goes on elsewhere, or not
    /// at all.
    pub(crate) safe fn give_up_work() -> !;
}
