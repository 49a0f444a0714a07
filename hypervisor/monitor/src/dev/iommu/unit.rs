//! One VT-d unit: its registers and its invalidation queue.
//!
//! Source: Intel Virtualization Technology for Directed I/O, revision 4, "Register
//! Descriptions", "Queued Invalidation Interface".

use super::root::RootView;
use super::{IrteIndex, Segment};
use crate::mem::pool::Pages;
use crate::mem::{entry, hpa_of, map, pool};
use crate::provoke;
use crate::sync::Micros;
use crate::sync::wait_for;
use cellvisor_abi::PAGE_SIZE;
use cellvisor_core::addr::{Hpa, Hva};
use cellvisor_core::iommu::vtd::registers::{self as regs, Capabilities};
use cellvisor_core::iommu::vtd::root_filter::Request;
use cellvisor_core::iommu::vtd::{
    FaultRecord, Half, Invalidate, Irte, Mode, Shadow, Step, Steps, irte_update,
};
use core::ops::Range;
use core::sync::atomic::Ordering;

/// How long the unit may take for a command, in microseconds. It answers within
/// microseconds; emulated ones are at times not run at all.
const PATIENCE: Micros = Micros(1_000_000);
/// Bytes of a descriptor, a fault record and an interrupt entry.
const ENTRY: u64 = 16;
/// Fault event control: no interrupt.
const FAULT_MASK: u32 = 1 << 31;
/// Protected memory: on, and whether it is.
const PMEN_ENABLE: u32 = 1 << 31;

/// The unit does not answer.
#[derive(Clone, Copy)]
pub(super) struct Stuck;

/// A unit that the monitor drives or could drive.
#[repr(C)] // What is small comes first, within a byte's reach of instructions.
pub(super) struct Unit {
    /// Host-physical address of its registers.
    pub(super) base: Hpa,
    pub(super) segment: Segment,
    /// Interrupt entries.
    pub(super) entries: u32,
    pub(super) caps: Capabilities,
    /// Virtual addresses of registers, fault records, queue, word that waits
    /// write to, and interrupt entries.
    regs: Hva,
    faults: Hva,
    queue: Hva,
    done: Hva,
    table: Hva,
    tail: u64,
    /// What the root sees instead.
    pub(super) shadow: Shadow,
}

impl Unit {
    /// Finds out about the unit at `base`. `None` if the pool is too small.
    pub(super) fn new(base: Hpa, segment: Segment, entries: u32) -> Option<Self> {
        let regs = map::device(base)?;
        let caps = Capabilities::new(read64(regs + regs::CAP), read64(regs + regs::ECAP));
        let (offset, _) = caps.fault_records();
        let faults = match offset / PAGE_SIZE {
            0 => regs + offset,
            page => map::device(base + page * PAGE_SIZE)? + offset % PAGE_SIZE,
        };
        let table_pages = (u64::from(entries) * ENTRY).div_ceil(PAGE_SIZE);
        Some(Self {
            base,
            segment,
            caps,
            shadow: Shadow::new(|_| 0),
            regs,
            faults,
            queue: pool::alloc()?,
            done: pool::alloc()?,
            table: pool::alloc_run(Pages(table_pages))?,
            entries,
            tail: 0,
        })
    }

    /// Pages of registers, by their numbers.
    pub(super) fn pages(&self) -> [u64; 2] {
        let (offset, _) = self.caps.fault_records();
        [self.base.page(), (self.base + offset).page()]
    }

    /// Remembers the registers as the root has left them.
    pub(super) fn look(&mut self) {
        let base = self.regs;
        self.shadow = Shadow::new(|offset| read32(base + offset));
    }

    /// Reads a register of 4 or 8 bytes in the hardware's first page.
    pub(super) fn read(&self, offset: u64, size: u8) -> u64 {
        let va = self.regs + offset % PAGE_SIZE;
        if size == 8 {
            read64(va.align_down(8))
        } else {
            u64::from(read32(va.align_down(4)))
        }
    }

    /// Writes it, while the unit is the root's.
    pub(super) fn write(&self, offset: u64, size: u8, value: u64) {
        let va = self.regs + offset % PAGE_SIZE;
        if size == 8 {
            write64(va.align_down(8), value);
        } else {
            write32(va.align_down(4), value as u32);
        }
    }

    /// Takes the unit over, with this root table. The root does not run.
    pub(super) fn take(&mut self, root_table: Hpa, view: &mut RootView<'_>) -> Result<(), Stuck> {
        self.use_own_queue()?;
        if read32(self.regs + regs::PMEN) & PMEN_ENABLE != 0 {
            write32(self.regs + regs::PMEN, 0);
        }
        write32(self.regs + regs::FECTL, FAULT_MASK);
        self.fill(view);
        let table = regs::interrupt_table(hpa_of(self.table), self.entries, self.mode());
        self.set_interrupt_table(table)?;
        write64(self.regs + regs::RTADDR, root_table.0);
        self.command(regs::ROOT_TABLE, true)?;
        self.submit(Invalidate::AllContexts);
        self.submit(Invalidate::AllTranslations);
        self.wait()?;
        self.command(regs::TRANSLATION, true)?;
        self.clear_faults();
        Ok(())
    }

