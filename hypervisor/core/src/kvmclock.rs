//! The paravirtual clock that stock kernels know from KVM: one page per CPU that
//! tells how to make nanoseconds of the TSC, and one that tells the date.
//!
//! A cell's TSC is the hardware's own, so the pages are written once and never
//! again: no exit for any reading of the clock.
//!
//! Spec: Linux, Documentation/virt/kvm/x86/msr.rst and cpuid.rst.

/// MSR: guest-physical address at which the kernel wants [`Clock::wall_clock`].
pub const MSR_WALL_CLOCK: u32 = 0x4b56_4d00;
/// MSR: guest-physical address for [`Clock::time_info`], with bit 0 set.
pub const MSR_SYSTEM_TIME: u32 = 0x4b56_4d01;
/// [`MSR_WALL_CLOCK`] under its first number.
pub const MSR_WALL_CLOCK_OLD: u32 = 0x11;
/// [`MSR_SYSTEM_TIME`] under its first number.
pub const MSR_SYSTEM_TIME_OLD: u32 = 0x12;

/// CPUID leaf with the signature and the last leaf in EAX.
pub const LEAF_SIGNATURE: u32 = 0x4000_0000;
/// CPUID leaf with features in EAX.
pub const LEAF_FEATURES: u32 = 0x4000_0001;
/// EBX, ECX and EDX of [`LEAF_SIGNATURE`].
pub const SIGNATURE: &[u8; 12] = b"KVMKVMKVM\0\0\0";

/// Feature: the clock by its first MSR numbers.
pub const FEATURE_CLOCKSOURCE: u32 = 1 << 0;
/// Feature: no delays around port accesses.
pub const FEATURE_NOP_IO_DELAY: u32 = 1 << 1;
/// Feature: the clock.
pub const FEATURE_CLOCKSOURCE2: u32 = 1 << 3;
/// Feature: message-signalled interrupts can name ids of 15 bits.
pub const FEATURE_MSI_EXT_DEST_ID: u32 = 1 << 15;
/// Feature: the page says rightly that all CPUs' clocks agree.
pub const FEATURE_CLOCKSOURCE_STABLE: u32 = 1 << 24;

/// Flag in the page: all CPUs' clocks agree.
const FLAG_STABLE: u8 = 1 << 0;

/// Version that the pages have: even, so that no update is under way.
const VERSION: u32 = 2;

/// Bytes of the page for a CPU's clock.
pub const TIME_INFO_SIZE: usize = 32;
/// Bytes of the page for the date.
pub const WALL_CLOCK_SIZE: usize = 12;

/// Nanoseconds per tick as `multiplier / 2^32 * 2^shift`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Scale {
    multiplier: u32,
    shift: i8,
}

impl Scale {
    /// The multiplier with the most significant bits: 2^31 or more, so that what
    /// is cut off is below 0.0005 ppm.
    fn new(tsc_khz: u32) -> Option<Self> {
        const PER_MS: u64 = 1_000_000;
        let khz = u64::from(tsc_khz);
        let (mut shift, mut high) = (0i8, PER_MS);
        // Half a tick's worth or less would lose bits of the multiplier …
        while khz != 0 && high * 2 <= khz {
            high *= 2;
            shift -= 1;
        }
        // … and a whole one does not fit.
        let mut low = khz;
        while khz != 0 && high >= low {
            low *= 2;
            shift += 1;
        }
        let multiplier = (high << 32).checked_div(low)?;
        Some(Self {
            multiplier: u32::try_from(multiplier).ok()?,
            shift,
        })
    }

    /// Nanoseconds that `ticks` take, computed as a guest does it.
    fn nanoseconds(self, ticks: u64) -> u64 {
        let ticks = u128::from(ticks);
        let shifted = match u32::try_from(self.shift) {
            Ok(left) => ticks << left,
            Err(_) => ticks >> self.shift.unsigned_abs(),
        };
        ((shifted * u128::from(self.multiplier)) >> 32) as u64
    }
}

/// A cell's time: nanoseconds since its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    scale: Scale,
    tsc: u64,
    system_ns: u64,
}

