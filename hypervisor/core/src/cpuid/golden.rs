//! What a cell sees of CPUID, feature by feature, written from the manuals by
//! hand: the hardware has all bits set, and nothing but what stands here may
//! come through.
//!
//! Sources: SDM 2A, "CPUID—CPU Identification"; APM 3, "Obtaining Processor
//! Information Via the CPUID Instruction"; AMD's Processor Programming
//! Reference, "CPUID Instruction Functions" (for leaves that the APM lacks).

use super::tests::{amd, cpu, intel};
use super::*;
use std::vec::Vec;

/// Features of all CPUs: leaf and subleaf in hexadecimal, register, then each
/// feature with its bit.
const SHOWN: &str = "
    1.0 ecx: SSE3 0, PCLMULQDQ 1, MONITOR 3, SSSE3 9, FMA 12, CMPXCHG16B 13, PCID 17,
        SSE4_1 19, SSE4_2 20, x2APIC 21, MOVBE 22, POPCNT 23, TSC-Deadline 24, AESNI 25,
        XSAVE 26, AVX 28, F16C 29, RDRAND 30, hypervisor 31
    1.0 edx: FPU 0, VME 1, DE 2, PSE 3, TSC 4, MSR 5, PAE 6, CX8 8, APIC 9, SEP 11, MTRR 12,
        PGE 13, CMOV 15, PAT 16, PSE-36 17, CLFSH 19, MMX 23, FXSR 24, SSE 25, SSE2 26, SS 27,
        HTT 28
    6.0 eax: ARAT 2
    6.0 ebx:
    6.0 ecx:
    6.0 edx:
    7.0 ebx: FSGSBASE 0, BMI1 3, HLE 4, AVX2 5, FDP_EXCPTN_ONLY 6, SMEP 7, BMI2 8,
        ERMS 9, INVPCID 10, RTM 11, no-FCS-FDS 13, AVX512F 16, AVX512DQ 17, RDSEED 18, ADX 19,
        SMAP 20, AVX512_IFMA 21, CLFLUSHOPT 23, CLWB 24, AVX512PF 26, AVX512ER 27, AVX512CD 28,
        SHA 29, AVX512BW 30, AVX512VL 31
    7.0 ecx: PREFETCHWT1 0, AVX512_VBMI 1, UMIP 2, PKU 3, WAITPKG 5, AVX512_VBMI2 6, GFNI 8,
        VAES 9, VPCLMULQDQ 10, AVX512_VNNI 11, AVX512_BITALG 12, AVX512_VPOPCNTDQ 14, LA57 16,
        RDPID 22, CLDEMOTE 25, MOVDIRI 27, MOVDIR64B 28
    7.0 edx: AVX512_4VNNIW 2, AVX512_4FMAPS 3, FSRM 4, AVX512_VP2INTERSECT 8, SRBDS_CTRL 9,
        MD_CLEAR 10, RTM_ALWAYS_ABORT 11, SERIALIZE 14, TSXLDTRK 16, AMX-BF16 22, AVX512_FP16 23,
        AMX-TILE 24, AMX-INT8 25, IBRS_IBPB 26, STIBP 27, L1D_FLUSH 28, ARCH_CAPABILITIES 29,
        SSBD 31
    7.1 eax: SHA512 0, SM3 1, SM4 2, RAO-INT 3, AVX-VNNI 4, AVX512_BF16 5, CMPCCXADD 7, FZRM 10,
        FSRS 11, FSRC 12, AMX-FP16 21, AVX-IFMA 23, LAM 26
    7.1 ebx:
    7.1 ecx:
    7.1 edx: AVX-VNNI-INT8 4, AVX-NE-CONVERT 5, AMX-COMPLEX 8, AVX-VNNI-INT16 10, PREFETCHI 14,
        AVX10 19, APX_F 21
    7.2 eax:
    7.2 ebx:
    7.2 ecx:
    7.2 edx: PSFD 0, IPRED_CTRL 1, RRSBA_CTRL 2, DDPD_U 3, BHI_CTRL 4, MCDT_NO 5, MONITOR_MITG_NO 7
    d.0 eax: x87 0, SSE 1, AVX 2, opmask 5, ZMM_Hi256 6, Hi16_ZMM 7, PKRU 9, TILECFG 17,
        TILEDATA 18, APX 19
    d.0 edx:
    d.1 eax: XSAVEOPT 0, XSAVEC 1, XGETBV_ECX_1 2, XSAVES 3, XFD 4
    d.1 ecx:
    d.1 edx:
    80000001.0 ecx: LahfSahf 0, CmpLegacy 1, AltMovCr8 4, ABM 5, SSE4A 6, MisAlignSse 7,
        3DNowPrefetch 8, XOP 11, FMA4 16, TBM 21, TopologyExtensions 22, MONITORX 29
    80000001.0 edx: FPU 0, VME 1, DE 2, PSE 3, TSC 4, MSR 5, PAE 6, CMPXCHG8B 8, APIC 9,
        SysCallSysRet 11, MTRR 12, PGE 13, CMOV 15, PAT 16, PSE36 17, NX 20, MmxExt 22, MMX 23,
        FXSR 24, FFXSR 25, Page1GB 26, RDTSCP 27, LM 29, 3DNowExt 30, 3DNow 31
    80000007.0 eax:
    80000007.0 ebx:
    80000007.0 ecx:
    80000007.0 edx: TscInvariant 8
