//! `metrics`: what the monitor counts, in Prometheus' text format.

use super::{Context, stats};
use crate::cli;
use crate::driver::Driver;
use crate::error::{Error, Kind, Result};
use crate::hypercalls::Monitor;
use crate::messages;
use crate::output::{self, say};
use cellvisor_abi::call::{CellId, CellStatus, ExitKind, Info, Stats};
use std::fmt::{Display, Write};
use std::io::{self, BufRead, BufReader, Read};

/// A number of a cell.
type Count = fn(&CellStatus) -> u64;

/// What is told at once.
struct Seen {
    info: Info,
    cells: Vec<CellStatus>,
    /// Linux's number of each CPU, with its counters.
    cpus: Vec<(u32, Stats)>,
}

/// `metrics`. A monitor that is off is a fact, and no failure.
pub(super) fn metrics(context: &Context<'_>, options: &cli::Metrics) -> Result<()> {
    if options.http {
        let answer = answer(&mut io::stdin().lock(), || text(context))?;
        output::bytes(answer.as_bytes());
    } else {
        say(text(context)?.trim_end());
    }
    Ok(())
}

/// Longest request that is read, in bytes.
const LONGEST_REQUEST: u64 = 16 << 10;

/// Reads one request and makes the answer. Whoever asks gets the same, wherever.
fn answer(request: &mut impl Read, text: impl FnOnce() -> Result<String>) -> Result<String> {
    let mut lines = BufReader::new(request.take(LONGEST_REQUEST)).lines();
    let first = lines.next().and_then(io::Result::ok).unwrap_or_default();
    // The rest of the head is of no interest, but is read, or the answer would be lost
    // with the connection.
    lines.map_while(io::Result::ok).find(String::is_empty);
    let (status, body) = match first.split(' ').next() {
        Some("GET") => ("200 OK", text()?),
        _ => ("405 Method Not Allowed", String::new()),
    };
    Ok(format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    ))
}

fn text(context: &Context<'_>) -> Result<String> {
    let seen = match context.looking_driver() {
        Ok(driver) => look(context, &driver)?,
        Err(Error::One(failure)) if failure.kind == Kind::Absent => None,
        Err(error) => return Err(error),
    };
    Ok(render(seen.as_ref()))
}

fn look(context: &Context<'_>, driver: &dyn Driver) -> Result<Option<Seen>> {
    if driver.info()?.enabled == 0 {
        return Ok(None);
    }
    let cpus = stats::plan_cpus(context, driver)?;
    Ok(Some(Seen {
        info: Monitor(driver).info()?,
        cells: cells_with_cpus(driver)?,
        cpus: stats::read_stats(driver, &cpus, None)?,
    }))
}

/// All cells; links are cells without CPUs to the monitor, and none to people.
fn cells_with_cpus(driver: &dyn Driver) -> Result<Vec<CellStatus>> {
    let mut cells = Monitor(driver).cells()?;
    cells.retain(|cell| cell.cpus > 0);
    Ok(cells)
}

/// A text with families of samples.
#[derive(Default)]
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(
            self.0,
            "# HELP cellvisor_{name} {help}\n# TYPE cellvisor_{name} {kind}"
        );
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &dyn Display)], value: u64) {
        let labels: Vec<String> = labels.iter().map(|(k, v)| format!("{k}=\"{v}\"")).collect();
        let labels = match labels.is_empty() {
            true => String::new(),
            false => format!("{{{}}}", labels.join(",")),
        };
        let _ = writeln!(self.0, "cellvisor_{name}{labels} {value}");
    }
}

fn render(seen: Option<&Seen>) -> String {
    let mut text = Text::default();
    text.family("up", "gauge", "1 while the monitor is on.");
    text.sample("up", &[], u64::from(seen.is_some()));
    if let Some(seen) = seen {
        monitor(&mut text, &seen.info);
        cells(&mut text, &seen.cells);
        exits(&mut text, seen);
    }
    text.0
}

fn monitor(text: &mut Text, info: &Info) {
    let bytes = |pages: u32| u64::from(pages) * cellvisor_abi::PAGE_SIZE;
    text.family("pool_bytes", "gauge", "Memory of the monitor's pool.");
    text.sample("pool_bytes", &[], bytes(info.pool_pages));
    text.family(
        "pool_free_bytes",
        "gauge",
        "Memory of the pool that is free.",
    );
    text.sample("pool_free_bytes", &[], bytes(info.pool_free));
    text.family("cpus", "gauge", "CPUs under the monitor.");
    text.sample("cpus", &[], u64::from(info.cpus));
}

