//! The machine as the monitor must know it: from the host model to the system
//! plan, and the monitor's memory with image and plan in it.

use crate::error::{Error, Result, TSC_REMEDY};
use crate::output::size;
use cellvisor_abi::image::{MAGIC, MAX_CHUNKS};
use cellvisor_abi::plan::{
    Cpu, Ecam, Inject, IoApic, Iommu, IommuKind, Range, SystemPlan, TSC_KHZ,
};
use cellvisor_abi::wire::{ListBuf, seal};
use cellvisor_abi::{ABI_VERSION, CHUNK_SIZE, PAGE_SIZE};
use cellvisor_planner::host::{self, Host};
use std::path::Path;

/// What every monitor needs, in bytes: its image and room for small cells.
const BASE: u64 = 2 * CHUNK_SIZE;
/// For each CPU: stacks, control structures, bitmaps.
const PER_CPU: u64 = 20 << 10;
/// For each GiB of RAM: ownership, and nested page tables in 2 MiB pages.
const PER_GIB: u64 = 8 << 10;

/// For each GiB of RAM where there are IOMMUs: their own page tables.
const DMA_PER_GIB: u64 = 4 << 10;
/// For each IOMMU: queues and registers' mirrors.
const PER_IOMMU: u64 = 16 * PAGE_SIZE;
/// For each cell with functions: tables of its domain, copies of what it set.
const PER_FUNCTION_CELL: u64 = 32 * PAGE_SIZE;
/// Cells with functions that there is room for, if there are CPUs for them.
const FUNCTION_CELLS: u64 = 16;
/// Bytes of an entry that remaps an interrupt; how many there are for each CPU,
/// and at least and at most.
const REMAP_ENTRY: u64 = 16;
const REMAPS_PER_CPU: u64 = 256;
const REMAPS: (u64, u64) = (4096, 65536);

/// Where fields lie in `cellvisor_abi::image::ImageHeader`.
const HEADER_ABI: usize = 8;
const HEADER_MEMORY: usize = 32;

/// What the caller decides about the monitor.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Choices {
    /// I/O port of a UART for the monitor's log; 0 for none.
    pub(crate) log_port: u16,
    /// Bytes of memory, if not what the machine asks for.
    pub(crate) memory: Option<u64>,
    /// What is to go wrong (for tests).
    pub(crate) provoke: Option<Provoke>,
}

/// A failure that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Provoke {
    /// The CPU with this index fails.
    FailCpu(u32),
    /// The CPU with this index comes too late. The monitor is told the slowest TSC,
    /// so that its patience is over soon.
    LateCpu(u32),
    /// The monitor is told that the TSC has this rate, in kHz.
    TscKhz(u32),
    /// This step of entering fails, in a monitor that is built for it.
    Step(u32),
    /// The monitor itself faults on each CPU that touches this port.
    FaultAtPort(u16),
}

/// CPUs of the host in the order of the system plan. One that is offline would
/// not arrive.
pub(crate) fn cpus(host: &Host) -> Vec<Cpu> {
    let cpu = |c: &host::Cpu| Cpu {
        linux: c.linux,
        apic_id: c.apic_id,
    };
    host.cpus.iter().filter(|c| c.online).map(cpu).collect()
}

/// The monitor waits and cells count by the TSC: its rate must be one.
pub(crate) fn check_tsc(khz: u32) -> Result<()> {
    if TSC_KHZ.contains(&khz) {
        return Ok(());
    }
    Err(Error::new(
        "cannot turn the monitor on",
        format!("Linux takes the TSC for {khz} kHz: it could not calibrate it"),
        TSC_REMEDY,
    ))
}

/// The sealed system plan.
pub(crate) fn plan(host: &Host, tsc_khz: u32, choices: Choices) -> Vec<u8> {
    let ecam: Vec<Ecam> = host.ecam.iter().map(ecam).collect();
    let iommus: Vec<Iommu> = host.iommus.iter().map(iommu).collect();
    let io_apics: Vec<IoApic> = host.io_apics.iter().map(io_apic).collect();
    let cpus = ListBuf::new(&cpus(host));
    let ram = ListBuf::new(&ram(host));
    let ecam = ListBuf::new(&ecam);
    let iommus = ListBuf::new(&iommus);
    let io_apics = ListBuf::new(&io_apics);
    let (tsc_khz, inject) = match choices.provoke {
        None => (tsc_khz, None),
        Some(Provoke::FailCpu(index)) => (tsc_khz, Some(Inject::FailCpu(index))),
        Some(Provoke::LateCpu(index)) => (*TSC_KHZ.start(), Some(Inject::LateCpu(index))),
        Some(Provoke::TscKhz(khz)) => (khz, None),
        Some(Provoke::Step(number)) => (tsc_khz, Some(Inject::Step(number))),
        Some(Provoke::FaultAtPort(port)) => (tsc_khz, Some(Inject::FaultAtPort(port))),
    };
    seal(&SystemPlan {
        cpus: cpus.list(),
        ram: ram.list(),
        ecam: ecam.list(),
        iommus: iommus.list(),
        io_apics: io_apics.list(),
        tsc_khz,
        log_port: choices.log_port,
        inject,
    })
}

