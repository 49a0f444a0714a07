//! As much of ACPI as tells the number of CPUs.

/// Local APIC and local x2APIC entries of the MADT, and the flag of a CPU that is
/// there (ACPI, "Interrupt Controller Structure Types").
const LOCAL_APIC: u8 = 0;
const LOCAL_X2APIC: u8 = 9;
const ENABLED: u32 = 1;

/// Counts the CPUs that the MADT lists as enabled.
///
/// # Safety
///
/// `rsdp` is the address of an RSDP whose tables are mapped and well formed.
pub(crate) unsafe fn count_cpus(rsdp: u64) -> u32 {
    // SAFETY: the layouts are those of "Root System Description Pointer" and
    // "Extended System Description Table"; the caller vouches for the tables.
    unsafe {
        let xsdt = read::<u64>(rsdp + 24);
        let end = xsdt + u64::from(read::<u32>(xsdt + 4));
        let tables = (xsdt + 36..end).step_by(8).map(|at| read::<u64>(at));
        let madt = tables
            .into_iter()
            .find(|table| read::<[u8; 4]>(*table) == *b"APIC");
        madt.map_or(1, |madt| count_in_madt(madt))
    }
}

/// # Safety
///
/// `madt` is the address of a MADT that is mapped and well formed.
unsafe fn count_in_madt(madt: u64) -> u32 {
    let mut count = 0;
    // SAFETY: the entries begin behind the header and tell their lengths.
    unsafe {
        let end = madt + u64::from(read::<u32>(madt + 4));
        let mut at = madt + 44;
        while at + 2 <= end {
            let flags = match read::<u8>(at) {
                LOCAL_APIC => read::<u32>(at + 4),
                LOCAL_X2APIC => read::<u32>(at + 8),
                _ => 0,
            };
            count += flags & ENABLED;
            at += u64::from(read::<u8>(at + 1)).max(2);
        }
    }
    count
}

/// # Safety
///
/// The address is mapped and holds a `T`.
unsafe fn read<T>(address: u64) -> T {
    // SAFETY: told by the caller.
    unsafe { (address as *const T).read_unaligned() }
}