    /// Gives the unit back as the root believes it to be. It may have been taken in part.
    /// A step that fails does not keep the next ones: what still points to the monitor's
    /// tables afterwards points to memory of the root.
    pub(super) fn give_back(&mut self) -> Result<(), Stuck> {
        let untranslated = self.command(regs::TRANSLATION, false);
        // What is submitted below goes to this queue, not into the root's.
        let own_queue = self.use_own_queue();
        let table = self.set_interrupt_table(self.shadow.read(regs::IRTA, 8));
        let interrupts = match self.shadow.has(regs::INTERRUPTS) {
            true => Ok(()),
            false => self.command(regs::INTERRUPTS, false),
        };
        // The queue starts over at 0. What lies before the root's tail was done
        // once and does no harm a second time.
        let tail = self.shadow.read(regs::IQT, 4);
        let queue = self.use_queue(Hpa(self.shadow.read(regs::IQA, 8)), tail);
        write64(self.regs + regs::RTADDR, self.shadow.read(regs::RTADDR, 8));
        self.clear_faults();
        let control = self.shadow.read(regs::FECTL, 4) as u32;
        write32(self.regs + regs::FECTL, control);
        untranslated
            .and(own_queue)
            .and(table)
            .and(interrupts)
            .and(queue)
    }

    /// Destinations that the root has set the unit up for.
    pub(super) fn mode(&self) -> Mode {
        self.shadow
            .table()
            .map_or(Mode::X2apic, |(_, _, mode)| mode)
    }

    fn set_interrupt_table(&mut self, value: u64) -> Result<(), Stuck> {
        write64(self.regs + regs::IRTA, value);
        let set = self.command(regs::INTERRUPT_TABLE, true);
        self.submit(Invalidate::AllInterrupts);
        set.and(self.wait())
    }

    /// Switches to the monitor's queue, from its beginning.
    fn use_own_queue(&mut self) -> Result<(), Stuck> {
        self.use_queue(hpa_of(self.queue), 0)?;
        self.tail = 0;
        Ok(())
    }

    /// Switches to another queue, of which all up to `tail` is carried out; goes on when a
    /// step fails, as [`Self::give_back`] does.
    fn use_queue(&mut self, address: Hpa, tail: u64) -> Result<(), Stuck> {
        let mut result = Ok(());
        if read32(self.regs + regs::GSTS) & regs::QUEUE != 0 {
            result = self.drained().and(self.command(regs::QUEUE, false));
        }
        write64(self.regs + regs::IQT, 0);
        write64(self.regs + regs::IQA, address.0);
        result = result.and(self.command(regs::QUEUE, true));
        write64(self.regs + regs::IQT, tail);
        result.and(self.drained())
    }

    fn drained(&self) -> Result<(), Stuck> {
        let head = || read64(self.regs + regs::IQH) == read64(self.regs + regs::IQT);
        answers(head)
    }

    /// Sets or clears a bit of GCMD and waits until GSTS says so.
    fn command(&self, bit: u32, on: bool) -> Result<(), Stuck> {
        let status = read32(self.regs + regs::GSTS);
        let value = if on {
            regs::switch_on(status, bit)
        } else {
            regs::switch_off(status, bit)
        };
        write32(self.regs + regs::GCMD, value);
        let wanted = if on { bit } else { 0 };
        let reached = || read32(self.regs + regs::GSTS) & bit == wanted;
        answers(reached)
    }

    /// Puts a request into the queue; [`Self::wait`] makes sure that it is done.
    pub(super) fn submit(&mut self, what: Invalidate) {
        let descriptor = what.descriptor();
        let at = self.queue + self.tail;
        store(at, descriptor.low);
        store(at + 8, descriptor.high);
        self.tail = (self.tail + ENTRY) % PAGE_SIZE;
        write64(self.regs + regs::IQT, self.tail);
    }

    /// Waits until all that was submitted is done.
    pub(super) fn wait(&mut self) -> Result<(), Stuck> {
        const DONE: u32 = 1;
        store(self.done, 0);
        let address = hpa_of(self.done);
        self.submit(Invalidate::Wait {
            value: DONE,
            address,
        });
        let done = self.done;
        answers(|| read32(done) == DONE)
    }

    /// Takes the steps of a change to the entry at this virtual address.
    pub(super) fn apply(&mut self, entry: Hva, steps: &Steps) -> Result<(), Stuck> {
        for step in steps {
            match *step {
                Step::Store(half, value) => {
                    let offset = if half == Half::Low { 0 } else { 8 };
                    store(entry + offset, value);
                    self.flush_writes()?;
                }
                Step::Queue(what) => self.submit(what),
                Step::Wait => self.wait()?,
            }
        }
        Ok(())
    }

    /// Old units keep writes of the CPUs in a buffer of the chipset.
    pub(super) fn flush_writes(&self) -> Result<(), Stuck> {
        if !self.caps.needs_write_buffer_flush() {
            return Ok(());
        }
        let status = read32(self.regs + regs::GSTS);
        let command = regs::switch_on(status, regs::WRITE_BUFFER);
        write32(self.regs + regs::GCMD, command);
        let idle = || read32(self.regs + regs::GSTS) & regs::WRITE_BUFFER == 0;
        answers(idle)
    }

