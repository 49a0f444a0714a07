//! Every type: round trip, every cut, bytes too many, and any bytes at all.

use super::any::{Any, Seed};
use super::*;
use crate::Bdf;
use crate::call::{
    Backend, CellId, CellStatus, Conflict, ConsoleWrite, Denied, FailReason, Failure,
    FunctionRequest, FunctionStatus, Info, Name, Owner, Progress, ReadRequest, ReadResponse,
    Registers, Resource, Start, State, Stats, StatsRequest, StopReason,
};
use crate::plan::{
    Adapter, Boot, CellPlan, Class, Cpu, Devices, Ecam, Function, Inject, IoApic, Iommu, IommuKind,
    Link, Memory, Ports, Range, Share, Socket, SystemPlan, Wire,
};
use alloc::vec::Vec;
use core::fmt::Debug;
use proptest::prelude::*;

/// What is true of the bytes of a value: they are read as that value, and as nothing
/// when one is missing or too many.
fn whole<'a, T: Take<'a> + Put>(bytes: &'a [u8], longer: &'a [u8]) -> T {
    let value = decode::<T>(bytes);
    assert!(value.is_ok(), "{bytes:x?}");
    for len in 0..bytes.len() {
        let cut = decode::<T>(&bytes[..len]).err();
        assert_eq!(cut, Some(Malformed::Payload), "{len} of {bytes:x?}");
    }
    assert_eq!(&longer[..bytes.len()], bytes);
    assert_eq!(decode::<T>(longer).err(), Some(Malformed::Trailing));
    let value = value.expect("was looked at");
    assert_eq!(to_vec(&value), bytes, "one value, one form");
    value
}

fn longer(bytes: &[u8]) -> Vec<u8> {
    [bytes, &[0]].concat()
}

fn items<'a, T: Take<'a>>(list: List<'a, T>) -> Vec<T> {
    list.iter().collect()
}

fn survives<T: Any + for<'a> Take<'a> + Put + PartialEq + Debug>(seed: u64) {
    let value = T::any(&mut Seed(seed));
    let bytes = to_vec(&value);
    assert_eq!(whole::<T>(&bytes, &longer(&bytes)), value);
    let (values, list) = Seed(seed).list::<T>();
    let bytes = to_vec(&list.list::<T>());
    let long = longer(&bytes);
    let read: List<'_, T> = whole(&bytes, &long);
    assert_eq!((read.len(), items(read)), (values.len(), values));
}

/// Any bytes are refused, or are those of the value that they are read as.
fn is_safe<'a, T: Take<'a> + Put>(bytes: &'a [u8]) {
    if let Ok(value) = decode::<T>(bytes) {
        assert_eq!(to_vec(&value), bytes);
    }
}

macro_rules! for_each_type {
    ($check:ident($argument:expr)) => {
        for_each_type!($check($argument):
            u8 u16 u32 u64 bool Bdf
            Cpu Range Ecam Iommu IommuKind IoApic Inject Link Memory Share Ports Function Wire Socket
            Devices Class Boot CellId Info Backend Start Progress State StopReason CellStatus Name
            Denied Failure FailReason Registers Conflict Resource Owner FunctionRequest
            FunctionStatus ReadRequest Stats StatsRequest)
    };
    ($check:ident($argument:expr): $($type:ty)*) => { $($check::<$type>($argument);)* };
}

