//! What a guest sees of an adapter: a PCI function and its registers.
//!
//! Spec: VIRTIO 1.2, "Virtio Over PCI Bus", "Device Status Field"; PCI Local Bus 3.0,
//! "Configuration Space Header", "MSI-X Capability and Table Structure".

use super::frame::Mac;
use super::queue::Queue;
use super::{OFFERED, VERSION_1};
use crate::addr::{Gpa, PAGE_SIZE};
use crate::pci::Access;
use cellvisor_abi::plan::{ADAPTER_CONFIG, ADAPTER_REGISTERS, MAX_ADAPTERS};

/// Vectors that a driver may set up: for changes, and for each queue.
const VECTORS: usize = 3;

/// What a vector is called that is none.
const NO_VECTOR: u16 = 0xffff;

/// Most descriptors of the queues, by their numbers: received frames take one for each
/// page, and wait; sent ones are gone when the driver has told of them.
const SIZES: [u16; 2] = [1024, 256];

/// Those of a console, whose driver fills all that it is offered with pages.
const CONSOLE_SIZES: [u16; 2] = [8, 8];

/// Offsets in the page of registers: of the adapter itself, of what interrupted (nothing
/// ever: vectors do), of what is said of the network, of the queues' bells, of the
/// vectors, and of which of them are pending.
const DEVICE: u64 = 0x200;
const BELL: u64 = 0x300;
const TABLE: u64 = 0x800;
const TABLE_END: u64 = TABLE + VECTORS as u64 * 16;

/// Offsets in configuration space of what a guest may change, and which bits.
const COMMAND: u16 = 0x04;
const BAR: u16 = 0x10;
const MSIX: u16 = 0x40;
/// Memory, bus master, no interrupt pin.
const COMMAND_BITS: u32 = 0x0406;
/// Enabled, all vectors masked.
const MSIX_BITS: u32 = 0xc000_0000;
const MSIX_ENABLED: u32 = 1 << 31;
const MSIX_MASKED: u32 = 1 << 30;

/// Configuration space as far as it says anything, in words of 32 bits.
const CONFIG: [u32; 37] = {
    let mut words = [0; 37];
    words[0] = 0x1041_1af4; // network device, VIRTIO
    words[1] = 0x0010_0000; // there is a list of capabilities
    words[2] = 0x0200_0001; // Ethernet, revision 1
    words[11] = 0x0040_1af4; // subsystem
    words[13] = 0x40;
    // MSI-X: the table and the pending bits are in BAR 0.
    words[16] = (VECTORS as u32 - 1) << 16 | 0x5011;
    words[17] = TABLE as u32;
    words[18] = 0xc00;
    // The parts of BAR 0, each with its offset and its length.
    words[20] = 0x0110_6009;
    words[23] = 0x38;
    words[24] = 0x0214_7409;
    words[26] = BELL as u32;
    words[27] = 4; // the bell of all queues: they differ by what is written
    words[29] = 0x0310_8409;
    words[31] = 0x100;
    words[32] = 1;
    words[33] = 0x0410_0009;
    words[35] = DEVICE as u32;
    words[36] = 12;
    words
};

/// The words of it in which a console differs: a communication controller that is neither
/// a serial port nor any other known kind.
const CONSOLE_ID: u32 = 0x1043_1af4;
const CONSOLE_CLASS: u32 = 0x0780_0001;

/// Bits of the device status: the driver is ready, it has said what it takes.
const DRIVER_OK: u8 = 4;
const FEATURES_OK: u8 = 8;

/// What of a cell's adapters an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Configuration space of the adapter with this number, which may not be there.
    Config(usize, u16),
    /// A register of the adapter with this number.
    Register(usize, u64),
}

impl Place {
    /// Of an access of a cell that has so many.
    #[must_use]
    pub fn of(address: Gpa, adapters: usize) -> Option<Self> {
        let offset = address.page_offset();
        let page = |base: u64| Some(address.0.checked_sub(base)? / PAGE_SIZE);
        if adapters == 0 {
            return None;
        }
        if let Some(page) = page(ADAPTER_REGISTERS) {
            let number = usize::try_from(page).ok().filter(|n| *n < adapters)?;
            return Some(Self::Register(number, offset));
        }
        // A function for each device number.
        let page = page(ADAPTER_CONFIG)? as usize;
        let number = if page.is_multiple_of(8) {
            page / 8
        } else {
            MAX_ADAPTERS
        };
        Some(Self::Config(number, offset as u16))
    }
}