fn cells(text: &mut Text, cells: &[CellStatus]) {
    text.family("cell_state", "gauge", "1 for the state that a cell is in.");
    for cell in cells {
        for state in messages::STATES {
            let word = messages::state_word(state);
            let labels: [(&str, &dyn Display); 2] =
                [("cell", &cell.name.as_str()), ("state", &word)];
            text.sample("cell_state", &labels, u64::from(cell.state == state));
        }
    }
    let counts: [(&str, &str, &str, Count); 4] = [
        ("cell_cpus", "gauge", "CPUs of a cell.", |c| {
            u64::from(c.cpus)
        }),
        ("cell_memory_bytes", "gauge", "Memory of a cell.", |c| {
            c.memory
        }),
        (
            "cell_starts_total",
            "counter",
            "How often a cell was started.",
            |c| u64::from(c.starts),
        ),
        (
            "cell_console_bytes_total",
            "counter",
            "What a cell has said on its console.",
            |c| c.console_written,
        ),
    ];
    for (name, kind, help, value) in counts {
        text.family(name, kind, help);
        for cell in cells {
            text.sample(name, &[("cell", &cell.name.as_str())], value(cell));
        }
    }
    text.family(
        "cell_refused_total",
        "counter",
        "Accesses that were refused without failing the cell.",
    );
    for cell in cells {
        let denied = &cell.denied;
        for (kind, count) in [
            ("msr", denied.msr),
            ("port", denied.port),
            ("config", denied.config),
            ("interrupt", denied.ipi),
            ("dma", denied.dma),
            ("mmio", denied.mmio),
        ] {
            let labels: [(&str, &dyn Display); 2] =
                [("cell", &cell.name.as_str()), ("kind", &kind)];
            text.sample("cell_refused_total", &labels, count);
        }
    }
}

/// Exits by CPU and reason, those that happened.
fn exits(text: &mut Text, seen: &Seen) {
    let owner = |id: CellId| {
        let mut cells = seen.cells.iter();
        match cells.find(|c| c.cell == id) {
            _ if id == CellId::ROOT => "root",
            Some(cell) => cell.name.as_str(),
            None => "",
        }
    };
    text.family(
        "exits_total",
        "counter",
        "Exits to the monitor since the CPU got its owner.",
    );
    for (cpu, stats) in &seen.cpus {
        let kinds = ExitKind::ALL.iter().zip(stats.exits);
        for (kind, count) in kinds.filter(|(_, count)| *count > 0) {
            let labels: [(&str, &dyn Display); 3] = [
                ("cpu", cpu),
                ("cell", &owner(stats.owner)),
                ("reason", &kind.name()),
            ];
            text.sample("exits_total", &labels, count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cellvisor_abi::call::{Backend, Denied, Name, State};

    fn seen() -> Seen {
        let mut exits = [0; ExitKind::COUNT];
        exits[0] = 12;
        Seen {
            info: Info {
                abi_version: 1,
                backend: Backend::Vmx,
                cpus: 4,
                cells: 1,
                pool_pages: 4,
                pool_free: 3,
                image_bytes: 0,
                per_cpu_bytes: 0,
                root_x2apic: true,
                iommus: 1,
                parts: cellvisor_abi::parts::Parts::NONE,
            },
            cells: vec![CellStatus {
                cell: CellId(1),
                name: Name::new(b"web").expect("a name"),
                state: State::Running,
                cpus: 2,
                memory: 64 << 20,
                functions: 0,
                unprotected: false,
                pool_pages: 9,
                console_written: 77,
                starts: 1,
                denied: Denied {
                    msr: 3,
                    ..Denied::default()
                },
                failure: None,
            }],
            cpus: vec![(
                2,
                Stats {
                    apic_id: 4,
                    owner: CellId(1),
                    virtual_id: 0,
                    running: true,
                    exits,
                },
            )],
        }
    }

    #[test]
    fn one_request_gets_one_answer_whatever_it_is() {
        let ask = |request: &str| {
            let text = || Ok("cellvisor_up 1\n".to_owned());
            answer(&mut request.as_bytes(), text).expect("an answer")
        };
        let got = ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(got.starts_with("HTTP/1.1 200 OK\r\n"), "{got}");
        assert!(got.contains("Content-Length: 15\r\n"), "{got}");
        assert!(got.ends_with("\r\n\r\ncellvisor_up 1\n"), "{got}");
        let endless = "x".repeat(1 << 20);
        for wrong in ["", "POST / HTTP/1.1\r\n\r\n", endless.as_str()] {
            assert!(ask(wrong).starts_with("HTTP/1.1 405 "), "{wrong:.20}");
        }
    }

    #[test]
    fn monitor_that_is_off_is_down() {
        let expected = "\
# HELP cellvisor_up 1 while the monitor is on.
# TYPE cellvisor_up gauge
cellvisor_up 0
";
        assert_eq!(render(None), expected);
    }

    #[test]
    fn cells_and_exits_are_samples() {
        let text = render(Some(&seen()));
        for line in [
            "cellvisor_up 1",
            "cellvisor_pool_bytes 16384",
            "cellvisor_pool_free_bytes 12288",
            "cellvisor_cell_state{cell=\"web\",state=\"running\"} 1",
            "cellvisor_cell_state{cell=\"web\",state=\"failed\"} 0",
            "cellvisor_cell_cpus{cell=\"web\"} 2",
            "cellvisor_cell_memory_bytes{cell=\"web\"} 67108864",
            "cellvisor_cell_starts_total{cell=\"web\"} 1",
            "cellvisor_cell_console_bytes_total{cell=\"web\"} 77",
            "cellvisor_cell_refused_total{cell=\"web\",kind=\"msr\"} 3",
            "cellvisor_exits_total{cpu=\"2\",cell=\"web\",reason=\"cpuid\"} 12",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in {text}");
        }
        // Every sample belongs to a family that was announced before it.
        for line in text.lines().filter(|l| !l.starts_with('#')) {
            let name = line.split(['{', ' ']).next().unwrap_or_default();
            assert!(text.contains(&format!("# TYPE {name} ")), "{line}");
        }
    }
}
