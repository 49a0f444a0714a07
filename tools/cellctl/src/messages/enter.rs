//! Why the monitor could not be turned on or off.

use crate::error::{Error, TSC_REMEDY};
use cellvisor_abi::ioctl::Enable;
use cellvisor_abi::status::{EnterStatus, MissingFeature, Unsupported};

/// Why the monitor could not be entered.
pub(crate) fn enter(what: &str, answer: &Enable) -> Error {
    switch(what, answer).note("Linux goes on as before; nothing has changed")
}

/// Why the monitor could not be left.
pub(crate) fn leave(what: &str, answer: &Enable) -> Error {
    switch(what, answer).note("the monitor stays on, and the cells as they are")
}

fn switch(what: &str, answer: &Enable) -> Error {
    let Some(status) = EnterStatus::from_code(answer.status) else {
        return Error::internal(what, format!("unknown status {}", answer.status));
    };
    let (why, help) = (
        enter_why(status, answer.detail),
        enter_help(status, answer.detail),
    );
    let at = format!("{why} (seen on CPU {})", answer.cpu);
    Error::new(what, at, help)
}

/// Cause of an [`EnterStatus`].
fn enter_why(status: EnterStatus, detail: u32) -> String {
    use EnterStatus as S;
    let plain = match status {
        S::MissingFeature => return missing_feature(detail),
        S::Unsupported => return unsupported(detail).0,
        S::CpusMissing => return format!("only {detail} CPUs arrived in time"),
        S::UnknownCpu => {
            return format!("the plan does not name the CPU with APIC id {detail}");
        }
        S::NoMemory => return format!("the monitor's memory lacks {detail} pages of 4 KiB"),
        S::InstructionFailed => {
            return format!("a VMX or SVM instruction failed with error {detail}");
        }
        S::EntryFailed => {
            return format!("the first entry into the root cell failed with {detail:#x}");
        }
        S::CellsExist => return format!("{detail} cells exist"),
        S::CpusOffline => return format!("{detail} CPUs that entered are offline"),
        S::TscRate => {
            return format!("Linux takes the TSC for {detail} kHz, which is no rate of a TSC");
        }
        S::Late if detail == 0 => "not all CPUs were ready in time",
        S::Late => {
            return format!("not all CPUs were ready in time, only {detail}");
        }
        S::Driver => return format!("the driver could not pin or map what it needs ({detail})"),
        S::Ok => "nothing is wrong",
        S::AbiMismatch => "driver and image were built for different ABI versions",
        S::NoVirtualization => "the CPU has neither VT-x nor AMD-V",
        S::LockedByFirmware => "the firmware locked CPU virtualization off",
        S::InUse => "something else uses CPU virtualization",
        S::BadPlan => "the system plan cannot be decoded",
        S::OtherCpuFailed => "another CPU failed",
        S::Injected => "a test asked for this failure",
        S::Busy => "another call is under way",
        S::ApicMode => "the APICs are off, or not all in the same mode",
        S::BadImage => "the file is no image of the monitor, or one for another ABI version",
    };
    plain.to_owned()
}

/// Remedy for an [`EnterStatus`].
fn enter_help(status: EnterStatus, detail: u32) -> &'static str {
    use EnterStatus as S;
    match status {
        S::Ok => "none is needed",
        S::AbiMismatch => "install driver and image of the same version",
        S::NoVirtualization => {
            "use a machine that has one; in a virtual machine, let its host nest virtualization"
        }
        S::LockedByFirmware => {
            "turn on \"Intel Virtualization Technology\" or \"SVM Mode\" in the firmware's set-up"
        }
        S::MissingFeature => "use a newer CPU or emulator",
        S::InUse => {
            "stop virtual machines and unload it: modprobe -r kvm_intel kvm_amd (or vboxdrv, vmmon)"
        }
        S::CpusMissing => "bring all CPUs online and try again",
        S::BadPlan => "install cellctl and image of the same version",
        S::UnknownCpu => "bring all CPUs online, then turn the monitor on again",
        S::NoMemory => "give it more: cellctl enable --memory 16MiB",
        S::OtherCpuFailed | S::Driver => "its reason stands in `dmesg | grep cellvisor`",
        S::TscRate => TSC_REMEDY,
        S::Late => "let the machine do less meanwhile, and try again",
        S::InstructionFailed | S::EntryFailed => {
            "report it with the output of `cellctl check` and `dmesg`"
        }
        S::Unsupported => unsupported(detail).1,
        S::Injected => "leave out --inject",
        S::CellsExist => "destroy them first: cellctl destroy NAME, or cellctl disable --force",
        S::Busy => "try again when no other cellctl is at work",
        S::ApicMode => "leave out kernel parameters such as `nolapic` and `disableapic`",
        S::CpusOffline => "bring them online: echo 1 > /sys/devices/system/cpu/cpuN/online",
        S::BadImage => "name the right one: cellctl enable --image PATH",
    }
}