/// A vector's message: an address and what is written there.
type Message = (u64, u32);

/// An interrupt, by a message that the driver has chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    message: Option<Message>,
    pending: bool,
}

impl Line {
    /// Without a message, and with nothing to say.
    pub const NONE: Self = Self {
        message: None,
        pending: false,
    };

    /// What is sent now; later, if nothing can be at the moment.
    pub fn raise(&mut self) -> Option<Message> {
        self.pending = self.message.is_none();
        self.message
    }

    /// The driver has changed something; what is sent now.
    fn set(&mut self, message: Option<Message>) -> Option<Message> {
        self.message = message;
        let due = message.filter(|_| self.pending);
        self.pending &= due.is_none();
        due
    }
}

#[derive(Clone, Copy, Debug)]
struct Vector {
    address: u64,
    data: u32,
    unmasked: bool,
}

/// The queues of an adapter, which others look at as well.
#[derive(Debug)]
pub struct Queues<'a> {
    /// Where frames come in.
    pub receive: &'a mut Queue,
    /// Its interrupt.
    pub received: &'a mut Line,
    /// Where they leave.
    pub send: &'a mut Queue,
    /// Its interrupt.
    pub sent: &'a mut Line,
}

impl Queues<'_> {
    fn reset(&mut self, sizes: [u16; 2]) {
        let [receive, send] = sizes;
        *self.receive = Queue::new(receive, NO_VECTOR);
        *self.send = Queue::new(send, NO_VECTOR);
        (*self.received, *self.sent) = (Line::NONE, Line::NONE);
    }

    const fn find(&mut self, number: u16) -> Option<&mut Queue> {
        match number {
            0 => Some(self.receive),
            1 => Some(self.send),
            _ => None,
        }
    }
}

/// What follows from a write to a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// Frames are to be sent.
    Send,
    /// Those of these messages are due that there are.
    Interrupts([Option<Message>; VECTORS]),
}

/// An adapter but for its queues. All zeros is one that nobody has.
#[derive(Clone, Copy, Debug)]
pub struct Adapter {
    /// `None`: it is a console.
    mac: Option<Mac>,
    command: u32,
    bar: u32,
    msix: u32,
    vectors: [Vector; VECTORS],
    offered_select: u32,
    taken_select: u32,
    taken: u64,
    status: u8,
    config_vector: u16,
    selected: u16,
    /// The interrupt for changes of the link, which is up if there is anybody else.
    changed: Line,
    is_up: bool,
}

impl Adapter {
    /// Nobody's.
    pub const NONE: Self = Self {
        mac: None,
        command: 0,
        bar: 0,
        msix: 0,
        vectors: [Vector {
            address: 0,
            data: 0,
            unmasked: false,
        }; VECTORS],
        offered_select: 0,
        taken_select: 0,
        taken: 0,
        status: 0,
        config_vector: 0,
        selected: 0,
        changed: Line::NONE,
        is_up: false,
    };

    /// The adapter with this number of its cell, as after a reset of the machine; a console
    /// has no address.
    pub fn reset(&mut self, number: u8, mac: Option<Mac>, queues: &mut Queues<'_>) {
        *self = Self {
            mac,
            bar: self::bar(number),
            ..Self::NONE
        };
        self.reset_device(queues);
    }

    /// What the driver takes, once it is ready.
    #[must_use]
    pub const fn features(&self) -> Option<u64> {
        if self.status & DRIVER_OK == 0 {
            return None;
        }
        Some(self.taken)
    }

    /// As after a reset by the driver.
    fn reset_device(&mut self, queues: &mut Queues<'_>) {
        self.taken = 0;
        self.status = 0;
        self.config_vector = NO_VECTOR;
        self.changed = Line::NONE;
        queues.reset(match self.mac {
            Some(_) => SIZES,
            None => CONSOLE_SIZES,
        });
    }

    /// The features of its kind.
    const fn offered(&self) -> u64 {
        match self.mac {
            Some(_) => OFFERED,
            None => VERSION_1,
        }
    }

