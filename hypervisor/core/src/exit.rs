//! VM exits in a form that no vendor owns.

use crate::addr::Gpa;
use crate::ids::Port;
use cellvisor_abi::call::ExitKind;

/// Why a guest stopped running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)] // Which one it is stands by itself, and is found in one step.
pub enum Exit {
    /// It was not entered: a request came first. Counted as nothing.
    Aborted,
    /// CPUID.
    Cpuid,
    /// RDMSR of the MSR in ECX.
    MsrRead,
    /// WRMSR.
    MsrWrite,
    /// IN, OUT, INS or OUTS.
    Port(PortAccess),
    /// A move to a control register.
    ControlRegister {
        /// Number of the control register.
        register: u8,
        /// Number of the general register that has the value.
        source: u8,
    },
    /// XSETBV.
    Xsetbv,
    /// An access that the second-level tables do not allow.
    Memory(MemoryAccess),
    /// An NMI arrived.
    Nmi,
    /// The guest can take an NMI now.
    NmiWindow,
    /// VMCALL or VMMCALL.
    Hypercall,
    /// An intercepted exception with this vector.
    Exception(u8),
    /// INVD or WBINVD.
    Cache,
    /// An instruction that does not exist for guests.
    Undefined,
    /// A locked access over a line of the cache or to uncached memory: it held up the memory
    /// of all CPUs, or will when the guest goes on.
    BusLock,
    /// The guest kept the CPU from taking any event for longer than the hardware puts up
    /// with.
    Notify,
    /// INIT or SIPI from the hardware.
    Signal,
    /// Triple fault.
    TripleFault,
    /// The entry failed; the vendor's code.
    EntryFailed(u64),
    /// A code that the back end does not know.
    Unknown(u64),
}

/// An access to I/O ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortAccess {
    /// First port.
    pub port: Port,
    /// Bytes: 1, 2 or 4.
    pub size: u8,
    /// OUT or OUTS.
    pub write: bool,
    /// INS or OUTS, with or without REP.
    pub string: bool,
}

/// An access to guest-physical memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryAccess {
    /// The address, in bytes.
    pub gpa: Gpa,
    /// It was a write.
    pub write: bool,
    /// It was an instruction fetch.
    pub execute: bool,
    /// It happened while the CPU walked the guest's own page tables or
    /// delivered an event: there is no instruction to look at.
    pub indirect: bool,
}

impl Exit {
    /// Under which name it is counted.
    #[must_use]
    #[inline(always)] // Asked once, for each exit.
    pub const fn kind(&self) -> Option<ExitKind> {
        Some(match self {
            // Whose an NMI is, and so what it counts as, is seen later.
            Self::Aborted | Self::Nmi => return None,
            Self::Cpuid => ExitKind::Cpuid,
            Self::MsrRead => ExitKind::MsrRead,
            Self::MsrWrite => ExitKind::MsrWrite,
            Self::Port(access) if access.write => ExitKind::PortWrite,
            Self::Port(_) => ExitKind::PortRead,
            Self::ControlRegister { .. } => ExitKind::ControlRegister,
            Self::Xsetbv => ExitKind::Xsetbv,
            Self::Memory(_) => ExitKind::MemoryFault,
            Self::NmiWindow => ExitKind::NmiWindow,
            Self::Hypercall => ExitKind::Hypercall,
            Self::Exception(_) => ExitKind::Exception,
            Self::Cache => ExitKind::Cache,
            Self::Undefined => ExitKind::Undefined,
            Self::BusLock => ExitKind::BusLock,
            Self::Notify => ExitKind::Notify,
            Self::Signal => ExitKind::Signal,
            Self::TripleFault => ExitKind::TripleFault,
            Self::EntryFailed(_) | Self::Unknown(_) => ExitKind::Other,
        })
    }
}

/// Where the guest goes on after `len` bytes at `rip`. Outside of 64-bit code
/// there are 32 bits of it: behind the last byte below 4 GiB comes 0, and a VM
/// entry with more would fail.
#[must_use]
pub const fn next_rip(rip: u64, len: u8, is_64_bit: bool) -> u64 {
    let next = rip.wrapping_add(len as u64);
    if is_64_bit { next } else { next & 0xffff_ffff }
}

/// All ones in the width of a port access: what an absent device answers.
#[must_use]
#[inline(always)] // As [`port_result`].
pub const fn ones(size: u8) -> u64 {
    match size {
        1 => 0xff,
        2 => 0xffff,
        _ => 0xffff_ffff,
    }
}