fn missing_feature(detail: u32) -> String {
    use MissingFeature as M;
    let name = match MissingFeature::from_code(detail) {
        Some(M::SecondaryControls) => "secondary processor-based controls",
        Some(M::NestedPaging) => "extended page tables (EPT) or nested paging",
        Some(M::UnrestrictedGuest) => "unrestricted guests (real mode without paging)",
        Some(M::VirtualNmis) => "NMI exiting with virtual NMIs",
        Some(M::PreemptionTimer) => "the VMX preemption timer",
        Some(M::MsrBitmaps) => "MSR bitmaps",
        Some(M::IoBitmaps) => "I/O bitmaps",
        Some(M::EferPat) => "loading and saving of IA32_EFER and IA32_PAT",
        Some(M::LargePages) => "2 MiB pages in nested page tables",
        Some(M::X2apic) => "x2APIC",
        Some(M::Invept) => "INVEPT of a single context",
        Some(M::WriteBack) => "the write-back memory type for VMCS and page walks",
        Some(M::Vpid) => "VPID with single-context INVVPID",
        Some(M::TrueControls) => "the true control capability MSRs",
        None => return format!("the CPU lacks feature number {detail}"),
    };
    format!("the CPU lacks {name}")
}

fn unsupported(detail: u32) -> (String, &'static str) {
    use Unsupported as U;
    match Unsupported::from_code(detail) {
        Some(U::Cr4) => (
            "Linux set a bit in CR4 that VMX does not allow on this CPU".into(),
            "turn that feature off on the kernel's command line and reboot",
        ),
        Some(U::Fred) => (
            "Linux uses FRED, which the monitor cannot carry".into(),
            "boot Linux with fred=off",
        ),
        Some(U::NoLongMode) => (
            "Linux does not run in 64-bit mode".into(),
            "boot a 64-bit Linux",
        ),
        Some(U::PhysicalWidth) => (
            "physical addresses are wider than nested page tables reach".into(),
            "limit Linux's memory to 256 TiB",
        ),
        Some(U::MemoryEncryption) => (
            "Linux encrypts memory (SME), which the monitor cannot carry".into(),
            "boot Linux with mem_encrypt=off",
        ),
        Some(U::OuterHypervisor) => (
            "this machine is virtual, and its hypervisor is neither KVM nor QEMU: Linux makes calls to it that the monitor does not know".into(),
            "use KVM, or a machine that is not virtual",
        ),
        Some(U::KvmLeftOut) => (
            "this machine is a guest of KVM, and the image was built without the part for that (kvm)".into(),
            "turn on the image with all parts: `cargo xtask build` without --small",
        ),
        None => (
            format!("Linux uses feature number {detail}, which the monitor cannot carry"),
            "install cellctl and image of the same version",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_enter_status_has_cause_and_remedy() {
        for status in EnterStatus::ALL {
            let (why, help) = (enter_why(*status, 1), enter_help(*status, 1));
            assert!(why.len() > 10 && help.len() > 8, "{status:?}");
        }
        for feature in MissingFeature::ALL {
            assert!(
                !missing_feature(feature.code()).contains("number"),
                "{feature:?}"
            );
        }
        for what in Unsupported::ALL {
            assert!(!unsupported(what.code()).0.contains("number"), "{what:?}");
        }
    }

    #[test]
    fn locked_virtualization_names_cpu_cause_and_remedy() {
        let answer = Enable {
            status: EnterStatus::LockedByFirmware.code(),
            cpu: 3,
            ..Enable::default()
        };
        assert_eq!(
            enter("cannot turn the monitor on", &answer).to_string(),
            "cannot turn the monitor on: the firmware locked CPU virtualization off (seen on CPU 3)\n  \
             help: turn on \"Intel Virtualization Technology\" or \"SVM Mode\" in the firmware's set-up\n  \
             help: Linux goes on as before; nothing has changed"
        );
    }
}
