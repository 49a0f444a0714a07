//! Addresses of PCI functions.

use crate::wire::{Put, Reader, Take, Writer};
use core::fmt;
use core::str::FromStr;

/// Segment, bus, device and function, as in `0000:8c:00.0`.
///
/// As text for people (JSON, TOML), as [`Bdf::number`] on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bdf {
    /// Segment group.
    pub segment: u16,
    /// Requester id: bus (8 bits), device (5) and function (3), as configuration
    /// space counts them. Virtual functions use all 8 bits behind the bus as one
    /// number (PCI Express Base, "Alternative Routing-ID Interpretation").
    pub requester: u16,
}

impl Bdf {
    /// The function with these numbers; `devfn` is device and function.
    #[must_use]
    pub const fn new(segment: u16, bus: u8, devfn: u8) -> Self {
        Self {
            segment,
            requester: u16::from_le_bytes([devfn, bus]),
        }
    }

    /// The function with this number; inverse of [`Bdf::number`].
    #[must_use]
    pub const fn from_number(number: u32) -> Self {
        Self {
            segment: (number >> 16) as u16,
            requester: number as u16,
        }
    }

    /// `segment << 16 | bus << 8 | devfn`: the requester id in the low half.
    #[must_use]
    pub const fn number(self) -> u32 {
        (self.segment as u32) << 16 | self.requester as u32
    }

    /// The function `distance` requester ids further on in the same segment;
    /// `None` past its end.
    #[must_use]
    pub fn offset(self, distance: u32) -> Option<Self> {
        let id = u32::from(self.requester).checked_add(distance)?;
        let requester = u16::try_from(id).ok()?;
        Some(Self { requester, ..self })
    }

    /// Bus number.
    #[must_use]
    pub const fn bus(self) -> u8 {
        (self.requester >> 8) as u8
    }

    /// Device and function number, as configuration space counts them.
    #[must_use]
    pub const fn devfn(self) -> u8 {
        self.requester as u8
    }

    /// Device number, 0 to 31.
    #[must_use]
    pub const fn device(self) -> u8 {
        self.devfn() >> 3
    }

    /// Function number, 0 to 7.
    #[must_use]
    pub const fn function(self) -> u8 {
        self.devfn() & 7
    }
}

impl fmt::Display for Bdf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bus, device, function) = (self.bus(), self.device(), self.function());
        write!(f, "{:04x}:{bus:02x}:{device:02x}.{function}", self.segment)
    }
}

impl fmt::Debug for Bdf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text is no address of a PCI function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadBdf;

impl fmt::Display for BadBdf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an address looks like 0000:8c:00.0 (segment:bus:device.function)")
    }
}

impl core::error::Error for BadBdf {}

impl FromStr for Bdf {
    type Err = BadBdf;

    /// The segment may be left out, as in `8c:00.0`.
    fn from_str(text: &str) -> Result<Self, BadBdf> {
        let hex = |t: &str, digits: usize| match t.len() <= digits && !t.starts_with('+') {
            true => u16::from_str_radix(t, 16).map_err(|_| BadBdf),
            false => Err(BadBdf),
        };
        let (rest, function) = text.rsplit_once('.').ok_or(BadBdf)?;
        let (rest, device) = rest.rsplit_once(':').ok_or(BadBdf)?;
        let (segment, bus) = rest.rsplit_once(':').unwrap_or(("0", rest));
        let (device, function) = (hex(device, 2)?, hex(function, 1)?);
        if device > 31 || function > 7 {
            return Err(BadBdf);
        }
        Ok(Self {
            segment: hex(segment, 4)?,
            requester: hex(bus, 2)? << 8 | device << 3 | function,
        })
    }
}

impl Take<'_> for Bdf {
    fn take(from: &mut Reader<'_>) -> Self {
        Self::from_number(Take::take(from))
    }
}

impl Put for Bdf {
    fn put(&self, to: &mut Writer<'_>) {
        self.number().put(to);
    }
}

#[cfg(test)]
impl crate::wire::any::Any for Bdf {
    fn any(seed: &mut crate::wire::any::Seed) -> Self {
        Self::from_number(crate::wire::any::Any::any(seed))
    }
}

#[cfg(feature = "serde")]
mod text {
    use super::{Bdf, fmt};
    use serde::de::{Error, Visitor};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    impl Serialize for Bdf {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_str(self)
        }
    }

    impl<'de> Deserialize<'de> for Bdf {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_str(Text)
        }
    }

    /// Reads an address from text.
    struct Text;

    impl Visitor<'_> for Text {
        type Value = Bdf;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the address of a PCI function")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Bdf, E> {
            text.parse().map_err(E::custom)
        }
    }

    #[cfg(test)]
    mod tests {
        extern crate std;

        use super::*;
        use serde::de::IntoDeserializer;
        use serde::de::value::{Error, StrDeserializer};
        use std::string::ToString;

        #[test]
        fn text_is_read_where_people_write_it() {
            let read = |text: &'static str| {
                let text: StrDeserializer<'_, Error> = text.into_deserializer();
                Bdf::deserialize(text)
            };
            assert_eq!(read("0001:8c:00.1"), Ok(Bdf::new(1, 0x8c, 1)));
            let error = read("8c").expect_err("no address").to_string();
            assert!(error.contains("0000:8c:00.0"), "{error}");
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use proptest::prelude::*;
    use std::string::ToString;

    #[test]
    fn addresses_read_back_as_they_print() {
        for text in ["0000:8c:00.0", "0001:ff:1f.7", "10ab:00:01.2"] {
            let address: Bdf = text.parse().expect("an address");
            assert_eq!(address.to_string(), text);
            assert_eq!(Bdf::from_number(address.number()), address);
        }
        assert_eq!("8c:00.0".parse::<Bdf>().map(Bdf::number), Ok(0x8c00));
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
            "100:00.0",
        ] {
            assert_eq!(text.parse::<Bdf>(), Err(BadBdf), "{text}");
        }
    }

    #[test]
    fn offset_crosses_buses_but_not_segments() {
        let pf: Bdf = "0000:8d:00.0".parse().expect("an address");
        assert_eq!(
            pf.offset(0x100).map(|a| a.to_string()).as_deref(),
            Some("0000:8e:00.0")
        );
        assert_eq!(pf.offset(0x1_0000), None);
    }

    proptest! {
        #[test]
        fn every_address_survives_number_and_text(number: u32) {
            let bdf = Bdf::from_number(number);
            prop_assert_eq!(bdf.number(), number);
            prop_assert_eq!(bdf.to_string().parse(), Ok(bdf));
            prop_assert_eq!(Bdf::new(bdf.segment, bdf.bus(), bdf.devfn()), bdf);
        }
    }
}
