//! The assembly in `entry.S` and what it shares with Rust.
//!
//! Memory that the driver fills in before the first instruction lives here as
//! well: [`boot_info`] and the bridge tables.

use crate::{cpu, enter, linux, percpu};
use cellvisor_abi::image::BootInfo;
use cellvisor_abi::status::EnterStatus;
use core::cell::UnsafeCell;
use core::mem::{MaybeUninit, offset_of};

core::arch::global_asm!(
    include_str!("entry.S"),
    abi_version = const cellvisor_abi::ABI_VERSION,
    image_base = const cellvisor_abi::image::BASE,
    boot_info = sym BOOT_INFO,
    bridge_tables = sym BRIDGE_TABLES,
    claim_area = sym percpu::claim_area,
    enter = sym enter::enter,
    fatal = sym cpu::exceptions::fatal,
    stack_size = const percpu::STACK_SIZE,
    no_memory = const EnterStatus::NoMemory.code(),
    code_selector = const cpu::gdt::CODE,
    data_selector = const cpu::gdt::DATA,
    tss_selector = const cpu::gdt::TSS,
    leave_regs = const offset_of!(linux::LeaveFrame, regs),
    leave_rip = const offset_of!(linux::LeaveFrame, rip),
    leave_rsp = const offset_of!(linux::LeaveFrame, rsp),
    leave_rflags = const offset_of!(linux::LeaveFrame, rflags),
    leave_cr0 = const offset_of!(linux::LeaveFrame, cr0),
    leave_cr4 = const offset_of!(linux::LeaveFrame, cr4),
    leave_fs_base = const offset_of!(linux::LeaveFrame, fs_base),
    leave_gs_base = const offset_of!(linux::LeaveFrame, gs_base),
    leave_bridge_gdt = const offset_of!(linux::LeaveFrame, bridge_gdt),
    leave_gdt = const offset_of!(linux::LeaveFrame, gdt),
    leave_idt = const offset_of!(linux::LeaveFrame, idt),
    leave_cs = const offset_of!(linux::LeaveFrame, cs),
    leave_ss = const offset_of!(linux::LeaveFrame, ss),
    leave_ds = const offset_of!(linux::LeaveFrame, ds),
    leave_es = const offset_of!(linux::LeaveFrame, es),
    leave_fs = const offset_of!(linux::LeaveFrame, fs),
    leave_gs = const offset_of!(linux::LeaveFrame, gs),
    leave_ldtr = const offset_of!(linux::LeaveFrame, ldtr),
);

/// Memory that something outside of Rust's sight writes.
#[repr(C, align(8192))]
struct Outside<T>(UnsafeCell<MaybeUninit<T>>);

// SAFETY: Rust only reads it, and only after the one write to it, which the
// driver makes before it calls the entry.
unsafe impl<T> Sync for Outside<T> {}

static BOOT_INFO: Outside<BootInfo> = Outside(UnsafeCell::new(MaybeUninit::zeroed()));
static BRIDGE_TABLES: Outside<[u64; 4 * 512]> = Outside(UnsafeCell::new(MaybeUninit::zeroed()));

/// What the driver told us.
pub(crate) fn boot_info() -> &'static BootInfo {
    // SAFETY: the driver has written it before the entry, nobody writes it
    // afterwards (the memory leaves Linux's view), and every bit pattern is a
    // valid `BootInfo`.
    unsafe { (*BOOT_INFO.0.get()).assume_init_ref() }
}

/// Virtual address of the bridge tables (abi: `image::ImageHeader`).
pub(crate) fn bridge_tables() -> u64 {
    BRIDGE_TABLES.0.get() as u64
}