impl Clock {
    /// The clock that shows `system_ns` nanoseconds when the TSC has the value
    /// `tsc`; `None` for a frequency of 0 kHz.
    pub fn new(tsc_khz: u32, tsc: u64, system_ns: u64) -> Option<Self> {
        Some(Self {
            scale: Scale::new(tsc_khz)?,
            tsc,
            system_ns,
        })
    }

    /// What it shows when the TSC has this value; 0 before it began.
    pub fn at(&self, tsc: u64) -> u64 {
        u64::try_from(self.signed_at(tsc)).unwrap_or(0)
    }

    /// The same, below zero for the time before it began.
    fn signed_at(&self, tsc: u64) -> i128 {
        let system_ns = i128::from(self.system_ns);
        let apart = i128::from(self.scale.nanoseconds(tsc.abs_diff(self.tsc)));
        if tsc < self.tsc {
            system_ns - apart
        } else {
            system_ns + apart
        }
    }

    /// Contents of a CPU's page (`struct pvclock_vcpu_time_info`), the same for
    /// all CPUs of a cell.
    pub fn time_info(&self) -> [u8; TIME_INFO_SIZE] {
        let mut page = [0; TIME_INFO_SIZE];
        put(&mut page, 0, &VERSION.to_le_bytes());
        put(&mut page, 8, &self.tsc.to_le_bytes());
        put(&mut page, 16, &self.system_ns.to_le_bytes());
        put(&mut page, 24, &self.scale.multiplier.to_le_bytes());
        put(&mut page, 28, &self.scale.shift.to_le_bytes());
        put(&mut page, 29, &[FLAG_STABLE]);
        page
    }

    /// Contents of the page for the date (`struct pvclock_wall_clock`): the date
    /// when this clock showed 0. It was `wall_ns` nanoseconds after 1970 UTC when
    /// the TSC had the value `wall_tsc`. Seconds have 32 bits there.
    pub fn wall_clock(&self, wall_ns: u64, wall_tsc: u64) -> [u8; WALL_CLOCK_SIZE] {
        const PER_S: u64 = 1_000_000_000;
        let date = i128::from(wall_ns) - self.signed_at(wall_tsc);
        let date = u64::try_from(date).unwrap_or(0);
        let mut page = [0; WALL_CLOCK_SIZE];
        put(&mut page, 0, &VERSION.to_le_bytes());
        put(&mut page, 4, &((date / PER_S) as u32).to_le_bytes());
        put(&mut page, 8, &((date % PER_S) as u32).to_le_bytes());
        page
    }
}

/// Copies `field` to `offset` of a page.
fn put(page: &mut [u8], offset: usize, field: &[u8]) {
    if let Some(place) = page.get_mut(offset..offset + field.len()) {
        place.copy_from_slice(field);
    }
}

/// What a kernel asks for with a write to [`MSR_SYSTEM_TIME`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// No page any more.
    Off,
    /// The page at this guest-physical address.
    At(u64),
}