    /// Whether the link is up, as the driver finds it when it looks next.
    pub const fn set_link(&mut self, is_up: bool) {
        self.is_up = is_up;
    }

    /// The driver is to look at the link; what is sent now for it.
    pub fn changed(&mut self) -> Option<Message> {
        self.changed.raise()
    }

    /// Reads configuration space.
    #[must_use]
    pub fn read_config(&self, access: Access) -> u32 {
        access.extract(self.config(access.dword()))
    }

    fn config(&self, at: u16) -> u32 {
        let fixed = match (at, self.mac) {
            (0, None) => CONSOLE_ID,
            (8, None) => CONSOLE_CLASS,
            _ => CONFIG.get(usize::from(at / 4)).copied().unwrap_or(0),
        };
        fixed
            | match at {
                COMMAND => self.command,
                BAR => self.bar,
                MSIX => self.msix,
                _ => 0,
            }
    }

    /// Writes it; what follows.
    pub fn write_config(&mut self, access: Access, value: u32, queues: &mut Queues<'_>) -> Effect {
        let at = access.dword();
        let value = access.merge(self.config(at), value);
        match at {
            COMMAND => self.command = value & COMMAND_BITS,
            // It stays where it is; its size is asked for by writing ones.
            BAR => self.bar = value & !(PAGE_SIZE as u32 - 1),
            MSIX => {
                self.msix = value & MSIX_BITS;
                return self.settle(queues);
            }
            _ => {}
        }
        Effect::None
    }

    /// Reads a register.
    #[must_use]
    pub fn read(&self, offset: u64, size: u8, queues: &mut Queues<'_>) -> u64 {
        let bits = self.register(offset & !7, queues) >> (offset % 8 * 8);
        bits & u64::MAX >> (64 - 8 * u32::from(size.clamp(1, 8)))
    }

    /// The eight bytes there.
    fn register(&self, at: u64, queues: &mut Queues<'_>) -> u64 {
        let pair = |low: u16, high: u16| u32::from(low) | u32::from(high) << 16;
        let long = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        let queue = queues.find(self.selected).map(|queue| *queue);
        let queue = queue.unwrap_or(Queue::NONE);
        match at {
            0x00 => long(
                self.offered_select,
                select(self.offered(), self.offered_select),
            ),
            0x08 => long(self.taken_select, select(self.taken, self.taken_select)),
            0x10 => long(
                pair(self.config_vector, SIZES.len() as u16),
                pair(u16::from(self.status), self.selected),
            ),
            0x18 => long(pair(queue.size, queue.vector), u32::from(queue.enabled)),
            0x20 => queue.table,
            0x28 => queue.available,
            0x30 => queue.used,
            DEVICE => {
                // What a console has there it does not offer.
                let [a, b, c, d, e, f] = self.mac.unwrap_or_default();
                u64::from_le_bytes([a, b, c, d, e, f, u8::from(self.is_up), 0])
            }
            TABLE..TABLE_END => self.vector(at),
            _ => 0,
        }
    }

    /// Half of a vector.
    fn vector(&self, at: u64) -> u64 {
        let vector = self.vectors.get((at - TABLE) as usize / 16);
        let Some(vector) = vector else { return 0 };
        match at % 16 {
            0 => vector.address,
            _ => u64::from(vector.data) | u64::from(!vector.unmasked) << 32,
        }
    }

    /// Writes a register; what follows.
    pub fn write(&mut self, offset: u64, size: u8, value: u64, queues: &mut Queues<'_>) -> Effect {
        let (short, long) = (value as u16, value as u32);
        match (offset, size) {
            (BELL, 2 | 4) if short == 1 => return Effect::Send,
            (0x00, 4) => self.offered_select = long,
            (0x08, 4) => self.taken_select = long,
            (0x0c, 4) if self.status & FEATURES_OK == 0 => self.take(long),
            (0x10, 2) => {
                self.config_vector = known(short);
                return self.settle(queues);
            }
            (0x14, 1) => return self.set_status(value as u8, queues),
            (0x16, 2) => self.selected = short,
            (0x18..0x38, _) => {
                if let Some(queue) = queues.find(self.selected) {
                    set_queue(queue, self.selected, offset, size, value);
                }
                return self.settle(queues);
            }
            (TABLE..TABLE_END, 4) => {
                self.set_vector(offset, long);
                return self.settle(queues);
            }
            (TABLE..TABLE_END, 8) => {
                self.set_vector(offset, long);
                self.set_vector(offset + 4, (value >> 32) as u32);
                return self.settle(queues);
            }
            _ => {}
        }
        Effect::None
    }

