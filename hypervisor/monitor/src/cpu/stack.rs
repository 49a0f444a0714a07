//! Other stacks for work that needs them.

use crate::cpu::percpu::CpuShared;
use crate::lock::{self, LARGE_STACK};
use cellvisor_core::locks::Ranks;
use core::cell::UnsafeCell;
use core::sync::atomic::Ordering;

unsafe extern "C" {
    fn call_on_stack(
        argument: *mut core::ffi::c_void,
        function: extern "C" fn(*mut core::ffi::c_void) -> u64,
        stack_top: u64,
    ) -> u64;
    fn call_on_alias(
        argument: *mut core::ffi::c_void,
        function: extern "C" fn(*mut core::ffi::c_void) -> u64,
        distance: u64,
        refuge: *mut u64,
    ) -> u64;
    fn take_refuge(refuge: u64, result: u64) -> !;
}

/// The one large stack, for work that needs room and is done by one CPU at a
/// time: setting up, and hypercalls.
#[repr(C, align(16))]
struct LargeStack(UnsafeCell<[u8; LARGE_STACK]>);

// SAFETY: `on_large_stack`'s callers take turns.
unsafe impl Sync for LargeStack {}

static STACK: LargeStack = LargeStack(UnsafeCell::new([0; LARGE_STACK]));

/// Work for another stack, and its result.
struct Job<F, R> {
    work: Option<F>,
    result: Option<R>,
}

impl<F: FnOnce() -> R, R> Job<F, R> {
    const fn new(work: F) -> Self {
        Self {
            work: Some(work),
            result: None,
        }
    }

    /// Called on the other stack.
    extern "C" fn run(job: *mut core::ffi::c_void) -> u64 {
        // SAFETY: the two callers below pass a pointer to a `Job` of this type
        // and wait for the end of this call.
        let job = unsafe { &mut *job.cast::<Self>() };
        job.result = job.work.take().map(|work| work());
        0
    }
}

/// Runs `work` on the large stack.
///
/// # Safety
///
/// No other CPU uses the large stack meanwhile, and this one does not already.
pub(crate) unsafe fn on_large_stack<F: FnOnce() -> R, R>(work: F) -> Option<R> {
    let mut job = Job::new(work);
    let top = STACK.0.get() as u64 + LARGE_STACK as u64;
    lock::borrow_stack(top);
    // SAFETY: the stack is free, by the caller's promise, and aligned.
    unsafe { call_on_stack((&raw mut job).cast(), Job::<F, R>::run, top) };
    job.result
}

/// Runs `work` on this CPU's stack where it is mapped between guard pages, `distance`
/// bytes from here; it does not return. Comes back when the monitor faults on this CPU: then what `work` was
/// at is given up, its frames as they are; which locks it held.
///
/// # Safety
///
/// The stack's pages are mapped there, too, `distance` is a multiple of 16, and the CPU
/// is the one that `shared` is of. The caller looks anew at all that `work` borrows.
pub(crate) unsafe fn on_guarded_stack<F: FnOnce() -> R, R>(
    distance: u64,
    shared: &CpuShared,
    work: F,
) -> Ranks {
    let mut job = Job::new(work);
    let refuge = shared.notes.refuge.as_ptr();
    // SAFETY: the same memory is at both addresses, so what lies above the stack
    // pointer stays as it is. The refuge is this CPU's alone, and good until the call
    // returns. What a fault cuts off are frames of the monitor, whose locks
    // `Notes::give_up` has given up before.
    let held = unsafe { call_on_alias((&raw mut job).cast(), Job::<F, R>::run, distance, refuge) };
    Ranks::from_bits(held as u32)
}

/// Goes on behind [`on_guarded_stack`], which returns these ranks; returns if there is
/// nowhere to go.
pub(crate) fn give_up(notes: &lock::Notes, held: Ranks) {
    let refuge = notes.refuge.swap(0, Ordering::Relaxed);
    if refuge != 0 {
        // SAFETY: a frame of `call_on_alias` is there that has not returned.
        unsafe { take_refuge(refuge, u64::from(held.bits())) };
    }
}
