//! The reset vector: what a cell has instead of a BIOS.
//!
//! On a hardware-reduced machine Linux takes EFI for the way to reboot, and where
//! there is none it goes back to real mode and jumps to the BIOS; the FADT's
//! reset register is not asked. So a few instructions wait where the BIOS would
//! be and write that register.

use cellvisor_abi::plan::{Devices, RESET_VALUE};

/// Guest-physical address of the real-mode address F000:FFF0.
pub const RESET_VECTOR: u64 = 0xf_fff0;

/// Bytes from there to the end of the first MiB.
pub const RESET_CODE_SIZE: usize = 16;

/// Real-mode code for [`RESET_VECTOR`] that resets the cell; `None` without the
/// ports for it.
///
/// The memory map must not call these bytes RAM, or the kernel overwrites them.
#[must_use]
pub const fn reset_code(devices: &Devices) -> Option<[u8; RESET_CODE_SIZE]> {
    let Some(port) = devices.power_port.checked_add(2) else {
        return None;
    };
    if devices.power_port == 0 {
        return None;
    }
    let [low, high] = port.to_le_bytes();
    let mut code = [0; RESET_CODE_SIZE];
    let text = [
        0xba,
        low,
        high, // mov dx, port
        0xb0,
        RESET_VALUE, // mov al, value
        0xee,        // out dx, al
        0xf4,        // hlt
        0xeb,
        0xfd, // jmp to hlt
    ];
    let mut i = 0;
    while i < text.len() {
        code[i] = text[i];
        i += 1;
    }
    Some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_writes_the_reset_register() {
        let code = reset_code(&Devices::STANDARD).expect("ports");
        assert_eq!(
            code[..9],
            [0xba, 0x02, 0x06, 0xb0, 1, 0xee, 0xf4, 0xeb, 0xfd]
        );
    }

    #[test]
    fn no_ports_no_code() {
        for power_port in [0, 0xfffe] {
            let devices = Devices {
                power_port,
                ..Devices::STANDARD
            };
            assert_eq!(reset_code(&devices), None);
        }
    }
}
