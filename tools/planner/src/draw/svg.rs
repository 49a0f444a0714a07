//! The picture for browsers and documents.

use super::canvas::{Anchor, Area, BOX, Canvas, INK, PALE, fill, width};
use super::panel::{MARGIN, Panel, rows};
use super::view::{Owner, View};
use crate::host::{Host, RootBus};
use crate::plan::Plan;
use crate::size::about;
use crate::words::count;
use std::collections::BTreeMap;

/// Space around the picture, in pixels.
const BORDER: f64 = 24.0;
/// Cells that the legend names.
const MOST_NAMES: usize = 64;

/// A plan as an SVG image: a panel for each NUMA node with its cores, memory,
/// root buses and functions, coloured by owner and with their names. Dark where
/// the reader prefers that. Things tell more about themselves when the mouse rests on them.
#[must_use]
pub fn svg(host: &Host, plan: &Plan) -> String {
    let view = View::new(host, plan);
    let (columns, inner) = layout(host.nodes.len());
    let panels = panels(&view, inner);
    let total = row_width(columns.min(panels.len().max(1)), inner);
    let mut canvas = Canvas::default();
    let top = legend(&mut canvas, &view, total);
    let mut bottom = rows(&mut canvas, &panels, columns, BORDER, top);
    let homeless: Vec<&RootBus> = host.roots.iter().filter(|r| !has_panel(host, r)).collect();
    if !homeless.is_empty() {
        let mut panel = Panel::new(&view, total - 2.0 * MARGIN);
        panel.title("PCI", "near no node in particular");
        for root in homeless {
            panel.root_bus(root);
        }
        bottom = rows(&mut canvas, &[panel], 1, BORDER, bottom);
    }
    let links = view.links();
    if !links.is_empty() {
        let mut panel = Panel::new(&view, total - 2.0 * MARGIN);
        panel.title("links", "what cells share");
        links
            .iter()
            .for_each(|(link, cells)| panel.link(link, cells));
        bottom = rows(&mut canvas, &[panel], 1, BORDER, bottom);
    }
    canvas.finish(total + 2.0 * BORDER, bottom - MARGIN + BORDER, &host.name)
}

/// How many panels side by side, and how wide they are inside.
fn layout(nodes: usize) -> (usize, f64) {
    match nodes {
        0 | 1 => (1, 760.0),
        2..=4 => (2, 520.0),
        5..=8 => (4, 344.0),
        n => (n.isqrt().max(4), 300.0),
    }
}

/// Width of a row of panels with the space between.
fn row_width(columns: usize, inner: f64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "there are few columns")]
    let columns = columns as f64;
    columns * (inner + 2.0 * MARGIN) + (columns - 1.0) * MARGIN
}

/// True if the root bus is drawn in the panel of its node.
fn has_panel(host: &Host, root: &RootBus) -> bool {
    root.node.is_some_and(|n| host.node(n).is_some())
}

/// A panel for each node.
fn panels<'v, 'a>(view: &'v View<'a>, inner: f64) -> Vec<Panel<'v, 'a>> {
    let host = view.host;
    let mut cores: BTreeMap<u32, Vec<Vec<u32>>> = BTreeMap::new();
    for cpus in host.cores().into_values() {
        let node = cpus.first().and_then(|c| host.cpu(*c)).map(|c| c.node);
        cores.entry(node.unwrap_or(0)).or_default().push(cpus);
    }
    let mut panels = Vec::new();
    for node in &host.nodes {
        let mut cores = cores.remove(&node.id).unwrap_or_default();
        cores.sort();
        let mut panel = Panel::new(view, inner);
        let about = format!("{}, {}", count(cores.len(), "core"), about(node.memory));
        panel.title(&format!("node {}", node.id), &about);
        panel.cores(&cores);
        panel.memory(node);
        view.caches(node).iter().for_each(|ways| panel.cache(ways));
        for root in host.roots.iter().filter(|r| r.node == Some(node.id)) {
            panel.root_bus(root);
        }
        panels.push(panel);
    }
    panels
}

/// Title and legend; returns where they end.
fn legend(canvas: &mut Canvas, view: &View<'_>, total: f64) -> f64 {
    let mut y = BORDER + 16.0;
    canvas.heading((BORDER, y), 20.0, &view.host.name);
    y += 20.0;
    let mut about = view.host.cpu_model.clone();
    if view.host.reconstructed.is_some() {
        about.push_str(" (reconstructed)");
    }
    canvas.text((BORDER, y), 12.0, PALE, Anchor::Start, &about);
    y += 14.0;
    let cells = view.cells.iter().enumerate().take(MOST_NAMES);
    let mut entries: Vec<(Owner, String)> = cells
        .map(|(i, c)| (Owner::Cell(i), format!("{}: {}", c.name, View::summary(c))))
        .collect();
    if let more @ 1.. = view.cells.len().saturating_sub(MOST_NAMES) {
        entries.push((Owner::Cell(MOST_NAMES), format!("and {more} more")));
    }
    entries.push((Owner::Root, "root, which needs it".to_owned()));
    entries.push((Owner::Left, "left to the root".to_owned()));
    if view.has_idle_cpus() {
        entries.push((Owner::Nobody, "offline".to_owned()));
    }
    let mut x = BORDER;
    for (owner, text) in entries {
        let wide = width(&text, 13.0) + 34.0;
        if x > BORDER && x + wide > BORDER + total {
            x = BORDER;
            y += 24.0;
        }
        let square = Area::new(x, y, 16.0, 16.0);
        // A line around, for paint that is close to the ground's.
        canvas.rect(square, 4.0, BOX, "");
        canvas.rect(square, 4.0, &fill(owner), "");
        canvas.text((x + 22.0, y + 13.0), 13.0, INK, Anchor::Start, &text);
        x += wide;
    }
    y + 34.0
}