/// Where a kernel asks what an NMI was for.
const NMI_STATUS: Port = Port(0x61);
/// Its bits for parity of memory and for errors of devices.
const NMI_REASONS: u64 = 0xc0;

/// What a read of nobody's port gives, in as many bits as it has: ones. A kernel that
/// gets an NMI must not take them for broken memory.
#[must_use]
#[inline(always)] // As [`port_result`].
pub const fn nothing(port: Port) -> u64 {
    match port {
        NMI_STATUS => !NMI_REASONS,
        _ => u64::MAX,
    }
}

/// Puts the result of IN into RAX: 8 and 16 bits keep what stands above, 32
/// bits clear it.
#[must_use]
#[inline(always)] // On the way of each read of a port.
pub const fn port_result(rax: u64, size: u8, value: u64) -> u64 {
    match size {
        1 => (rax & !0xff) | (value & 0xff),
        2 => (rax & !0xffff) | (value & 0xffff),
        _ => value & 0xffff_ffff,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// Statistics of a guest are judged by these names: "quiet" means that the
    /// noisy ones stay zero.
    #[test]
    fn each_exit_counts_under_its_own_name() {
        let port = |write, string| {
            Exit::Port(PortAccess {
                port: Port(0x3f8),
                size: 1,
                write,
                string,
            })
        };
        let memory = Exit::Memory(MemoryAccess {
            gpa: Gpa(0x1000),
            write: true,
            execute: false,
            indirect: false,
        });
        let control = Exit::ControlRegister {
            register: 4,
            source: 0,
        };
        let counted = [
            (Exit::Aborted, None),
            // Another's NMI, a kick or the guest's: seen later.
            (Exit::Nmi, None),
            (Exit::Cpuid, Some("cpuid")),
            (Exit::MsrRead, Some("msr-read")),
            (Exit::MsrWrite, Some("msr-write")),
            (port(false, false), Some("port-read")),
            (port(false, true), Some("port-read")),
            (port(true, false), Some("port-write")),
            (port(true, true), Some("port-write")),
            (control, Some("control-register")),
            (Exit::Xsetbv, Some("xsetbv")),
            (memory, Some("memory-fault")),
            (Exit::NmiWindow, Some("nmi-window")),
            (Exit::Hypercall, Some("hypercall")),
            (Exit::Exception(1), Some("exception")),
            (Exit::Cache, Some("cache")),
            (Exit::Undefined, Some("undefined")),
            (Exit::BusLock, Some("bus-lock")),
            (Exit::Notify, Some("notify")),
            (Exit::Signal, Some("signal")),
            (Exit::TripleFault, Some("triple-fault")),
            (Exit::EntryFailed(1), Some("other")),
            (Exit::Unknown(1), Some("other")),
        ];
        let found: Vec<_> = counted
            .iter()
            .map(|(exit, _)| (*exit, exit.kind().map(ExitKind::name)))
            .collect();
        assert_eq!(found, counted);
    }

    #[test]
    fn absent_devices_answer_with_all_ones() {
        assert_eq!([1, 2, 4].map(ones), [0xff, 0xffff, 0xffff_ffff]);
    }

    #[test]
    fn next_rip_wraps_at_4_gib_but_in_64_bit_code() {
        assert_eq!(next_rip(0xffff_fffe, 2, false), 0);
        assert_eq!(next_rip(0xffff_fffe, 2, true), 0x1_0000_0000);
        assert_eq!(next_rip(0x1000, 15, false), 0x100f);
        assert_eq!(next_rip(u64::MAX - 1, 2, true), 0);
    }

    #[test]
    fn an_nmi_has_no_reason_that_a_kernel_could_read() {
        assert_eq!(nothing(Port(0x61)) & 0xff, 0x3f);
        assert_eq!(nothing(Port(0x60)), u64::MAX);
        assert_eq!(nothing(Port(0x62)), u64::MAX);
    }

    #[test]
    fn port_result_keeps_upper_bits_of_small_reads_only() {
        let rax = 0x1122_3344_5566_7788;
        assert_eq!(port_result(rax, 1, 0xff), 0x1122_3344_5566_77ff);
        assert_eq!(port_result(rax, 2, 0xffff), 0x1122_3344_5566_ffff);
        assert_eq!(port_result(rax, 4, 0xffff_ffff), 0xffff_ffff);
        // Of the value, as much as was read.
        let value = 0xa1a2_a3a4_b1b2_b3b4;
        assert_eq!(port_result(rax, 1, value), 0x1122_3344_5566_77b4);
        assert_eq!(port_result(rax, 2, value), 0x1122_3344_5566_b3b4);
        assert_eq!(port_result(rax, 4, value), 0xb1b2_b3b4);
    }
}
