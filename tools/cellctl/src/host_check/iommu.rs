//! What a machine has to keep PCI functions of cells apart.

use super::{Fact, Machine};
use std::fs;

impl Machine<'_> {
    /// What keeps functions of cells apart: units, nobody else who drives them,
    /// and interrupts that go through them.
    pub(super) fn iommu(&self) -> Vec<Fact> {
        let tables = self.root.join("sys/firmware/acpi/tables");
        let unit = [("DMAR", "intel_iommu"), ("IVRS", "amd_iommu")]
            .into_iter()
            .find(|(table, _)| tables.join(table).exists());
        let Some((table, parameter)) = unit else {
            return vec![Fact::warning(
                "IOMMU",
                "none: PCI functions of cells could reach all memory",
                "turn VT-d or AMD-Vi on in the firmware's set-up",
            )];
        };
        let filled = |path: &str| {
            fs::read_dir(self.root.join(path)).is_ok_and(|mut entries| entries.next().is_some())
        };
        // Only a Linux that translates DMA itself makes groups.
        let used = filled("sys/class/iommu") || filled("sys/kernel/iommu_groups");
        let translation = if used {
            Fact::warning(
                "DMA translation",
                "Linux does it, and the monitor cannot",
                format!("boot Linux with {parameter}=off to give PCI functions to cells"),
            )
        } else {
            Fact::good("DMA translation", "left to the monitor")
        };
        // Chips that go through a unit have names such as "IR-PCI-MSI".
        let remapped = self.text("proc/interrupts").contains(" IR-");
        let interrupts = if remapped {
            Fact::good("interrupt remapping", "Linux uses it")
        } else {
            Fact::warning(
                "interrupt remapping",
                "Linux does not use it: cells can get no PCI functions",
                "boot Linux without intremap=off and nox2apic; turn VT-d's interrupt \
                 remapping and x2APIC on in the firmware's set-up",
            )
        };
        vec![
            Fact::good("IOMMU", format!("there ({table})")),
            translation,
            interrupts,
        ]
    }
}

#[cfg(test)]
mod tests {
    use crate::host_check::tests::{find, root};
    use crate::host_check::{Cpuid, Verdict};

    #[test]
    fn groups_show_that_linux_translates() {
        let dir = root(&[
            ("sys/firmware/acpi/tables/IVRS", ""),
            ("sys/kernel/iommu_groups/0/type", "DMA\n"),
        ]);
        let fact = find(dir.path(), Cpuid::default(), "DMA translation");
        assert!(fact.fix.expect("a fix").contains("amd_iommu=off"));
    }

    #[test]
    fn machine_without_units_has_nothing_else_to_say() {
        let dir = root(&[("proc/interrupts", "4: 12 IO-APIC 4-edge ttyS0\n")]);
        let facts = crate::host_check::machine(dir.path(), Cpuid::default());
        assert!(facts.iter().all(|f| f.name != "interrupt remapping"));
        let unit = find(dir.path(), Cpuid::default(), "IOMMU");
        assert_eq!(unit.verdict, Verdict::Warning);
    }
}
