//! Functions that interrupt by their pin alone, where a slice has none for them.

use crate::config::{Slice, Which};
use crate::host::Host;
use crate::report::{Finding, Report};

/// Those of a slice with an Extended Socket: Linux finds its device by a number of interrupts
/// that leaves no room for pins of functions.
pub(super) fn pins(host: &Host, slice: &Slice) -> Report {
    let mut report = Report::default();
    let Some(socket) = slice.links.iter().find(|wish| wish.link.is_socket()) else {
        return report;
    };
    for wish in &slice.pci {
        let Which::Address(address) = wish.which else {
            continue;
        };
        let mut functions = host.functions.iter();
        if !functions.any(|f| f.address == address && f.pin_only) {
            continue;
        }
        report.push(
            Finding::warning(format!(
                "{address} has no interrupt in slice `{}`",
                slice.name
            ))
            .at(slice.place(&format!("pci.{}.address", wish.at)))
            .because(format!(
                "it has neither MSI nor MSI-X, and a slice with an Extended Socket (link `{}`) \
                 gets no interrupt pins of functions",
                socket.link.name
            ))
            .help("a driver that does not poll cannot use it: leave out one of both"),
        );
    }
    report
}
