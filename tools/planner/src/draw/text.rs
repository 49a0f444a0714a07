//! The picture for terminals.

use crate::host::Host;
use crate::list::List;
use crate::plan::{CellAssignment, Plan};
use crate::size::about;
use std::fmt::Write;

/// A plan as text: what each cell gets and why, and what is left.
#[must_use]
pub fn text(host: &Host, plan: &Plan) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "{}: {} CPUs, {} nodes",
        host.name,
        host.cpus.len(),
        host.nodes.len()
    );
    for cell in &plan.cells {
        describe(&mut out, cell);
    }
    for cell in &plan.running {
        describe(&mut out, cell);
    }
    let _ = writeln!(out, "\nleft");
    for node in &plan.left {
        let cpus: List = node.cpus.iter().copied().collect();
        let _ = writeln!(
            out,
            "  node {}: CPUs {cpus}, {} of memory",
            node.node,
            about(node.memory)
        );
    }
    out
}

/// One cell.
fn describe(out: &mut String, cell: &CellAssignment) {
    let cpus: List = cell.cpus.iter().map(|c| c.linux).collect();
    let _ = writeln!(out, "\n{}", cell.name);
    let _ = writeln!(
        out,
        "  CPUs {cpus}, {} of memory",
        about(cell.memory_bytes())
    );
    for function in &cell.functions {
        let _ = writeln!(out, "  {}", function.address);
    }
    for why in &cell.why {
        let _ = writeln!(out, "  - {why}");
    }
}
