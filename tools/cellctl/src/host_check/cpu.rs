//! What a machine's CPUs offer, and who else may have hold of them.

use super::{Fact, Machine};
use cellvisor_core::outer::{self, Outer};

/// What the CPU itself says; the kernel hides what the firmware locked.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cpuid {
    /// It has VT-x.
    pub(crate) vmx: bool,
    /// It has AMD-V.
    pub(crate) svm: bool,
    /// Who virtualizes the machine.
    pub(crate) outer: Outer,
}

/// Asks the CPU that this runs on.
pub(crate) fn cpuid() -> Cpuid {
    let cpuid = raw_cpuid::CpuId::new();
    Cpuid {
        vmx: cpuid.get_feature_info().is_some_and(|f| f.has_vmx()),
        svm: cpuid
            .get_extended_processor_and_feature_identifiers()
            .is_some_and(|f| f.has_svm()),
        outer: outer::detect(|leaf| {
            let native = raw_cpuid::cpuid!(leaf);
            [native.eax, native.ebx, native.ecx, native.edx]
        }),
    }
}

/// Who virtualizes the machine, and what that means.
pub(super) fn hypervisor(outer: Outer) -> Fact {
    let name = "hypervisor around this machine";
    match outer {
        Outer::None => Fact::good(name, "none"),
        Outer::Tcg => Fact::good(name, "QEMU without KVM, which Linux asks for nothing"),
        Outer::Kvm { features } => Fact::good(
            name,
            format!(
                "KVM (features {features:#x}): the root goes on as its guest, cells do not see it"
            ),
        ),
        Outer::Other(signature) => Fact::missing(
            name,
            format!(
                "{}, whose calls the monitor does not know",
                String::from_utf8_lossy(&signature.map(u32::to_le_bytes).concat())
                    .trim_end_matches('\0')
            ),
            "use KVM, or a machine that is not virtual",
        ),
    }
}

impl Machine<'_> {
    /// Words of the first line in cpuinfo with this key.
    fn cpu_words(&self, key: &str) -> Vec<String> {
        let text = self.text("proc/cpuinfo");
        let line = text
            .lines()
            .filter_map(|l| l.split_once(':'))
            .find(|(k, _)| k.trim() == key);
        line.map_or_else(Vec::new, |(_, words)| {
            words.split_whitespace().map(str::to_owned).collect()
        })
    }

    fn has_flag(&self, flag: &str) -> bool {
        self.cpu_words("flags").iter().any(|f| f == flag)
    }

    pub(super) fn virtualization(&self, cpuid: Cpuid) -> Fact {
        let name = "CPU virtualization";
        if self.has_flag("vmx") {
            return Fact::good(name, "VT-x");
        }
        if self.has_flag("svm") {
            return Fact::good(name, "AMD-V");
        }
        if cpuid.vmx || cpuid.svm {
            return Fact::missing(
                name,
                "the firmware locked it off",
                "turn on \"Intel Virtualization Technology\" or \"SVM Mode\" in the firmware's set-up",
            );
        }
        Fact::missing(
            name,
            "the CPU has neither VT-x nor AMD-V",
            "use another machine; in a virtual machine, let its host nest virtualization",
        )
    }

    /// What Linux knows of the features that the monitor needs.
    pub(super) fn nested_paging(&self) -> Option<Fact> {
        const NEEDED: [&str; 3] = ["ept", "vpid", "unrestricted_guest"];
        let name = "VT-x features";
        if self.has_flag("npt") {
            return Some(Fact::good("AMD-V features", "nested paging"));
        }
        // Kernels before 5.10 have no such line.
        let known = self.cpu_words("vmx flags");
        if known.is_empty() {
            return None;
        }
        let lacking: Vec<_> = NEEDED
            .into_iter()
            .filter(|n| !known.iter().any(|k| k == n))
            .collect();
        Some(if lacking.is_empty() {
            Fact::good(name, NEEDED.join(", "))
        } else {
            Fact::missing(
                name,
                format!("without {}", lacking.join(", ")),
                "use a newer CPU",
            )
        })
    }

    pub(super) fn other_monitors(&self) -> Fact {
        let name = "other monitors";
        for module in ["kvm_intel", "kvm_amd", "vboxdrv", "vmmon"] {
            if self
                .root
                .join("sys/module")
                .join(module)
                .join("initstate")
                .exists()
            {
                return Fact::warning(
                    name,
                    format!("{module} is loaded and may hold the CPUs"),
                    format!("unload it before `cellctl enable`: modprobe -r {module}"),
                );
            }
        }
        Fact::good(name, "none is loaded")
    }

    pub(super) fn apic(&self) -> Fact {
        if self.has_flag("x2apic") {
            return Fact::good("x2APIC", "there");
        }
        Fact::missing(
            "x2APIC",
            "the CPU has none",
            "turn x2APIC on in the firmware's set-up",
        )
    }

    pub(super) fn clock(&self) -> Fact {
        let lacking: Vec<_> = ["constant_tsc", "nonstop_tsc"]
            .into_iter()
            .filter(|f| !self.has_flag(f))
            .collect();
        if lacking.is_empty() {
            return Fact::good("TSC", "constant and never stops");
        }
        Fact::warning(
            "TSC",
            format!("Linux does not call it {}", lacking.join(" and ")),
            "clocks of cells may drift; keep the CPUs at one frequency",
        )
    }

    pub(super) fn cpus(&self) -> Fact {
        let present = self.text("sys/devices/system/cpu/present");
        let online = self.text("sys/devices/system/cpu/online");
        if present == online {
            return Fact::good("CPUs", format!("{online}, all online"));
        }
        Fact::good(
            "CPUs",
            format!("{present} present, {online} online; `enable` brings the others online"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::super::tests::{find, root};
    use super::*;

    #[test]
    fn firmware_lock_is_told_from_a_cpu_without_it() {
        let dir = root(&[("proc/cpuinfo", "flags : x2apic\n")]);
        let locked = Cpuid {
            vmx: true,
            ..Cpuid::default()
        };
        let found = |cpuid| find(dir.path(), cpuid, "CPU virtualization").found;
        assert_eq!(found(locked), "the firmware locked it off");
        assert_eq!(
            found(Cpuid::default()),
            "the CPU has neither VT-x nor AMD-V"
        );
    }

    #[test]
    fn a_hypervisor_is_named_and_only_a_strange_one_is_in_the_way() {
        let fact = |outer| hypervisor(outer);
        let kvm = fact(Outer::Kvm { features: 0x7efb });
        assert!(kvm.verdict == Verdict::Good && kvm.found.contains("KVM (features 0x7efb)"));
        assert_eq!(fact(Outer::None).verdict, Verdict::Good);
        let other = fact(Outer::Other(outer::name(b"VMwareVMware")));
        assert_eq!(other.verdict, Verdict::Missing);
        assert_eq!(
            other.found,
            "VMwareVMware, whose calls the monitor does not know"
        );
    }
}