";

const SHOWN_INTEL: &str = "
    80000008.0 ebx: WBNOINVD 9
    80000008.0 ecx:
    80000008.0 edx:
";

const SHOWN_AMD: &str = "
    80000008.0 ebx: CLZERO 0, RstrFpErrPtrs 2, WBNOINVD 9, IBPB 12, IBRS 14, STIBP 15,
        IbrsAlwaysOn 16, StibpAlwaysOn 17, IbrsPreferred 18, IbrsSameMode 19,
        EferLmsleUnsupported 20, SSBD 24, SsbdNotRequired 26, PSFD 28, BTC_NO 29, IBPB_RET 30
    80000008.0 edx:
    80000021.0 eax: NoNestedDataBp 0, LFenceAlwaysSerializing 2, VERW_CLEAR 5,
        NullSelectClearsBase 6, AutomaticIBRS 8, SBPB 27, IBPB_BRTYPE 28, SRSO_NO 29
    80000021.0 ebx:
    80000021.0 ecx: TSA_SQ_NO 1, TSA_L1_NO 2
    80000021.0 edx:
";

/// Leaf, subleaf, register, bits.
fn parse(list: &str) -> Vec<(u32, u32, usize, u32)> {
    let mut found: Vec<(u32, u32, usize, u32)> = Vec::new();
    for line in list.lines().filter(|line| !line.trim().is_empty()) {
        let features = match line.split_once(':') {
            Some((place, features)) => {
                let words: Vec<&str> = place.split(['.', ' ']).collect();
                let [.., leaf, subleaf, register] = words[..] else {
                    unreachable!("no place: {line}");
                };
                let hex = |text| u32::from_str_radix(text, 16).expect("a number");
                let register = ["eax", "ebx", "ecx", "edx"]
                    .iter()
                    .position(|r| *r == register);
                found.push((hex(leaf), hex(subleaf), register.expect("a register"), 0));
                features
            }
            None => line,
        };
        let (.., bits) = found.last_mut().expect("a place first");
        for feature in features
            .split(',')
            .filter(|feature| !feature.trim().is_empty())
        {
            let (_, bit) = feature.rsplit_once(' ').expect("a name and a bit");
            *bits |= 1 << bit.parse::<u32>().expect("a bit");
        }
    }
    found
}

