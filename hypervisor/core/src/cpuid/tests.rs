use super::*;
use proptest::prelude::*;

const INTEL: [u32; 3] = [0x756e_6547, 0x6c65_746e, 0x4965_6e69];
const AMD: [u32; 3] = [0x6874_7541, 0x444d_4163, 0x6974_6e65];

/// A CPU with the leaves that `last` says and every feature that there is or
/// ever will be: all bits of all other answers are set.
fn everything(name: [u32; 3], basic: u32, extended: u32) -> impl Fn(u32, u32) -> Regs {
    move |leaf, subleaf| match (leaf, subleaf) {
        (0, _) => [basic, name[0], name[1], name[2]],
        (0x8000_0000, _) => [extended, 0, 0, 0],
        // Caches of levels 1, 1, 2, 3, and no more.
        (4 | 0x8000_001d, 0..4) => {
            let level = [1, 1, 2, 3][subleaf as usize];
            [0xffff_c101 | level << 5, 1, 2, 3]
        }
        (4 | 0x8000_001d, _) => [0; 4],
        // AVX and AVX-512 as hardware has them; protection keys aligned.
        (0xd, 2) => [256, 576, 0, 0],
        (0xd, 5) => [64, 1088, 0, 0],
        (0xd, 6) => [512, 1152, 0, 0],
        (0xd, 7) => [1024, 1664, 0, 0],
        (0xd, 9) => [8, 2688, 2, 0],
        (0xd, 2..) => [0; 4],
        _ => [u32::MAX; 4],
    }
}

pub(super) fn intel(cpus: u32) -> Table {
    Table::build(everything(INTEL, 0x24, 0x8000_0008), cpus)
}

pub(super) fn amd(cpus: u32) -> Table {
    Table::build(everything(AMD, 0x10, 0x8000_0028), cpus)
}

pub(super) fn cpu(virtual_id: u32) -> Dynamic {
    Dynamic {
        virtual_id,
        ..Dynamic::default()
    }
}

/// True if the bit of a register (0 to 3: EAX to EDX) is set.
fn has(table: &Table, leaf: u32, subleaf: u32, register: usize, bit: u32) -> bool {
    table.lookup(leaf, subleaf, &cpu(0))[register] >> bit & 1 != 0
}

#[test]
fn what_reaches_beyond_the_cpu_is_hidden() {
    let hidden = [
        ("DTES64", 1, 0, 2, 2),
        ("VMX", 1, 0, 2, 5),
        ("SMX", 1, 0, 2, 6),
        ("EIST", 1, 0, 2, 7),
        ("TM2", 1, 0, 2, 8),
        ("PDCM", 1, 0, 2, 15),
        ("OSXSAVE without CR4", 1, 0, 2, 27),
        ("MCE", 1, 0, 3, 7),
        ("MCA", 1, 0, 3, 14),
        ("DS", 1, 0, 3, 21),
        ("ACPI", 1, 0, 3, 22),
        ("TM", 1, 0, 3, 29),
        ("SGX", 7, 0, 1, 2),
        ("RDT monitoring", 7, 0, 1, 12),
        ("MPX", 7, 0, 1, 14),
        ("RDT allocation", 7, 0, 1, 15),
        ("PT", 7, 0, 1, 25),
        ("OSPKE without CR4", 7, 0, 2, 4),
        ("TME", 7, 0, 2, 13),
        ("bus-lock detection", 7, 0, 2, 24),
        ("ENQCMD", 7, 0, 2, 29),
        ("user interrupts", 7, 0, 3, 5),
        ("hybrid", 7, 0, 3, 15),
        ("PCONFIG", 7, 0, 3, 18),
        ("core capabilities", 7, 0, 3, 30),
        ("FRED", 7, 1, 0, 17),
        ("HRESET", 7, 1, 0, 22),
        ("supervisor state components", 0xd, 1, 2, 8),
    ];
    for table in [intel(4), amd(4)] {
        for (name, leaf, subleaf, register, bit) in hidden {
            assert!(!has(&table, leaf, subleaf, register, bit), "{name}");
        }
        // Performance counters, RDT twice.
        for leaf in [0xa, 0xf, 0x10] {
            assert_eq!(table.lookup(leaf, 0, &cpu(0)), [0; 4], "{leaf:#x}");
        }
    }
    // SGX, PT, HRESET, performance counters again.
    for leaf in [0x12, 0x14, 0x20, 0x23] {
        assert_eq!(intel(4).lookup(leaf, 0, &cpu(0)), [0; 4], "{leaf:#x}");
    }
    for (name, bit) in [
        ("SVM", 2),
        ("EXTAPIC", 3),
        ("IBS", 10),
        ("SKINIT", 12),
        ("counters", 23),
    ] {
        assert!(!has(&amd(4), 0x8000_0001, 0, 2, bit), "{name}");
    }
    // SVM, sampling, memory encryption.
    for leaf in [0x8000_000a, 0x8000_001b, 0x8000_001f, 0x8000_0020] {
        assert_eq!(amd(4).lookup(leaf, 0, &cpu(0)), [0; 4], "{leaf:#x}");
    }
    assert!(!has(&amd(4), 0x8000_0008, 0, 1, 3), "INVLPGB");
}

