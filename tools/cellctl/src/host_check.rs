//! What a machine has and lacks, from what Linux tells about it.

mod cpu;
mod iommu;

pub(crate) use cpu::{Cpuid, cpuid};

use crate::output::size;
use serde::Serialize;
use std::fs;
use std::path::Path;

/// How a fact is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    /// As it should be.
    Good,
    /// Something will not work, or not well.
    Warning,
    /// Nothing works without it.
    Missing,
}

/// One line of `cellctl check`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Fact {
    /// What it is about.
    pub(crate) name: &'static str,
    /// How it is to be taken.
    pub(crate) verdict: Verdict,
    /// What was found.
    pub(crate) found: String,
    /// What to do about it.
    pub(crate) fix: Option<String>,
}

impl Fact {
    /// All is well.
    pub(crate) fn good(name: &'static str, found: impl Into<String>) -> Self {
        Self {
            name,
            verdict: Verdict::Good,
            found: found.into(),
            fix: None,
        }
    }

    /// Something is not well.
    fn warning(name: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Warning,
            fix: Some(fix.into()),
            ..Self::good(name, found)
        }
    }

    /// It cannot be done without.
    pub(crate) fn missing(
        name: &'static str,
        found: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            verdict: Verdict::Missing,
            ..Self::warning(name, found, fix)
        }
    }
}

/// Everything but the driver, for the machine whose `sys` and `proc` lie under
/// `root`.
pub(crate) fn machine(root: &Path, cpuid: Cpuid) -> Vec<Fact> {
    let machine = Machine { root };
    let mut facts = vec![machine.virtualization(cpuid), cpu::hypervisor(cpuid.outer)];
    facts.extend(machine.nested_paging());
    facts.extend([
        machine.other_monitors(),
        machine.apic(),
        machine.clock(),
        machine.cpus(),
        machine.huge_pages(),
        machine.memory_map(),
    ]);
    facts.extend(machine.iommu());
    facts.extend(machine.kernel_parameters());
    facts.extend(machine.lockdown());
    facts
}

struct Machine<'a> {
    root: &'a Path,
}

