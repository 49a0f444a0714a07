//! What the tools ask of the driver through `/dev/cellvisor`.
//!
//! Every structure is `repr(C)` without padding and stands in the driver's
//! header, which `cargo xtask header` writes from this file's constants. Opening the
//! device for writing needs `CAP_SYS_ADMIN`. Who has it open for reading has `INFO`,
//! `CALL` of [`crate::call::Code::LOOKS`], `poll` and `read`; the rest is `EPERM`.
//! Errors of the call itself are errno values; what the monitor said is in the
//! structure.
//!
//! | request | what it does |
//! | --- | --- |
//! | `INFO` | versions, whether the monitor is on, TSC frequency |
//! | `ENABLE` | takes pinned memory with an image in it and enters on all CPUs |
//! | `DISABLE` | leaves on all CPUs, then drops every pin that is left |
//! | `PIN` | pins huge pages of the caller, or claims a range reserved at boot |
//! | `UNPIN` | gives one of them back, by the number that its maker gave it |
//! | `CALL` | passes one hypercall to the monitor |
//!
//! `poll` of the device says that it can be read when something has happened to a cell
//! since it was read last (or opened); `read` gives a u64, how often, and never waits.
//! What it was the cells' states tell.
//!
//! `mmap` of the device at offset = host-physical address maps memory that is
//! pinned or claimed, and nothing else.

/// Path of the device.
pub const DEVICE: &str = "/dev/cellvisor";

/// `INFO`'s answer.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Info {
    /// [`crate::ABI_VERSION`] of the driver.
    pub abi_version: u32,
    /// 1 while the monitor is on, else 0.
    pub enabled: u32,
    /// Linux's TSC frequency, in kHz.
    pub tsc_khz: u32,
    /// Ranges pinned or claimed at the moment.
    pub pins: u32,
}

/// `ENABLE`'s and `DISABLE`'s argument and answer.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Enable {
    /// In: user address of the monitor's memory (huge pages), 2 MiB aligned.
    /// Unused by `DISABLE`.
    pub address: u64,
    /// In: its size in bytes, a multiple of 2 MiB.
    pub size: u64,
    /// In: where in it the system plan's frame starts, in bytes.
    pub plan_offset: u64,
    /// In: length of the frame, in bytes.
    pub plan_len: u64,
    /// Out: longest time that a CPU was away from Linux, in nanoseconds.
    pub pause_ns: u64,
    /// In: CPUs that the plan names, all of which must be online, and no others;
    /// unused by `DISABLE`. Out: CPUs that entered (or left).
    pub cpus: u32,
    /// Out: [`crate::status::EnterStatus`]; 0 is success.
    pub status: u32,
    /// Out: detail of the status; its meaning depends on it.
    pub detail: u32,
    /// Out: Linux's number of the CPU that said so.
    pub cpu: u32,
}

/// `PIN`'s argument and answer.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Pin {
    /// In: user address of huge pages, or, with [`PIN_RESERVED`], the
    /// host-physical address of a range that Linux does not use.
    pub address: u64,
    /// In: size in bytes, a multiple of `page_size`.
    pub size: u64,
    /// In: size of one page of the range in bytes: 2 MiB or 1 GiB.
    pub page_size: u64,
    /// In: user address of `size / page_size` u64, which receive the
    /// host-physical addresses. Unused with [`PIN_RESERVED`].
    pub addresses: u64,
    /// In: the pin's number, chosen by the caller: never 0, and never that of
    /// another pin, also not of one that is gone. Who does not know it cannot
    /// give the memory back, and whoever noted it before the call can, even if
    /// it did not live to see the call's end.
    pub id: u64,
    /// In: [`PIN_RESERVED`] or 0.
    pub flags: u32,
    /// Always 0.
    pub reserved: u32,
}

/// [`Pin::flags`]: the range was reserved at boot (`memmap=`).
pub const PIN_RESERVED: u32 = 1;

/// `CALL`'s argument and answer.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Call {
    /// In: user address of the request, overwritten by the response.
    pub buffer: u64,
    /// In: [`crate::call::Code`].
    pub code: u32,
    /// In: bytes of the request, at most [`CALL_BUFFER`].
    pub request_len: u32,
    /// In: bytes that the buffer can take, at most [`CALL_BUFFER`].
    pub capacity: u32,
    /// Out: bytes of the response.
    pub response_len: u32,
    /// Out: [`crate::status::CallStatus`]; 0 is success.
    pub status: u32,
    /// Always 0.
    pub reserved: u32,
}

/// Largest request or response, in bytes. The driver keeps one physically
/// contiguous buffer of this size.
pub const CALL_BUFFER: u32 = 64 << 10;

/// The `ioctl` type byte.
pub const TYPE: u8 = b'V';
/// Number of `INFO` (read, [`Info`]).
pub const INFO: u8 = 0;
/// Number of `ENABLE` (read and write, [`Enable`]).
pub const ENABLE: u8 = 1;
/// Number of `DISABLE` (read and write, [`Enable`]).
pub const DISABLE: u8 = 2;
/// Number of `PIN` (read and write, [`Pin`]).
pub const PIN: u8 = 3;
/// Number of `UNPIN` (no structure: the argument is [`Pin::id`] itself).
pub const UNPIN: u8 = 4;
/// Number of `CALL` (read and write, [`Call`]).
pub const CALL: u8 = 5;

const _: () = assert!(size_of::<Info>() == 16);
const _: () = assert!(size_of::<Enable>() == 56);
const _: () = assert!(size_of::<Pin>() == 48);
const _: () = assert!(size_of::<Call>() == 32);