#[test]
fn what_makes_a_cell_fast_is_there() {
    let shown = [
        ("MWAIT", 1, 0, 2, 3),
        ("PCID", 1, 0, 2, 17),
        ("TSC deadline", 1, 0, 2, 24),
        ("x2APIC", 1, 0, 2, 21),
        ("hypervisor", 1, 0, 2, 31),
        ("ARAT", 6, 0, 0, 2),
        ("INVPCID", 7, 0, 1, 10),
        ("AVX-512", 7, 0, 1, 16),
        ("RDPID", 7, 0, 2, 22),
        ("AMX", 7, 0, 3, 24),
        ("speculation control", 7, 0, 3, 26),
        ("XSAVES", 0xd, 1, 0, 3),
        ("1 GiB pages", 0x8000_0001, 0, 3, 26),
        ("RDTSCP", 0x8000_0001, 0, 3, 27),
        ("invariant TSC", 0x8000_0007, 0, 3, 8),
    ];
    for table in [intel(4), amd(4)] {
        for (name, leaf, subleaf, register, bit) in shown {
            assert!(has(&table, leaf, subleaf, register, bit), "{name}");
        }
    }
    assert_eq!(
        intel(4).lookup(6, 0, &cpu(0)),
        [4, 0, 0, 0],
        "no power management besides ARAT"
    );
}

#[test]
fn x2apic_is_there_even_if_the_hardware_is_older() {
    let old = |leaf, _| match leaf {
        0 => [4, INTEL[0], INTEL[1], INTEL[2]],
        0x8000_0000 => [0, 0, 0, 0],
        1 => [0x6f2, 0, 0, 1],
        4 => [0; 4],
        _ => unreachable!("leaf {leaf:#x} does not exist there"),
    };
    let table = Table::build(
        |leaf, subleaf| {
            if leaf == 2 {
                [1, 0, 0, 0]
            } else {
                old(leaf, subleaf)
            }
        },
        2,
    );
    assert_eq!(table.lookup(0, 0, &cpu(0))[0], 0xb);
    assert_eq!(
        table.lookup(1, 0, &cpu(1)),
        [0x6f2, 0x0102_0000, 1 << 31 | 1 << 21, 1 << 28 | 1]
    );
    assert_eq!(table.lookup(0xb, 1, &cpu(1)), [1, 2, 0x201, 1]);
    assert_eq!(
        table.lookup(0x8000_0000, 0, &cpu(0)),
        [0x8000_0000, 0, 0, 0]
    );
}

