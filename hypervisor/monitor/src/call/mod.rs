//! Hypercalls of the root (abi: `call`).
//!
//! One at a time: the lock on the buffer is the lock of them all, and nobody
//! waits for it.

mod build;
mod caller;
mod create;
mod give_back;
mod leave;
mod life;
mod view;

use crate::call::caller::{Caller, find};
use crate::cell::cpu::Cpu;
use crate::cell::{self, Cell, PARTS, functions, net, watch};
use crate::cpu::{percpu, stack};
use crate::dev::iommu;
use crate::lock::{self, Mutex};
use crate::mem::map::Window;
use crate::mem::{self, owners};
use crate::provoke;
use crate::refusal::Refusal;
use crate::vcpu::Vendor;
use crate::{boot, log, machine};
use cellvisor_abi::PAGE_SIZE;
use cellvisor_abi::call::{
    CellId, Code, ConsoleWrite, FunctionRequest, Info, LinkWrite, ReadRequest, ReadResponse, Stats,
    StatsRequest,
};
use cellvisor_abi::ioctl::CALL_BUFFER;
use cellvisor_abi::parts::Parts;
use cellvisor_abi::status::CallStatus;
use cellvisor_abi::wire::{self, Put, Take};
use cellvisor_core::addr::Hpa;
use cellvisor_core::fault;
use cellvisor_core::ids::PlanIndex;
use cellvisor_core::locks::Rank;
use cellvisor_core::net::Place;
use cellvisor_core::vcpu::{RAX, RDI, RDX, RSI};
use core::sync::atomic::Ordering;

const SIZE: usize = CALL_BUFFER as usize;

static BUFFER: Mutex<[u8; SIZE], { Rank::Calls as u8 }> = Mutex::new([0; SIZE]);

/// Where the caller's buffer is, what is in it, and what fits.
struct Span {
    at: Hpa,
    len: usize,
    capacity: usize,
}

/// Serves the call in the CPU's registers; the value for RAX.
pub(crate) fn dispatch(cpu: &mut Cpu<'_>) -> u64 {
    let regs = cpu.regs.0;
    if let Some(answer) = provoke::order(regs[RAX], regs[RDI]) {
        return answer;
    }
    let Some(code) = Code::from_code(regs[RAX]) else {
        return u64::from(CallStatus::UnknownCall.code());
    };
    if code == Code::Leave {
        return provoke::during(|| leave::leave(cpu, Hpa(regs[RDI])));
    }
    if fault::refuses(lock::damage(), code) {
        return u64::from(CallStatus::Damaged.code());
    }
    let Some(mut guard) = BUFFER.try_lock() else {
        return u64::from(CallStatus::Busy.code());
    };
    let (vendor, lacks) = (cpu.vcpu.vendor(), cpu.vcpu.lacks());
    let vcpu = &mut cpu.vcpu;
    let mut caller = Caller {
        window: &mut cpu.window,
        shared: cpu.shared,
        flush: &mut || vcpu.flush(),
        vendor,
        lacks,
    };
    let span = Span {
        at: Hpa(regs[RDI]),
        len: regs[RSI] as usize,
        capacity: regs[RDX] as usize,
    };
    // SAFETY: the lock is held, and setting up is over.
    let result = provoke::during(|| unsafe {
        stack::on_large_stack(|| exchange(&mut caller, code, &span, &mut guard))
    });
    result.unwrap_or(u64::from(CallStatus::Busy.code()))
}

/// Copies the request in, serves it, copies the response out. Not inlined: the ways
/// onto the large stack would each have all calls in them.
#[inline(never)]
fn exchange(caller: &mut Caller<'_>, code: Code, span: &Span, buffer: &mut [u8; SIZE]) -> u64 {
    let &Span { at, len, capacity } = span;
    if len > SIZE || capacity > SIZE || !is_roots(at, len.max(capacity)) {
        return u64::from(CallStatus::Malformed.code());
    }
    copy(at, len, |hpa, offset, size| {
        if let Some(part) = buffer.get_mut(offset..offset + size) {
            caller.window.read(hpa, part);
        }
    });
    let (status, response) = match serve(caller, code, buffer, len) {
        Ok((status, response)) => (status.code(), response),
        Err(refusal) => {
            let conflict = refusal.conflict().and_then(|c| reply(buffer, &c).ok());
            (refusal.code(), conflict.unwrap_or(0))
        }
    };
    if response > capacity {
        return u64::from(CallStatus::TooLong.code());
    }
    copy(at, response, |hpa, offset, size| {
        if let Some(part) = buffer.get(offset..offset + size) {
            caller.window.write(hpa, part);
        }
    });
    u64::from(status) | (response as u64) << 32
}

/// True if all of the range is the root's memory.
fn is_roots(at: Hpa, len: usize) -> bool {
    let end = at.checked_add(len as u64);
    let end = end.filter(|end| *end <= machine::get().physical_end);
    end.is_some_and(|end| owners::is_roots(at..end))
}

