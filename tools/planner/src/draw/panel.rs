//! The picture of one NUMA node: cores, memory, root buses and functions.

use super::canvas::{Anchor, Area, BOX, Canvas, GROUND, INK, PALE, cut, fill, ink_on, width};
use super::view::{Owner, View, extent};
use crate::config::Link;
use crate::host::{Function, Node, RootBus};
use crate::size::about;
use crate::words::count;

/// Space between things, in pixels.
const GAP: f64 = 6.0;
/// Space inside a panel's frame.
pub(super) const MARGIN: f64 = 14.0;
/// Functions of a root bus that are drawn; those of cells always are.
const MOST_FUNCTIONS: usize = 24;

/// Room for names under cores.
const NAMES: f64 = 14.0;

/// Cores side by side that one cell has.
struct Run {
    cell: Option<usize>,
    start: f64,
    end: f64,
    /// Where the cores end.
    y: f64,
}

/// A part of the picture that grows downwards.
pub(super) struct Panel<'v, 'a> {
    view: &'v View<'a>,
    pub(super) canvas: Canvas,
    inner: f64,
    pub(super) y: f64,
}

impl<'v, 'a> Panel<'v, 'a> {
    /// An empty panel of this inner width.
    pub(super) fn new(view: &'v View<'a>, inner: f64) -> Self {
        Self {
            view,
            canvas: Canvas::default(),
            inner,
            y: 0.0,
        }
    }

    /// A heading on the left, something less important on the right.
    pub(super) fn title(&mut self, left: &str, right: &str) {
        self.y += 14.0;
        self.canvas.heading((0.0, self.y), 15.0, left);
        let at = (self.inner, self.y);
        self.canvas.text(at, 12.0, PALE, Anchor::End, right);
        self.y += 10.0;
    }

    /// The cores of a node: a box for each, with its CPUs side by side.
    pub(super) fn cores(&mut self, cores: &[Vec<u32>]) {
        let threads = cores.iter().map(Vec::len).max().unwrap_or(1);
        let side = match cores.len() {
            0..=32 => 32.0,
            33..=96 => 26.0,
            _ => 18.0,
        };
        #[expect(clippy::cast_precision_loss, reason = "cores have few threads")]
        let core = side * threads as f64 + 4.0;
        let named = cores.iter().any(|c| self.cell_of(c).is_some());
        let step = side + 4.0 + if named { NAMES } else { 0.0 };
        let mut x = 0.0;
        let mut runs: Vec<Run> = Vec::new();
        for cpus in cores {
            if x > 0.0 && x + core > self.inner {
                x = 0.0;
                self.y += step + GAP;
            }
            let area = Area::new(x, self.y, core, side + 4.0);
            self.canvas.rect(area, 4.0, BOX, "");
            for (i, cpu) in cpus.iter().enumerate() {
                #[expect(clippy::cast_precision_loss, reason = "cores have few threads")]
                let left = x + 2.0 + side * i as f64;
                self.cpu(*cpu, Area::new(left, self.y + 2.0, side, side));
            }
            let (cell, y) = (self.cell_of(cpus), self.y + side + 4.0);
            match runs.last_mut() {
                Some(run) if x > 0.0 && run.cell == cell => run.end = x + core,
                _ => runs.push(Run {
                    cell,
                    start: x,
                    end: x + core,
                    y,
                }),
            }
            x += core + GAP;
        }
        runs.iter().for_each(|run| self.name_below(run));
        self.y += step + 2.0 * GAP;
    }