proptest! {
    #[test]
    fn every_value_survives_and_no_part_of_it_is_one(seed: u64) {
        for_each_type!(survives(seed));
    }

    #[test]
    fn plans_survive_with_their_lists(seed: u64, name: Vec<u8>) {
        let seed = &mut Seed(seed);
        let (cpus, cpu_list) = seed.list::<u32>();
        let (memory, memory_list) = seed.list::<Memory>();
        let (ports, port_list) = seed.list::<Ports>();
        let (functions, function_list) = seed.list::<Function>();
        let (adapters, adapter_list) = seed.list::<Adapter>();
        let plan = CellPlan {
            name: &name,
            cpus: cpu_list.list(),
            memory: memory_list.list(),
            ports: port_list.list(),
            functions: function_list.list(),
            adapters: adapter_list.list(),
            console: Any::any(seed),
            socket: Any::any(seed),
            devices: Any::any(seed),
            dump: Any::any(seed),
            many_nodes: Any::any(seed),
            class: Any::any(seed),
            link: Any::any(seed),
        };
        let frame = seal(&plan);
        let bytes = open(&frame).expect("was sealed");
        let longer = longer(bytes);
        let read: CellPlan<'_> = whole(bytes, &longer);
        prop_assert_eq!(read.name, plan.name);
        prop_assert_eq!(items(read.cpus), cpus);
        prop_assert_eq!(items(read.memory), memory);
        prop_assert_eq!(items(read.ports), ports);
        prop_assert_eq!(items(read.functions), functions);
        prop_assert_eq!(items(read.adapters), adapters);
        prop_assert_eq!((read.devices, read.socket), (plan.devices, plan.socket));
        prop_assert_eq!((read.dump, read.link), (plan.dump, plan.link));
        prop_assert_eq!(read.class, plan.class);
    }

    #[test]
    fn system_plans_survive_with_their_lists(seed: u64) {
        let seed = &mut Seed(seed);
        let (cpus, cpu_list) = seed.list::<Cpu>();
        let (ram, ram_list) = seed.list::<Range>();
        let (ecam, ecam_list) = seed.list::<Ecam>();
        let (iommus, iommu_list) = seed.list::<Iommu>();
        let (io_apics, io_apic_list) = seed.list::<IoApic>();
        let plan = SystemPlan {
            cpus: cpu_list.list(),
            ram: ram_list.list(),
            ecam: ecam_list.list(),
            iommus: iommu_list.list(),
            io_apics: io_apic_list.list(),
            tsc_khz: Any::any(seed),
            log_port: Any::any(seed),
            inject: Any::any(seed),
        };
        let bytes = to_vec(&plan);
        let longer = longer(&bytes);
        let read: SystemPlan<'_> = whole(&bytes, &longer);
        prop_assert_eq!(items(read.cpus), cpus);
        prop_assert_eq!(items(read.ram), ram);
        prop_assert_eq!(items(read.ecam), ecam);
        prop_assert_eq!(items(read.iommus), iommus);
        prop_assert_eq!(items(read.io_apics), io_apics);
        prop_assert_eq!(read.tsc_khz, plan.tsc_khz);
        prop_assert_eq!((read.log_port, read.inject), (plan.log_port, plan.inject));
    }

    #[test]
    fn bytes_and_text_survive(start: u64, bytes: Vec<u8>, cell: u32) {
        let response = ReadResponse { start, bytes: &bytes };
        let encoded = to_vec(&response);
        let long = longer(&encoded);
        prop_assert_eq!(whole::<ReadResponse<'_>>(&encoded, &long), response);
        let write = ConsoleWrite { cell: CellId(cell), bytes: &bytes };
        let encoded = to_vec(&write);
        let long = longer(&encoded);
        prop_assert_eq!(whole::<ConsoleWrite<'_>>(&encoded, &long), write);
        let encoded = to_vec(&&bytes[..]);
        prop_assert_eq!(decode::<&str>(&encoded).ok(), core::str::from_utf8(&bytes).ok());
    }

    #[test]
    fn any_bytes_are_refused_or_are_a_value_s_own(bytes: Vec<u8>) {
        for_each_type!(is_safe(&bytes));
        is_safe::<ReadResponse<'_>>(&bytes);
        is_safe::<ConsoleWrite<'_>>(&bytes);
        is_safe::<SystemPlan<'_>>(&bytes);
        is_safe::<CellPlan<'_>>(&bytes);
        is_safe::<&str>(&bytes);
    }

    #[test]
    fn any_changed_byte_of_a_plan_is_refused_or_read_as_what_it_says(at: u8, to: u8) {
        let (cpus, none) = (ListBuf::new(&[1u32, 200]), ListBuf::default());
        let mut bytes = to_vec(&CellPlan {
            name: b"changed",
            cpus: cpus.list(),
            memory: none.list(),
            ports: none.list(),
            functions: none.list(),
            adapters: none.list(),
            console: true,
            socket: None,
            devices: Devices::STANDARD,
            dump: true,
            many_nodes: true,
            class: Class::ROOT,
            link: None,
        });
        let at = usize::from(at) % bytes.len();
        bytes[at] = to;
        is_safe::<CellPlan<'_>>(&bytes);
    }

    #[test]
    fn what_does_not_fit_is_not_written_in_part(seed: u64, room in 0usize..80) {
        let value = Start::any(&mut Seed(seed));
        let bytes = to_vec(&value);
        let mut out = [0; 80];
        let written = encode(&value, &mut out[..room]);
        let expected = (bytes.len() <= room).then_some(&bytes[..]);
        prop_assert_eq!(written.map(|bytes| &*bytes), expected);
    }
}

#[test]
fn numbers_have_one_form() {
    assert_eq!(to_vec(&300u16), [0xac, 2]);
    assert_eq!(to_vec(&u64::MAX).len(), 10);
    let refused: [&[u8]; 5] = [
        // Zero, and 1, in two bytes.
        &[0x80, 0],
        &[0x81, 0],
        // More than fits, by value and by length.
        &[0x80, 0x80, 4],
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2],
        &[0x80; 12],
    ];
    for bytes in refused {
        assert_eq!(decode::<u16>(bytes), Err(Malformed::Payload), "{bytes:x?}");
    }
    assert_eq!(decode::<u64>(refused[2]), Ok(1 << 16));
    assert_eq!(decode::<u64>(refused[3]), Err(Malformed::Payload));
    assert_eq!(decode::<u64>(refused[4]), Err(Malformed::Payload));
}

#[test]
fn variants_that_do_not_exist_are_refused() {
    assert_eq!(decode::<bool>(&[2]), Err(Malformed::Payload));
    assert_eq!(decode::<Option<bool>>(&[2, 0]), Err(Malformed::Payload));
    assert_eq!(decode::<Share>(&[3]), Err(Malformed::Payload));
    assert_eq!(decode::<Owner>(&[4, 0]), Err(Malformed::Payload));
    assert_eq!(decode::<FailReason>(&[7, 0]), Err(Malformed::Payload));
}

#[test]
fn crc32_matches_the_published_check_value() {
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
}

#[test]
fn list_that_claims_too_few_or_too_many_items_is_refused() {
    let mut bytes = to_vec(&ListBuf::new(&[1u32, 2, 300]).list::<u32>());
    assert_eq!(bytes, [3, 1, 2, 0xac, 2]);
    for (count, why) in [(2, Malformed::Trailing), (4, Malformed::Payload)] {
        bytes[0] = count;
        assert_eq!(decode::<List<'_, u32>>(&bytes).err(), Some(why));
    }
    // The longest that can be claimed ends with the bytes.
    let endless = decode::<List<'_, u32>>(&[0xff, 0xff, 0xff, 0xff, 0xf, 1, 2]);
    assert_eq!(endless.err(), Some(Malformed::Payload));
}

#[test]
fn any_flipped_bit_of_a_frame_is_found() {
    let frame = seal(&(7u32, "name"));
    assert_eq!(
        decode::<(u32, &str)>(open(&frame).expect("opens")),
        Ok((7, "name"))
    );
    for bit in 0..frame.len() * 8 {
        let mut bad = frame.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(open(&bad).is_err(), "bit {bit}");
    }
}