/// Calls `part` for each page of `at..at + len`: address, offset from `at`,
/// bytes.
fn copy(at: Hpa, len: usize, mut part: impl FnMut(Hpa, usize, usize)) {
    let mut done = 0;
    while done < len {
        let here = at + done as u64;
        let size = ((PAGE_SIZE - here.page_offset()) as usize).min(len - done);
        part(here, done, size);
        done += size;
    }
}

type Reply = Result<(CallStatus, usize), Refusal>;

fn serve(caller: &mut Caller<'_>, code: Code, buffer: &mut [u8; SIZE], len: usize) -> Reply {
    match code {
        Code::CellCreate => {
            let id = create::create(caller, request_bytes(buffer, len)?)?;
            done(buffer, &id)
        }
        Code::CellStart => {
            life::start(caller, &request(buffer, len)?)?;
            done(buffer, &())
        }
        Code::CellStop => {
            life::stop(named(buffer, len)?)?;
            done(buffer, &())
        }
        Code::CellPress => {
            let heard = life::press(named(buffer, len)?)?;
            done(buffer, &heard)
        }
        Code::CellNmi => {
            life::nmi(named(buffer, len)?)?;
            done(buffer, &())
        }
        Code::CellReload => {
            let step = life::reload(caller, named(buffer, len)?);
            progress(buffer, step)
        }
        Code::CellShow => {
            let status = life::reveal(caller, named(buffer, len)?)?;
            Ok((status, 0))
        }
        Code::LinkWrite => {
            let status = link_write(caller, &request(buffer, len)?)?;
            Ok((status, 0))
        }
        Code::CellDestroy => {
            let step = life::destroy(caller, named(buffer, len)?);
            progress(buffer, step)
        }
        Code::CellsEnd => progress(buffer, life::end_next(caller)),
        Code::ConsoleWrite => {
            let taken = console_write(caller.window, request_bytes(buffer, len)?)?;
            done(buffer, &taken)
        }
        Code::Watch => {
            watch::set_vector(request(buffer, len)?);
            done(buffer, &())
        }
        Code::Info
        | Code::CellStatus
        | Code::CellList
        | Code::CellCpus
        | Code::CellFunction
        | Code::Stats
        | Code::ConsoleRead
        | Code::LogRead => look(caller, code, buffer, len),
        Code::Leave => Err(CallStatus::UnknownCall.into()),
    }
}

/// Calls that only look.
fn look(caller: &mut Caller<'_>, code: Code, buffer: &mut [u8; SIZE], len: usize) -> Reply {
    match code {
        Code::Info => done(buffer, &info(caller.vendor)),
        Code::CellStatus => {
            let id: CellId = request(buffer, len)?;
            let cell = cell::get(id).ok_or(CallStatus::NoSuchCell)?;
            functions::count_faults();
            done(buffer, &cell.status())
        }
        Code::CellList => words(buffer, cell::all().map(|cell| cell.id.0)),
        Code::CellCpus => {
            let cell = cell::get(request(buffer, len)?).ok_or(CallStatus::NoSuchCell)?;
            words(buffer, cell.cpus().map(|cpu| cpu.apic_id().0))
        }
        Code::CellFunction => {
            let request: FunctionRequest = request(buffer, len)?;
            let (_, guest) = find(request.cell).ok_or(CallStatus::NoSuchCell)?;
            let functions = guest.functions.lock();
            let status = functions.status(caller.window, request.index as usize);
            done(buffer, &status.ok_or(CallStatus::BadResource)?)
        }
        Code::Stats => {
            let request: StatsRequest = request(buffer, len)?;
            done(
                buffer,
                &stats(plan_index(request.cpu)).ok_or(CallStatus::BadResource)?,
            )
        }
        Code::ConsoleRead => {
            let request: ReadRequest = request(buffer, len)?;
            let (_, guest) = find(request.cell).ok_or(CallStatus::NoSuchCell)?;
            read_reply(buffer, |out| {
                guest.devices.lock().console_read(request.from, out)
            })
        }
        Code::LogRead => {
            let request: ReadRequest = request(buffer, len)?;
            read_reply(buffer, |out| log::read(request.from, out))
        }
        _ => Err(CallStatus::UnknownCall.into()),
    }
}

/// The root writes to the adapter that a link has for it. The link stays until the next
/// call at least, and with it the memory that its queues are in.
fn link_write(caller: &mut Caller<'_>, write: &LinkWrite) -> Result<CallStatus, Refusal> {
    if !PARTS.has(Parts::ADAPTERS) {
        return Err(CallStatus::LeftOut.into());
    }
    let (cell, _) = find(write.link).ok_or(CallStatus::NoSuchCell)?;
    if !cell::is_open(write.link) {
        return Err(CallStatus::WrongState.into());
    }
    let place = Place::Register(0, u64::from(write.offset));
    let all = net::write(caller.window, cell, place, write.size, write.value);
    Ok(if all {
        CallStatus::Ok
    } else {
        CallStatus::Again
    })
}