#[test]
fn features_are_those_of_the_list() {
    for (name, table, own) in [("Intel", intel(4), SHOWN_INTEL), ("AMD", amd(4), SHOWN_AMD)] {
        for (leaf, subleaf, register, bits) in [SHOWN, own].into_iter().flat_map(parse) {
            let shown = table.lookup(leaf, subleaf, &cpu(0))[register];
            let place = std::format!("{name}: leaf {leaf:x}.{subleaf}, register {register}");
            assert_eq!(shown, bits, "{place}: wrong are bits {:#x}", shown ^ bits);
        }
    }
}

/// How many subleaves are looked at.
const SUBLEAVES: u32 = 64;

/// Asserts which leaves of a table answer with anything but zeros: `plain` to any
/// subleaf, `with` to these.
fn assert_answering(table: &Table, leaves: &[u32], plain: &[u32], with: &[(u32, &[u32])]) {
    for leaf in leaves {
        let answers = |subleaf: &u32| table.lookup(*leaf, *subleaf, &cpu(3)) != [0; 4];
        let found: Vec<u32> = (0..SUBLEAVES).filter(answers).collect();
        let some = with.iter().find(|(with, _)| with == leaf);
        let wanted = match (plain.contains(leaf), some) {
            (true, _) => (0..SUBLEAVES).collect(),
            (false, Some((_, subleaves))) => subleaves.to_vec(),
            (false, None) => Vec::new(),
        };
        assert_eq!(found, wanted, "leaf {leaf:x}");
    }
}

#[test]
fn nothing_else_answers() {
    let plain = [0, 1, 2, 5, 6, 0xb, 0x15, 0x16, 0x1f];
    let extended = [0, 1, 2, 3, 4, 5, 6, 7, 8].map(|leaf| 0x8000_0000 + leaf);
    let caches: &[u32] = &[0, 1, 2, 3];
    let with = [
        (4, caches),
        (7, &[0, 1, 2]),
        // From 2 on: components that the hardware here has and XCR0 may have.
        (0xd, &[0, 1, 2, 5, 6, 7, 9]),
        (0x1d, &[0, 1]),
        (0x1e, &[0, 1]),
        (0x24, &[0]),
    ];
    // Leaves beyond the last, which do not exist, repeat leaf 24H.
    let leaves: Vec<u32> = (0..=0x24).chain(0x8000_0000..=0x8000_0008).collect();
    assert_answering(&intel(4), &leaves, &[&plain[..], &extended].concat(), &with);

    // This one ends at leaf 10H.
    let leaves: Vec<u32> = (0..0x60).chain(0x8000_0000..0x8000_0060).collect();
    let own = [0x8000_0019, 0x8000_001a, 0x8000_001e, 0x8000_0021];
    let plain = [&plain[..6], &extended, &own].concat();
    let with = [&with[..3], &[(0x8000_001d, caches)]].concat();
    assert_answering(&amd(4), &leaves, &plain, &with);
}

#[test]
fn facts_about_the_cpu_are_those_of_the_list() {
    // SDM 4, "IA32_ARCH_CAPABILITIES": RDCL_NO, IBRS_ALL, RSBA, SKIP_L1DFL_VMENTRY, SSB_NO,
    // MDS_NO, IF_PSCHANGE_MC_NO, TSX_CTRL, TAA_NO; SBDR_SSDP_NO, FBSDP_NO, PSDP_NO; FB_CLEAR;
    // RRSBA, BHI_NO; PBRSB_NO, GDS_NO, RFDS_NO, RFDS_CLEAR; ITS_NO.
    let shown = [
        0, 1, 2, 3, 4, 5, 6, 7, 8, 13, 14, 15, 17, 19, 20, 24, 26, 27, 28, 62,
    ];
    let mask = shown.iter().fold(0u64, |mask, bit| mask | 1 << bit);
    assert_eq!(ARCH_CAPABILITIES, mask);
}