impl Machine<'_> {
    /// A file's text without the line's end; empty if it cannot be read.
    fn text(&self, path: &str) -> String {
        let text = fs::read_to_string(self.root.join(path)).unwrap_or_default();
        text.trim_end().to_owned()
    }

    fn huge_pages(&self) -> Fact {
        let pools = self.root.join("sys/kernel/mm/hugepages/hugepages-2048kB");
        if !pools.is_dir() {
            return Fact::missing(
                "huge pages",
                "this kernel has none of 2 MiB",
                "use a kernel with CONFIG_HUGETLBFS",
            );
        }
        let text = self.text("proc/meminfo");
        let kib = |key: &str| {
            let line = text.lines().find_map(|l| l.strip_prefix(key))?;
            line.trim_start_matches(':')
                .split_whitespace()
                .next()?
                .parse::<u64>()
                .ok()
        };
        let bytes = kib("MemAvailable").unwrap_or(0) << 10;
        Fact::good(
            "huge pages",
            format!("of 2 MiB; {} of memory are available", size(bytes)),
        )
    }

    fn memory_map(&self) -> Fact {
        let text = self.text("proc/iomem");
        let ram = text.lines().filter(|l| l.ends_with(" : System RAM"));
        if ram.filter(|l| !l.starts_with("00000000-00000000")).count() > 0 {
            return Fact::good("memory map", "readable");
        }
        Fact::missing(
            "memory map",
            "/proc/iomem shows no addresses",
            "run this as root",
        )
    }

    /// Parameters that stand in the way.
    fn kernel_parameters(&self) -> Vec<Fact> {
        const BAD: [(&str, &str); 5] = [
            ("nolapic", "the monitor needs the APICs"),
            ("disableapic", "the monitor needs the APICs"),
            ("noapic", "interrupts could not be told apart"),
            ("nosmp", "there is one CPU only"),
            ("maxcpus", "some CPUs stay off"),
        ];
        let line = self.text("proc/cmdline");
        let given = |name: &str| {
            line.split_whitespace()
                .any(|word| word.split('=').next() == Some(name))
        };
        let found: Vec<_> = BAD
            .iter()
            .filter(|(name, _)| given(name))
            .map(|(name, why)| {
                Fact::warning(
                    "kernel parameters",
                    format!("`{name}`: {why}"),
                    "boot Linux without it",
                )
            })
            .collect();
        if found.is_empty() {
            return vec![Fact::good("kernel parameters", "none is in the way")];
        }
        found
    }

    /// A kernel in lockdown loads no modules without a known signature.
    fn lockdown(&self) -> Option<Fact> {
        let mode = self.text("sys/kernel/security/lockdown");
        let on = mode.contains("[integrity]") || mode.contains("[confidentiality]");
        on.then(|| {
            Fact::warning(
                "lockdown",
                "Linux takes only modules with a known signature",
                "sign the driver, or turn Secure Boot off in the firmware's set-up",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAGS: &str = "processor\t: 0\nflags\t\t: vmx x2apic constant_tsc nonstop_tsc\n\
                         vmx flags\t: ept vpid unrestricted_guest\n";

    pub(super) fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("temporary folder");
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().expect("has a parent")).expect("folder");
            fs::write(path, text).expect("file");
        }
        dir
    }

    pub(super) fn find(root: &Path, cpuid: Cpuid, name: &str) -> Fact {
        let facts = machine(root, cpuid);
        facts
            .into_iter()
            .find(|f| f.name == name)
            .expect("such a line")
    }

    #[test]
    fn complete_machine_lacks_nothing() {
        let dir = root(&[
            ("proc/cpuinfo", FLAGS),
            ("proc/cmdline", "ro quiet"),
            ("proc/iomem", "00001000-0009fbff : System RAM\n"),
            ("proc/meminfo", "MemAvailable:    2097152 kB\n"),
            ("sys/devices/system/cpu/present", "0-3\n"),
            ("sys/devices/system/cpu/online", "0-3\n"),
            (
                "sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages",
                "0\n",
            ),
            ("sys/firmware/acpi/tables/DMAR", ""),
            ("proc/interrupts", "  4:  12  IR-IO-APIC   4-edge  ttyS0\n"),
        ]);
        for fact in machine(dir.path(), Cpuid::default()) {
            assert_eq!(fact.verdict, Verdict::Good, "{fact:?}");
        }
        let pages = find(dir.path(), Cpuid::default(), "huge pages");
        assert_eq!(pages.found, "of 2 MiB; 2 GiB of memory are available");
    }

    #[test]
    fn bare_machine_lacks_what_it_must_have() {
        let dir = root(&[]);
        for name in ["CPU virtualization", "x2APIC", "huge pages", "memory map"] {
            let fact = find(dir.path(), Cpuid::default(), name);
            assert_eq!(fact.verdict, Verdict::Missing, "{fact:?}");
        }
    }

    #[test]
    fn parameters_kvm_and_a_used_iommu_are_warned_of() {
        let dir = root(&[
            ("proc/cmdline", "ro maxcpus=2 nolapic_timer"),
            ("sys/module/kvm_intel/initstate", "live\n"),
            ("sys/firmware/acpi/tables/DMAR", ""),
            ("sys/class/iommu/dmar0/x", ""),
        ]);
        let parameters = find(dir.path(), Cpuid::default(), "kernel parameters");
        assert_eq!(parameters.found, "`maxcpus`: some CPUs stay off");
        for name in ["other monitors", "DMA translation", "interrupt remapping"] {
            let fact = find(dir.path(), Cpuid::default(), name);
            assert_eq!(fact.verdict, Verdict::Warning, "{fact:?}");
        }
    }
}
