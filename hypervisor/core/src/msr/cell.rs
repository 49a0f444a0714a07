//! What cells may touch. Everything here belongs to the CPU that the cell has
//! anyway, or is a constant that lets a stock kernel boot without complaint.
//!
//! Names are the SDM's and the APM's. MSRs that Linux reads without expecting a
//! fault are answered even where their feature is hidden.

use super::Action::{Deny, Direct, Emulate};
use super::Value::{DeCfg, Hwcr, Locked, MiscEnable, MtrrDefType, Zero};
use super::Which::{
    ApicBase, ArchCapabilities, Constant, Efer, Icr, Ignore, KvmSystemTime, KvmWallClock, Lvt,
    MicrocodeRevision, X2apicId, X2apicLdr, ZeroOnly,
};
use super::{Rule, constant, direct, emulate, read_only, rule};

/// For cells on all CPUs.
pub(super) const COMMON: &[Rule] = &[
    // TSC: one for all cells and not to be shifted.
    rule(0x10, 0x10, Direct, Emulate(Ignore)),
    // KVM's clock, old numbers.
    emulate(0x11, KvmWallClock),
    emulate(0x12, KvmSystemTime),
    emulate(0x1b, ApicBase),
    // TSC_ADJUST
    constant(0x3b, 0x3b, Zero),
    // SPEC_CTRL, PRED_CMD
    direct(0x48, 0x48),
    rule(0x49, 0x49, Deny, Direct),
    // Microcode is the machine's; asking for the revision begins with a write.
    rule(0x8b, 0x8b, Emulate(MicrocodeRevision), Emulate(Ignore)),
    // MPERF, APERF
    read_only(0xe7, 0xe8),
    // MTRRCAP
    rule(0xfe, 0xfe, Emulate(Constant(Zero)), Deny),
    // ARCH_CAPABILITIES, which hypervisors show on AMD's CPUs as well.
    rule(0x10a, 0x10a, Emulate(ArchCapabilities), Deny),
    // SYSENTER
    direct(0x174, 0x176),
    // DEBUGCTL: branch tracing off.
    rule(0x1d9, 0x1d9, Emulate(Constant(Zero)), Emulate(ZeroOnly)),
    // Fixed-range MTRRs, which MTRRCAP does not announce and MTRR_DEF_TYPE leaves off:
    // Linux 5.10 reads them all the same for each CPU that it starts.
    constant(0x250, 0x250, Zero),
    constant(0x258, 0x259, Zero),
    constant(0x268, 0x26f, Zero),
    // PAT, MTRR_DEF_TYPE
    direct(0x277, 0x277),
    constant(0x2ff, 0x2ff, MtrrDefType),
    // Shadow stacks and indirect-branch tracking.
    direct(0x6a0, 0x6a8),
    // TSC_DEADLINE
    direct(0x6e0, 0x6e0),
    // PKRS
    direct(0x6e1, 0x6e1),
    // x2APIC. The ICR's last value shows a physical id, so that reads are
    // emulated as well; SELF_IPI reaches nobody else. What does not exist, or
    // cannot be read, stays away from the hardware, which may note it for good.
    rule(0x802, 0x802, Emulate(X2apicId), Deny),
    direct(0x803, 0x803),
    direct(0x808, 0x808),
    direct(0x80a, 0x80a),
    rule(0x80b, 0x80b, Deny, Direct),
    rule(0x80d, 0x80d, Emulate(X2apicLdr), Deny),
    direct(0x80f, 0x828),
    // LVT of corrected machine checks, which not every CPU has.
    emulate(0x82f, Lvt),
    emulate(0x830, Icr),
    direct(0x832, 0x832),
    // LVT of heat, counters, LINT0, LINT1: those with a delivery mode.
    rule(0x833, 0x836, Direct, Emulate(Lvt)),
    direct(0x837, 0x839),
    direct(0x83e, 0x83e),
    rule(0x83f, 0x83f, Deny, Direct),
    // XSS: its components would let XRSTORS load MSRs that are denied here.
    rule(0xda0, 0xda0, Emulate(Constant(Zero)), Emulate(ZeroOnly)),
    // KVM's clock.
    emulate(0x4b56_4d00, KvmWallClock),
    emulate(0x4b56_4d01, KvmSystemTime),
    // STAR, LSTAR, CSTAR, FMASK
    direct(0xc000_0081, 0xc000_0084),
    // FS_BASE, GS_BASE, KERNEL_GS_BASE, TSC_AUX
    direct(0xc000_0100, 0xc000_0103),
];

/// For cells on Intel's CPUs.
pub(super) const INTEL: &[Rule] = &[
    // PLATFORM_ID, read for the choice of microcode.
    constant(0x17, 0x17, Zero),
    // TEST_CTRL stays away: split-lock detection is the machine's.
    // FEATURE_CONTROL: locked, all off.
    rule(0x3a, 0x3a, Emulate(Constant(Locked)), Deny),
    // CORE_CAPABILITIES, PLATFORM_INFO
    rule(0xce, 0xcf, Emulate(Constant(Zero)), Deny),
    // UMWAIT_CONTROL
    direct(0xe1, 0xe1),
    // PKG_CST_CONFIG_CONTROL: the package's sleep states are not a cell's.
    constant(0xe2, 0xe2, Zero),
    // FLUSH_CMD
    rule(0x10b, 0x10b, Deny, Direct),
    // TSX_CTRL, MCU_OPT_CTRL
    direct(0x122, 0x123),
    // MISC_FEATURES_ENABLES
    constant(0x140, 0x140, Zero),
    constant(0x1a0, 0x1a0, MiscEnable),
    // TURBO_RATIO_LIMIT
    constant(0x1ad, 0x1ad, Zero),
    // XFD, XFD_ERR
    direct(0x1c4, 0x1c5),
    // POWER_CTL: Linux' idle driver switches C1E off.
    constant(0x1fc, 0x1fc, Zero),
    // EFER: VMX keeps the guest's apart from the monitor's.
    direct(0xc000_0080, 0xc000_0080),
];

/// For cells on AMD's CPUs.
pub(super) const AMD: &[Rule] = &[
    emulate(0xc000_0080, Efer),
    // MPERF, APERF, IRPERF
    read_only(0xc000_00e7, 0xc000_00e9),
    // SYSCFG
    constant(0xc001_0010, 0xc001_0010, Zero),
    constant(0xc001_0015, 0xc001_0015, Hwcr),
    // TOP_MEM, TOP_MEM2
    constant(0xc001_001a, 0xc001_001a, Zero),
    constant(0xc001_001d, 0xc001_001d, Zero),
    // NB_CFG
    constant(0xc001_001f, 0xc001_001f, Zero),
    // INT_PENDING, MMIO_CONF_BASE: no northbridge of its own.
    constant(0xc001_0055, 0xc001_0055, Zero),
    constant(0xc001_0058, 0xc001_0058, Zero),
    // OSVW: no errata that the kernel would have to work around.
    constant(0xc001_0140, 0xc001_0141, Zero),
    // NODE_ID
    constant(0xc001_100c, 0xc001_100c, Zero),
    // LS_CFG (C0011020H) is denied: Linux would toggle it on task switches.
    // IC_CFG, DC_CFG, and others that the root's kernel has set.
    constant(0xc001_1021, 0xc001_1023, Zero),
    constant(0xc001_1028, 0xc001_1028, Zero),
    constant(0xc001_1029, 0xc001_1029, DeCfg),
    constant(0xc001_102a, 0xc001_102f, Zero),
];
