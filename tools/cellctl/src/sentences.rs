//! Codes of the monitor and the driver as sentences: cause and remedy.

use crate::error::{Error, Kind};
use crate::output::size;
use cellvisor_abi::call::{
    CellStatus, Conflict, Denied, FailReason, Failure, Owner, Resource, State, StopReason,
};
use cellvisor_abi::ioctl::Enable;
use cellvisor_abi::status::{CallStatus, EnterStatus, MissingFeature, Unsupported};
use cellvisor_abi::wire;

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
        None => (
            format!("Linux uses feature number {detail}, which the monitor cannot carry"),
            "install cellctl and image of the same version",
        ),
    }
}

/// Why the monitor refused a hypercall.
pub(crate) fn call(what: &str, status: u32, response: &[u8]) -> Error {
    use CallStatus as S;
    let Some(status) = CallStatus::from_code(status) else {
        return Error::internal(what, format!("unknown status {status}"));
    };
    let conflict = || wire::decode::<Conflict>(response).ok();
    let (why, help) = match status {
        S::Ok | S::Again => ("the work is not finished".into(), "repeat the command"),
        S::UnknownCall | S::Malformed => (
            format!("the monitor does not understand the request ({status:?})"),
            "install cellctl, driver and monitor of the same version",
        ),
        S::Denied => (
            "only the root cell may ask for this".into(),
            "run cellctl in the Linux that turned the monitor on",
        ),
        S::NoSuchCell => ("there is no such cell".into(), "see `cellctl list`"),
        S::WrongState => (
            wrong_state(response),
            "see `cellctl list`; stop or start it first",
        ),
        S::NotOwned | S::BadResource | S::NotSupported => {
            return contested(what, status, conflict());
        }
        S::NoMemory => (
            "the monitor's own memory is used up".into(),
            "turn it on with more: cellctl disable; cellctl enable --memory 16MiB",
        ),
        S::Busy => (
            "another call is under way".into(),
            "try again when no other cellctl is at work",
        ),
        S::CpuStuck => (
            stuck(response),
            "look at `cellctl log`; the CPU may have stopped for good: reboot the machine",
        ),
        S::BadName => (
            "the name is taken, empty or too long".into(),
            "use 1 to 31 characters of a-z, 0-9, - and _ that no other cell has",
        ),
        S::TooLong => (
            "the monitor's answer does not fit".into(),
            "install cellctl, driver and monitor of the same version",
        ),
        S::TooManyCells => ("all cell numbers are taken".into(), "destroy a cell first"),
        S::CellsExist => (
            "cells exist".into(),
            "destroy them first: cellctl destroy NAME, or cellctl disable --force",
        ),
    };
    let error = Error::new(what, why, help);
    if status == S::NoSuchCell {
        return error.kind(Kind::Absent);
    }
    error
}

fn wrong_state(response: &[u8]) -> String {
    wire::decode::<CellStatus>(response).map_or_else(
        |_| "the cell's state does not allow it".into(),
        |s| format!("cell \"{}\" is {}", s.name.as_str(), state(s.state)),
    )
}

fn stuck(response: &[u8]) -> String {
    wire::decode::<u32>(response).map_or_else(
        |_| "a CPU did not answer in time".into(),
        |cpu| format!("the CPU with index {cpu} did not answer in time"),
    )
}

/// A resource stands in the way.
fn contested(what: &str, status: CallStatus, conflict: Option<Conflict>) -> Error {
    let Some(Conflict { resource, owner }) = conflict else {
        return Error::new(
            what,
            "the monitor lacks a feature on this machine that this needs",
            "see `cellctl check`",
        );
    };
    let name = resource_name(resource);
    match (owner, status) {
        (Some(Owner::Root), _) => Error::new(
            what,
            format!("{name} is still the root's"),
            "take it from Linux first; `cellctl check` tells what is in use",
        ),
        (Some(Owner::Monitor), _) => Error::new(
            what,
            format!("{name} belongs to the monitor"),
            "choose another one",
        ),
        (Some(Owner::Cell(cell) | Owner::Device(cell)), _) => Error::new(
            what,
            format!("{name} belongs to cell {}", cell.0),
            "choose another one, or destroy that cell first; see `cellctl list`",
        ),
        (None, CallStatus::NotSupported) => Error::new(
            what,
            format!("the monitor cannot give {name} away on this machine"),
            "see `cellctl check`",
        ),
        (None, _) if matches!(resource, Resource::Function(_)) => Error::new(
            what,
            format!("{name} cannot work in a cell: the monitor does not understand its registers"),
            "name another function; report it with the output of `lspci -vvnn`",
        ),
        (None, _) => Error::new(
            what,
            format!("{name} is misaligned, empty or out of range"),
            "check this value in the TOML file",
        ),
    }
}