    /// Sets the interrupt entry with this index.
    pub(super) fn set_entry(&mut self, index: IrteIndex, new: Irte) -> Result<(), Stuck> {
        let Some(va) = self.entry(index) else {
            return Ok(());
        };
        let old = Irte {
            low: read64(va),
            high: read64(va + 8),
        };
        if old == new {
            return Ok(());
        }
        self.apply(va, &irte_update(old, new, index.0 as u16))
    }

    fn entry(&self, index: IrteIndex) -> Option<Hva> {
        (index.0 < self.entries).then(|| self.table + u64::from(index.0) * ENTRY)
    }

    /// First of the interrupt entries that are the monitor's to give to cells;
    /// those before are the root's.
    pub(super) const fn first_of_cells(entries: u32) -> u32 {
        entries / 2
    }

    /// Copies the root's interrupt entries before the unit uses the table.
    fn fill(&mut self, view: &mut RootView<'_>) {
        for index in (0..Self::first_of_cells(self.entries)).map(IrteIndex) {
            let irte = view.entry(self, index);
            if let Some(va) = self.entry(index) {
                store(va, irte.low);
                store(va + 8, irte.high);
            }
        }
    }

    /// Looks at the root's interrupt entries again.
    pub(super) fn refill(
        &mut self,
        entries: Range<IrteIndex>,
        view: &mut RootView<'_>,
    ) -> Result<(), Stuck> {
        let end = entries.end.0.min(Self::first_of_cells(self.entries));
        for index in (entries.start.0..end).map(IrteIndex) {
            let irte = view.entry(self, index);
            self.set_entry(index, irte)?;
        }
        Ok(())
    }

    /// Carries out what waits in the root's queue. All of it was asked for
    /// before, so that one look at all entries serves any number of requests.
    pub(super) fn serve_queue(&mut self, view: &mut RootView<'_>) -> Result<(), Stuck> {
        const MANY: u32 = 64;
        let mut looked = false;
        while let Some(at) = self.shadow.take_request() {
            let mut words = [0; ENTRY as usize];
            if !view.read(at, &mut words) {
                continue;
            }
            let (low, high) = words.split_at(8);
            match Request::decode(word(low), word(high)) {
                Request::Interrupts(..) if looked => {}
                Request::Interrupts(first, count) if count < MANY => {
                    self.refill(
                        IrteIndex(first)..IrteIndex(first.saturating_add(count)),
                        view,
                    )?;
                }
                Request::Interrupts(..) => {
                    self.refill(IrteIndex::ALL, view)?;
                    looked = true;
                }
                Request::Status(value, address) => view.write(address, &value.to_le_bytes()),
                Request::Nothing => {}
            }
        }
        Ok(())
    }

    /// Calls `f` with each recorded fault, and forgets it, until `f` says that it
    /// has enough by false; that fault is lost, later ones stay.
    pub(super) fn for_each_fault(&self, mut f: impl FnMut(FaultRecord) -> bool) {
        let (_, count) = self.caps.fault_records();
        for record in 0..u64::from(count) {
            let at = self.faults + record * ENTRY;
            if let Some(fault) = FaultRecord::decode(read64(at), read64(at + 8)) {
                let more = f(fault);
                write32(at + 12, FaultRecord::CLEAR);
                if !more {
                    break;
                }
            }
        }
        write32(self.regs + regs::FSTS, regs::FAULT_OVERFLOW);
    }

    fn clear_faults(&self) {
        self.for_each_fault(|_| true);
    }
}

/// Waits until the unit has done what was asked.
fn answers(done: impl FnMut() -> bool) -> Result<(), Stuck> {
    if wait_for(PATIENCE, done) && !provoke::fails(provoke::Step::Unit) {
        Ok(())
    } else {
        Err(Stuck)
    }
}

fn word(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_le_bytes)
}

fn read<T: Copy>(va: Hva) -> T {
    // SAFETY: only called with addresses of the unit's registers, which are
    // mapped, and of the monitor's own pages; registers and words are integers.
    unsafe { va.ptr::<T>().read_volatile() }
}

fn read32(va: Hva) -> u32 {
    read(va)
}

fn read64(va: Hva) -> u64 {
    read(va)
}

fn write<T: Copy>(va: Hva, value: T) {
    // SAFETY: as in `read`; what the unit is told to use are pages that the
    // monitor keeps for it.
    unsafe { va.ptr::<T>().write_volatile(value) };
}

fn write32(va: Hva, value: u32) {
    write(va, value);
}

fn write64(va: Hva, value: u64) {
    write(va, value);
}

/// Reads a word of a table.
pub(super) fn load(va: Hva) -> u64 {
    read64(va)
}

/// Writes a word of a table or of the queue and cleans its cache line, for units
/// that do not snoop.
pub(super) fn store(va: Hva, value: u64) {
    if let Some(word) = entry(va) {
        word.store(value, Ordering::Relaxed);
        pool::clean(word);
    }
}
