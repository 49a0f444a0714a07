//! What `_CRS` says a root bridge passes on (ACPI, "Resource Data Types for
//! ACPI").

use acpi::aml::object::{Object, WrappedObject};
use acpi::aml::resource::{
    AddressSpaceDescriptor, AddressSpaceResourceType, MemoryRangeDescriptor, Resource,
    resource_descriptor_list,
};
use cellvisor_planner::host::{Space, Window};

/// Descriptors that a root bridge has; of others, the interpreter knows some
/// and gives up over the rest.
const WORD: u8 = 0x88;
const DOUBLE: u8 = 0x87;
const QUAD: u8 = 0x8a;
const FIXED_MEMORY: u8 = 0x86;
const PORTS: u8 = 0x47;

/// The last kind of an address space that is no vendor's own: buses.
const LAST_KIND: u8 = 2;

/// First and last port of the configuration mechanism.
const CONFIGURATION: (u64, u64) = (0xcf8, 0xcff);

/// The resources of one bridge.
#[derive(Debug, Default)]
pub(crate) struct Resources {
    /// First and last bus.
    pub(crate) buses: Option<(u8, u8)>,
    /// What it passes on.
    pub(crate) windows: Vec<Window>,
    /// What it takes for itself: no windows.
    pub(crate) own: Vec<Window>,
}

/// Resources of the bridge whose `_CRS` is `template`.
///
/// # Errors
///
/// It is no resource template, or holds what this program does not know.
pub(crate) fn resources(template: WrappedObject) -> Result<Resources, String> {
    let Object::Buffer(bytes) = &*template else {
        return Err("_CRS is no buffer".into());
    };
    understood(bytes)?;
    let list = resource_descriptor_list(template.clone())
        .map_err(|why| format!("_CRS is malformed: {why:?}"))?;
    let mut found = Resources::default();
    for resource in list {
        match resource {
            Resource::AddressSpace(range) => address_space(&mut found, &range)?,
            Resource::MemoryRange(MemoryRangeDescriptor::FixedLocation {
                base_address,
                range_length,
                ..
            }) => {
                let window = window(Space::Mem, base_address.into(), range_length.into());
                found.own.extend(window);
            }
            Resource::IOPort(ports) => {
                let window = window(
                    Space::Io,
                    ports.memory_range.0.into(),
                    ports.range_length.into(),
                );
                found.own.extend(window);
            }
            _ => return Err("_CRS holds what is neither bus, port nor memory".into()),
        }
    }
    Ok(found)
}

/// A range of buses, or a window.
fn address_space(found: &mut Resources, range: &AddressSpaceDescriptor) -> Result<(), String> {
    let (first, last) = range.address_range;
    let space = match range.resource_type {
        AddressSpaceResourceType::BusNumberRange => {
            let buses = u8::try_from(first).ok().zip(u8::try_from(last).ok());
            let buses = buses.ok_or_else(|| format!("_CRS has buses {first:#x} to {last:#x}"))?;
            return match found.buses.replace(buses) {
                None => Ok(()),
                Some(_) => Err("_CRS has two ranges of buses".into()),
            };
        }
        AddressSpaceResourceType::IORange => Space::Io,
        AddressSpaceResourceType::MemoryRange => Space::Mem,
    };
    // Addresses of the CPU are those of the bus plus this.
    let shift = |address: u64| address.wrapping_add(range.translation_offset);
    if range.length == 0 {
        return Ok(());
    }
    let window = Window {
        space,
        start: shift(first),
        end: shift(last),
        prefetchable: false,
    };
    if space == Space::Io && (window.start, window.end) == CONFIGURATION {
        found.own.push(window);
    } else {
        found.windows.push(window);
    }
    Ok(())
}

fn window(space: Space, start: u64, length: u64) -> Option<Window> {
    Some(Window {
        space,
        start,
        end: start.checked_add(length.checked_sub(1)?)?,
        prefetchable: false,
    })
}

/// Refuses what the interpreter's own reader of templates panics over.
fn understood(mut bytes: &[u8]) -> Result<(), String> {
    const END: u8 = 0xf;
    loop {
        let (tag, length) = match *bytes {
            [tag, low, high, ..] if tag & 0x80 != 0 => {
                (tag, 3 + usize::from(u16::from_le_bytes([low, high])))
            }
            [tag, ..] if tag & 0x80 == 0 => (tag, 1 + usize::from(tag & 7)),
            _ => return Err("_CRS has no end".into()),
        };
        if tag >> 3 == END {
            return Ok(());
        }
        let kind = bytes.get(3).copied().unwrap_or(u8::MAX);
        match tag {
            WORD | DOUBLE | QUAD if kind <= LAST_KIND => {}
            FIXED_MEMORY | PORTS => {}
            _ => {
                return Err(format!(
                    "_CRS has a descriptor {tag:#x} that is not understood"
                ));
            }
        }
        bytes = bytes.get(length..).ok_or("_CRS has no end")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: &[u8]) -> Result<Resources, String> {
        resources(Object::Buffer(bytes.to_vec()).wrap())
    }

    #[test]
    fn registers_of_the_bridge_are_no_windows() {
        // IO (Decode16, 0x0CF8, 0x0CF8, 0x01, 0x08)
        let found = of(&[0x47, 1, 0xf8, 0x0c, 0xf8, 0x0c, 1, 8, 0x79, 0]).expect("understood");
        assert!(found.windows.is_empty());
        let own: Vec<_> = found.own.iter().map(|w| (w.start, w.end)).collect();
        assert_eq!(own, [(0xcf8, 0xcff)]);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let extended = of(&[0x8b, 1, 0, 0, 0x79, 0]).expect_err("refused");
        assert!(extended.contains("descriptor 0x8b"), "{extended}");
        assert!(of(&[0x8a, 0x2b, 0]).is_err());
        assert!(of(&[]).is_err());
    }
}
