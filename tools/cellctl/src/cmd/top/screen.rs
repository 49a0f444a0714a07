//! A look at the cells on a terminal, by ratatui.

use super::{HEAD, Line, monitor};
use cellvisor_abi::call::Info;
use ratatui::backend::{Backend, TermionBackend};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Style};
use ratatui::termion::screen::{AlternateScreen, IntoAlternateScreen};
use ratatui::widgets::{Cell, Gauge, Row, Table};
use ratatui::{Frame, Terminal};
use std::io::{self, IsTerminal, Stdout, stdout};

/// The terminal's other screen, for as long as this lives.
pub(super) struct Screen(Terminal<TermionBackend<AlternateScreen<Stdout>>>);

impl Screen {
    /// Takes the terminal over. `None` where standard output is no terminal, or one that
    /// has no size, as a serial line: lines do better there.
    pub(super) fn open() -> io::Result<Option<Self>> {
        let known = TermionBackend::new(stdout()).size();
        if !stdout().is_terminal() || known.is_ok_and(|size| size.width == 0 || size.height == 0) {
            return Ok(None);
        }
        let mut terminal = Terminal::new(TermionBackend::new(stdout().into_alternate_screen()?))?;
        terminal.hide_cursor()?;
        // Not the terminal's own `clear`: it asks where the cursor is, for which termion wants
        // a controlling terminal, and panics without one.
        terminal.backend_mut().clear()?;
        Ok(Some(Self(terminal)))
    }

    /// Shows a look.
    pub(super) fn show(&mut self, lines: &[Line], info: &Info) -> io::Result<()> {
        self.0.draw(|frame| draw(frame, lines, info)).map(drop)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // What fails here fails where nobody can be told.
        let _ = self.0.show_cursor();
    }
}

/// The monitor's memory above, then a line for the root and each cell.
fn draw(frame: &mut Frame<'_>, lines: &[Line], info: &Info) {
    let parts = [
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Fill(1),
    ];
    let [top, _, rest] = Layout::vertical(parts).areas(frame.area());
    let used = info.pool_pages.saturating_sub(info.pool_free);
    let ratio = f64::from(used) / f64::from(info.pool_pages.max(1));
    let gauge = Gauge::default()
        .ratio(ratio.clamp(0.0, 1.0))
        .label(monitor(info));
    frame.render_widget(gauge.gauge_style(Style::new().fg(Color::Blue)), top);
    let rows: Vec<_> = lines.iter().map(|line| (line, line.columns())).collect();
    let widths = HEAD.iter().enumerate().map(|(column, head)| {
        let cells = rows.iter().filter_map(|(_, cells)| cells.get(column));
        let longest = cells.map(String::len).max().unwrap_or_default();
        // The last one has what is left.
        match column + 1 < HEAD.len() {
            true => Constraint::Length(u16::try_from(longest.max(head.len())).unwrap_or(u16::MAX)),
            false => Constraint::Fill(1),
        }
    });
    let widths: Vec<_> = widths.collect();
    let rows = rows.into_iter().map(|(line, cells)| row(line, cells));
    let head = Row::new(HEAD).style(Style::new().bold());
    frame.render_widget(
        Table::new(rows, widths).header(head).column_spacing(2),
        rest,
    );
}

/// A line; what is wrong is red, what was refused yellow.
fn row(line: &Line, cells: [String; HEAD.len()]) -> Row<'static> {
    let state = match line.state {
        "running" => Style::new().fg(Color::Green),
        "failed" | "panicked" => Style::new().fg(Color::Red).bold(),
        _ => Style::new(),
    };
    let refused = match line.refused {
        Some(1..) => Style::new().fg(Color::Yellow),
        _ => Style::new(),
    };
    Row::new(cells.into_iter().zip(HEAD).map(|(text, head)| {
        Cell::from(text).style(match head {
            "STATE" => state,
            "REFUSED" => refused,
            _ => Style::new(),
        })
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::backend::TestBackend;

    #[test]
    fn screen_has_the_pool_and_a_line_for_each_owner() {
        let line = |name: &str, state, refused| Line {
            name: name.to_owned(),
            state,
            cpus: vec![1, 2],
            memory: Some(768 << 20),
            exits: 13,
            kinds: vec![("icr", 10), ("cpuid", 3)],
            refused,
        };
        let info = Info {
            cpus: 4,
            pool_pages: 1024,
            pool_free: 512,
            abi_version: 0,
            backend: cellvisor_abi::call::Backend::Vmx,
            cells: 1,
            image_bytes: 0,
            per_cpu_bytes: 0,
            root_x2apic: true,
            iommus: 0,
            parts: cellvisor_abi::parts::Parts::NONE,
        };
        let mut terminal = Terminal::new(TestBackend::new(80, 6)).expect("a terminal");
        let lines = [
            line("root", "running", None),
            line("web", "panicked", Some(7)),
        ];
        let frame = terminal
            .draw(|frame| draw(frame, &lines, &info))
            .expect("draws");
        let text = |y: u16| -> String {
            let cells = (0..80).filter_map(|x| frame.buffer.cell((x, y)));
            cells.map(ratatui::buffer::Cell::symbol).collect()
        };
        assert!(
            text(0).contains("monitor: 4 CPUs, pool 2 MiB of 4 MiB free"),
            "{}",
            text(0)
        );
        assert!(text(2).starts_with("NAME") && text(2).contains("EXITS/S"));
        let words = |y| text(y).split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(words(3), "root running 1-2 768 MiB 13 - icr 10, cpuid 3");
        assert_eq!(words(4), "web panicked 1-2 768 MiB 13 7 icr 10, cpuid 3");
        let state = (0..80)
            .filter_map(|x| frame.buffer.cell((x, 4)))
            .find(|cell| cell.fg == Color::Red);
        assert_eq!(state.map(ratatui::buffer::Cell::symbol), Some("p"));
    }
}
