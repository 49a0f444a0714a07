//! What leads to functions: bridges, and the host bridge with its window to
//! configuration space. Their numbers and windows decide which function answers at an
//! address, and under which name a function's DMA arrives. While there are cells, the
//! root leaves them alone.
//!
//! Spec: PCI-to-PCI Bridge Architecture 1.2, "PCI-to-PCI Bridge Configuration Space
//! Header Format".

use super::Access;

const CLASS: u16 = 0x08;
const HOST_BRIDGE: u32 = 0x0600;
const HEADER: u16 = 0x0c;
/// Header type of a PCI-to-PCI bridge.
const BRIDGE: u32 = 1;
const HEADER_END: u16 = 0x40;
/// Primary, secondary and subordinate bus.
const BUSES: u16 = 0x18;
const BUS_BITS: u32 = 0x00ff_ffff;

/// Bits of four bytes of a bridge's header that its functions depend on.
const fn kept(offset: u16) -> u32 {
    match offset {
        // Memory decoding and bus mastering.
        0x04 => 0b110,
        // Window of I/O ports; the upper half is the secondary status.
        0x1c => 0xffff,
        // Windows of memory, with their upper halves and those of the ports'.
        0x20..=0x30 => u32::MAX,
        // Bridge control: reset of the bus.
        0x3c => 0xffff_0000,
        _ => 0,
    }
}

/// True if the root may write this to the function of which `read` returns four
/// bytes at a multiple of 4. `is_given` says whether a cell has a function on one of
/// the buses from its first argument to its second.
pub fn may_write(
    read: &mut dyn FnMut(u16) -> u32,
    access: Access,
    value: u32,
    is_given: &dyn Fn(u8, u8) -> bool,
) -> bool {
    if read(CLASS) >> 16 == HOST_BRIDGE {
        return false;
    }
    let dword = access.dword();
    if dword >= HEADER_END || read(HEADER) >> 16 & 0x7f != BRIDGE {
        return true;
    }
    let before = read(dword);
    let after = access.merge(before, value);
    // No bridge leads to bus 0, where one without numbers seems to lead.
    let leads = |buses: u32| is_given(((buses >> 8) as u8).max(1), (buses >> 16) as u8);
    if dword == BUSES {
        return (before ^ after) & BUS_BITS == 0 || !leads(before) && !leads(after);
    }
    (before ^ after) & kept(dword) == 0 || !leads(read(BUSES))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bridge from bus 0 to the buses 1 to 3, and its window of memory.
    fn bridge(offset: u16) -> u32 {
        match offset {
            0x04 => 0x0010_0507,
            0x08 => 0x0604_0000,
            0x0c => 0x0001_0000,
            0x18 => 0x4003_0100,
            0x20 => 0xfe90_fe80,
            0x3c => 0x0002_010b,
            _ => 0,
        }
    }

    /// The same without numbers, as after a reset.
    fn unused(offset: u16) -> u32 {
        if offset == 0x18 { 0 } else { bridge(offset) }
    }

    fn host(offset: u16) -> u32 {
        if offset == 0x08 { 0x0600_0000 } else { 0 }
    }

    /// A write of the root while cells have a function on bus 0 and one on bus 2.
    fn may(mut read: fn(u16) -> u32, offset: u16, size: u8, value: u32) -> bool {
        let access = Access::new(offset, size).expect("aligned");
        may_write(&mut read, access, value, &|first, last| {
            [0, 2].iter().any(|bus| (first..=last).contains(bus))
        })
    }

    #[test]
    fn a_bridge_to_a_cells_function_keeps_its_numbers() {
        assert!(!may(bridge, 0x18, 4, 0x4000_0000), "taken away");
        assert!(!may(bridge, 0x19, 1, 2), "secondary");
        assert!(!may(bridge, 0x1a, 1, 4), "subordinate");
        assert!(!may(bridge, 0x18, 1, 7), "primary");
        assert!(may(bridge, 0x18, 4, 0x4003_0100), "what it is");
        assert!(may(bridge, 0x1b, 1, 0x20), "the timer");
    }

    #[test]
    fn no_other_bridge_takes_the_number_of_a_cells_bus() {
        assert!(!may(unused, 0x18, 4, 0x0002_0200));
        assert!(!may(unused, 0x18, 4, 0x0003_0100));
        assert!(!may(unused, 0x1a, 1, 2), "from bus 0 on");
        assert!(may(unused, 0x18, 4, 0x0001_0100));
        assert!(may(unused, 0x18, 4, 0x0005_0300));
        assert!(may(unused, 0x18, 4, 0), "bus 0 is behind no bridge");
    }

    #[test]
    fn windows_and_reset_are_kept_where_a_cells_function_is_behind() {
        for offset in [0x1c, 0x20, 0x24, 0x28, 0x2c, 0x30] {
            assert!(!may(bridge, offset, 2, 0x1230), "{offset:x}");
            assert!(may(unused, offset, 2, 0x1230), "{offset:x}");
        }
        assert!(may(bridge, 0x20, 4, 0xfe90_fe80), "what it is");
        assert!(may(bridge, 0x1e, 2, 0xffff), "secondary status");
        assert!(!may(bridge, 0x3e, 2, 0x42), "reset of the bus");
        assert!(may(bridge, 0x3c, 1, 5), "interrupt line");
        assert!(!may(bridge, 0x04, 2, 0x0503), "no bus mastering");
        assert!(!may(bridge, 0x04, 2, 0x0505), "no decoding");
        assert!(may(bridge, 0x04, 2, 0x0107), "errors are not reported");
        assert!(may(bridge, 0x40, 4, 0) && may(bridge, 0x100, 4, 0));
    }

    #[test]
    fn a_host_bridge_takes_nothing() {
        // Where QEMU's has the base of configuration space, and its command.
        assert!(!may(host, 0x60, 4, 0x8000_0001) && !may(host, 0x04, 2, 0));
    }

    #[test]
    fn other_functions_are_the_roots_own_affair() {
        let plain = |offset: u16| if offset == 0x08 { 0x0200_0000 } else { 0 };
        assert!(may(plain, 0x18, 4, 0x0002_0200) && may(plain, 0x04, 2, 0));
    }
}
