//! The few system calls that the compiler cannot check: the driver's ioctls and
//! those of NVMe controllers, memory policy and population, and the time-stamp
//! counter.
//!
//! Every function here takes the memory that the kernel will touch as a borrow,
//! so its callers need no `unsafe`.
#![expect(unsafe_code, reason = "ioctl, mbind, madvise and RDTSC")]

use crate::pci::Admin;
use cellvisor_abi::ioctl::{self, Call, Enable, Info, Pin};
use rustix::ioctl::{Getter, IntegerSetter, Opcode, Updater, opcode};
use rustix::mm::Advice;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use vm_memory::MmapRegion;

const INFO: Opcode = opcode::read::<Info>(ioctl::TYPE, ioctl::INFO);
const ENABLE: Opcode = opcode::read_write::<Enable>(ioctl::TYPE, ioctl::ENABLE);
const DISABLE: Opcode = opcode::read_write::<Enable>(ioctl::TYPE, ioctl::DISABLE);
const PIN: Opcode = opcode::read_write::<Pin>(ioctl::TYPE, ioctl::PIN);
const UNPIN: Opcode = opcode::none(ioctl::TYPE, ioctl::UNPIN);
const CALL: Opcode = opcode::read_write::<Call>(ioctl::TYPE, ioctl::CALL);

/// `INFO`.
pub(crate) fn info(device: BorrowedFd<'_>) -> io::Result<Info> {
    // SAFETY: INFO writes one `Info`, all of whose bit patterns are valid.
    Ok(unsafe { rustix::ioctl::ioctl(device, Getter::<INFO, Info>::new()) }?)
}

/// `ENABLE` with an image and its plan in `memory`; the plan lies at
/// `plan_offset`, has `plan_len` bytes and names `cpus` CPUs.
pub(crate) fn enable(
    device: BorrowedFd<'_>,
    memory: &MmapRegion,
    plan_offset: u64,
    plan_len: u64,
    cpus: u32,
) -> io::Result<Enable> {
    let mut argument = Enable {
        address: memory.as_ptr() as u64,
        size: memory.size() as u64,
        plan_offset,
        plan_len,
        cpus,
        ..Enable::default()
    };
    // SAFETY: ENABLE reads and writes one `Enable` and pins `memory`, which is
    // mapped for as long as the borrow lasts. This process never again looks
    // into that memory as anything but bytes.
    unsafe { rustix::ioctl::ioctl(device, Updater::<ENABLE, Enable>::new(&mut argument)) }?;
    Ok(argument)
}

/// `DISABLE`.
pub(crate) fn disable(device: BorrowedFd<'_>) -> io::Result<Enable> {
    let mut argument = Enable::default();
    // SAFETY: DISABLE writes one `Enable` and uses no address in it.
    unsafe { rustix::ioctl::ioctl(device, Updater::<DISABLE, Enable>::new(&mut argument)) }?;
    Ok(argument)
}

/// `PIN` of all of `memory`, which consists of pages of `page_size` bytes.
/// The pin gets the number `id`. Returns the host-physical address of each page.
pub(crate) fn pin(
    device: BorrowedFd<'_>,
    memory: &MmapRegion,
    page_size: u64,
    id: u64,
) -> io::Result<Vec<u64>> {
    let pages = memory.size() as u64 / page_size;
    let mut addresses = vec![0u64; usize::try_from(pages).map_err(io::Error::other)?];
    let mut argument = Pin {
        address: memory.as_ptr() as u64,
        size: pages * page_size,
        page_size,
        addresses: addresses.as_mut_ptr() as u64,
        id,
        ..Pin::default()
    };
    // SAFETY: PIN reads and writes one `Pin` and writes size / page_size u64 to
    // `addresses`, which has just that many; `memory` is mapped.
    unsafe { rustix::ioctl::ioctl(device, Updater::<PIN, Pin>::new(&mut argument)) }?;
    Ok(addresses)
}

/// `PIN` of a range that was reserved at boot. The pin gets the number `id`.
pub(crate) fn pin_reserved(
    device: BorrowedFd<'_>,
    base: u64,
    size: u64,
    page_size: u64,
    id: u64,
) -> io::Result<()> {
    let mut argument = Pin {
        address: base,
        size,
        page_size,
        id,
        flags: ioctl::PIN_RESERVED,
        ..Pin::default()
    };
    // SAFETY: with PIN_RESERVED the driver uses no user address of `Pin`.
    unsafe { rustix::ioctl::ioctl(device, Updater::<PIN, Pin>::new(&mut argument)) }?;
    Ok(())
}

/// `UNPIN`.
pub(crate) fn unpin(device: BorrowedFd<'_>, id: u64) -> io::Result<()> {
    let id = usize::try_from(id).map_err(io::Error::other)?;
    // SAFETY: UNPIN takes a number and touches no memory of this process: what
    // it drops is a reference to pages that no mapping here depends on.
    unsafe { rustix::ioctl::ioctl(device, IntegerSetter::<UNPIN>::new_usize(id)) }?;
    Ok(())
}