fn ecam(ecam: &host::Ecam) -> Ecam {
    Ecam {
        base: ecam.base,
        segment: ecam.segment,
        first_bus: ecam.first_bus,
        last_bus: ecam.last_bus,
    }
}

fn iommu(iommu: &host::Iommu) -> Iommu {
    Iommu {
        kind: match iommu.kind {
            host::IommuKind::Vtd => IommuKind::Vtd,
            host::IommuKind::AmdVi => IommuKind::AmdVi,
        },
        base: iommu.base,
        segment: iommu.segment,
    }
}

fn io_apic(chip: &host::IoApic) -> IoApic {
    IoApic {
        base: u64::from(chip.address),
        source: chip.source,
    }
}

/// RAM in ascending order, neighbours merged, cut to whole pages.
///
/// Linux calls RAM what it uses itself and where the firmware keeps tables. A
/// reserved range that touches RAM is RAM as well (`memmap=` makes those);
/// elsewhere "reserved" mostly means registers.
fn ram(host: &Host) -> Vec<Range> {
    let is_ram = |name: &str| {
        matches!(
            name,
            "System RAM" | "ACPI Tables" | "ACPI Non-volatile Storage"
        )
    };
    let regions = &host.iomem;
    let touches = |r: &host::Region| {
        let next_to = |other: &host::Region| other.end + 1 == r.start || r.end + 1 == other.start;
        regions.iter().any(|o| is_ram(&o.name) && next_to(o))
    };
    let reserved = |r: &host::Region| r.name.eq_ignore_ascii_case("reserved") && touches(r);
    let mut found: Vec<Range> = regions
        .iter()
        .filter(|r| is_ram(&r.name) || reserved(r))
        .map(|r| {
            let start = r.start.next_multiple_of(PAGE_SIZE);
            let end = (r.end + 1) / PAGE_SIZE * PAGE_SIZE;
            Range {
                start,
                size: end.saturating_sub(start),
            }
        })
        .filter(|r| r.size > 0)
        .collect();
    found.sort_by_key(|r| r.start);
    let mut merged: Vec<Range> = Vec::new();
    for range in found {
        match merged.last_mut() {
            Some(last) if last.start + last.size == range.start => last.size += range.size,
            _ => merged.push(range),
        }
    }
    merged
}

/// Refuses a machine whose memory map was hidden from us.
pub(crate) fn check_ram(host: &Host) -> Result<()> {
    if ram(host).iter().map(|r| r.size).sum::<u64>() > 0 {
        return Ok(());
    }
    Err(Error::new(
        "cannot read this machine's memory map",
        "/proc/iomem shows no addresses",
        "run this as root",
    ))
}

/// Size of the monitor's memory in bytes, whole chunks.
pub(crate) fn memory_size(host: &Host, choices: Choices) -> Result<u64> {
    let ram: u64 = ram(host).iter().map(|r| r.size).sum();
    let cpus = host.cpus.len() as u64;
    let needed = BASE + cpus * PER_CPU + (ram >> 30) * PER_GIB + dma_size(host, cpus, ram);
    let bytes = choices
        .memory
        .unwrap_or(needed)
        .next_multiple_of(CHUNK_SIZE);
    let most = MAX_CHUNKS as u64 * CHUNK_SIZE;
    if bytes <= most {
        return Ok(bytes);
    }
    Err(Error::new(
        "cannot size the monitor's memory",
        format!(
            "{} is more than the {} that it can have",
            size(bytes),
            size(most)
        ),
        "name a size: cellctl enable --memory 64MiB",
    ))
}

/// What DMA and interrupt remapping add, in bytes.
fn dma_size(host: &Host, cpus: u64, ram: u64) -> u64 {
    if host.iommus.is_empty() {
        return 0;
    }
    let remaps = (cpus * REMAPS_PER_CPU).next_power_of_two();
    let table = remaps.clamp(REMAPS.0, REMAPS.1) * REMAP_ENTRY;
    // One page for each bus, also for those that VFs may open.
    let buses: u64 = host
        .roots
        .iter()
        .map(|r| u64::from(r.last_bus - r.first_bus) + 1)
        .sum();
    table
        + (ram >> 30) * DMA_PER_GIB
        + host.iommus.len() as u64 * PER_IOMMU
        + buses.min(256) * PAGE_SIZE
        + cpus.min(FUNCTION_CELLS) * PER_FUNCTION_CELL
}

