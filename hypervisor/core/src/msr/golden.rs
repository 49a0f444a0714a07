//! What each guest gets of each MSR, written from the manuals by hand: the
//! name, the number, and what RDMSR and WRMSR must do. What stands in no list
//! gives #GP. Whoever changes a policy has to say so here, too, by name.
//!
//! Sources: SDM 4, "Architectural MSRs" and "MSRs in Intel Processors"; APM 2,
//! "MSR Cross-Reference"; AMD's Processor Programming Reference, "MSR Registers";
//! Linux, "KVM-specific MSRs".
//!
//! Words: `hw` reaches the hardware, `gp` faults, `=N` reads as N, `drop` takes
//! any write and does nothing, `zero` takes a write of 0 only; the others name
//! what is emulated.

use super::*;
use Action::{Deny, Direct, Emulate};
use std::collections::BTreeMap;
use std::vec::Vec;

/// A cell on any CPU.
const CELL: &str = "
    10          TIME_STAMP_COUNTER              hw              drop
    11          KVM wall clock, old             kvm-wall        kvm-wall
    12          KVM system time, old            kvm-time        kvm-time
    1b          APIC_BASE                       apic-base       apic-base
    3b          TSC_ADJUST                      =0              drop
    48          SPEC_CTRL                       hw              hw
    49          PRED_CMD                        gp              hw
    8b          BIOS_SIGN_ID, PATCH_LEVEL       microcode       drop
    e7-e8       MPERF, APERF                    hw              gp
    fe          MTRRCAP                         =0              gp
    10a         ARCH_CAPABILITIES               arch-caps       gp
    174-176     SYSENTER_CS, _ESP, _EIP         hw              hw
    1d9         DEBUGCTL                        =0              zero
    250         MTRR_FIX64K_00000               =0              drop
    258-259     MTRR_FIX16K_80000, _A0000       =0              drop
    268-26f     MTRR_FIX4K_C0000 to _F8000      =0              drop
    277         PAT                             hw              hw
    2ff         MTRR_DEF_TYPE                   =806            drop
    6a0-6a8     U_CET, S_CET, shadow stacks     hw              hw
    6e0         TSC_DEADLINE                    hw              hw
    6e1         PKRS                            hw              hw
    802         X2APIC_APICID                   x2apic-id       gp
    803         X2APIC_VERSION                  hw              hw
    808         X2APIC_TPR                      hw              hw
    80a         X2APIC_PPR                      hw              hw
    80b         X2APIC_EOI                      gp              hw
    80d         X2APIC_LDR                      x2apic-ldr      gp
    80f-828     X2APIC_SIVR, ISR, TMR, IRR, ESR hw              hw
    82f         X2APIC_LVT_CMCI                 lvt             lvt
    830         X2APIC_ICR                      icr             icr
    832         X2APIC_LVT_TIMER                hw              hw
    833-836     X2APIC_LVT_THERMAL, _PMI, _LINT hw              lvt
    837-839     X2APIC_LVT_ERROR, timer's counts hw             hw
    83e         X2APIC_DIV_CONF                 hw              hw
    83f         X2APIC_SELF_IPI                 gp              hw
    da0         XSS                             =0              zero
    4b564d00    KVM wall clock                  kvm-wall        kvm-wall
    4b564d01    KVM system time                 kvm-time        kvm-time
    c0000081-c0000084 STAR, LSTAR, CSTAR, FMASK hw              hw
    c0000100-c0000103 FS, GS, KERNEL_GS, TSC_AUX hw             hw
";

/// A cell on Intel's.
const CELL_INTEL: &str = "
    17          PLATFORM_ID                     =0              drop
    3a          FEATURE_CONTROL: locked, off    =1              gp
    ce-cf       PLATFORM_INFO, CORE_CAPABILITIES =0             gp
    e1          UMWAIT_CONTROL                  hw              hw
    e2          PKG_CST_CONFIG_CONTROL          =0              drop
    10b         FLUSH_CMD                       gp              hw
    122-123     TSX_CTRL, MCU_OPT_CTRL          hw              hw
    140         MISC_FEATURES_ENABLES           =0              drop
    1a0         MISC_ENABLE                     =1801           drop
    1ad         TURBO_RATIO_LIMIT               =0              drop
    1c4-1c5     XFD, XFD_ERR                    hw              hw
    1fc         POWER_CTL                       =0              drop
    c0000080    EFER                            hw              hw
";