#[test]
fn topology_has_one_thread_per_core_and_ids_from_0() {
    for table in [intel(6), amd(6)] {
        assert_eq!(table.lookup(0xb, 0, &cpu(5)), [0, 1, 0x100, 5]);
        assert_eq!(
            table.lookup(0xb, 1, &cpu(5)),
            [3, 6, 0x201, 5],
            "six need three bits"
        );
        assert_eq!(table.lookup(0xb, 7, &cpu(5)), [0, 0, 7, 5], "no such level");
        let [_, ebx, _, edx] = table.lookup(1, 0, &cpu(5));
        assert_eq!((ebx >> 16, edx >> 28 & 1), (0x0506, 1));
    }
    assert_eq!(intel(6).lookup(0x1f, 1, &cpu(5)), [3, 6, 0x201, 5]);
    assert_eq!(amd(6).lookup(0x8000_001e, 0, &cpu(5)), [5, 5, 0, 0]);
    assert_eq!(amd(6).lookup(0x8000_0008, 0, &cpu(0))[2], 5 | 3 << 12);
    // One CPU needs no bits and has no hyper-threading flag; ids above 255 show
    // their low byte in leaf 1 only.
    assert_eq!(intel(1).lookup(0xb, 1, &cpu(0)), [0, 1, 0x201, 0]);
    assert_eq!(intel(1).lookup(1, 0, &cpu(0))[3] >> 28 & 1, 0);
    assert_eq!(
        intel(1024).lookup(0xb, 1, &cpu(0x2ff)),
        [10, 1024, 0x201, 0x2ff]
    );
    assert_eq!(intel(1024).lookup(1, 0, &cpu(0x2ff))[1], 0xffff_ff00);
}

#[test]
fn caches_are_shared_inside_the_cell() {
    let sharers = |table: &Table, leaf, subleaf| {
        let eax = table.lookup(leaf, subleaf, &cpu(0))[0];
        (eax >> 14 & 0xfff, eax >> 26)
    };
    let table = intel(6);
    for private in 0..3 {
        assert_eq!(sharers(&table, 4, private), (0, 7));
    }
    assert_eq!(
        sharers(&table, 4, 3),
        (7, 7),
        "six CPUs, rounded up to eight ids"
    );
    assert_eq!(table.lookup(4, 4, &cpu(0)), [0; 4], "no more caches");
    assert_eq!(
        sharers(&intel(1024), 4, 3),
        (1023, 63),
        "the field for cores has six bits"
    );
    assert_eq!(sharers(&amd(6), 0x8000_001d, 3), (7, 0));

    let apart = intel(6).without(Lacks::SHARED_L3);
    assert_eq!(sharers(&apart, 4, 3), (0, 7));
    assert_eq!(
        apart.lookup(4, 3, &cpu(0))[1..],
        [1, 2, 3],
        "the rest is the hardware's"
    );
}

#[test]
fn lacking_features_are_hidden() {
    let lacks = Lacks::RDTSCP | Lacks::INVPCID | Lacks::XSAVES | Lacks::WAITPKG;
    let (all, less) = (intel(2), intel(2).without(lacks));
    let bits = [
        (0x8000_0001, 0, 3, 27),
        (7, 0, 2, 22),
        (7, 0, 1, 10),
        (0xd, 1, 0, 3),
        (7, 0, 2, 5),
    ];
    for (leaf, subleaf, register, bit) in bits {
        assert!(has(&all, leaf, subleaf, register, bit), "{leaf:#x} {bit}");
        assert!(!has(&less, leaf, subleaf, register, bit), "{leaf:#x} {bit}");
    }
}

#[test]
fn control_register_4_is_mirrored() {
    let now = Dynamic {
        cr4: CR4_OSXSAVE | CR4_PKE,
        ..cpu(0)
    };
    assert_eq!(intel(2).lookup(1, 0, &now)[2] & OSXSAVE, OSXSAVE);
    assert_eq!(intel(2).lookup(7, 0, &now)[2] & OSPKE, OSPKE);
}

