//! Cores against the layout, and what a hostile cell leaves in its memory.

use super::*;
use crate::state::Window;
use crate::testing;
use cellvisor_abi::call::{Registers, StopReason};
use cellvisor_abi::plan::{Memory, Share};

const SIZE: u64 = 16 * PAGE_SIZE;

/// A cell with two stretches of memory.
fn cell() -> (CellRecord, GuestMemoryMmap) {
    let part = |gpa| Memory {
        gpa,
        hpa: gpa,
        size: SIZE,
        share: Share::Own,
    };
    let record = CellRecord {
        memory: vec![part(0), part(1 << 32)],
        ..testing::record("a")
    };
    let ranges = [
        (GuestAddress(0), SIZE as usize),
        (GuestAddress(1 << 32), SIZE as usize),
    ];
    let memory = GuestMemoryMmap::from_ranges(&ranges).expect("memory");
    (record, memory)
}

fn put(memory: &GuestMemoryMmap, gpa: u64, bytes: &[u8]) {
    memory
        .write_slice(bytes, GuestAddress(gpa))
        .expect("inside");
}

/// A note as a kernel has it, whose size may be a lie.
fn note(size: u32, text: &[u8]) -> Vec<u8> {
    let mut out = [11u32, size, 0].map(u32::to_le_bytes).concat();
    out.extend(b"VMCOREINFO\0\0");
    out.extend(text);
    out
}

#[test]
fn a_kernel_is_known_by_its_description() {
    let (record, memory) = cell();
    assert_eq!(description(&memory, &record), None);
    let text = b"OSRELEASE=6.12.0\nPAGESIZE=4096\n";
    put(
        &memory,
        (1 << 32) + 3 * PAGE_SIZE,
        &note(text.len() as u32, text),
    );
    assert_eq!(description(&memory, &record).as_deref(), Some(&text[..]));
}

#[test]
fn what_only_looks_like_one_is_passed_over() {
    let (record, memory) = cell();
    let text = b"OSRELEASE=1\n";
    put(&memory, 0, &note(u32::MAX, text));
    put(&memory, PAGE_SIZE, &note(PAGE_SIZE as u32, text));
    put(&memory, 2 * PAGE_SIZE, &note(4, b"none"));
    put(&memory, 3 * PAGE_SIZE + 8, &note(text.len() as u32, text));
    assert_eq!(description(&memory, &record), None);
    let end = PAGE_SIZE as usize - 24;
    put(&memory, SIZE - PAGE_SIZE, &note(end as u32, text));
    let found = description(&memory, &record).expect("one that ends with its page");
    assert_eq!(found.len(), end);
}

#[test]
fn a_core_is_laid_out_as_tools_read_it() {
    let (record, memory) = cell();
    put(&memory, PAGE_SIZE, b"low");
    put(&memory, (1 << 32) + SIZE - 4, b"high");
    let dir = tempfile::tempdir().expect("temporary folder");
    let path = dir.path().join("core");
    let regs = Registers {
        rip: 0x1122,
        ..Registers::default()
    };
    let notes = [elf::registers(Some(regs)), elf::registers(None)];
    write(&File::create(&path).expect("new"), &memory, &record, &notes).expect("writes");
    let core = std::fs::read(&path).expect("reads");

    let half = |at: usize| u16::from_le_bytes(core[at..at + 2].try_into().expect("2"));
    let word = |at: usize| u64::from_le_bytes(core[at..at + 8].try_into().expect("8"));
    assert_eq!(&core[..7], b"\x7fELF\x02\x01\x01");
    assert_eq!((half(16), half(18)), (4, 62), "a core of x86-64");
    assert_eq!(
        (word(32), half(54), half(56)),
        (64, 56, 3),
        "three segments"
    );
    // Notes: 2 of 12 + 8 + 336 bytes behind the table.
    assert_eq!((core[64], word(72), word(96)), (4, 64 + 3 * 56, 2 * 356));
    let first = 64 + 3 * 56;
    assert_eq!(&core[first + 12..first + 17], b"CORE\0");
    assert_eq!(word(first + 20 + 112 + 16 * 8), 0x1122, "RIP of CPU 0");
    assert_eq!(
        word(first + 356 + 20 + 112 + 16 * 8),
        0,
        "CPU 1 is not known"
    );
    // Memory: offset, virtual address, guest-physical address, size.
    for (segment, gpa) in [(64 + 56, 0), (64 + 112, 1u64 << 32)] {
        assert_eq!(core[segment], 1);
        let (virt, phys, size) = (word(segment + 16), word(segment + 24), word(segment + 32));
        assert_eq!((virt, phys, size), (0, gpa, SIZE));
        assert_eq!(word(segment + 8) % PAGE_SIZE, 0);
    }
    let low = word(64 + 56 + 8) as usize + PAGE_SIZE as usize;
    assert_eq!(&core[low..low + 3], b"low");
    assert!(core.ends_with(b"high"));
}

#[test]
fn what_a_link_owns_stays_out_of_a_core() {
    let (mut record, memory) = cell();
    let dir = tempfile::tempdir().expect("temporary folder");
    let core = |record: &CellRecord| {
        let path = dir.path().join("core");
        write(&File::create(&path).expect("new"), &memory, record, &[]).expect("writes");
        std::fs::read(&path).expect("reads")
    };
    let alone = core(&record);
    // Nobody who dumps can read there: `memory` ends before.
    record.windows = vec![Window {
        link: "ring".to_owned(),
        memory: vec![Memory {
            gpa: 1 << 33,
            hpa: 1 << 34,
            size: SIZE,
            share: Share::Write,
        }],
    }];
    assert_eq!(core(&record), alone);
}

#[test]
fn who_did_not_allow_it_or_runs_is_not_dumped() {
    let fake = testing::Fake::default();
    let ended = State::Stopped(StopReason::Panic);
    let status = |state| {
        let known = ("a".to_owned(), state);
        fake.now.borrow_mut().cells.insert(1, known);
        Monitor(&fake)
            .status(cellvisor_abi::call::CellId(1))
            .expect("a cell")
    };
    let mut record = testing::record("a");
    let error = allowed(&record, &status(ended)).expect_err("not allowed");
    assert!(error.to_string().contains("dump = true"), "{error}");
    record.policy.dump = true;
    allowed(&record, &status(ended)).expect("allowed");
    allowed(&record, &status(State::Failed)).expect("allowed");
    for (state, told) in [
        (State::Running, "cellctl kill a"),
        (State::Loadable, "scrubbed"),
    ] {
        let error = allowed(&record, &status(state)).expect_err("nothing to see");
        assert!(error.to_string().contains(told), "{error}");
    }
}
