//! What the root may touch: the documented MSRs of the machine, except those
//! with which it could leave its bounds, change what other CPUs see, or upset
//! the monitor.
//!
//! Kept from it: everything of VMX and SVM; SMM and the debug interface;
//! processor trace, whose output goes to physical addresses, and precise sampling,
//! whose records go to linear ones; memory types and the memory map's switches; voltage and encryption settings; microcode, which would change
//! CPUs under running cells.

use super::Action::{Deny, Direct, Emulate};
use super::Which::{ApicBase, Classes, Constant, Efer, Icr, Ignore, MiscEnable, OuterArea, Xss};
use super::{Rule, Value, constant, direct, emulate, read_only, rule};

/// For the root on all CPUs.
pub(super) const COMMON: &[Rule] = &[
    // Machine-check address and type of old, TSC.
    direct(0x0, 0x1),
    direct(0x10, 0x10),
    // Clock areas of an outer KVM, old numbers.
    rule(0x11, 0x12, Direct, Emulate(OuterArea)),
    rule(0x1b, 0x1b, Direct, Emulate(ApicBase)),
    // TSC_ADJUST
    direct(0x3b, 0x3b),
    // SPEC_CTRL, PRED_CMD
    direct(0x48, 0x49),
    direct(0x8b, 0x8b),
    // Performance counters.
    direct(0xc1, 0xc8),
    direct(0xe7, 0xe8),
    read_only(0xfe, 0xfe),
    // ARCH_CAPABILITIES
    direct(0x10a, 0x10a),
    direct(0x174, 0x176),
    // Machine check: capabilities, status, control.
    direct(0x179, 0x17b),
    // DEBUGCTL, last branches and exceptions
    direct(0x1d9, 0x1d9),
    direct(0x1db, 0x1de),
    // MTRRs: memory has the types that it had, for cells and the monitor, too.
    rule(0x200, 0x21f, Direct, Emulate(Ignore)),
    rule(0x250, 0x250, Direct, Emulate(Ignore)),
    rule(0x258, 0x259, Direct, Emulate(Ignore)),
    rule(0x268, 0x26f, Direct, Emulate(Ignore)),
    // PAT
    direct(0x277, 0x277),
    rule(0x2ff, 0x2ff, Direct, Emulate(Ignore)),
    // Machine-check banks; VMX's capabilities begin at 480H.
    direct(0x400, 0x47f),
    direct(0x6a0, 0x6a8),
    direct(0x6e0, 0x6e1),
    // x2APIC
    direct(0x800, 0x82f),
    rule(0x830, 0x830, Direct, Emulate(Icr)),
    direct(0x831, 0x8ff),
    // Cache and bandwidth: classes, which cells may have; monitoring.
    rule(0xc81, 0xc84, Direct, Emulate(Classes)),
    direct(0xc8d, 0xc8e),
    rule(0xc8f, 0xcff, Direct, Emulate(Classes)),
    rule(0xd10, 0xd5f, Direct, Emulate(Classes)),
    rule(0xda0, 0xda0, Direct, Emulate(Xss)),
    // Areas shared with an outer KVM, to which it writes on its own.
    rule(0x4b56_4d00, 0x4b56_4d04, Direct, Emulate(OuterArea)),
    direct(0x4b56_4d05, 0x4b56_4d08),
    direct(0xc000_0081, 0xc000_0084),
    direct(0xc000_0100, 0xc000_0103),
];

/// For the root on Intel's CPUs.
pub(super) const INTEL: &[Rule] = &[
    // PLATFORM_ID, EBL_CR_POWERON, TEST_CTRL, SMI and core counts.
    direct(0x17, 0x17),
    direct(0x2a, 0x2a),
    direct(0x33, 0x35),
    // FEATURE_CONTROL: locked with VMX off.
    rule(0x3a, 0x3a, Emulate(Constant(Value::Locked)), Deny),
    // Protected processor inventory number.
    direct(0x4e, 0x4f),
    // BIOS_UPDT_TRIG
    rule(0x79, 0x79, Deny, Emulate(Ignore)),
    // SGX launch control
    direct(0x8c, 0x8f),
    // FSB_FREQ, PLATFORM_INFO, CORE_CAPABILITIES
    direct(0xcd, 0xcf),
    // UMWAIT, C-state control and I/O base
    direct(0xe1, 0xe2),
    direct(0xe4, 0xe4),
    // FLUSH_CMD, TSX_CTRL, MCU_OPT_CTRL
    direct(0x10b, 0x10b),
    direct(0x10f, 0x10f),
    direct(0x119, 0x11e),
    direct(0x122, 0x123),
    direct(0x13c, 0x13c),
    direct(0x140, 0x140),
    direct(0x17f, 0x17f),
    // Event selects, performance and thermal control, energy bias
    direct(0x186, 0x18d),
    direct(0x198, 0x19d),
    rule(0x1a0, 0x1a0, Direct, Emulate(MiscEnable)),
    direct(0x1a1, 0x1ad),
    direct(0x1b0, 0x1b2),
    direct(0x1c4, 0x1c5),
    direct(0x1c8, 0x1c9),
    // SMRR: where SMM is, for reading.
    read_only(0x1f2, 0x1f3),
    direct(0x1f8, 0x1fc),
    // MC_CTL2
    direct(0x280, 0x29f),
    direct(0x309, 0x30c),
    direct(0x329, 0x329),
    direct(0x345, 0x345),
    direct(0x38d, 0x390),
    direct(0x391, 0x397),
    direct(0x3b0, 0x3b5),
    // PEBS_ENABLE: records would go to a linear address while the monitor runs.
    constant(0x3f1, 0x3f1, Value::Zero),
    direct(0x3f2, 0x3ff),
    // Full-width counters.
    direct(0x4c1, 0x4c8),
    direct(0x500, 0x500),
    // DS_AREA, for branch traces: those end with the VM exit.
    direct(0x600, 0x600),
    // Power limits, energy, residencies, turbo ratios
    direct(0x601, 0x66f),
    // Last branch records
    direct(0x680, 0x69f),
    direct(0x6c0, 0x6df),
    // Hardware P-states, feedback interface
    direct(0x770, 0x777),
    direct(0xd90, 0xd90),
    direct(0xdc0, 0xddf),
    direct(0x1200, 0x121f),
    direct(0x14ce, 0x14cf),
    direct(0x1500, 0x151f),
    direct(0x1600, 0x161f),
    // HW_FEEDBACK_PTR is a physical address; the monitor has switched the
    // table off.
    rule(0x17d0, 0x17d1, Direct, Emulate(Ignore)),
    direct(0x17d2, 0x17d4),
    direct(0xc000_0080, 0xc000_0080),
];

