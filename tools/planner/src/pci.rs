//! Addresses of PCI functions.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// Segment, bus, device and function, as in `0000:8c:00.0`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// Segment group.
    pub segment: u16,
    /// Bus.
    pub bus: u8,
    /// Device (5 bits) and function (3 bits) as configuration space counts
    /// them. Virtual functions use all 8 bits as one number.
    pub devfn: u8,
}

impl Address {
    /// The function with this number; inverse of [`Address::number`].
    #[must_use]
    pub const fn from_number(number: u32) -> Self {
        let [devfn, bus, low, high] = number.to_le_bytes();
        Self {
            segment: u16::from_le_bytes([low, high]),
            bus,
            devfn,
        }
    }

    /// `segment << 16 | bus << 8 | devfn`, as plans for the monitor name it.
    #[must_use]
    pub const fn number(self) -> u32 {
        let [low, high] = self.segment.to_le_bytes();
        u32::from_le_bytes([self.devfn, self.bus, low, high])
    }

    /// The requester id: the low half of [`Address::number`].
    #[must_use]
    pub const fn requester(self) -> u16 {
        u16::from_le_bytes([self.devfn, self.bus])
    }

    /// The function `distance` requester ids further on in the same segment;
    /// `None` past its end.
    #[must_use]
    pub fn offset(self, distance: u32) -> Option<Self> {
        let id = u32::from(self.requester()).checked_add(distance)?;
        let [devfn, bus] = u16::try_from(id).ok()?.to_le_bytes();
        Some(Self { bus, devfn, ..self })
    }

    /// Its device number.
    #[must_use]
    pub const fn device(self) -> u8 {
        self.devfn >> 3
    }

    /// Its function number.
    #[must_use]
    pub const fn function(self) -> u8 {
        self.devfn & 7
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (device, function) = (self.device(), self.function());
        write!(
            f,
            "{:04x}:{:02x}:{device:02x}.{function}",
            self.segment, self.bus
        )
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text is no address of a PCI function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadAddress;

impl fmt::Display for BadAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an address looks like 0000:8c:00.0 (segment:bus:device.function)")
    }
}

impl FromStr for Address {
    type Err = BadAddress;

    /// The segment may be left out, as in `8c:00.0`.
    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let hex = |t: &str, digits: usize| match t.len() <= digits && !t.starts_with('+') {
            true => u16::from_str_radix(t, 16).map_err(|_| BadAddress),
            false => Err(BadAddress),
        };
        let (rest, function) = text.rsplit_once('.').ok_or(BadAddress)?;
        let (rest, device) = rest.rsplit_once(':').ok_or(BadAddress)?;
        let (segment, bus) = rest.rsplit_once(':').unwrap_or(("0", rest));
        let (device, function) = (hex(device, 2)?, hex(function, 1)?);
        if device > 31 || function > 7 {
            return Err(BadAddress);
        }
        Ok(Self {
            segment: hex(segment, 4)?,
            bus: hex(bus, 2)?.try_into().map_err(|_| BadAddress)?,
            devfn: (device << 3 | function)
                .try_into()
                .map_err(|_| BadAddress)?,
        })
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_back_as_they_print() {
        for text in ["0000:8c:00.0", "0001:ff:1f.7", "10ab:00:01.2"] {
            let address: Address = text.parse().expect("an address");
            assert_eq!(address.to_string(), text);
            assert_eq!(Address::from_number(address.number()), address);
        }
        assert_eq!(
            "8c:00.0".parse::<Address>().map(Address::number),
            Ok(0x8c00)
        );
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "8c",
            "8c:00",
            "8c:20.0",
            "8c:00.8",
            "1:2:3:4.5",
            "x:00.0",
            "8c:+1.0",
        ] {
            assert_eq!(text.parse::<Address>(), Err(BadAddress), "{text}");
        }
    }

    #[test]
    fn offset_crosses_buses_but_not_segments() {
        let pf: Address = "0000:8d:00.0".parse().expect("an address");
        assert_eq!(
            pf.offset(0x100).map(|a| a.to_string()).as_deref(),
            Some("0000:8e:00.0")
        );
        assert_eq!(pf.offset(0x1_0000), None);
    }
}