/// A cell on AMD's.
const CELL_AMD: &str = "
    c0000080    EFER                            efer            efer
    c00000e7-c00000e9 MPERF, APERF, IRPERF read only hw         gp
    c0010010    SYS_CFG                         =0              drop
    c0010015    HWCR: TscFreqSel                =1000000        drop
    c001001a    TOP_MEM                         =0              drop
    c001001d    TOM2                            =0              drop
    c001001f    NB_CFG                          =0              drop
    c0010055    Interrupt Pending               =0              drop
    c0010058    MMIO Configuration Base         =0              drop
    c0010140-c0010141 OSVW_ID_LENGTH, OSVW_STATUS =0            drop
    c001100c    NODE_ID                         =0              drop
    c0011021-c0011023 IC_CFG, DC_CFG, TW_CFG    =0              drop
    c0011028    FP_CFG                          =0              drop
    c0011029    DE_CFG: LFENCE serializes       =2              drop
    c001102a-c001102f BU_CFG2 and others        =0              drop
";

/// The root on any CPU.
const ROOT: &str = "
    0-1         P5_MC_ADDR, P5_MC_TYPE          hw              hw
    10          TIME_STAMP_COUNTER              hw              hw
    11-12       KVM's clock, old numbers        hw              outer
    1b          APIC_BASE                       hw              apic-base
    3b          TSC_ADJUST                      hw              hw
    48-49       SPEC_CTRL, PRED_CMD             hw              hw
    8b          BIOS_SIGN_ID, PATCH_LEVEL       hw              hw
    c1-c8       PMC0 to PMC7                    hw              hw
    e7-e8       MPERF, APERF                    hw              hw
    fe          MTRRCAP                         hw              gp
    10a         ARCH_CAPABILITIES               hw              hw
    174-176     SYSENTER_CS, _ESP, _EIP         hw              hw
    179-17b     MCG_CAP, MCG_STATUS, MCG_CTL    hw              hw
    1d9         DEBUGCTL                        hw              hw
    1db-1de     last branch, last exception     hw              hw
    200-21f     MTRR_PHYSBASE, MTRR_PHYSMASK    hw              drop
    250         MTRR_FIX64K_00000               hw              drop
    258-259     MTRR_FIX16K_80000, _A0000       hw              drop
    268-26f     MTRR_FIX4K_C0000 to _F8000      hw              drop
    277         PAT                             hw              hw
    2ff         MTRR_DEF_TYPE                   hw              drop
    400-47f     MCi_CTL, _STATUS, _ADDR, _MISC  hw              hw
    6a0-6a8     U_CET, S_CET, shadow stacks     hw              hw
    6e0-6e1     TSC_DEADLINE, PKRS              hw              hw
    800-82f     x2APIC                          hw              hw
    830         X2APIC_ICR                      hw              icr
    831-8ff     x2APIC                          hw              hw
    c81-c84     L3 and L2 QOS_CFG               hw              classes
    c8d-c8e     QM_EVTSEL, QM_CTR               hw              hw
    c8f-cff     PQR_ASSOC, L3_QOS_MASK          hw              classes
    d10-d5f     L2_QOS_MASK, MBA                hw              classes
    da0         XSS                             hw              xss
    4b564d00-4b564d04 KVM's shared areas        hw              outer
    4b564d05-4b564d08 KVM's other MSRs          hw              hw
    c0000081-c0000084 STAR, LSTAR, CSTAR, FMASK hw              hw
    c0000100-c0000103 FS, GS, KERNEL_GS, TSC_AUX hw             hw
";

