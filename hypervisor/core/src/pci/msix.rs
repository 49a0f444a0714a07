//! MSI-X tables: the cell writes a shadow, the hardware gets what the monitor
//! makes of it.

/// Bytes of one entry.
pub const ENTRY_SIZE: u32 = 16;

/// Where a table or an array of pending bits lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Number of the BAR.
    pub bar: u8,
    /// Offset in it, in bytes.
    pub offset: u32,
}

/// What the capability says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Entries of the table, 1 to 2,048.
    pub entries: u16,
    /// The table.
    pub table: Place,
    /// The pending bits.
    pub pending: Place,
}

impl Layout {
    /// From the capability's twelve bytes.
    #[must_use]
    pub const fn new(header: u32, table: u32, pending: u32) -> Self {
        Self {
            entries: (header >> 16 & 0x7ff) as u16 + 1,
            table: place(table),
            pending: place(pending),
        }
    }

    /// Offsets in the table's BAR, multiples of 4 KiB, between which accesses
    /// have to be intercepted.
    #[must_use]
    pub fn guarded(&self) -> (u64, u64) {
        let start = u64::from(self.table.offset);
        let end = start + u64::from(self.entries) * u64::from(ENTRY_SIZE);
        (start & !0xfff, end.next_multiple_of(0x1000))
    }

    /// Offset of byte `offset` of the BAR in the table; `None` outside.
    #[must_use]
    pub fn in_table(&self, offset: u64) -> Option<u32> {
        let inside = offset.checked_sub(u64::from(self.table.offset))?;
        let len = u32::from(self.entries) * ENTRY_SIZE;
        u32::try_from(inside).ok().filter(|inside| *inside < len)
    }
}

const fn place(register: u32) -> Place {
    Place {
        bar: (register & 7) as u8,
        offset: register & !7,
    }
}

/// One entry, as the cell wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Message address.
    pub address: u64,
    /// Message data.
    pub data: u32,
    /// The entry sends nothing.
    pub masked: bool,
}

impl Entry {
    /// As after a reset.
    pub const RESET: Self = Self {
        address: 0,
        data: 0,
        masked: true,
    };
}

/// A cell's table. The storage bounds what can be written.
#[derive(Debug)]
pub struct Table<S> {
    entries: S,
}

impl<S: AsRef<[Entry]> + AsMut<[Entry]>> Table<S> {
    /// A table as after a reset, with an entry for each of `entries`.
    #[must_use]
    pub fn new(mut entries: S) -> Self {
        entries.as_mut().fill(Entry::RESET);
        Self { entries }
    }

    /// The entries.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        self.entries.as_ref()
    }

    /// Reads 4 or 8 bytes at `offset`; zero for what is not defined.
    #[must_use]
    pub fn read(&self, offset: u32, size: u8) -> u64 {
        let low = u64::from(self.read_half(offset));
        match size {
            8 => low | u64::from(self.read_half(offset.wrapping_add(4))) << 32,
            _ => low,
        }
    }

    /// Writes 4 or 8 bytes at `offset` and returns which entry it was, to be
    /// looked at again. Other sizes, unaligned writes and writes past the end
    /// are undefined by the specification and change nothing.
    pub fn write(&mut self, offset: u32, size: u8, value: u64) -> Option<u16> {
        if !matches!(size, 4 | 8) || !offset.is_multiple_of(u32::from(size)) {
            return None;
        }
        let index = offset / ENTRY_SIZE;
        let entry = self.entries.as_mut().get_mut(index as usize)?;
        write_half(entry, offset % ENTRY_SIZE, value as u32);
        if size == 8 {
            write_half(entry, offset % ENTRY_SIZE + 4, (value >> 32) as u32);
        }
        u16::try_from(index).ok()
    }

    fn read_half(&self, offset: u32) -> u32 {
        let Some(entry) = self.entries.as_ref().get((offset / ENTRY_SIZE) as usize) else {
            return 0;
        };
        match offset % ENTRY_SIZE {
            0 => entry.address as u32,
            4 => (entry.address >> 32) as u32,
            8 => entry.data,
            12 => u32::from(entry.masked),
            _ => 0,
        }
    }
}

