//! Maps against rules, and rules against what must hold.

use super::*;

const ALL: [(&str, Policy); 4] = [
    ("cell, VMX", Policy::CELL_VMX),
    ("cell, SVM", Policy::CELL_SVM),
    ("root, VMX", Policy::ROOT_VMX),
    ("root, SVM", Policy::ROOT_SVM),
];

#[test]
fn tables_are_sorted_and_name_each_msr_once() {
    for (name, policy) in ALL {
        for table in policy.tables {
            for rule in table {
                assert!(rule.first <= rule.last, "{name}: {rule:x?}");
            }
            for pair in table.windows(2) {
                assert!(pair[0].last < pair[1].first, "{name}: {pair:x?}");
            }
        }
        for a in policy.rules() {
            let same = policy
                .rules()
                .filter(|b| a.first <= b.last && b.first <= a.last);
            assert_eq!(same.count(), 1, "{name}: {a:x?} is not alone");
        }
    }
}

/// The five parts, each with its first MSR.
const PARTS: [u32; 5] = [0, 0x4b56_4000, 0xc000_0000, 0xc000_2000, 0xc001_0000];

#[test]
fn places_keep_the_order_of_msrs() {
    let all = PARTS.iter().flat_map(|first| *first..*first + PART);
    assert!(all.map(|msr| place(msr).expect("a place")).eq(0..0xa000));
    for beyond in [0x2000, 0x4b56_3fff, 0xbfff_ffff, 0xc000_4000, 0xc000_ffff] {
        assert_eq!(place(beyond), None);
    }
    assert_eq!(place(u32::MAX), None);
}

/// A hint that leads astray costs a search, and never another answer.
#[test]
fn hints_find_what_a_search_finds() {
    for (name, policy) in ALL {
        for msr in PARTS.iter().flat_map(|first| *first..*first + PART) {
            let found = place(msr).and_then(|place| policy.search(place));
            assert_eq!(policy.rule(msr), found, "{name}: {msr:x}");
        }
        assert_eq!(policy.rule(u32::MAX), None);
    }
    // What the loops of kernels exit by is found without a search.
    for msr in [0x1b, 0x8b, 0x830] {
        let hinted = Policy::CELL_VMX.hinted(msr);
        assert_eq!(hinted.map(|rule| rule.first), Some(msr));
    }
}

#[test]
fn bitmap_equals_the_rules_bit_by_bit() {
    for (name, policy) in ALL {
        let mut map = [0; 4096];
        fill_bitmap(policy, &mut map);
        for i in 0..0x2000 {
            for (base, part) in [(0, 0), (0xc000_0000, 1)] {
                let msr = base + i as u32;
                let bit = |part: usize| map[part * 1024 + i / 8] >> (i % 8) & 1 == 1;
                assert_eq!(
                    bit(part),
                    policy.read(msr) != Action::Direct,
                    "{name}: {msr:x}"
                );
                assert_eq!(
                    bit(part + 2),
                    policy.write(msr) != Action::Direct,
                    "{name}: {msr:x}"
                );
            }
        }
    }
}

#[test]
fn permission_map_equals_the_rules_bit_by_bit() {
    for (name, policy) in ALL {
        let mut map = [0; 8192];
        fill_msrpm(policy, &mut map);
        for i in 0..0x2000 {
            for (base, part) in [(0, 0), (0xc000_0000, 1), (0xc001_0000, 2)] {
                let msr = base + i as u32;
                let bits = map[part * 2048 + i / 4] >> (i % 4 * 2) & 3;
                assert_eq!(
                    bits & 1 == 1,
                    policy.read(msr) != Action::Direct,
                    "{name}: {msr:x}"
                );
                assert_eq!(
                    bits & 2 == 2,
                    policy.write(msr) != Action::Direct,
                    "{name}: {msr:x}"
                );
            }
        }
        assert!(map[6144..].iter().all(|byte| *byte == 0xff));
    }
}