    const fn take(&mut self, value: u32) {
        match self.taken_select {
            0 => self.taken = self.taken & !0xffff_ffff | value as u64,
            1 => self.taken = self.taken & 0xffff_ffff | (value as u64) << 32,
            _ => {}
        }
    }

    fn set_status(&mut self, value: u8, queues: &mut Queues<'_>) -> Effect {
        if value == 0 {
            self.reset_device(queues);
            return Effect::None;
        }
        let agreed = self.taken & !self.offered() == 0 && self.taken & VERSION_1 != 0;
        let kept = if agreed {
            value
        } else {
            value & !(FEATURES_OK | DRIVER_OK)
        };
        self.status = kept;
        Effect::None
    }

    fn set_vector(&mut self, at: u64, value: u32) {
        let vector = self.vectors.get_mut((at - TABLE) as usize / 16);
        let Some(vector) = vector else { return };
        match at % 16 {
            0 => vector.address = vector.address & !0xffff_ffff | u64::from(value),
            4 => vector.address = vector.address & 0xffff_ffff | u64::from(value) << 32,
            8 => vector.data = value,
            12 => vector.unmasked = value & 1 == 0,
            _ => {}
        }
    }

    /// Tells the interrupts their messages anew; those that are due.
    fn settle(&mut self, queues: &mut Queues<'_>) -> Effect {
        let mut changed = self.changed;
        let lines = [
            (&mut changed, self.config_vector),
            (&mut *queues.received, queues.receive.vector),
            (&mut *queues.sent, queues.send.vector),
        ];
        let due = lines.map(|(line, vector)| line.set(self.message(vector)));
        self.changed = changed;
        Effect::Interrupts(due)
    }

    /// What the vector sends at the moment.
    fn message(&self, vector: u16) -> Option<Message> {
        let on = self.msix & (MSIX_ENABLED | MSIX_MASKED) == MSIX_ENABLED;
        let vector = self.vectors.get(usize::from(vector));
        let vector = vector.filter(|vector| on && vector.unmasked)?;
        Some((vector.address, vector.data))
    }
}

/// Where the registers of the adapter with this number are.
const fn bar(number: u8) -> u32 {
    ADAPTER_REGISTERS as u32 + number as u32 * PAGE_SIZE as u32
}

/// The half of the features that is asked for.
const fn select(features: u64, half: u32) -> u32 {
    match half {
        0 => features as u32,
        1 => (features >> 32) as u32,
        _ => 0,
    }
}

/// A vector that there is, or none.
const fn known(vector: u16) -> u16 {
    if (vector as usize) < VECTORS {
        vector
    } else {
        NO_VECTOR
    }
}

/// Sets up a queue, which stays as it is once it is enabled.
fn set_queue(queue: &mut Queue, number: u16, offset: u64, size: u8, value: u64) {
    if offset == 0x1a {
        queue.vector = known(value as u16);
        return;
    }
    if queue.enabled {
        return;
    }
    let most = SIZES.get(usize::from(number)).copied().unwrap_or(0);
    let wanted = value as u16;
    match offset {
        0x18 if wanted.is_power_of_two() && wanted <= most => queue.size = wanted,
        0x1c if wanted == 1 => {
            queue.enable();
        }
        0x20 | 0x24 => set_half(&mut queue.table, offset == 0x24, size, value),
        0x28 | 0x2c => set_half(&mut queue.available, offset == 0x2c, size, value),
        0x30 | 0x34 => set_half(&mut queue.used, offset == 0x34, size, value),
        _ => {}
    }
}

/// Writes an address, or half of it.
const fn set_half(address: &mut u64, high: bool, size: u8, value: u64) {
    match (high, size) {
        (false, 8) => *address = value,
        (false, _) => *address = *address & !0xffff_ffff | value & 0xffff_ffff,
        (true, _) => *address = *address & 0xffff_ffff | value << 32,
    }
}