#[test]
fn xsave_sizes_follow_the_components_in_use() {
    let table = intel(2);
    assert_eq!(
        table.xcr0(),
        0xe_02e7,
        "no MPX, no processor trace, nothing unknown"
    );
    let sizes = |xcr0| {
        let now = Dynamic { xcr0, ..cpu(0) };
        let [_, enabled, all, _] = table.lookup(0xd, 0, &now);
        (enabled, all, table.lookup(0xd, 1, &now)[1])
    };
    assert_eq!(sizes(3), (576, 2696, 576), "x87 and SSE");
    assert_eq!(sizes(7), (832, 2696, 832), "AVX");
    // Compacted, the keys come right behind the 832 bytes, which are 13 * 64.
    assert_eq!(sizes(0x207), (2696, 2696, 840), "AVX and protection keys");
    assert_eq!(sizes(0xe7), (2688, 2696, 2432), "AVX-512");
    assert_eq!(sizes(0x18), (576, 2696, 576), "MPX does not exist");
    assert_eq!(table.lookup(0xd, 9, &cpu(0)), [8, 2688, 2, 0]);
    assert_eq!(table.lookup(0xd, 3, &cpu(0)), [0; 4]);
    assert_eq!(
        table.lookup(0xd, 1, &cpu(0))[2..],
        [0, 0],
        "no supervisor components"
    );
}

#[test]
fn hypervisor_leaves_speak_kvms_language() {
    let table = intel(2);
    let [last, name @ ..] = table.lookup(0x4000_0000, 0, &cpu(0));
    assert_eq!(last, 0x4000_0001);
    assert_eq!(name.map(u32::to_le_bytes).concat(), b"KVMKVMKVM\0\0\0");
    assert_eq!(
        table.lookup(0x4000_0001, 0, &cpu(0)),
        [0x0100_800b, 0, 0, 0]
    );
    let [_, name @ ..] = table.lookup(LEAF_MONITOR, 0, &cpu(0));
    assert_eq!(name.map(u32::to_le_bytes).concat(), b"cellvisor\0\0\0");
    assert_eq!(table.lookup(0x4000_0002, 0, &cpu(0)), [0; 4]);
    assert_eq!(table.lookup(0x4fff_ffff, 0, &cpu(0)), [0; 4]);
}

#[test]
fn leaves_beyond_the_last_answer_as_the_maker_has_it() {
    let table = Table::build(everything(INTEL, 0x16, 0x8000_0008), 2);
    let last = table.lookup(0x16, 0, &cpu(0));
    assert_eq!(last, [u32::MAX; 4]);
    for leaf in [0x17, 0x1f, 0x3fff_ffff, 0x5000_0000, 0x8000_0009, u32::MAX] {
        assert_eq!(table.lookup(leaf, 0, &cpu(0)), last, "{leaf:#x}");
        assert_eq!(amd(2).lookup(leaf | 0x40, 0, &cpu(0)), [0; 4], "{leaf:#x}");
    }
    assert_eq!(amd(2).lookup(0x8000_0000, 0, &cpu(0))[0], 0x8000_0021);
    assert_eq!(amd(2).lookup(0x8000_0026, 0, &cpu(0)), [0; 4]);
}

#[test]
fn all_rules_fit_the_table() {
    for rules in [intel(2), amd(2)] {
        assert!(rules.entries.len() < CAPACITY, "{}", rules.entries.len());
    }
    // Even a CPU with six cache levels and all state components.
    let full = |leaf, _| match leaf {
        0 => [0x24, INTEL[0], INTEL[1], INTEL[2]],
        0x8000_0000 => [0x8000_0021, 0, 0, 0],
        _ => [u32::MAX; 4],
    };
    let most = Table::build(full, 2).entries.len();
    assert!(most < CAPACITY, "{most}");
}

#[test]
fn each_answer_is_found_from_the_first_one_of_its_leaf() {
    for table in [intel(2), amd(2)] {
        for entry in &table.entries {
            let found = table.find(entry.leaf, entry.subleaf.unwrap_or(0));
            assert!(
                found.is_some_and(|found| core::ptr::eq(found, entry)),
                "{entry:?}"
            );
        }
        assert!(table.find(0x24 + 1, 0).is_none());
        assert!(table.find(0x8000_0022, 0).is_none());
    }
}

