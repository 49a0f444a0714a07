//! A function whose configuration space is anything, and a cell that writes
//! anything to it; and its MSI-X table.

use crate::input::Numbers;
use cellvisor_core::pci::msix::{Entry, Table};
use cellvisor_core::pci::{Access, Bar, Bdf, Description, Effect, Function};

const WORDS: usize = 1024;

/// BARs never move, the hardware gets no write beyond registers that are named,
/// and nothing is read or written outside of its space.
pub(crate) fn function(bytes: &[u8]) {
    let mut numbers = Numbers::new(bytes);
    let mut space = vec![0u32; WORDS];
    // A function that is there, has a list, and anything in it.
    space[0] = 0x0001_8086;
    space[1] = 1 << 20;
    space[2] = 0x0200_0000;
    space[0x34 / 4] = u32::from(numbers.byte());
    for _ in 0..24 {
        let place = usize::from(numbers.byte()) + 256 * usize::from(numbers.byte() % 4);
        if place >= 16 {
            space[place] = numbers.word();
        }
    }
    let mut bars = [Bar::Unused; 6];
    bars[0] = Bar::Memory {
        base: 0x12_fe80_0000,
        size: 0x8000,
        wide: true,
        prefetchable: false,
    };
    bars[1] = Bar::Upper;
    bars[2] = Bar::Io {
        base: 0xc000,
        size: 0x20,
    };
    let about = Description {
        bdf: Bdf::from_number(0x182),
        virtual_ids: (numbers.byte() & 1 != 0).then_some((0x8086, 0x10ca)),
        bars,
        pin: 0,
        siblings: false,
    };
    let read = |space: &[u32], offset: u16| {
        assert!(offset.is_multiple_of(4));
        space[usize::from(offset) / 4]
    };
    let Ok(mut function) = Function::probe(about, |at| read(&space, at)) else {
        return;
    };
    let places = [0x10, 0x14, 0x18, 0x1c, 0x20, 0x24];
    let at = |offset| Access::new(offset, 4).expect("aligned");
    let before = places.map(|bar| function.read(at(bar), |at| read(&space, at)));
    while !numbers.is_over() {
        let size = 1 << (numbers.byte() % 3);
        let offset = (numbers.word() % 4096) as u16 & !(u16::from(size) - 1);
        let access = Access::new(offset, size).expect("aligned");
        let value = numbers.word();
        match function.write(access, value, |at| read(&space, at)) {
            Effect::Hardware {
                offset: dword,
                value,
            } => {
                assert_eq!(dword, offset & !3);
                // The command register, and bodies of shown capabilities in
                // the first 256 bytes: never ids, BARs, headers.
                assert!(dword == 4 || (0x40..0x100).contains(&dword), "{dword:x}");
                let shown = function.capabilities().iter();
                let inside = |at: u16, len: u8| (at..at + u16::from(len)).contains(&dword);
                let mut bodies = shown.filter(|cap| inside(u16::from(cap.offset), cap.len));
                assert!(dword == 4 || bodies.next().is_some());
                space[usize::from(dword) / 4] = value;
            }
            Effect::Reset => function.reset(),
            Effect::Done | Effect::Refused | Effect::Msi | Effect::Msix => {}
        }
        function.read(access, |at| read(&space, at));
    }
    for (bar, before) in places.into_iter().zip(before) {
        // Ends any sizing.
        function.write(at(bar), 0, |at| read(&space, at));
        assert_eq!(function.read(at(bar), |at| read(&space, at)), before);
    }
    table(bytes);
}

/// The table against plain bytes.
fn table(bytes: &[u8]) {
    const ENTRIES: usize = 3;
    let mut storage = [Entry::RESET; ENTRIES];
    let mut table = Table::new(&mut storage);
    let mut model = [0u32; ENTRIES * 4];
    model
        .iter_mut()
        .skip(3)
        .step_by(4)
        .for_each(|control| *control = 1);
    let mut numbers = Numbers::new(bytes);
    while !numbers.is_over() {
        let size = numbers.byte() % 9;
        let offset = u32::from(numbers.byte() % 64);
        let value = numbers.long();
        let good = matches!(size, 4 | 8) && offset.is_multiple_of(u32::from(size)) && offset < 48;
        let told = table.write(offset, size, value);
        assert_eq!(told, good.then_some((offset / 16) as u16));
        if good {
            for half in 0..u32::from(size / 4) {
                let defined = [!3, u32::MAX, u32::MAX, 1];
                let word = (offset / 4 + half) as usize;
                model[word] = (value >> (32 * half)) as u32 & defined[word % 4];
            }
        }
        for (word, wanted) in (0u32..).zip(model) {
            assert_eq!(table.read(word * 4, 4), u64::from(wanted));
        }
    }
}
