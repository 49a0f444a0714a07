//! The picture for terminals.

use super::view::{Owner, View, extent};
use crate::host::{Function, Host};
use crate::plan::{CellAssignment, Plan};
use crate::size::about;
use crate::words::{count, numbered};
use std::fmt::Write;

/// Characters of a memory bar.
const BAR: u64 = 48;
/// Signs of cells; those beyond are all shown as the last.
const SIGNS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz*";
/// Colours of cells, as numbers of the 256 that terminals know.
const COLOURS: [u8; 10] = [33, 208, 71, 167, 134, 37, 178, 169, 137, 75];

/// How the text is made up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Letters alone.
    Plain,
    /// Letters in colours, for terminals.
    Colour,
}

/// A plan as text: the machine with a letter for each owner, then what each
/// cell gets and why, and what is left.
#[must_use]
pub fn text(host: &Host, plan: &Plan, style: Style) -> String {
    let view = View::new(host, plan);
    let mut text = Text {
        view: &view,
        style,
        out: String::new(),
    };
    let (cpus, nodes) = (
        count(host.cpus.len(), "CPU"),
        count(host.nodes.len(), "node"),
    );
    text.line(&format!("{}: {cpus}, {nodes}", host.name));
    let offline = if view.has_idle_cpus() {
        "   - offline"
    } else {
        ""
    };
    text.line(&format!(
        "# the root needs it   . left to the root{offline}\n"
    ));
    text.nodes();
    text.root_buses();
    for (i, cell) in view.cells.iter().enumerate() {
        text.cell(Owner::Cell(i), cell);
    }
    text.links();
    text.line("\nleft");
    for node in &plan.left {
        let cpus = match node.cpus.is_empty() {
            true => "no CPUs".to_owned(),
            false => numbered("CPU", node.cpus.iter().copied()),
        };
        text.line(&format!(
            "  node {}: {cpus}, {} of memory",
            node.node,
            about(node.memory)
        ));
    }
    text.out
}

struct Text<'v, 'a> {
    view: &'v View<'a>,
    style: Style,
    out: String,
}

impl Text<'_, '_> {
    fn line(&mut self, line: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.out, "{}", line.trim_end());
    }

    /// The sign of an owner, `times` times.
    fn sign(&self, owner: Owner, times: usize) -> String {
        let (sign, colour) = match owner {
            Owner::Root => ('#', 245),
            Owner::Left => ('.', 250),
            Owner::Nobody => ('-', 240),
            Owner::Cell(i) => (
                SIGNS.chars().nth(i).unwrap_or('*'),
                COLOURS.get(i % COLOURS.len()).copied().unwrap_or(7),
            ),
        };
        let signs: String = std::iter::repeat_n(sign, times).collect();
        match self.style {
            Style::Plain => signs,
            Style::Colour => format!("\x1b[1;38;5;{colour}m{signs}\x1b[0m"),
        }
    }

    /// CPUs, core by core, and a bar of memory for each node.
    fn nodes(&mut self) {
        let host = self.view.host;
        let mut cores: Vec<Vec<u32>> = host.cores().into_values().collect();
        cores.sort();
        for node in &host.nodes {
            let mine = |cpus: &&Vec<u32>| {
                let first = cpus.first().and_then(|c| host.cpu(*c));
                first.is_some_and(|c| c.node == node.id)
            };
            let cpus: Vec<String> = cores
                .iter()
                .filter(mine)
                .map(|cpus| {
                    cpus.iter()
                        .map(|c| self.sign(self.view.cpu(*c), 1))
                        .collect()
                })
                .collect();
            let smt = cores.iter().any(|c| c.len() > 1);
            let cpus = cpus.join(if smt { " " } else { "" });
            self.line(&format!("node {:<3} CPUs    {cpus}", node.id));
            let bar = self.bar(&self.view.memory(node));
            self.line(&format!("         memory  {bar} {}", about(node.memory)));
            for ways in self.view.caches(node) {
                let all = count(ways.len(), "way");
                let ways: String = ways.into_iter().map(|owner| self.sign(owner, 1)).collect();
                self.line(&format!("         L3      {ways} {all}"));
            }
        }
    }

    /// Owners and their bytes as a bar; whoever has anything gets a character.
    fn bar(&self, parts: &[(Owner, u64)]) -> String {
        let total: u128 = parts.iter().map(|(_, bytes)| u128::from(*bytes)).sum();
        let mut bar = String::new();
        for (owner, bytes) in parts {
            let part = u128::from(*bytes) * u128::from(BAR) / total.max(1);
            let part = usize::try_from(part).unwrap_or(0).max(1);
            bar.push_str(&self.sign(*owner, part));
        }
        bar
    }

    /// Root buses with the functions behind them that a plan is about.
    fn root_buses(&mut self) {
        let host = self.view.host;
        for root in &host.roots {
            let behind = |f: &&Function| {
                f.address.segment == root.segment
                    && (root.first_bus..=root.last_bus).contains(&f.address.bus())
            };
            let shown =
                |f: &&Function| f.sriov.is_some() || self.view.function(f.address) != Owner::Left;
            let functions: Vec<String> = self
                .view
                .devices()
                .filter(behind)
                .filter(shown)
                .map(|f| self.function(f))
                .collect();
            if !functions.is_empty() {
                let (first, last) = (root.first_bus, root.last_bus);
                self.line(&format!(
                    "root bus {:04x}:{first:02x}-{last:02x}",
                    root.segment
                ));
                functions.iter().for_each(|f| self.line(f));
            }
        }
    }

    /// One function.
    fn function(&self, function: &Function) -> String {
        let sign = self.sign(self.view.function(function.address), 1);
        let vfs: String = self
            .view
            .vfs(function)
            .into_iter()
            .map(|owner| self.sign(owner, 1))
            .collect();
        let vfs = match vfs.is_empty() {
            true => String::new(),
            false => format!(", VFs {vfs}"),
        };
        format!("  {sign} {} {}{vfs}", function.address, function.what())
    }

    /// Links with the signs of their cells.
    fn links(&mut self) {
        for (link, cells) in self.view.links() {
            let signs: String = cells
                .iter()
                .map(|i| self.sign(Owner::Cell(*i), 1))
                .collect();
            let root = if link.has_root() { "#" } else { "" };
            let bytes = extent(link);
            self.line(&format!(
                "\nlink {}: {signs}{root}, {bytes}, {}",
                link.name,
                link.who()
            ));
        }
    }

    /// What a cell gets, and why.
    fn cell(&mut self, owner: Owner, cell: &CellAssignment) {
        let sign = self.sign(owner, 1);
        self.line(&format!("\n{sign} {}: {}", cell.name, View::summary(cell)));
        let cpus = numbered("CPU", cell.cpus.iter().map(|c| c.linux));
        self.line(&format!("  {cpus}"));
        for function in &cell.functions {
            let origin = match (function.vf, function.pf) {
                (Some(vf), Some(pf)) => format!(" (VF {vf} of {pf})"),
                _ => String::new(),
            };
            self.line(&format!("  function {}{origin}", function.address));
        }
        for why in &cell.why {
            self.line(&format!("  - {why}"));
        }
    }
}