#[test]
fn nobody_reaches_what_would_break_isolation() {
    let forbidden = [
        (0x9b, 0x9b),               // SMM_MONITOR_CTL
        (0x9e, 0x9e),               // SMBASE
        (0x480, 0x493),             // VMX capabilities
        (0x560, 0x58f),             // processor trace: physical output addresses
        (0xc80, 0xc80),             // DEBUG_INTERFACE
        (0x1400, 0x14cd),           // SEAM
        (0xc001_0115, 0xc001_011e), // VM_HSAVE_PA, SVM and SMM keys, AVIC doorbell
        (0xc001_0130, 0xc001_0130), // GHCB
        (0xc001_0132, 0xc001_0137), // RMP
    ];
    for (name, policy) in ALL {
        for (first, last) in forbidden {
            for msr in first..=last {
                assert_eq!(policy.read(msr), Action::Deny, "{name}: {msr:x}");
                assert_eq!(policy.write(msr), Action::Deny, "{name}: {msr:x}");
            }
        }
        for msr in [
            0x1b,
            0x3a,
            0x79,
            0x150,
            0x830,
            0xc001_0010,
            0xc001_0058,
            0xc001_0114,
        ] {
            assert_ne!(policy.write(msr), Action::Direct, "{name}: {msr:x}");
        }
    }
    for policy in [Policy::CELL_SVM, Policy::ROOT_SVM] {
        assert_eq!(policy.write(0xc000_0080), Action::Emulate(Which::Efer));
    }
}

#[test]
fn cells_hot_path_does_not_exit() {
    for policy in [Policy::CELL_VMX, Policy::CELL_SVM] {
        // TSC deadline, EOI, timer count, self IPI, KERNEL_GS_BASE, SPEC_CTRL.
        for msr in [0x6e0, 0x80b, 0x838, 0x83f, 0xc000_0102, 0x48] {
            assert_eq!(policy.write(msr), Action::Direct, "{msr:x}");
        }
        assert_eq!(policy.write(0x830), Action::Emulate(Which::Icr));
        assert_eq!(policy.write(0x10), Action::Emulate(Which::Ignore));
    }
}

#[test]
fn cells_change_nothing_that_others_share() {
    // Power, P-states, MTRRs, caches' shares, machine check, microcode, the
    // memory map.
    let shared = [
        0x79,
        0x17a,
        0x199,
        0x19a,
        0x1a2,
        0x1b0,
        0x1fc,
        0x200,
        0x20f,
        0x250,
        0x400,
        0x610,
        0x620,
        0x770,
        0x774,
        0xc8f,
        0xc90,
        0xd10,
        0xc001_0020,
        0xc001_0062,
        0xc001_1020,
    ];
    for policy in [Policy::CELL_VMX, Policy::CELL_SVM] {
        for msr in shared {
            let dropped = [Action::Deny, Action::Emulate(Which::Ignore)];
            assert!(dropped.contains(&policy.write(msr)), "{msr:x}");
        }
    }
}

#[test]
fn root_gets_no_component_that_reaches_beyond_it() {
    // Processor trace, user interrupts, HDC, HWP.
    for component in [8, 13, 14, 16] {
        assert_eq!(ROOT_XSS >> component & 1, 0, "{component}");
    }
    // What Linux uses: PASID, shadow stacks of programs and of the kernel.
    for component in [10, 11, 12] {
        assert_eq!(ROOT_XSS >> component & 1, 1, "{component}");
    }
}

#[test]
fn misc_enable_keeps_what_the_monitor_needs() {
    const XD_DISABLE: u64 = 1 << 34;
    const LIMIT_CPUID: u64 = 1 << 22;
    const TURBO_DISABLE: u64 = 1 << 38;
    assert_eq!(misc_enable(1, u64::MAX) & (XD_DISABLE | LIMIT_CPUID), 0);
    assert_eq!(misc_enable(XD_DISABLE, 0), XD_DISABLE);
    assert_eq!(misc_enable(1, TURBO_DISABLE), TURBO_DISABLE);
}

#[test]
fn vector_table_takes_interrupts_and_nmis_only() {
    const MASKED: u64 = 1 << 16;
    for mode in 0..8u64 {
        let value = mode << 8 | 0x31;
        let expected = match mode {
            0 | 4 => Some(value),
            7 => Some(value | MASKED),
            _ => None,
        };
        assert_eq!(lvt(value), expected, "delivery mode {mode}");
    }
}
