//! One function of a cell: its model, its interrupts, its resets.
//!
//! Source: PCI Local Bus 3.0, "Device Control", "Message Signaled Interrupts"; PCI
//! Express Base 5.0, "Function Level Reset (FLR)".

use super::config;
use super::config::Register;
use super::msix::Msix;
use super::msix::{Message, Vector};
use crate::dev::iommu;
use crate::dev::iommu::IrteIndex;
use crate::mem::map::Window;
use crate::sync::Micros;
use crate::sync::{self, tsc};
use cellvisor_abi::call::FunctionStatus;
use cellvisor_abi::plan;
use cellvisor_core::addr::Hpa;
use cellvisor_core::ids::PlanIndex;
use cellvisor_core::pci::reset;
use cellvisor_core::pci::reset::{Method, SETTLE_MS, Saved};
use cellvisor_core::pci::{ABSENT, Access, Bdf, Effect, Function};

const COMMAND: Register = Register(0x04);
const BUS_MASTER: u32 = 1 << 2;
/// Without a wire INTx would go to the root.
const NO_INTX: u32 = 1 << 10;
const STATUS: u32 = 0xffff_0000;
/// Ids of capabilities.
const MSI: u8 = 0x05;
const MSIX: u8 = 0x11;
const MSI_ENABLE: u32 = 1 << 16;
/// MSI: several messages, asked for and granted.
const MSI_GRANTED: u32 = 7 << 20;
const MSI_WIDE: u32 = 1 << 23;
const MSIX_ENABLE: u32 = 1 << 31;
const MSIX_MASKED: u32 = 1 << 30;

/// Where a function's interrupts may go.
pub(crate) struct Target<'a> {
    /// Plan indexes of the cell's CPUs.
    pub(crate) cpus: &'a [PlanIndex],
    /// Requester id.
    pub(crate) source: u16,
    /// Interrupt entries, the first and how many; `None` without remapping.
    pub(crate) entries: Option<(IrteIndex, u16)>,
}

/// What came of a cell's write to configuration space.
pub(crate) enum Written {
    /// It was carried out, or is of no effect.
    Done,
    /// It was dropped.
    Refused,
    /// It was carried out, but for so many messages that lead nowhere they may.
    Undelivered(u16),
}

/// A function of a cell.
#[repr(C)] // What is small comes first, within a byte's reach of instructions.
pub(crate) struct Device {
    pub(crate) plan: plan::Function,
    pub(crate) faults: u64,
    /// When the last reset was set off, until it is over.
    reset_at: Option<u64>,
    pub(crate) entries: Option<(IrteIndex, u16)>,
    /// How it is reset, if it can be.
    method: Option<Method>,
    /// It goes through a domain of the cell's.
    pub(crate) attached: bool,
    pub(crate) msix: Option<Msix>,
    pub(crate) function: Function,
    saved: Saved,
}

impl Device {
    /// Of a function that has been looked at. Nothing is done to it.
    #[inline(never)] // Its parts are copied at once, not field by field.
    pub(crate) fn new(window: &mut Window, plan: plan::Function, function: Function) -> Self {
        let bdf = plan.bdf;
        let method = Method::find(&function, |at| config::read(window, bdf, Register(at)));
        let saved = Saved::take(&function, |at| config::read(window, bdf, Register(at)));
        Self {
            plan,
            function,
            msix: None,
            entries: None,
            method,
            saved,
            reset_at: None,
            attached: false,
            faults: 0,
        }
    }

    /// Where it is.
    pub(crate) fn bdf(&self) -> Bdf {
        self.plan.bdf
    }

    /// Where the cell sees it.
    pub(crate) fn guest(&self) -> Bdf {
        self.plan.guest
    }

    /// Vectors that it can have.
    pub(crate) fn vectors(&self) -> u16 {
        let msi = self.capability(MSI).map_or(0, |_| 1);
        self.function
            .msix()
            .map_or(msi, |layout| layout.entries.max(msi))
    }

    fn capability(&self, id: u8) -> Option<Register> {
        let found = self.function.capabilities().iter().find(|cap| cap.id == id);
        found.map(|cap| Register(u16::from(cap.offset)))
    }

