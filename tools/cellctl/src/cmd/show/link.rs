//! Links as `list` and `status` show them.

use super::Shown;
use crate::output::size;
use crate::state::Window;
use cellvisor_planner::config::{Link, LinkKind};
use cellvisor_planner::plan::CellAssignment;

/// A link with its members, those that are there with their states.
pub(super) fn line(link: &Link, cells: &[Shown]) -> String {
    let member = |name: &str| {
        let cell = cells.iter().find(|c| c.name == name);
        let here = cell.map_or("absent", |c| c.sentence);
        match (name, link.is_written_by(name)) {
            ("root", _) => name.to_owned(),
            (name, true) => format!("{name} ({here})"),
            (name, false) => format!("{name} ({here}, reads only)"),
        }
    };
    let members: Vec<String> = link.all().map(member).collect();
    let what = match link.kind {
        LinkKind::Ethernet => "Ethernet".to_owned(),
        LinkKind::ExtendedSocket => format!("Extended Socket, {}", size(link.size)),
        LinkKind::Window if link.doorbell => format!("{} with a doorbell", size(link.size)),
        LinkKind::Window => size(link.size),
    };
    format!("link {}: {what}, {}", link.name, members.join(", "))
}

/// An adapter of a cell on a network that the monitor carries: its Ethernet address, and
/// the one that the network's `addresses` give it.
pub(super) fn adapter(link: &Link, cell: &str) -> Option<String> {
    let mac = link.mac_of(cell).filter(|_| link.is_ethernet())?;
    let mac = ethernet(mac);
    let address = link.address_of(cell);
    let address = address.map_or_else(String::new, |address| format!(", address {address}"));
    Some(format!("{}: Ethernet {mac}{address}", link.name))
}

/// The Extended Socket of a cell: its number there, and how the driver calls itself.
pub(super) fn socket(link: &Link, cell: &str) -> Option<String> {
    let place = link.place_of(cell).filter(|_| link.is_socket())?;
    let members = link.members.len();
    let mac = ethernet([2, 0, 0, 0, 0, u8::try_from(place).ok()?]);
    Some(format!(
        "{}: Extended Socket {place} of {members}, Ethernet {mac}",
        link.name
    ))
}

fn ethernet(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// Where a cell sees a link, and its address there.
pub(super) fn window(window: &Window, cell: &CellAssignment) -> String {
    let how = match window.is_writable() {
        true => "read and written",
        false => "read only",
    };
    let (name, start) = (&window.link, window.start());
    let link = cell.links.iter().find(|link| link.name == *name);
    let address = link.and_then(|link| link.address_of(&cell.name));
    let address = address.map_or_else(String::new, |address| format!(", address {address}"));
    let bell = link.and_then(|link| link.adapter_of(&cell.name));
    let bell = bell.map_or_else(String::new, |mac| format!(", doorbell {}", ethernet(mac)));
    format!(
        "{name}: {} at {start:#x}, {how}{address}{bell}",
        size(window.size())
    )
}
