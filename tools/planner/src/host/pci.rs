//! PCI functions, bridges and root buses.

use cellvisor_abi::Bdf;
use serde::{Deserialize, Serialize};

/// Address spaces of windows and BARs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Space {
    /// I/O ports.
    Io,
    /// Memory.
    Mem,
}

/// A stretch of an address space that a bridge forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Window {
    /// Which space.
    pub space: Space,
    /// First byte or port.
    pub start: u64,
    /// Last byte or port.
    pub end: u64,
    /// Memory without side effects on reads.
    #[serde(default, skip_serializing_if = "is_false")]
    pub prefetchable: bool,
}

impl Window {
    /// True if all of `start..=end` of `space` is inside.
    #[must_use]
    pub fn contains(&self, space: Space, start: u64, end: u64) -> bool {
        self.space == space && self.start <= start && end <= self.end
    }
}

/// A PCI root bus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RootBus {
    /// Segment group.
    #[serde(default)]
    pub segment: u16,
    /// Its own number.
    pub first_bus: u8,
    /// Last bus below it.
    pub last_bus: u8,
    /// NUMA node next to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<u32>,
    /// What it forwards.
    pub windows: Vec<Window>,
}

/// A base address register that is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Bar {
    /// 0 to 5.
    pub index: u8,
    /// Which space.
    pub space: Space,
    /// First byte or port; 0 if no address was assigned.
    pub start: u64,
    /// Bytes or ports.
    pub size: u64,
    /// Memory without side effects on reads.
    #[serde(default, skip_serializing_if = "is_false")]
    pub prefetchable: bool,
    /// It takes two registers.
    #[serde(default, skip_serializing_if = "is_false")]
    pub wide: bool,
}

/// What a bridge forwards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Bridge {
    /// Bus right below it.
    pub secondary: u8,
    /// Last bus below it.
    pub subordinate: u8,
    /// Address ranges that it forwards.
    #[serde(default)]
    pub windows: Vec<Window>,
    /// It keeps peers below it apart (ACS).
    #[serde(default, skip_serializing_if = "is_false")]
    pub acs: bool,
}

/// The SR-IOV capability of a physical function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Sriov {
    /// Most VFs that it can have.
    pub total_vfs: u16,
    /// VFs that it has now.
    #[serde(default)]
    pub num_vfs: u16,
    /// Requester ids from the PF to VF 0.
    pub offset: u16,
    /// Requester ids from one VF to the next.
    pub stride: u16,
    /// Device id of the VFs.
    pub vf_device: u16,
    /// BARs of all VFs together: VF *n* has the *n*-th of `total_vfs` equal
    /// parts.
    #[serde(default)]
    pub bars: Vec<Bar>,
}

impl Sriov {
    /// Address of virtual function `vf`; `None` beyond the segment's last bus.
    #[must_use]
    pub fn vf(&self, pf: Bdf, vf: u16) -> Option<Bdf> {
        pf.offset(u32::from(self.offset) + u32::from(self.stride) * u32::from(vf))
    }
}

/// One PCI function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Function {
    /// Its address.
    pub address: Bdf,
    /// Vendor id.
    pub vendor: u16,
    /// Device id.
    pub device: u16,
    /// Class, subclass and programming interface: `0x020000` is Ethernet.
    pub class: u32,
    /// What people call it; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// NUMA node next to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<u32>,
    /// IOMMU group, if Linux drives an IOMMU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<u32>,
    /// Driver that has it now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// Ways to reset it, as Linux names them.
    #[serde(default)]
    pub reset: Vec<String>,
    /// MSI-X vectors.
    #[serde(default)]
    pub msix: u16,
    /// BARs in use.
    #[serde(default)]
    pub bars: Vec<Bar>,
    /// What it forwards, if it is a bridge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bridge: Option<Bridge>,
    /// Its SR-IOV capability.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sriov: Option<Sriov>,
    /// For a virtual function: its physical function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pf: Option<Bdf>,
    /// It is on a bus without PCI Express, or behind a bridge to such a bus.
    #[serde(default, skip_serializing_if = "is_false")]
    pub conventional: bool,
    /// It keeps its DMA apart from that of other functions of its device (ACS).
    #[serde(default, skip_serializing_if = "is_false")]
    pub acs: bool,
    /// It has an interrupt pin, and neither MSI nor MSI-X.
    #[serde(default, skip_serializing_if = "is_false")]
    pub pin_only: bool,
}

impl Function {
    /// Base class and subclass.
    #[must_use]
    pub const fn kind(&self) -> u32 {
        self.class >> 8
    }

    /// What it is, in a word or two.
    #[must_use]
    pub fn what(&self) -> &'static str {
        match (self.class >> 16, self.kind() & 0xff) {
            (0x01, 0x08) => "NVMe",
            (0x01, _) => "storage",
            (0x02, _) => "network",
            (0x03, _) => "display",
            (0x04, _) => "audio",
            (0x06, 0x00) => "host bridge",
            (0x06, 0x01) => "ISA bridge",
            (0x06, _) => "bridge",
            (0x07, 0x00) => "UART",
            (0x08, _) => "system",
            (0x0c, 0x03) => "USB",
            (0x0c, 0x05) => "SMBus",
            (0x12 | 0x40, _) => "accelerator",
            _ => "device",
        }
    }

    /// [`Function::what`] with its article.
    #[must_use]
    pub fn a_what(&self) -> String {
        let what = self.what();
        // "UART" is spoken with a consonant, "NVMe" with a vowel.
        let vowel = what.starts_with(['a', 'e', 'i', 'o', 'u', 'I', 'N']);
        format!("{} {what}", if vowel { "an" } else { "a" })
    }

    /// True for what forwards to other functions or is part of the platform.
    #[must_use]
    pub const fn is_bridge(&self) -> bool {
        self.bridge.is_some() || self.class >> 16 == 0x06
    }
}

/// Keeps what is usual out of saved files.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
const fn is_false(value: &bool) -> bool {
    !*value
}