/// Symbols of `linker.ld` and `entry.S`, of which only the address counts.
macro_rules! addresses {
    ($($(#[$doc:meta])* $name:ident = $symbol:ident,)*) => {
        unsafe extern "C" { $(safe static $symbol: u8;)* }
        $($(#[$doc])* pub(crate) fn $name() -> u64 { &raw const $symbol as u64 })*
    };
}

addresses! {
    /// First byte of read-only data; text lies before it.
    rodata_start = __rodata_start,
    /// First byte of writable data; read-only data lies before it.
    data_start = __data_start,
    /// First byte behind the image and its zeroed part.
    image_end = __image_end,
    /// Where VM exits arrive.
    vmx_exit_address = vmx_exit,
    /// The NMI handler.
    host_nmi_address = host_nmi,
    /// The handler of interrupts that nobody wants any more.
    host_interrupt_address = host_interrupt,
    /// The handler of INITs.
    host_init_address = host_init,
    /// The first of the exception stubs, 16 bytes each.
    exception_stubs_address = exception_stubs,
}

unsafe extern "C" {
    /// See `entry.S`.
    pub(crate) fn leave_to_linux(
        frame: *const linux::LeaveFrame,
        bridge_cr3: u64,
        distance: u64,
    ) -> !;
    /// See `entry.S`.
    pub(crate) fn vmx_run(
        regs: *mut cellvisor_core::vcpu::Regs,
        launched: u64,
        requests: *const core::sync::atomic::AtomicU32,
    ) -> u64;
    /// See `entry.S`.
    pub(crate) fn svm_run(regs: *mut cellvisor_core::vcpu::Regs, vmcb: u64);
    /// See `entry.S`.
    pub(crate) fn idle_wait(requests: *const core::sync::atomic::AtomicU32);
    fn call_on_stack(
        argument: *mut core::ffi::c_void,
        function: extern "C" fn(*mut core::ffi::c_void) -> u64,
        stack_top: u64,
    ) -> u64;
    fn call_on_alias(
        argument: *mut core::ffi::c_void,
        function: extern "C" fn(*mut core::ffi::c_void) -> u64,
        distance: u64,
    ) -> u64;
    fn rdmsr_checked(index: u32, value: *mut u64) -> u64;
    fn wrmsr_checked(index: u32, value: u64) -> u64;
    fn xsetbv_checked(index: u32, value: u64) -> u64;
}

/// The one large stack, for work that needs room and is done by one CPU at a
/// time: setting up, and hypercalls.
#[repr(C, align(16))]
struct LargeStack(UnsafeCell<[u8; LARGE_STACK]>);

const LARGE_STACK: usize = 32 << 10;

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
    // SAFETY: the stack is free, by the caller's promise, and aligned.
    unsafe { call_on_stack((&raw mut job).cast(), Job::<F, R>::run, top) };
    job.result
}

/// Runs `work` on this CPU's stack where it is mapped between guard pages,
/// `distance` bytes from here.
///
/// # Safety
///
/// The stack's pages are mapped there, too, and `distance` is a multiple of 16.
pub(crate) unsafe fn on_guarded_stack<F: FnOnce() -> R, R>(distance: u64, work: F) -> Option<R> {
    let mut job = Job::new(work);
    // SAFETY: the same memory is at both addresses, so what lies above the stack
    // pointer stays as it is.
    unsafe { call_on_alias((&raw mut job).cast(), Job::<F, R>::run, distance) };
    job.result
}

/// Reads an MSR that may not exist. Only with the monitor's own interrupt table
/// loaded, that is, after the first VM entry.
pub(crate) fn try_rdmsr(index: u32) -> Option<u64> {
    let mut value = 0;
    // SAFETY: reading has no side effect on the monitor; #GP is turned into a
    // result by the exception stub.
    (unsafe { rdmsr_checked(index, &raw mut value) } == 0).then_some(value)
}

/// Writes an MSR; false if the CPU refuses.
///
/// # Safety
///
/// The value must not change what the monitor itself relies on.
pub(crate) unsafe fn try_wrmsr(index: u32, value: u64) -> bool {
    // SAFETY: the caller vouches for the effect; #GP becomes a result.
    unsafe { wrmsr_checked(index, value) == 0 }
}

/// Sets an extended control register for the guest; false if the CPU refuses.
pub(crate) fn try_xsetbv(index: u32, value: u64) -> bool {
    // SAFETY: the monitor uses no extended state; #GP becomes a result.
    unsafe { xsetbv_checked(index, value) == 0 }
}