/// `CALL`: `buffer` holds a request of `request_len` bytes and receives the
/// response. Returns the status and the length of the response.
pub(crate) fn call(
    device: BorrowedFd<'_>,
    code: u32,
    buffer: &mut [u8],
    request_len: u32,
) -> io::Result<(u32, usize)> {
    let capacity = u32::try_from(buffer.len()).unwrap_or(ioctl::CALL_BUFFER);
    let mut argument = Call {
        buffer: buffer.as_mut_ptr() as u64,
        code,
        request_len: request_len.min(capacity),
        capacity: capacity.min(ioctl::CALL_BUFFER),
        ..Call::default()
    };
    // SAFETY: CALL reads `request_len` and writes at most `capacity` bytes of
    // `buffer`; neither is larger than the slice.
    unsafe { rustix::ioctl::ioctl(device, Updater::<CALL, Call>::new(&mut argument)) }?;
    let len = (argument.response_len as usize).min(buffer.len());
    Ok((argument.status, len))
}

/// Lets only `node` give the pages of `memory` from now on.
pub(crate) fn bind_to_node(memory: &MmapRegion, node: u32) -> io::Result<()> {
    const BITS: usize = u64::BITS as usize;
    let mut mask = [0u64; 16];
    let word = mask
        .get_mut(node as usize / BITS)
        .ok_or_else(|| io::Error::other("the node's number is above 1023"))?;
    *word = 1 << (node as usize % BITS);
    // SAFETY: mbind changes where future pages of the mapping come from, not
    // its contents; the mask outlives the call and has the length that is told
    // (the kernel reads one bit less than it is told).
    let done = unsafe {
        libc::syscall(
            libc::SYS_mbind,
            memory.as_ptr(),
            memory.size(),
            libc::MPOL_BIND,
            mask.as_ptr(),
            mask.len() * BITS + 1,
            0,
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Makes the kernel provide every page of `memory` now.
pub(crate) fn populate(memory: &MmapRegion) -> io::Result<()> {
    // SAFETY: MADV_POPULATE_WRITE faults pages in as a write would and keeps
    // what they hold; the mapping lives as long as the borrow.
    unsafe {
        rustix::mm::madvise(
            memory.as_ptr().cast(),
            memory.size(),
            Advice::LinuxPopulateWrite,
        )
    }?;
    Ok(())
}

/// An admin command as Linux's NVMe driver takes it (`linux/nvme_ioctl.h`,
/// `struct nvme_passthru_cmd`).
#[repr(C)]
#[derive(Default)]
struct NvmeCommand {
    opcode: u8,
    flags: u8,
    reserved: u16,
    nsid: u32,
    cdw2: [u32; 2],
    metadata: u64,
    addr: u64,
    metadata_len: u32,
    data_len: u32,
    cdw10: u32,
    cdw11: u32,
    cdw12_to_15: [u32; 4],
    timeout_ms: u32,
    result: u32,
}

/// What an NVMe controller answers to a command.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NvmeAnswer {
    /// 0 for success.
    pub(crate) status: u32,
    /// What the command defines.
    pub(crate) result: u32,
}

/// `NVME_IOCTL_ADMIN_CMD`: sends `command` with its `data`, which the
/// controller reads or writes as the opcode says.
pub(crate) fn nvme_admin(
    device: BorrowedFd<'_>,
    command: &Admin,
    data: &mut [u8],
) -> io::Result<NvmeAnswer> {
    const ADMIN: Opcode = opcode::read_write::<NvmeCommand>(b'N', 0x41);
    let mut argument = NvmeCommand {
        opcode: command.opcode,
        nsid: command.nsid,
        cdw10: command.cdw10,
        cdw11: command.cdw11,
        addr: data.as_mut_ptr() as u64,
        data_len: u32::try_from(data.len()).map_err(io::Error::other)?,
        ..NvmeCommand::default()
    };
    // SAFETY: the driver reads and writes one `NvmeCommand` and lets the
    // controller transfer `data_len` bytes from or to `addr`, which is just
    // that slice, borrowed for writing until the call returns.
    let status = unsafe { libc::ioctl(device.as_raw_fd(), ADMIN as _, &raw mut argument) };
    let status = u32::try_from(status).map_err(|_| io::Error::last_os_error())?;
    Ok(NvmeAnswer {
        status,
        result: argument.result,
    })
}

/// A number that nobody had before and nobody has again: random, never 0, and
/// exact in whatever reads JSON (53 bits).
pub(crate) fn fresh_number() -> u64 {
    let hasher = std::hash::RandomState::new().build_hasher();
    (hasher.finish() >> 11) | 1 << 52
}

/// The time-stamp counter.
pub(crate) fn read_tsc() -> u64 {
    // SAFETY: every CPU that cellvisor runs on has RDTSC, and Linux leaves it
    // to user space.
    unsafe { core::arch::x86_64::_rdtsc() }
}