    /// A link: a square for each of its cells, then what it is, and below who has which
    /// address.
    pub(super) fn link(&mut self, link: &Link, cells: &[usize]) {
        self.y += GAP;
        let mut x = 0.0;
        for cell in cells {
            let owner = Owner::Cell(*cell);
            let square = Area::new(x, self.y, 16.0, 16.0);
            self.canvas.rect(square, 4.0, BOX, "");
            self.canvas
                .rect(square, 4.0, &fill(owner), self.name(owner));
            x += 16.0 + GAP;
        }
        let text = format!("{}: {}, {}", link.name, extent(link), link.trust());
        let at = (x + GAP, self.y + 13.0);
        self.canvas.text(at, 13.0, INK, Anchor::Start, &text);
        self.y += 16.0 + GAP;
        let mut network = link.network();
        network.extend(link.outside());
        self.network(&network);
    }

    /// Names with their addresses, as many in a row as there is room for.
    fn network(&mut self, members: &[String]) {
        let mut x = 0.0;
        for member in members {
            let room = width(member, 12.0) + 3.0 * GAP;
            if x > 0.0 && x + room > self.inner {
                x = 0.0;
                self.y += 16.0;
            }
            self.canvas
                .text((x, self.y + 12.0), 12.0, PALE, Anchor::Start, member);
            x += room;
        }
        if !members.is_empty() {
            self.y += 16.0 + GAP;
        }
    }

    /// The cell that has all CPUs of a core.
    fn cell_of(&self, cpus: &[u32]) -> Option<usize> {
        let mut owners = cpus.iter().map(|c| self.view.cpu(*c));
        match owners.next() {
            Some(first @ Owner::Cell(i)) => owners.all(|o| o == first).then_some(i),
            _ => None,
        }
    }

    /// The name of a cell under its cores, with a line as long as they are.
    fn name_below(&mut self, run: &Run) {
        let Some(cell) = run.cell else {
            return;
        };
        let owner = Owner::Cell(cell);
        let room = run.end - run.start;
        let line = Area::new(run.start, run.y + 2.0, room, 2.0);
        self.canvas.rect(line, 1.0, &fill(owner), self.name(owner));
        if let Some(name) = cut(self.name(owner), 10.0, room) {
            let at = (f64::midpoint(run.start, run.end), run.y + 13.0);
            self.canvas.text(at, 10.0, INK, Anchor::Middle, &name);
        }
    }

    fn cpu(&mut self, linux: u32, area: Area) {
        let owner = self.view.cpu(linux);
        let cpu = self.view.host.cpu(linux);
        let tip = cpu.map_or(String::new(), |c| {
            format!("CPU {linux}, APIC id {}: {}", c.apic_id, self.name(owner))
        });
        self.canvas.rect(area, 3.0, &fill(owner), &tip);
        let size = area.height * 0.38;
        let at = (area.x + area.width / 2.0, area.y + area.height * 0.64);
        let text = linux.to_string();
        self.canvas
            .text(at, size, ink_on(owner), Anchor::Middle, &text);
    }