/// The root on Intel's.
const ROOT_INTEL: &str = "
    17          PLATFORM_ID                     hw              hw
    2a          EBL_CR_POWERON                  hw              hw
    33-35       TEST_CTRL, SMI_COUNT, CORE_THREAD_COUNT hw      hw
    3a          FEATURE_CONTROL: locked, off    =1              gp
    4e-4f       PPIN_CTL, PPIN                  hw              hw
    79          BIOS_UPDT_TRIG                  gp              drop
    8c-8f       SGXLEPUBKEYHASH0 to 3           hw              hw
    cd-cf       FSB_FREQ, PLATFORM_INFO, CORE_CAPABILITIES hw   hw
    e1-e2       UMWAIT_CONTROL, PKG_CST_CONFIG_CONTROL hw       hw
    e4          PMG_IO_CAPTURE_BASE             hw              hw
    10b         FLUSH_CMD                       hw              hw
    10f         TSX_FORCE_ABORT                 hw              hw
    119-11e     BBL_CR_CTL to BBL_CR_CTL3       hw              hw
    122-123     TSX_CTRL, MCU_OPT_CTRL          hw              hw
    13c         FEATURE_CONFIG                  hw              hw
    140         MISC_FEATURES_ENABLES           hw              hw
    17f         ERROR_CONTROL                   hw              hw
    186-18d     PERFEVTSEL0 to 7                hw              hw
    198-19d     PERF_STATUS to THERM2_CTL       hw              hw
    1a0         MISC_ENABLE                     hw              misc-enable
    1a1-1ad     MISC_PWR_MGMT to TURBO_RATIO_LIMIT hw           hw
    1b0-1b2     ENERGY_PERF_BIAS, PACKAGE_THERM hw              hw
    1c4-1c5     XFD, XFD_ERR                    hw              hw
    1c8-1c9     LBR_SELECT, LASTBRANCH_TOS      hw              hw
    1f2-1f3     SMRR_PHYSBASE, SMRR_PHYSMASK read only hw       gp
    1f8-1fc     PLATFORM_DCA_CAP to POWER_CTL   hw              hw
    280-29f     MCi_CTL2                        hw              hw
    309-30c     FIXED_CTR0 to 3                 hw              hw
    329         PERF_METRICS                    hw              hw
    345         PERF_CAPABILITIES               hw              hw
    38d-390     FIXED_CTR_CTRL, PERF_GLOBAL     hw              hw
    391-397     PERF_GLOBAL_STATUS_SET, uncore  hw              hw
    3b0-3b5     uncore counters                 hw              hw
    3f1         PEBS_ENABLE                     =0              drop
    3f2-3ff     PEBS_DATA_CFG, residencies      hw              hw
    4c1-4c8     A_PMC0 to 7                     hw              hw
    500         SGX_SVN_STATUS                  hw              hw
    600         DS_AREA                         hw              hw
    601-66f     VR_CURRENT_CONFIG, RAPL, turbo  hw              hw
    680-69f     LASTBRANCH_n_FROM_IP            hw              hw
    6c0-6df     LASTBRANCH_n_TO_IP              hw              hw
    770-777     PM_ENABLE to HWP_STATUS         hw              hw
    d90         BNDCFGS                         hw              hw
    dc0-ddf     LASTBRANCH_INFO                 hw              hw
    1200-121f   LBR_n_INFO                      hw              hw
    14ce-14cf   LBR_CTL, LBR_DEPTH              hw              hw
    1500-151f   LBR_n_FROM_IP                   hw              hw
    1600-161f   LBR_n_TO_IP                     hw              hw
    17d0-17d1   HW_FEEDBACK_PTR, _CONFIG        hw              drop
    17d2-17d4   THREAD_FEEDBACK and others      hw              hw
    c0000080    EFER                            hw              hw
";

/// The root on AMD's.
const ROOT_AMD: &str = "
    c0000080    EFER                            efer            efer
    c00000e7-c00000e9 MPERF, APERF, IRPERF read only hw         hw
    c0000104    TSC_RATIO                       hw              gp
    c000010e-c000010f LBR_SELECT, LBR_V2        hw              hw
    c0000200-c000020f L3QOS_BW_CONTROL          hw              classes
    c0000300-c0000303 PERF_CNTR_GLOBAL          hw              hw
    c0000400-c0000410 old banks, MCA_INTR_CFG   hw              hw
    c0002000-c00023ff MCA banks                 hw              hw
    c0010000-c0010007 PERF_CTL0 to PERF_CTR3    hw              hw
    c0010010    SYS_CFG                         hw              drop
    c0010015    HWCR                            hw              hw
    c0010016-c0010019 IORR_BASE, IORR_MASK      hw              gp
    c001001a    TOP_MEM                         hw              gp
    c001001d    TOM2                            hw              gp
    c001001f    NB_CFG                          hw              hw
    c0010020    PATCH_LOADER                    gp              drop
    c0010030-c0010035 processor name            hw              hw
    c0010044-c001004b MC0_CTL_MASK to 7         hw              hw
    c0010050-c0010056 SMI_ON_IO_TRAP, Interrupt Pending hw      hw
    c0010058    MMIO Configuration Base         hw              drop
    c0010061-c001006b P-states                  hw              hw
    c0010073-c0010074 CSTATE_BASE, CPU_WDT_CFG  hw              hw
    c0010111-c0010113 SMM_BASE, SMM_ADDR, SMM_MASK hw           gp
    c0010114    VM_CR: LOCK and SVMDIS          =18             gp
    c001011f    VIRT_SPEC_CTRL                  hw              hw
    c0010131    SEV_STATUS                      hw              gp
    c0010140-c0010141 OSVW_ID_LENGTH, OSVW_STATUS hw            hw
    c0010200-c001020b PERF_CTL0 to PERF_CTR5    hw              hw
    c0010230-c001023b L3 PMC                    hw              hw
    c0010240-c0010247 NB_PERF_CTL, NB_PERF_CTR  hw              hw
    c0010280-c0010281 PTSC, power accumulator   hw              hw
    c0010292-c001029b P-state, RAPL             hw              hw
    c00102b0-c00102b4 CPPC                      hw              hw
    c00102f0-c00102f1 PPIN_CTL, PPIN            hw              hw
    c0010300-c001031f LastBranchStack           hw              hw
    c0011002-c0011005 CPUID overrides           hw              hw
    c001100c    NODE_ID                         hw              hw
    c0011019-c001101b DR1 to DR3 address masks  hw              hw
    c0011020-c001102f LS_CFG to others          hw              hw
    c0011030-c001103d IBS                       hw              hw
    c00110e3    DR0 address mask 2              hw              hw