    /// Ends DMA and interrupts, and sets a reset off. It is over when
    /// [`Self::settle`] says so.
    pub(crate) fn quiesce(&mut self, window: &mut Window) {
        self.change(window, COMMAND, STATUS | BUS_MASTER, NO_INTX);
        if let Some(at) = self.capability(MSIX) {
            self.change(window, at, MSIX_ENABLE, MSIX_MASKED);
        }
        if let Some(at) = self.capability(MSI) {
            self.change(window, at, MSI_ENABLE | MSI_GRANTED, 0);
        }
        self.reset(window);
    }

    /// The state of the function is that after a reset, for the cell as well.
    fn reset(&mut self, window: &mut Window) {
        self.function.reset();
        if let Some(msix) = &mut self.msix {
            msix.reset();
        }
        if let Some(method) = self.method {
            let (first, _) = method.trigger();
            self.write_word(window, first);
            self.reset_at = Some(tsc());
        }
    }

    /// True if no reset is under way any more; then all is as it has to be.
    pub(crate) fn settle(&mut self, window: &mut Window) -> bool {
        let Some(since) = self.reset_at else {
            return true;
        };
        if sync::elapsed(since) < Micros(u64::from(SETTLE_MS) * 1000) {
            return false;
        }
        self.reset_at = None;
        if let Some((_, Some(second))) = self.method.map(Method::trigger) {
            self.write_word(window, second);
        }
        let bdf = self.bdf();
        for (offset, value) in self.saved.writes() {
            config::write(window, bdf, Register(offset), value);
        }
        let no_intx = if self.plan.wire.is_some() { 0 } else { NO_INTX };
        self.change(window, COMMAND, STATUS | BUS_MASTER, no_intx);
        true
    }

    /// Lets a function with a wire interrupt by its pin.
    pub(crate) fn raise(&self, window: &mut Window) {
        if self.plan.wire.is_some() {
            self.change(window, COMMAND, STATUS | NO_INTX, 0);
        }
    }

    /// Clears and sets bits of four bytes.
    fn change(&self, window: &mut Window, at: Register, clear: u32, set: u32) {
        let bdf = self.bdf();
        let before = config::read(window, bdf, at);
        config::write(window, bdf, at, before & !clear | set);
    }

    fn write_word(&self, window: &mut Window, what: reset::Write) {
        let shift = u32::from(what.offset & 2) * 8;
        self.change(
            window,
            Register(what.offset & !3),
            0xffff << shift,
            u32::from(what.value) << shift,
        );
    }

    /// The cell reads its configuration space.
    pub(crate) fn read(&mut self, window: &mut Window, access: Access) -> u32 {
        if !self.settle(window) {
            return access.extract(ABSENT);
        }
        let bdf = self.bdf();
        self.function
            .read(access, |at| config::read(window, bdf, Register(at)))
    }

    /// The cell, whose CPUs have these plan indexes, writes it.
    pub(crate) fn write(
        &mut self,
        window: &mut Window,
        cpus: &[PlanIndex],
        access: Access,
        value: u32,
    ) -> Written {
        if !self.settle(window) {
            return Written::Done;
        }
        let bdf = self.bdf();
        let hardware = |at| config::read(window, bdf, Register(at));
        match self.function.write(access, value, hardware) {
            Effect::Done => {}
            Effect::Refused => return Written::Refused,
            Effect::Hardware { offset, value } => {
                let at = Register(offset);
                let value = if at == COMMAND {
                    self.command(value)
                } else {
                    value
                };
                config::write(window, bdf, at, value);
            }
            Effect::Msi => return self.set_msi(window, cpus),
            Effect::Msix => return self.set_msix(window, cpus),
            Effect::Reset => self.reset(window),
        }
        Written::Done
    }

    /// Without a domain the cell's addresses would be the root's: no DMA then,
    /// which includes messages.
    fn command(&self, value: u32) -> u32 {
        let value = match self.plan.wire {
            Some(_) => value,
            None => value | NO_INTX,
        };
        if self.attached {
            value
        } else {
            value & !BUS_MASTER
        }
    }