fn request_bytes(buffer: &[u8; SIZE], len: usize) -> Result<&[u8], Refusal> {
    buffer.get(..len).ok_or(CallStatus::Malformed.into())
}

fn request<'a, T: Take<'a>>(buffer: &'a [u8; SIZE], len: usize) -> Result<T, Refusal> {
    wire::decode(request_bytes(buffer, len)?).map_err(|_| CallStatus::Malformed.into())
}

/// The cell that is all of the request.
#[inline(never)] // Many calls begin like this.
fn named(buffer: &[u8; SIZE], len: usize) -> Result<&'static Cell, Refusal> {
    let (cell, _) = find(request(buffer, len)?).ok_or(CallStatus::NoSuchCell)?;
    Ok(cell)
}

#[inline(never)] // Once for all values, like `done`.
fn reply(buffer: &mut [u8], value: &dyn Put) -> Result<usize, Refusal> {
    wire::encode(value, buffer)
        .map(|bytes| bytes.len())
        .ok_or(CallStatus::TooLong.into())
}

#[inline(never)]
fn done(buffer: &mut [u8], value: &dyn Put) -> Reply {
    Ok((CallStatus::Ok, reply(buffer, value)?))
}

#[inline(never)]
fn progress(buffer: &mut [u8], step: life::Step) -> Reply {
    let (status, progress) = step?;
    Ok((status, reply(buffer, &progress)?))
}

/// Little-endian words as one byte string.
fn words(buffer: &mut [u8; SIZE], words: impl Iterator<Item = u32>) -> Reply {
    let (out, room) = buffer.split_at_mut(SIZE / 2);
    let mut len = 0;
    for (place, word) in room.as_chunks_mut::<4>().0.iter_mut().zip(words) {
        *place = word.to_le_bytes();
        len += 4;
    }
    let bytes: &[u8] = room.get(..len).ok_or(CallStatus::TooLong)?;
    done(out, &bytes)
}

fn read_reply(buffer: &mut [u8; SIZE], read: impl FnOnce(&mut [u8]) -> (u64, usize)) -> Reply {
    let (out, room) = buffer.split_at_mut(SIZE / 2);
    // The response's own fields take a few bytes before the text.
    const FIELDS: usize = 32;
    let room = room
        .get_mut(..SIZE / 2 - FIELDS)
        .ok_or(CallStatus::TooLong)?;
    let (start, len) = read(room);
    let bytes = room.get(..len).ok_or(CallStatus::TooLong)?;
    let response = ReadResponse { start, bytes };
    done(out, &response)
}

fn info(vendor: &Vendor) -> Info {
    let (pool_pages, pool_free) = mem::pool::usage();
    Info {
        abi_version: cellvisor_abi::ABI_VERSION,
        backend: vendor.kind,
        cpus: boot::boot_info().cpu_count,
        cells: cell::all().count() as u32,
        pool_pages,
        pool_free,
        image_bytes: boot::image_end() - cellvisor_abi::image::BASE,
        per_cpu_bytes: mem::AREA_SIZE as u32,
        root_x2apic: machine::get().root_apic == crate::cpu::apic::Mode::X2apic,
        iommus: iommu::units(),
        parts: PARTS,
    }
}

/// An index that a request names; none that is too large is a CPU's.
fn plan_index(number: u32) -> PlanIndex {
    PlanIndex(u16::try_from(number).unwrap_or(u16::MAX))
}

fn stats(index: PlanIndex) -> Option<Stats> {
    let cpu = percpu::cpu(index)?;
    let mut exits = [0; cellvisor_abi::call::ExitKind::COUNT];
    for (out, counter) in exits.iter_mut().zip(&cpu.exits) {
        *out = counter.load(Ordering::Relaxed);
    }
    Some(Stats {
        apic_id: cpu.apic_id().0,
        owner: cpu.owner(),
        virtual_id: cpu.virtual_id().0,
        running: cpu.activity() == percpu::Activity::Running,
        exits,
    })
}

fn console_write(window: &mut Window, request: &[u8]) -> Result<u32, Refusal> {
    let request: ConsoleWrite<'_> =
        wire::decode(request).map_err(|_| Refusal::from(CallStatus::Malformed))?;
    let (cell, guest) = find(request.cell).ok_or(CallStatus::NoSuchCell)?;
    if let Some(taken) = net::type_on(window, guest, request.bytes) {
        return Ok(taken);
    }
    let (taken, message) = guest.devices.lock().console_write(request.bytes);
    crate::cell::ipi::deliver_message(cell, message);
    Ok(taken)
}