/// Decodes a write to [`MSR_SYSTEM_TIME`]; `None` for an address that is no
/// multiple of 4, which gets #GP.
pub const fn request(value: u64) -> Option<Request> {
    match value & 3 {
        1 => Some(Request::At(value & !3)),
        0 | 2 => Some(Request::Off),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GIGAHERTZ: u32 = 1_000_000;

    #[test]
    fn scale_of_known_frequencies() {
        // 1 GHz: half a nanosecond, doubled.
        let one = Scale {
            multiplier: 1 << 31,
            shift: 1,
        };
        assert_eq!(Scale::new(GIGAHERTZ), Some(one));
        // 2 GHz: 2^31 / 2^32 nanoseconds, no shift.
        let two = Scale {
            multiplier: 1 << 31,
            shift: 0,
        };
        assert_eq!(Scale::new(2 * GIGAHERTZ), Some(two));
        // 3.6 GHz: 1 / 3.6 = 0.5555… / 2.
        let fast = Scale {
            multiplier: 0x8e38_e38e,
            shift: -1,
        };
        assert_eq!(Scale::new(3_600_000), Some(fast));
        assert_eq!(Scale::new(0), None);
    }

    #[test]
    fn page_has_the_documented_layout() {
        let clock = Clock::new(2 * GIGAHERTZ, 0x1122_3344_5566_7788, 5).expect("clock");
        let mut expected = [0; 32];
        expected[0] = 2;
        expected[8..16].copy_from_slice(&0x1122_3344_5566_7788u64.to_le_bytes());
        expected[16] = 5;
        expected[27] = 0x80;
        expected[29] = 1;
        assert_eq!(clock.time_info(), expected);
    }

    #[test]
    fn date_is_that_of_the_clocks_zero_wherever_it_was_read() {
        let date = |page: [u8; 12]| {
            let word =
                |i: usize| u32::from_le_bytes([page[i], page[i + 1], page[i + 2], page[i + 3]]);
            (word(0), word(4), word(8))
        };
        // The clock shows 0 at tick 8000, 4 microseconds of a 2 GHz TSC.
        let clock = Clock::new(2 * GIGAHERTZ, 8_000, 0).expect("clock");
        let zero = (2, 1_700_000_000, 4_000);
        assert_eq!(
            date(clock.wall_clock(1_700_000_000_000_000_000, 0)),
            zero,
            "read before"
        );
        assert_eq!(
            date(clock.wall_clock(1_700_000_000_000_004_000, 8_000)),
            zero,
            "at zero"
        );
        assert_eq!(
            date(clock.wall_clock(1_700_000_000_000_005_000, 10_000)),
            zero,
            "read after"
        );
        // The same clock, told by another point: 1 microsecond at tick 10000.
        let clock = Clock::new(2 * GIGAHERTZ, 10_000, 1_000).expect("clock");
        assert_eq!(date(clock.wall_clock(1_700_000_000_000_000_000, 0)), zero);
        assert_eq!(
            date(clock.wall_clock(1_700_000_000_000_004_500, 9_000)),
            zero
        );
    }

    #[test]
    fn requests() {
        assert_eq!(request(0x1001), Some(Request::At(0x1000)));
        assert_eq!(request(0x1000), Some(Request::Off));
        assert_eq!(request(0x1003), None, "not a multiple of 4");
    }

    proptest! {
        /// A day of any TSC between 1 kHz and 4.29 GHz is a day within 1 ppm, and
        /// the multiplier uses all of its bits.
        #[test]
        fn error_is_below_a_ppm(khz in 1u32..) {
            let scale = Scale::new(khz).expect("scale");
            prop_assert!(scale.multiplier >= 1 << 31);
            let day = u64::from(khz) * 1000 * 86_400;
            let want = 86_400_000_000_000u64;
            let error = scale.nanoseconds(day).abs_diff(want);
            prop_assert!(error <= want / 1_000_000, "off by {error} ns");
        }

        #[test]
        fn clock_never_goes_back(khz in 1u32.., tsc in any::<u64>(), a in any::<u32>(), b in any::<u32>()) {
            let clock = Clock::new(khz, tsc, 0).expect("clock");
            let at = |ticks: u32| clock.at(tsc.saturating_add(u64::from(ticks)));
            prop_assert!(at(a.min(b)) <= at(a.max(b)));
        }
    }

    #[test]
    fn clock_shows_the_time_since_its_zero() {
        let clock = Clock::new(2 * GIGAHERTZ, 8_000, 500).expect("clock");
        assert_eq!(clock.at(8_000), 500);
        assert_eq!(clock.at(10_000), 1_500);
        assert_eq!(clock.at(7_200), 100);
        assert_eq!(clock.at(0), 0, "not below zero");
        // A slow TSC: 500 kHz, 2,000 nanoseconds a tick, shifted to the left.
        let slow = Clock::new(500, 0, 0).expect("clock");
        assert_eq!(slow.at(3), 6_000);
        let page = slow.time_info();
        assert_eq!(i8::from_le_bytes([page[28]]), slow.scale.shift);
        assert!(slow.scale.shift > 0);
    }
}