/// Where the plan goes: behind the memory that the image takes.
pub(crate) fn plan_offset(image: &[u8], path: &Path) -> Result<u64> {
    let wrong = |why: String| {
        Error::new(
            format!("cannot use the image {}", path.display()),
            why,
            "name the right file: cellctl enable --image PATH",
        )
    };
    if !image.starts_with(&MAGIC) {
        return Err(wrong("it is no image of cellvisor's monitor".into()));
    }
    let short = || wrong("it is cut short".into());
    let abi = image
        .get(HEADER_ABI..)
        .and_then(|b| b.first_chunk())
        .ok_or_else(short)?;
    let abi = u32::from_le_bytes(*abi);
    if abi != ABI_VERSION {
        return Err(wrong(format!(
            "it has ABI version {abi}, this cellctl {ABI_VERSION}"
        )));
    }
    let memory = image
        .get(HEADER_MEMORY..)
        .and_then(|b| b.first_chunk())
        .ok_or_else(short)?;
    Ok(u64::from_le_bytes(*memory).max(image.len() as u64))
}

/// Refuses memory that image and plan do not fit into.
pub(crate) fn check_fit(memory: u64, plan_offset: u64, plan_len: u64) -> Result<()> {
    let needed = plan_offset.saturating_add(plan_len);
    if needed <= memory {
        return Ok(());
    }
    Err(Error::new(
        "cannot load the monitor",
        format!(
            "image and plan need {}, and its memory has {}",
            size(needed),
            size(memory)
        ),
        format!(
            "name a larger size: cellctl enable --memory {}MiB",
            (needed >> 20) + 4
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn region(start: u64, end: u64, name: &str) -> host::Region {
        host::Region {
            start,
            end: end - 1,
            name: name.into(),
        }
    }

    fn host() -> Host {
        Host {
            iomem: vec![
                region(0x1000, 0x9_fc00, "System RAM"),
                region(0xf_0000, 0x10_0000, "Reserved"),
                region(0x10_0000, 1024 * MIB, "System RAM"),
                region(1024 * MIB, 1025 * MIB, "ACPI Tables"),
                region(1025 * MIB, 1026 * MIB, "Reserved"),
                region(0xfed1_c000, 0xfed2_0000, "Reserved"),
            ],
            ..Host::default()
        }
    }

    #[test]
    fn ram_is_what_linux_uses_and_what_touches_it() {
        let expected = [
            Range {
                start: 0x1000,
                size: 0x9_e000,
            },
            Range {
                start: 0xf_0000,
                size: 1026 * MIB - 0xf_0000,
            },
        ];
        assert_eq!(ram(&host()), expected);
    }

    #[test]
    fn a_tsc_that_linux_could_not_calibrate_is_refused_with_the_remedy() {
        assert!(check_tsc(2_000_000).is_ok());
        for khz in [0, 1, 99_999, u32::MAX] {
            let text = check_tsc(khz)
                .err()
                .map(|e| e.to_string())
                .unwrap_or_default();
            assert!(text.contains(&format!("for {khz} kHz")) && text.contains("tsc_early_khz="));
        }
    }

    #[test]
    fn hidden_addresses_are_noticed() {
        let hidden = Host {
            iomem: vec![region(0, 1, "System RAM")],
            ..Host::default()
        };
        assert!(check_ram(&hidden).is_err() && check_ram(&host()).is_ok());
    }

    #[test]
    fn memory_is_whole_chunks_and_at_least_what_is_asked() {
        let asked = Choices {
            memory: Some(5 * MIB),
            ..Choices::default()
        };
        assert_eq!(memory_size(&host(), asked).expect("fits"), 6 * MIB);
        assert_eq!(
            memory_size(&host(), Choices::default()).expect("fits"),
            6 * MIB
        );
        let much = Choices {
            memory: Some(2048 * MIB),
            ..Choices::default()
        };
        assert!(memory_size(&host(), much).is_err());
    }

    #[test]
    fn machine_with_an_iommu_gets_room_for_its_tables() {
        let mut with = host();
        with.iommus.push(host::Iommu {
            kind: host::IommuKind::Vtd,
            base: 0xfed9_0000,
            segment: 0,
            all: true,
            scopes: Vec::new(),
        });
        assert_eq!(dma_size(&host(), 4, 64 << 30), 0);
        let small = dma_size(&with, 4, 1 << 30);
        assert!(small >= 64 << 10, "4096 entries: {small}");
        let large = dma_size(&with, 1024, 1 << 30);
        assert!(
            large - small >= (1 << 20) - (64 << 10),
            "65536 entries: {large}"
        );
    }

    #[test]
    fn plan_lies_behind_the_image_s_zeroed_part() {
        let mut image = MAGIC.to_vec();
        image.extend(ABI_VERSION.to_le_bytes());
        image.resize(HEADER_MEMORY, 0);
        image.extend(0x5000u64.to_le_bytes());
        assert_eq!(plan_offset(&image, Path::new("x")).expect("good"), 0x5000);
        for wrong in [&image[..20], b"\x7fELF", b""] {
            assert!(plan_offset(wrong, Path::new("x")).is_err());
        }
        let last = image.len() - 29;
        image[last] ^= 1;
        let error = plan_offset(&image, Path::new("x")).expect_err("another ABI");
        assert!(error.to_string().contains("ABI version"), "{error}");
    }
}