";

const VALUES: [Value; 7] = [
    Value::Zero,
    Value::Locked,
    Value::MtrrDefType,
    Value::MiscEnable,
    Value::Hwcr,
    Value::DeCfg,
    Value::VmCr,
];

/// What a word means.
fn action(word: &str) -> Action {
    Emulate(match word {
        "hw" => return Direct,
        "gp" => return Deny,
        "drop" => Which::Ignore,
        "zero" => Which::ZeroOnly,
        "apic-base" => Which::ApicBase,
        "x2apic-id" => Which::X2apicId,
        "x2apic-ldr" => Which::X2apicLdr,
        "icr" => Which::Icr,
        "efer" => Which::Efer,
        "arch-caps" => Which::ArchCapabilities,
        "microcode" => Which::MicrocodeRevision,
        "kvm-wall" => Which::KvmWallClock,
        "kvm-time" => Which::KvmSystemTime,
        "xss" => Which::Xss,
        "misc-enable" => Which::MiscEnable,
        "lvt" => Which::Lvt,
        "outer" => Which::OuterArea,
        "classes" => Which::Classes,
        constant => {
            let hex = constant.strip_prefix('=').expect("a word of the list");
            let value = u64::from_str_radix(hex, 16).expect("a number");
            let mut values = VALUES.into_iter();
            let value = values.find(|one| one.get() == value);
            Which::Constant(value.expect("a constant of a rule"))
        }
    })
}

/// The lists as a map by MSR.
fn expected(lists: &[&str]) -> BTreeMap<u32, (Action, Action)> {
    let mut map = BTreeMap::new();
    let lines = lists.iter().flat_map(|list| list.lines());
    for line in lines.filter(|line| !line.trim().is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [range, .., read, write] = words[..] else {
            unreachable!("no entry: {line}");
        };
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let number = |hex| u32::from_str_radix(hex, 16).expect("a number");
        for msr in number(first)..=number(last) {
            let before = map.insert(msr, (action(read), action(write)));
            assert_eq!(before, None, "{msr:x} stands twice");
        }
    }
    map
}

/// MSRs that are looked at one by one: all that the maps cover, all of KVM's,
/// and some beyond each.
fn all_msrs() -> impl Iterator<Item = u32> {
    let parts = [
        0x0..=0x2fff,
        0x4000_0000..=0x4000_0fff,
        0x4b56_4c00..=0x4b56_4dff,
        0xbfff_ff00..=0xc000_2fff,
        0xc000_ff00..=0xc001_2fff,
    ];
    parts.into_iter().flatten().chain([u32::MAX])
}

fn assert_policy(name: &str, policy: Policy, lists: &[&str]) {
    let expected = expected(lists);
    for msr in all_msrs() {
        let wanted = expected.get(&msr).copied().unwrap_or((Deny, Deny));
        let found = (policy.read(msr), policy.write(msr));
        assert_eq!(found, wanted, "{name}: MSR {msr:x}");
    }
}

#[test]
fn cells_get_what_the_list_says() {
    assert_policy("VT-x", Policy::CELL_VMX, &[CELL, CELL_INTEL]);
    assert_policy("AMD-V", Policy::CELL_SVM, &[CELL, CELL_AMD]);
}

#[test]
fn the_root_gets_what_the_list_says() {
    assert_policy("VT-x", Policy::ROOT_VMX, &[ROOT, ROOT_INTEL]);
    assert_policy("AMD-V", Policy::ROOT_SVM, &[ROOT, ROOT_AMD]);
}