/// For the root on AMD's CPUs.
pub(super) const AMD: &[Rule] = &[
    emulate(0xc000_0080, Efer),
    // MPERF, APERF, IRPERF; TSC_RATIO is the monitor's.
    direct(0xc000_00e7, 0xc000_00e9),
    read_only(0xc000_0104, 0xc000_0104),
    direct(0xc000_010e, 0xc000_010f),
    // Limits of the bandwidth by class
    rule(0xc000_0200, 0xc000_020f, Direct, Emulate(Classes)),
    // Performance counters, version 2
    direct(0xc000_0300, 0xc000_0303),
    // Old machine-check banks, MCA_INTR_CFG: vectors of the CPU's own APIC
    direct(0xc000_0400, 0xc000_0410),
    // Scalable machine check
    direct(0xc000_2000, 0xc000_23ff),
    direct(0xc001_0000, 0xc001_0007),
    // SYSCFG switches the meaning of memory types and encryption.
    rule(0xc001_0010, 0xc001_0010, Direct, Emulate(Ignore)),
    direct(0xc001_0015, 0xc001_0015),
    // IORRs, TOP_MEM, TOP_MEM2: the memory map.
    read_only(0xc001_0016, 0xc001_0019),
    read_only(0xc001_001a, 0xc001_001a),
    read_only(0xc001_001d, 0xc001_001d),
    direct(0xc001_001f, 0xc001_001f),
    // PATCH_LOADER
    rule(0xc001_0020, 0xc001_0020, Deny, Emulate(Ignore)),
    // Processor name
    direct(0xc001_0030, 0xc001_0035),
    direct(0xc001_0044, 0xc001_004b),
    direct(0xc001_0050, 0xc001_0056),
    // MMIO_CONF_BASE: configuration space does not move.
    rule(0xc001_0058, 0xc001_0058, Direct, Emulate(Ignore)),
    // P-states and C-state base
    direct(0xc001_0061, 0xc001_006b),
    direct(0xc001_0073, 0xc001_0074),
    // SMM's place, for reading.
    read_only(0xc001_0111, 0xc001_0113),
    // VM_CR: locked with SVM off.
    rule(
        0xc001_0114,
        0xc001_0114,
        Emulate(Constant(Value::VmCr)),
        Deny,
    ),
    // Virtual SPEC_CTRL, SEV status
    direct(0xc001_011f, 0xc001_011f),
    read_only(0xc001_0131, 0xc001_0131),
    direct(0xc001_0140, 0xc001_0141),
    // Performance counters: core, L3, northbridge, power
    direct(0xc001_0200, 0xc001_020b),
    direct(0xc001_0230, 0xc001_023b),
    direct(0xc001_0240, 0xc001_0247),
    direct(0xc001_0280, 0xc001_0281),
    direct(0xc001_0292, 0xc001_029b),
    // CPPC, PPIN
    direct(0xc001_02b0, 0xc001_02b4),
    direct(0xc001_02f0, 0xc001_02f1),
    // Last branch records
    direct(0xc001_0300, 0xc001_031f),
    // CPUID overrides, node id, breakpoint masks
    direct(0xc001_1002, 0xc001_1005),
    direct(0xc001_100c, 0xc001_100c),
    direct(0xc001_1019, 0xc001_101b),
    // LS_CFG, IC_CFG, DC_CFG, DE_CFG …
    direct(0xc001_1020, 0xc001_102f),
    // Instruction-based sampling
    direct(0xc001_1030, 0xc001_103d),
    direct(0xc001_10e3, 0xc001_10e3),
];