fn write_half(entry: &mut Entry, register: u32, value: u32) {
    match register {
        0 => entry.address = entry.address & !0xffff_ffff | u64::from(value & !3),
        4 => entry.address = entry.address & 0xffff_ffff | u64::from(value) << 32,
        8 => entry.data = value,
        _ => entry.masked = value & 1 != 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn layout_of_an_nvme_controller() {
        // 9 entries at 0x2000 of BAR 0, pending bits at 0x3000.
        let layout = Layout::new(0x8008_0011, 0x2000, 0x3000);
        assert_eq!(layout.entries, 9);
        assert_eq!(layout.guarded(), (0x2000, 0x3000));
        assert_eq!(layout.in_table(0x2010), Some(16));
        assert_eq!(layout.in_table(0x2000 + 9 * 16), None, "behind the last");
        assert_eq!(layout.in_table(0x1fff), None);
    }

    #[test]
    fn writes_are_seen_and_reported() {
        let mut storage = [Entry::RESET; 2];
        let mut table = Table::new(&mut storage);
        assert_eq!(table.write(16, 4, 0xfee0_1003), Some(1));
        assert_eq!(table.write(24, 8, 0x42), Some(1), "data, unmasked");
        assert_eq!(
            table.entries()[1],
            Entry {
                address: 0xfee0_1000,
                data: 0x42,
                masked: false
            }
        );
        assert_eq!(table.read(24, 8), 0x42);
        assert_eq!(table.write(32, 4, 1), None, "past the end");
        assert_eq!(table.write(2, 2, 1), None, "too small");
        assert_eq!(table.write(20, 8, 1), None, "unaligned");
    }

    proptest! {
        #[test]
        fn any_access_stays_within_the_table(offset: u32, size: u8, value: u64) {
            let mut storage = [Entry::RESET; 3];
            let mut table = Table::new(&mut storage);
            if let Some(index) = table.write(offset, size, value) {
                prop_assert!(index < 3 && offset < 48);
                let ones = if size == 8 { u64::MAX } else { 0xffff_ffff };
                let defined = match offset % 16 { 0 => !3, 8 => !0xffff_fffe_0000_0000, 12 => 1, _ => u64::MAX };
                prop_assert_eq!(table.read(offset, size), value & ones & defined);
            } else {
                prop_assert!(table.entries().iter().all(|entry| *entry == Entry::RESET));
                prop_assert!(offset < 48 || table.read(offset, size) == 0);
            }
        }
    }

    #[test]
    fn tables_of_several_pages() {
        // 300 entries are 4,800 bytes, in BAR 4 from 800H on.
        let layout = Layout::new(299 << 16, 0x804, 0x3005);
        assert_eq!(
            layout.table,
            Place {
                bar: 4,
                offset: 0x800
            }
        );
        assert_eq!(
            layout.pending,
            Place {
                bar: 5,
                offset: 0x3000
            }
        );
        assert_eq!(layout.guarded(), (0, 0x2000));
        assert_eq!(layout.in_table(0x800 + 4799), Some(4799));
        assert_eq!(layout.in_table(0x800 + 4800), None);
    }

    #[test]
    fn every_register_of_an_entry() {
        let used = Entry {
            address: 1,
            data: 2,
            masked: false,
        };
        let mut storage = [used; 2];
        let mut table = Table::new(&mut storage);
        assert_eq!(table.entries(), [Entry::RESET; 2], "whatever was there");
        assert_eq!(table.read(28, 4), 1, "masked");
        assert_eq!(table.write(16, 8, 0x1111_2222_fee0_1007), Some(1));
        assert_eq!(table.write(24, 8, 0xffff_fffe_0000_0042), Some(1));
        let set = Entry {
            address: 0x1111_2222_fee0_1004,
            data: 0x42,
            masked: false,
        };
        assert_eq!(table.entries(), [Entry::RESET, set]);
        assert_eq!(table.read(16, 8), set.address);
        assert_eq!(
            (table.read(16, 4), table.read(20, 4)),
            (0xfee0_1004, 0x1111_2222)
        );
        assert_eq!((table.read(24, 4), table.read(28, 4)), (0x42, 0));
        assert_eq!(table.write(20, 4, 0x3333), Some(1));
        assert_eq!(table.write(28, 4, 1), Some(1));
        assert_eq!(table.read(16, 8), 0x3333_fee0_1004);
        assert_eq!(table.read(24, 8), 1 << 32 | 0x42);
        assert_eq!(table.read(18, 4), 0, "no register begins there");
        assert_eq!(table.write(0, 4, 0x55), Some(0));
        assert_eq!(table.entries()[0].address, 0x54);
    }
}