    fn target<'a>(&self, cpus: &'a [PlanIndex]) -> Target<'a> {
        Target {
            cpus,
            source: self.bdf().requester,
            entries: self.entries,
        }
    }

    /// MSI as the cell has set it up: one message.
    fn set_msi(&self, window: &mut Window, cpus: &[PlanIndex]) -> Written {
        let Some(at) = self.capability(MSI) else {
            return Written::Done;
        };
        let msi = self.function.msi();
        self.change(window, at, MSI_ENABLE | MSI_GRANTED, 0);
        if !msi.enabled {
            return Written::Done;
        }
        let asked = Message {
            address: msi.address,
            data: u32::from(msi.data),
        };
        let message = self.target(cpus).message(Vector(0), asked);
        let Some((address, data)) = message else {
            return Written::Undelivered(1);
        };
        let bdf = self.bdf();
        let wide = config::read(window, bdf, at) & MSI_WIDE != 0;
        config::write(window, bdf, at.plus(4), address as u32);
        if wide {
            config::write(window, bdf, at.plus(8), (address >> 32) as u32);
        }
        self.change(
            window,
            if wide { at.plus(12) } else { at.plus(8) },
            0xffff,
            data & 0xffff,
        );
        self.change(window, at, 0, MSI_ENABLE);
        Written::Done
    }

    /// MSI-X on or off, masked or not, as the cell wants it.
    fn set_msix(&self, window: &mut Window, cpus: &[PlanIndex]) -> Written {
        let (Some(at), Some(msix)) = (self.capability(MSIX), &self.msix) else {
            return Written::Done;
        };
        let control = self.function.msix_control();
        let mut undelivered = 0;
        if control.enabled {
            let target = self.target(cpus);
            let (entries, _) = msix.vectors();
            for index in (0..entries).map(Vector) {
                if !msix.program(window, &target, index) {
                    undelivered += 1;
                }
            }
        }
        let enabled = if control.enabled { MSIX_ENABLE } else { 0 };
        let masked = if control.masked { MSIX_MASKED } else { 0 };
        self.change(window, at, MSIX_ENABLE | MSIX_MASKED, enabled | masked);
        match undelivered {
            0 => Written::Done,
            count => Written::Undelivered(count),
        }
    }

    /// True if `hpa` is in the pages of the table that the cell does not reach.
    pub(crate) fn guards(&self, hpa: Hpa) -> bool {
        let msix = self.msix.as_ref();
        msix.is_some_and(|msix| msix.guarded().contains(&hpa))
    }

    /// The cell, whose CPUs have these plan indexes, writes to its MSI-X table;
    /// false if that was refused.
    pub(crate) fn write_table(
        &mut self,
        window: &mut Window,
        cpus: &[PlanIndex],
        hpa: Hpa,
        size: u8,
        value: u64,
    ) -> bool {
        let target = self.target(cpus);
        let enabled = self.function.msix_control().enabled;
        let Some(msix) = &mut self.msix else {
            return false;
        };
        match msix.write(hpa, size, value) {
            Err(()) => false,
            Ok(index) if enabled => msix.program(window, &target, index),
            Ok(_) => true,
        }
    }

    /// What a status call answers about it.
    pub(crate) fn status(&self, window: &mut Window) -> FunctionStatus {
        let vectors = match &self.msix {
            Some(msix) => msix.vectors(),
            None => (self.vectors(), u16::from(self.function.msi().enabled)),
        };
        let command = config::read(window, self.bdf(), COMMAND);
        FunctionStatus {
            bdf: self.plan.bdf,
            guest: self.plan.guest,
            unprotected: !self.attached,
            bus_master: command != ABSENT && command & BUS_MASTER != 0,
            vectors,
            faults: self.faults,
        }
    }
}

/// The function goes back to the root, and must be quiet.
impl Drop for Device {
    fn drop(&mut self) {
        if self.attached && iommu::detach(self.bdf()).is_ok() {
            self.attached = false;
        }
        if let Some((first, count)) = self.entries.take() {
            iommu::free_entries(first, count);
        }
    }
}
