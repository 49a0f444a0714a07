//! Why the monitor refused a hypercall.

use super::state;
use crate::error::{Error, Kind};
use cellvisor_abi::call::{CellStatus, Conflict, Owner, Resource};
use cellvisor_abi::status::CallStatus;
use cellvisor_abi::wire;

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
        S::NoClass => (
            "its part of the cache or its class of service is another cell's, or not there on \
             these CPUs"
                .into(),
            "ask for other ways or another limit: `cellctl plan` shows what each cell has",
        ),
        S::LeftOut => (
            "the monitor that is on was built without a part that this needs".into(),
            "`cellctl status` tells its parts; turn on an image with all of them",
        ),
        S::CellsExist => (
            "cells exist".into(),
            "destroy them first: cellctl destroy NAME, or cellctl disable --force",
        ),
        S::Damaged => (
            "the monitor met a fault of its own and gives nothing to anybody any more".into(),
            "cells that run go on; report `cellctl log`, end them in order and reboot the machine",
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
        Resource::Function(bdf) => format!("PCI function {bdf}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cellvisor_abi::Bdf;
    use cellvisor_abi::call::CellId;

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
    fn conflict_names_resource_and_owner() {
        let conflict = Conflict {
            resource: Resource::Function(Bdf::from_number(0x8c82)),
            owner: Some(Owner::Cell(CellId(2))),
        };
        let bytes = wire::to_vec(&conflict);
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
}