#[test]
fn root_sees_its_hardware_less_what_the_monitor_uses() {
    let all = [u32::MAX; 4];
    assert_eq!(root(1, 0, all, 0)[2], !(VMX | SMX | OSXSAVE));
    assert_eq!(root(1, 0, all, CR4_OSXSAVE)[2], !(VMX | SMX));
    assert_eq!(root(1, 0, [0; 4], CR4_OSXSAVE)[2], OSXSAVE);
    assert_eq!(root(7, 0, all, 0)[2], !OSPKE);
    assert_eq!(root(7, 0, [0; 4], CR4_PKE)[2], OSPKE);
    assert_eq!(root(7, 1, all, 0), all);
    assert_eq!(root(0x8000_0001, 0, all, 0)[2], !SVM);
    assert_eq!(root(0x8000_000a, 0, all, 0), [0; 4]);
    assert_eq!(root(2, 0, all, 0), all);
}

proptest! {
    /// Whatever the hardware says and the guest asks, there is an answer, and
    /// what VMX and SVM are hidden behind stays shut.
    #[test]
    fn any_hardware_and_any_question(
        seed in any::<u32>(),
        name in prop::sample::select(std::vec![INTEL, AMD, [0; 3]]),
        cpus in any::<u32>(),
        question in any::<(u32, u32)>(),
        state in any::<(u32, u64, u64, u64)>(),
    ) {
        let hash = |leaf: u32, sub: u32, i: u32| {
            (leaf ^ sub.rotate_left(8) ^ seed ^ i).wrapping_mul(0x9e37_79b9).rotate_left(13)
        };
        let native = |leaf, sub| match leaf {
            0 => [hash(0, 0, 0) % 0x40, name[0], name[1], name[2]],
            _ => core::array::from_fn(|i| hash(leaf, sub, i as u32)),
        };
        let table = Table::build(native, cpus);
        let (virtual_id, cr4, xcr0, xss) = state;
        let now = Dynamic { virtual_id, cr4, xcr0, xss };
        let edges = [0, 1, 4, 7, 0xb, 0xd, 0x1f, 0x8000_0001, 0x8000_0008, 0x8000_001e, u32::MAX];
        for leaf in edges.into_iter().chain([question.0]) {
            for sub in [0, 1, 2, question.1] {
                table.lookup(leaf, sub, &now);
            }
        }
        prop_assert_eq!(table.lookup(1, 0, &now)[2] & (VMX | SMX), 0);
        prop_assert_eq!(table.lookup(1, 0, &now)[2] & (HYPERVISOR | X2APIC), HYPERVISOR | X2APIC);
        // Where the leaf does not exist, Intel's CPUs answer with another's data.
        let extended = table.find(0x8000_0001, 0).map_or(0, |e| e.regs[2]);
        prop_assert_eq!(extended & SVM, 0);
    }
}

#[test]
fn edges_of_leaves_and_features() {
    // A CPU whose last extended leaf is the first: nothing beyond answers.
    let none = Table::build(everything(INTEL, 0x24, 0x8000_0000), 2);
    assert_eq!(none.lookup(0x8000_0000, 0, &cpu(0))[0], 0x8000_0000);
    assert_eq!(
        none.lookup(0x8000_0001, 0, &cpu(0)),
        none.lookup(0x24, 0, &cpu(0))
    );
    // What says less than the first extended leaf has none.
    let odd = Table::build(everything(INTEL, 0x24, 0x7fff_ffff), 2);
    assert_eq!(odd.lookup(0x8000_0000, 0, &cpu(0))[0], 0x8000_0000);
    // The last basic leaf is one: 24H has subleaf 0 alone.
    assert_eq!(intel(2).lookup(0x24, 0, &cpu(0)), [u32::MAX; 4]);
    // Leaf 7FFFFFFFH is below the extended ones and above the basic ones.
    assert_eq!(amd(2).lookup(0x7fff_ffff, 0, &cpu(0)), [0; 4]);
}

