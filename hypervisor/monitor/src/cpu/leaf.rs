//! What CPUID says of this CPU.
//!
//! Source: SDM 2A, "CPUID—CPU Identification".

/// Leaf of the features, and bits of its ECX and EDX.
pub(crate) const FEATURES: u32 = 1;
pub(crate) const ECX_VMX: u32 = 1 << 5;
pub(crate) const ECX_X2APIC: u32 = 1 << 21;
pub(crate) const ECX_XSAVE: u32 = 1 << 26;
pub(crate) const EDX_MTRR: u32 = 1 << 12;

/// A subleaf as [EAX, EBX, ECX, EDX], whatever the CPU says.
pub(crate) fn raw(leaf: u32, subleaf: u32) -> [u32; 4] {
    let found = raw_cpuid::native_cpuid::cpuid_count(leaf, subleaf);
    [found.eax, found.ebx, found.ecx, found.edx]
}

/// A subleaf; zeros for a leaf that there is not. Each half of their range tells its
/// last one.
#[inline(never)] // Nobody who asks is in a hurry.
pub(crate) fn subleaf(leaf: u32, subleaf: u32) -> [u32; 4] {
    let [last, ..] = raw(leaf & 0xffff_0000, 0);
    match last < leaf {
        true => [0; 4],
        false => raw(leaf, subleaf),
    }
}

/// The first subleaf, as [`subleaf`] gives it.
pub(crate) fn leaf(leaf: u32) -> [u32; 4] {
    subleaf(leaf, 0)
}

/// [EAX, EBX, ECX, EDX] of [`FEATURES`].
pub(crate) fn features() -> [u32; 4] {
    leaf(FEATURES)
}
