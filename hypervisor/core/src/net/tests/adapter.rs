//! The device as a driver meets it.

use crate::addr::Gpa;
use crate::net::{Adapter, Effect, Line, OFFERED, Place, Queue, Queues, VERSION_1};
use crate::pci::Access;
use cellvisor_abi::plan::{ADAPTER_CONFIG, ADAPTER_REGISTERS, MAX_ADAPTERS};
use proptest::collection::vec;
use proptest::prelude::*;

const MAC: [u8; 6] = [2, 3, 4, 5, 6, 7];

const NOTHING_DUE: Effect = Effect::Interrupts([None; 3]);

struct Device {
    adapter: Adapter,
    queues: [Queue; 2],
    lines: [Line; 2],
}

impl Device {
    fn new() -> Self {
        let mut device = Self {
            adapter: Adapter::NONE,
            queues: [Queue::NONE; 2],
            lines: [Line::NONE; 2],
        };
        device.with(|adapter, queues| adapter.reset(1, Some(MAC), queues));
        device
    }

    fn with<T>(&mut self, f: impl FnOnce(&mut Adapter, &mut Queues<'_>) -> T) -> T {
        let [receive, send] = &mut self.queues;
        let [received, sent] = &mut self.lines;
        let mut queues = Queues {
            receive,
            received,
            send,
            sent,
        };
        f(&mut self.adapter, &mut queues)
    }

    fn config(&self, at: u16, size: u8) -> u32 {
        self.adapter
            .read_config(Access::new(at, size).expect("aligned"))
    }

    fn set_config(&mut self, at: u16, size: u8, value: u32) -> Effect {
        let access = Access::new(at, size).expect("aligned");
        self.with(|adapter, queues| adapter.write_config(access, value, queues))
    }

    fn read(&mut self, at: u64, size: u8) -> u64 {
        self.with(|adapter, queues| adapter.read(at, size, queues))
    }

    fn write(&mut self, at: u64, size: u8, value: u64) -> Effect {
        self.with(|adapter, queues| adapter.write(at, size, value, queues))
    }

    /// As a driver does, up to the agreement.
    fn agree(&mut self, features: u64) -> u64 {
        self.write(0x14, 1, 0);
        self.write(0x14, 1, 3);
        for half in [0, 1] {
            self.write(8, 4, half);
            self.write(12, 4, features >> (32 * half) & 0xffff_ffff);
        }
        self.write(0x14, 1, 11);
        self.read(0x14, 1)
    }

    /// Sets up vector `number`.
    fn vector(&mut self, number: u64, data: u64, masked: u64) -> Effect {
        let at = 0x800 + 16 * number;
        self.write(at, 4, 0xfee0_1000);
        self.write(at + 4, 4, 0);
        self.write(at + 8, 4, data);
        self.write(at + 12, 4, masked)
    }
}

#[test]
fn it_is_a_network_device_with_the_capabilities_of_the_specification() {
    let device = Device::new();
    assert_eq!(device.config(0, 4), 0x1041_1af4);
    assert_eq!(device.config(8, 4) >> 8, 0x02_0000);
    assert_eq!(device.config(6, 2) & 0x10, 0x10, "it has a list");
    let mut at = device.config(0x34, 1) as u16;
    let mut found = std::vec::Vec::new();
    while at != 0 {
        let kind = device.config(at, 1);
        match kind {
            0x11 => found.push((kind, 0, 0, device.config(at + 2, 2))),
            _ => found.push((
                device.config(at + 3, 1),
                device.config(at + 4, 1),
                device.config(at + 8, 4),
                device.config(at + 12, 4),
            )),
        }
        at = device.config(at + 1, 1) as u16;
    }
    let expected = [
        (0x11, 0, 0, 2),
        (1, 0, 0, 0x38),
        (2, 0, 0x300, 4),
        (3, 0, 0x100, 1),
        (4, 0, 0x200, 12),
    ];
    assert_eq!(found, expected);
}

#[test]
fn without_an_address_it_is_a_console_that_offers_nothing_but_version_1() {
    let mut device = Device::new();
    device.with(|adapter, queues| adapter.reset(1, None, queues));
    assert_eq!(device.config(0, 4), 0x1043_1af4);
    assert_eq!(device.config(8, 4) >> 8, 0x07_8000);
    let network = Device::new();
    for same in (0x10..0x100).step_by(4) {
        assert_eq!(device.config(same, 4), network.config(same, 4), "{same:#x}");
    }
    for queue in [0, 1] {
        device.write(0x16, 2, queue);
        assert_eq!(device.read(0x18, 2), 8);
    }
    assert_eq!(device.read(0x200, 8), 0);
    assert_eq!(device.agree(OFFERED), 3);
    assert_eq!(device.agree(VERSION_1), 11);
    device.write(0x14, 1, 15);
    assert_eq!(device.adapter.features(), Some(VERSION_1));
}

#[test]
fn its_registers_tell_their_size_and_stay_where_they_are() {
    let mut device = Device::new();
    let bar = ADAPTER_REGISTERS as u32 + 0x1000;
    assert_eq!(device.config(0x10, 4), bar);
    device.set_config(0x10, 4, u32::MAX);
    assert_eq!(device.config(0x10, 4), 0xffff_f000);
    device.set_config(0x10, 4, bar);
    assert_eq!(device.config(0x10, 4), bar);
    device.set_config(4, 2, 0xffff);
    assert_eq!(device.config(4, 2), 0x0406);
    for fixed in [0u16, 8, 0x2c, 0x34, 0x44, 0x50] {
        let before = device.config(fixed, 4);
        device.set_config(fixed, 4, !before);
        assert_eq!(device.config(fixed, 4), before, "{fixed:#x}");
    }
}

#[test]
fn a_driver_agrees_on_features_or_is_not_heard() {
    let mut device = Device::new();
    let offered = [0, 1].map(|half| {
        device.write(0, 4, half);
        device.read(4, 4)
    });
    assert_eq!(offered[0] | offered[1] << 32, OFFERED);
    assert_eq!(device.agree(OFFERED), 11);
    assert_eq!(device.adapter.features(), None, "not ready yet");
    device.write(0x14, 1, 15);
    assert_eq!(device.adapter.features(), Some(OFFERED));
    for refused in [OFFERED & !VERSION_1, OFFERED | 1 << 28, 0] {
        assert_eq!(device.agree(refused), 3, "{refused:#x}");
        device.write(0x14, 1, 15);
        assert_eq!(device.adapter.features(), None);
    }
}

#[test]
fn it_says_its_address() {
    let mut device = Device::new();
    let mac: std::vec::Vec<u8> = (0..6).map(|i| device.read(0x200 + i, 1) as u8).collect();
    assert_eq!(mac, MAC);
}

#[test]
fn it_says_whether_anybody_else_is_there_and_tells_of_changes() {
    let mut device = Device::new();
    assert_eq!(device.read(0x206, 2), 0, "nobody is");
    device.write(0x10, 2, 0);
    device.vector(0, 0x40, 0);
    device.set_config(0x42, 2, 0x8000);
    device.adapter.set_link(true);
    let message = Some((0xfee0_1000, 0x40));
    assert_eq!(device.adapter.changed(), message);
    assert_eq!(device.read(0x206, 2), 1);
    assert_eq!(device.read(0x204, 4), 0x1_0706);
    // While the driver does not listen, it waits …
    device.write(0x10, 2, 0xffff);
    assert_eq!(device.adapter.changed(), None);
    let due = Effect::Interrupts([message, None, None]);
    assert_eq!(device.write(0x10, 2, 0), due);
    assert_eq!(device.write(0x10, 2, 0), NOTHING_DUE, "once");
    // … and a new driver has nothing to be told.
    device.write(0x10, 2, 0xffff);
    device.adapter.changed();
    device.write(0x14, 1, 0);
    assert_eq!(device.write(0x10, 2, 0), NOTHING_DUE);
    assert_eq!(device.read(0x206, 2), 1, "the link is what it was");
}

#[test]
fn a_queue_is_set_up_once_until_a_reset() {
    let mut device = Device::new();
    for (number, most) in [(0, 1024), (1, 256)] {
        device.write(0x16, 2, number);
        assert_eq!(device.read(0x18, 2), most);
        device.write(0x18, 2, most * 2);
        device.write(0x18, 2, 100);
        assert_eq!(device.read(0x18, 2), most, "too large, and no power of two");
        device.write(0x18, 2, 64);
        for (at, value) in [(0x20, 0x12_3456_7000), (0x28, 0x2000), (0x30, 0x3000)] {
            device.write(at, 4, value & 0xffff_ffff);
            device.write(at + 4, 4, value >> 32);
            assert_eq!(device.read(at, 8), value);
        }
        device.write(0x1c, 2, 1);
        assert_eq!(device.read(0x1c, 2), 1);
        device.write(0x20, 8, 0);
        device.write(0x18, 2, 32);
        assert_eq!(device.read(0x20, 8), 0x12_3456_7000);
        assert_eq!(device.read(0x18, 2), 64);
    }
    device.write(0x16, 2, 2);
    assert_eq!(device.read(0x18, 2), 0, "there is no third");
    device.write(0x14, 1, 0);
    device.write(0x16, 2, 0);
    assert_eq!((device.read(0x1c, 2), device.read(0x20, 8)), (0, 0));
    device.write(0x20, 8, 8);
    device.write(0x1c, 2, 1);
    assert_eq!(device.read(0x1c, 2), 0, "it is not aligned");
}

#[test]
fn interrupts_wait_while_they_are_masked() {
    let mut device = Device::new();
    device.write(0x16, 2, 0);
    device.write(0x1a, 2, 1);
    assert_eq!(device.read(0x1a, 2), 1);
    assert_eq!(device.lines[0].raise(), None, "nothing is set up");
    assert_eq!(device.vector(1, 0x41, 0), NOTHING_DUE, "they are off");
    let message = Some((0xfee0_1000, 0x41));
    let due = Effect::Interrupts([None, message, None]);
    assert_eq!(device.set_config(0x42, 2, 0x8000), due, "it was waiting");
    assert_eq!(device.lines[0].raise(), message);
    assert_eq!(device.vector(1, 0x41, 1), NOTHING_DUE);
    assert_eq!(device.lines[0].raise(), None);
    assert_eq!(
        device.vector(1, 0x42, 0),
        Effect::Interrupts([None, Some((0xfee0_1000, 0x42)), None])
    );
    device.set_config(0x42, 2, 0xc000);
    assert_eq!(device.lines[0].raise(), None, "all are masked");
    device.write(0x1a, 2, 7);
    assert_eq!(device.read(0x1a, 2), 0xffff, "there is no such vector");
}

#[test]
fn the_bell_of_the_second_queue_sends() {
    let mut device = Device::new();
    assert_eq!(device.write(0x300, 2, 1), Effect::Send);
    assert_eq!(device.write(0x300, 2, 0), Effect::None);
    assert_eq!(device.write(0x302, 2, 1), Effect::None);
}

#[test]
fn addresses_lead_to_the_adapters_that_there_are() {
    let config = |offset| Place::of(Gpa(ADAPTER_CONFIG + offset), 2);
    let register = |offset| Place::of(Gpa(ADAPTER_REGISTERS + offset), 2);
    assert_eq!(config(0x10), Some(Place::Config(0, 0x10)));
    assert_eq!(config(0x8004), Some(Place::Config(1, 4)));
    assert_eq!(
        config(0x1000),
        Some(Place::Config(MAX_ADAPTERS, 0)),
        "another function: nobody"
    );
    assert_eq!(config(0x1_0000), Some(Place::Config(2, 0)));
    assert_eq!(register(0x1300), Some(Place::Register(1, 0x300)));
    assert_eq!(register(0x2000), None);
    for address in [0, ADAPTER_CONFIG - 1, u64::MAX] {
        assert_eq!(Place::of(Gpa(address), 2), None, "{address:#x}");
    }
    assert_eq!(Place::of(Gpa(ADAPTER_CONFIG), 0), None);
}

proptest! {
    #[test]
    fn no_access_is_answered_wrongly_by_a_panic(
        accesses in vec((0u64..0x1000, 0u8..9, any::<u64>(), 0u8..3), 1..200),
    ) {
        let mut device = Device::new();
        for (at, size, value, kind) in accesses {
            match (kind, Access::new(at as u16, size)) {
                (0, _) => drop(device.read(at, size)),
                (1, _) => drop(device.write(at, size, value)),
                (_, Some(access)) => {
                    device.with(|adapter, queues| adapter.write_config(access, value as u32, queues));
                    let _read = device.adapter.read_config(access);
                }
                _ => {}
            }
            for queue in device.queues {
                prop_assert!(!queue.enabled || queue.size.is_power_of_two());
            }
        }
    }
}