#[test]
fn a_cell_that_lacks_the_shared_cache_keeps_all_else() {
    let apart = intel(6).without(Lacks::SHARED_L3);
    // Leaf 1's EAX has bits where leaf 4 has the sharers.
    assert_eq!(apart.lookup(1, 0, &cpu(0))[0], u32::MAX);
    let less = intel(6).without(Lacks::RDTSCP);
    assert_eq!(less.lookup(4, 3, &cpu(0)), intel(6).lookup(4, 3, &cpu(0)));
}

#[test]
fn compacted_sizes_need_a_compacted_format() {
    // Neither XSAVEC nor XSAVES: EBX of subleaf 1 is reserved.
    let plain = |leaf, subleaf| match (leaf, subleaf) {
        (0xd, 1) => [0b0_0101, 0, 0, 0],
        other => everything(INTEL, 0x24, 0x8000_0008)(other.0, other.1),
    };
    let now = Dynamic { xcr0: 7, ..cpu(0) };
    assert_eq!(Table::build(plain, 2).lookup(0xd, 1, &now), [5, 0, 0, 0]);
    let compacts = |leaf, subleaf| match (leaf, subleaf) {
        (0xd, 1) => [0b0_0010, 0, 0, 0],
        other => plain(other.0, other.1),
    };
    assert_eq!(Table::build(compacts, 2).lookup(0xd, 1, &now)[1], 832);
    // Protection keys aligned: 832 is a multiple of 64; behind ZMM_Hi256 (the
    // 64 bytes of opmasks before it) they are where the size says.
    let keys = Dynamic {
        xcr0: 0x227,
        ..cpu(0)
    };
    // 576 + 256 + 64 = 896, aligned; 8 bytes.
    assert_eq!(intel(2).lookup(0xd, 1, &keys)[1], 904);
    // Opmasks of 40 bytes leave 872, which only an aligned component rounds up.
    let odd = |flags| {
        let native = move |leaf, subleaf| match (leaf, subleaf) {
            (0xd, 5) => [40, 1088, 0, 0],
            (0xd, 9) => [8, 2688, flags, 0],
            other => everything(INTEL, 0x24, 0x8000_0008)(other.0, other.1),
        };
        Table::build(native, 2).lookup(0xd, 1, &keys)[1]
    };
    assert_eq!((odd(0), odd(2)), (880, 904));
}

#[test]
fn no_cache_is_no_cache() {
    // Type 0 with other bits set, as no CPU should answer.
    let native = |leaf, subleaf| match (leaf, subleaf) {
        (4, _) => [0xffff_c1e0, 1, 2, 3],
        other => everything(INTEL, 0x24, 0x8000_0008)(other.0, other.1),
    };
    assert_eq!(Table::build(native, 2).lookup(4, 0, &cpu(0)), [0; 4]);
}

/// What is given without a look at the CPU's state is what a look would give.
#[test]
fn fixed_answers_are_those_of_every_cpu_in_every_state() {
    let states = [0, CR4_OSXSAVE | CR4_PKE].map(|cr4| Dynamic {
        virtual_id: 5,
        cr4,
        xcr0: 7,
        xss: 0,
    });
    for table in [intel(6), amd(6), intel(1), amd(1)] {
        for leaf in (0..0x40)
            .chain(0x3fff_fff0..0x4000_0110)
            .chain(0x7fff_fff0..0x8000_0030)
        {
            let Some(fixed) = table.fixed(leaf) else {
                continue;
            };
            for (subleaf, now) in [0, 1, 2, u32::MAX]
                .into_iter()
                .flat_map(|s| states.map(|now| (s, now)))
            {
                assert_eq!(
                    *fixed,
                    table.lookup(leaf, subleaf, &now),
                    "{leaf:x} {subleaf:x}"
                );
            }
        }
        let by_state = [1, 4, 7, 0xb, 0xd].map(|leaf| table.fixed(leaf));
        assert_eq!(by_state, [None; 5]);
        assert!(table.fixed(0).is_some());
    }
}