    /// Who that is, for people.
    fn name(&self, owner: Owner) -> &'a str {
        match owner {
            Owner::Cell(i) => self.view.cells.get(i).map_or("", |c| c.name.as_str()),
            Owner::Root => "the root needs it",
            Owner::Left => "left to the root",
            Owner::Nobody => "offline",
        }
    }

    /// The memory of a node as a bar.
    pub(super) fn memory(&mut self, node: &Node) {
        let height = 30.0;
        let parts = self.view.memory(node);
        let total: u64 = parts.iter().map(|(_, bytes)| bytes).sum();
        let mut x = 0.0;
        for (owner, bytes) in parts {
            #[expect(clippy::cast_precision_loss, reason = "a part of a bar")]
            let part = self.inner * (bytes as f64 / total.max(1) as f64);
            let area = Area::new(x, self.y, (part - 2.0).max(1.0), height);
            let tip = format!("{}: {}", about(bytes), self.name(owner));
            self.canvas.rect(area, 3.0, &fill(owner), &tip);
            let label = match owner {
                Owner::Root => format!("root {}", about(bytes)),
                Owner::Cell(_) => format!("{} {}", self.name(owner), about(bytes)),
                Owner::Left | Owner::Nobody => about(bytes),
            };
            // A size that is cut would tell another size.
            let short = match owner {
                Owner::Cell(_) => self.name(owner).to_owned(),
                Owner::Root | Owner::Left | Owner::Nobody => about(bytes),
            };
            let fits = |(text, size): &(String, f64)| width(text, *size) + GAP / 2.0 < part;
            let mut labels = [(label, 12.0), (short, 10.0)].into_iter();
            if let Some((label, size)) = labels.find(fits) {
                let at = (x + part / 2.0, self.y + 19.5);
                self.canvas
                    .text(at, size, ink_on(owner), Anchor::Middle, &label);
            }
            x += part;
        }
        self.y += height + 2.0 * GAP;
    }

    /// The ways of an L3 cache, side by side.
    pub(super) fn cache(&mut self, ways: &[Owner]) {
        let (height, label) = (16.0, "L3");
        let at = (0.0, self.y + 12.0);
        self.canvas.text(at, 11.0, PALE, Anchor::Start, label);
        let left = width(label, 11.0) + GAP;
        #[expect(clippy::cast_precision_loss, reason = "a cache has few ways")]
        let step = (self.inner - left) / ways.len().max(1) as f64;
        let mut x = left;
        for (way, owner) in ways.iter().enumerate() {
            let area = Area::new(x, self.y, (step - 2.0).max(1.0), height);
            let tip = format!("way {way} of the L3 cache: {}", self.name(*owner));
            self.canvas.rect(area, 3.0, &fill(*owner), &tip);
            x += step;
        }
        self.y += height + 2.0 * GAP;
    }

    /// A root bus with the functions behind it.
    pub(super) fn root_bus(&mut self, root: &RootBus) {
        let behind = |f: &&Function| {
            f.address.segment == root.segment
                && (root.first_bus..=root.last_bus).contains(&f.address.bus())
        };
        let mut functions: Vec<&Function> = self.view.devices().filter(behind).collect();
        // What belongs to cells is worth seeing whatever else there is.
        let taken = |f: &&Function| {
            let of_cell = |o: &Owner| matches!(o, Owner::Cell(_));
            of_cell(&self.view.function(f.address)) || self.view.vfs(f).iter().any(of_cell)
        };
        let more = functions.len().saturating_sub(MOST_FUNCTIONS);
        if more > 0 {
            functions.sort_by_key(|f| (!taken(f), f.address));
            functions.truncate(MOST_FUNCTIONS);
        }
        functions.sort_by_key(|f| f.address);
        let top = self.y;
        let mut inside = Panel::new(self.view, self.inner - 2.0 * GAP);
        let segment = match root.segment {
            0 => String::new(),
            n => format!("{n:04x}:"),
        };
        let name = format!(
            "root bus {segment}{:02x}\u{2013}{:02x}",
            root.first_bus, root.last_bus
        );
        inside.y = 16.0;
        inside
            .canvas
            .text((0.0, inside.y), 12.0, PALE, Anchor::Start, &name);
        let note = match (functions.len(), more) {
            (0, _) => "no functions".to_owned(),
            (_, 0) => String::new(),
            (_, more) => format!("and {}", count(more, "more function")),
        };
        let at = (inside.inner, inside.y);
        inside.canvas.text(at, 11.0, PALE, Anchor::End, &note);
        inside.y += GAP;
        inside.functions(&functions);
        let height = inside.y + 2.0;
        let area = Area::new(0.0, top, self.inner, height);
        self.canvas.rect(area, 5.0, BOX, "");
        self.canvas.place(&inside.canvas, GAP, top);
        self.y = top + height + GAP;
    }

    /// Functions as boxes, as many side by side as fit.
    fn functions(&mut self, functions: &[&Function]) {
        let mut x = 0.0;
        let mut lowest = self.y;
        for function in functions {
            let vfs = self.view.vfs(function);
            let mut label = format!("{} {}", short(function), function.what());
            if let owner @ Owner::Cell(_) = self.view.function(function.address) {
                label = format!("{label}: {}", self.name(owner));
            }
            let columns = if vfs.len() > 16 { 16.0 } else { 8.0 };
            let dots = if vfs.is_empty() { 0.0 } else { columns * 12.0 };
            let names = vfs.iter().enumerate().map(|(i, vf)| self.vf(i, *vf).1);
            let dots = names.fold(dots, f64::max);
            let box_width = (width(&label, 11.0) + 12.0).max(dots + 10.0);
            if x > 0.0 && x + box_width > self.inner {
                x = 0.0;
                self.y = lowest;
            }
            let bottom = self.function(
                function,
                &label,
                &vfs,
                Area::new(x, self.y, box_width, 22.0),
            );
            lowest = lowest.max(bottom + GAP);
            x += box_width + GAP;
        }
        self.y = lowest.max(self.y);
    }

    /// What stands on the `i`-th VF of a function, and how wide that is: number
    /// and name if a cell has it.
    fn vf(&self, i: usize, owner: Owner) -> (String, f64) {
        match owner {
            Owner::Cell(_) => {
                let name = format!("{i} {}", self.name(owner));
                let wide = width(&name, 8.0) + 6.0;
                (name, wide)
            }
            Owner::Root | Owner::Left | Owner::Nobody => (String::new(), 10.0),
        }
    }

    /// One function, its VFs as small squares below; returns where it ends.
    fn function(&mut self, function: &Function, label: &str, vfs: &[Owner], area: Area) -> f64 {
        let owner = self.view.function(function.address);
        let what = match function.name.as_str() {
            "" => function.what(),
            name => name,
        };
        let tip = format!("{} {what}: {}", function.address, self.name(owner));
        self.canvas.rect(area, 4.0, &fill(owner), &tip);
        let at = (area.x + 6.0, area.y + 15.0);
        self.canvas
            .text(at, 11.0, ink_on(owner), Anchor::Start, label);
        let (mut x, mut y) = (area.x, area.y + area.height + 3.0);
        for (i, vf) in vfs.iter().enumerate() {
            let (name, wide) = self.vf(i, *vf);
            if x > area.x && x + wide > area.x + area.width {
                x = area.x;
                y += 12.0;
            }
            let square = Area::new(x, y, wide, 10.0);
            let tip = format!("VF {i} of {}: {}", function.address, self.name(*vf));
            self.canvas.rect(square, 2.0, &fill(*vf), &tip);
            let at = (x + 3.0, y + 8.0);
            self.canvas.text(at, 8.0, ink_on(*vf), Anchor::Start, &name);
            x += wide + 2.0;
        }
        match vfs {
            [] => area.y + area.height,
            _ => y + 10.0,
        }
    }
}

/// An address without the segment that nearly all have.
fn short(function: &Function) -> String {
    let text = function.address.to_string();
    match text.strip_prefix("0000:") {
        Some(short) => short.to_owned(),
        None => text,
    }
}

/// Puts panels side by side, in rows; returns where the last row ends.
pub(super) fn rows(
    canvas: &mut Canvas,
    panels: &[Panel<'_, '_>],
    columns: usize,
    left: f64,
    top: f64,
) -> f64 {
    let mut y = top;
    for row in panels.chunks(columns.max(1)) {
        let tallest = row.iter().map(|p| p.y).fold(0.0, f64::max);
        let height = tallest + 2.0 * MARGIN;
        let mut x = left;
        for panel in row {
            let outer = panel.inner + 2.0 * MARGIN;
            canvas.rect(Area::new(x, y, outer, height), 8.0, GROUND, "");
            canvas.place(&panel.canvas, x + MARGIN, y + MARGIN);
            x += outer + MARGIN;
        }
        y += height + MARGIN;
    }
    y
}