fn resource_name(resource: Resource) -> String {
    match resource {
        Resource::Page(hpa) => format!("the page at host address {hpa:#x}"),
        Resource::GuestPage(gpa) => format!("the page at guest address {gpa:#x}"),
        Resource::Cpu(id) => format!("the CPU with APIC id {id}"),
        Resource::Port(port) => format!("I/O port {port:#x}"),
        Resource::Function(bdf) => format!("PCI function {}", function_name(bdf)),
    }
}

/// `segment:bus:device.function` of a packed address.
pub(crate) fn function_name(bdf: u32) -> String {
    format!(
        "{:04x}:{:02x}:{:02x}.{:x}",
        bdf >> 16,
        bdf >> 8 & 0xff,
        bdf >> 3 & 0x1f,
        bdf & 7
    )
}

/// A cell's state in a word or two.
pub(crate) fn state(state: State) -> &'static str {
    match state {
        State::Loadable => "loadable",
        State::Running => "running",
        State::Stopped(StopReason::Root) => "stopped",
        State::Stopped(StopReason::PowerOff) => "stopped (powered off)",
        State::Stopped(StopReason::Reset) => "stopped (reset)",
        State::Failed => "failed",
    }
}

/// What a failed cell did.
pub(crate) fn failure(failure: &Failure) -> String {
    let did = match failure.reason {
        FailReason::Memory {
            gpa,
            write,
            execute,
        } => {
            let verb = match (execute, write) {
                (true, _) => "executed code at",
                (false, true) => "wrote to",
                (false, false) => "read from",
            };
            format!("{verb} guest address {gpa:#x}, which is not its memory")
        }
        FailReason::TripleFault => "took a triple fault".into(),
        FailReason::Instruction { gpa } => {
            format!("used an instruction that cannot be decoded at device address {gpa:#x}")
        }
        FailReason::UnknownExit(code) => format!("caused an unknown exit ({code:#x})"),
        FailReason::EntryFailed(code) => format!("could not be entered ({code:#x})"),
        FailReason::MachineCheck => "had a machine check".into(),
        FailReason::Monitor => "met a fault in the monitor itself".into(),
    };
    format!("CPU {} {did}, at {:#x}", failure.cpu, failure.regs.rip)
}

/// Refused accesses by kind, those that happened.
pub(crate) fn denied(denied: &Denied) -> String {
    let kinds = [
        ("MSR", denied.msr),
        ("port", denied.port),
        ("configuration space", denied.config),
        ("interrupt", denied.ipi),
        ("DMA", denied.dma),
        ("device memory", denied.mmio),
    ];
    let seen: Vec<_> = kinds
        .iter()
        .filter(|(_, n)| *n > 0)
        .map(|(kind, n)| format!("{kind} {n}"))
        .collect();
    if seen.is_empty() {
        "none".into()
    } else {
        seen.join(", ")
    }
}

/// How much of the monitor's pool is in use.
pub(crate) fn pool(pages: u32, free: u32) -> String {
    let bytes = |pages: u32| size(u64::from(pages) * cellvisor_abi::PAGE_SIZE);
    format!("{} of {} free", bytes(free), bytes(pages))
}

#[cfg(test)]
mod tests {
    use super::*;
    use cellvisor_abi::call::CellId;

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
    fn every_call_status_has_cause_and_remedy() {
        for status in CallStatus::ALL {
            let text = call("cannot do it", status.code(), &[]).to_string();
            assert!(text.contains("help: "), "{status:?}: {text}");
        }
        assert!(
            call("x", 999, &[])
                .to_string()
                .contains("unknown status 999")
        );
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

    #[test]
    fn conflict_names_resource_and_owner() {
        let conflict = Conflict {
            resource: Resource::Function(0x8c82),
            owner: Some(Owner::Cell(CellId(2))),
        };
        let bytes = postcard::to_allocvec(&conflict).expect("encodes");
        let text = call(
            "cannot create cell \"a\"",
            CallStatus::NotOwned.code(),
            &bytes,
        );
        assert_eq!(
            text.to_string(),
            "cannot create cell \"a\": PCI function 0000:8c:10.2 belongs to cell 2\n  \
             help: choose another one, or destroy that cell first; see `cellctl list`"
        );
    }

    #[test]
    fn refused_accesses_are_listed_only_when_there_were_some() {
        assert_eq!(denied(&Denied::default()), "none");
        let some = Denied {
            msr: 2,
            mmio: 1,
            ..Denied::default()
        };
        assert_eq!(denied(&some), "MSR 2, device memory 1");
    }
}
