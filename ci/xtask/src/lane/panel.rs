//! The panel of an emulated machine: commands in the words of QEMU's monitor.

use super::qemu::PANEL;
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// How long a machine may think about an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Has a machine do `command`; what it says to that, line by line.
///
/// # Errors
///
/// The machine takes no commands, or does not answer.
pub(super) fn ask(dir: &Path, command: &str) -> Result<Vec<String>> {
    let mut panel =
        UnixStream::connect(dir.join(PANEL)).context("the emulator takes no commands")?;
    panel
        .set_read_timeout(Some(PATIENCE))
        .context("cannot limit the wait for the emulator's answer")?;
    // Its answer to the second command tells that the first is done.
    panel
        .write_all(format!("{command}\ninfo status\n").as_bytes())
        .with_context(|| format!("the emulator does not take `{command}`"))?;
    let mut said = Vec::new();
    for line in BufReader::new(panel).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        if line.contains("VM status") {
            return Ok(said);
        }
        said.push(line);
    }
    bail!("no answer to `{command}`")
}

/// What each CPU of a machine does, a line for each: a scenario that hangs does not say
/// by itself where. All that the machine tells of its CPUs is in `cpus.log` then.
/// `None` where it cannot be asked.
pub(super) fn cpus(dir: &Path) -> Option<String> {
    let registers = ask(dir, "info registers -a").ok()?;
    let states = states(&registers);
    let apics: Vec<_> = (0..states.len())
        .map(|cpu| ask(dir, &format!("info lapic {cpu}")).unwrap_or_default())
        .collect();
    let log = [&registers].into_iter().chain(&apics).flatten();
    let log: Vec<&str> = log.map(String::as_str).collect();
    // The short form is worth having without the long one.
    drop(std::fs::write(dir.join("cpus.log"), log.join("\n")));
    let of_cpu = states.iter().zip(&apics).enumerate();
    let lines = of_cpu.map(|(cpu, (state, apic))| format!("CPU {cpu}: {state} {}", pending(apic)));
    let mut lines: Vec<String> = lines.collect();
    if lines.iter().any(|line| has_no_timer(line)) {
        lines.push(NO_TIMER.to_owned());
    }
    Some(format!("its CPUs then:\n{}", lines.join("\n")))
}

/// What explains a CPU that is found without a timer.
const NO_TIMER: &str = "a CPU whose timer is masked at 268435455 has none: its kernel measured the APIC's and \
     found it too slow, since the emulator had stood still meanwhile (docs/testing.md, \"Kernels that go silent\")";

/// True if a kernel has measured its timer and uses it not: all ones, counted in units of
/// sixteen, is what it measures with.
fn has_no_timer(line: &str) -> bool {
    line.contains("masked periodic") && line.contains("initial_count = 268435455 ")
}

/// Where each CPU is, from what the machine says of registers.
fn states(registers: &[String]) -> Vec<String> {
    let place = registers.iter().filter(|line| line.starts_with("RIP="));
    place
        .map(|line| words(line, &["RIP", "RFL", "EIP", "CPL", "HLT"]))
        .collect()
}

/// The words `NAME=VALUE` of a line whose names are asked for.
fn words(line: &str, names: &[&str]) -> String {
    let wanted = |word: &&str| {
        let name = word.split('=').next().unwrap_or_default();
        names.contains(&name)
    };
    let words: Vec<&str> = line.split_whitespace().filter(wanted).collect();
    words.join(" ")
}

/// What a local APIC has under way, and its timer.
fn pending(apic: &[String]) -> String {
    let of = |name: &str| {
        let line = apic.iter().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default().trim().replace("active-hi ", "")
    };
    let spaces = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
    format!(
        "ISR {} IRR {} timer {} {}",
        of("ISR"),
        of("IRR"),
        spaces(of("LVTT\t")),
        spaces(of("Timer"))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_where_a_cpu_is_and_what_it_has_pending() {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let registers = lines(
            "\nCPU#0\nRAX=0 RBX=0\nRIP=ffffffff81000000 RFL=00000246 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=1\n\
             CS =0010\n\nCPU#1\nRIP=000000000040001f RFL=00000202 [-------] CPL=3 II=0 A20=1 SMM=0 HLT=0",
        );
        assert_eq!(
            states(&registers),
            [
                "RIP=ffffffff81000000 RFL=00000246 CPL=0 HLT=1",
                "RIP=000000000040001f RFL=00000202 CPL=3 HLT=0"
            ]
        );
        let apic = lines(
            "dumping local APIC state for CPU 1\n\nLVTT\t 0x000200ec active-hi edge   periodic  Fixed  (vec 236)\n\
             Timer\t DCR=0x3 initial_count = 25 current_count = 11\nISR\t (none)\nIRR\t 236 ",
        );
        assert_eq!(
            pending(&apic),
            "ISR (none) IRR 236 timer 0x000200ec edge periodic Fixed (vec 236) DCR=0x3 initial_count = 25 current_count = 11"
        );
        assert!(!has_no_timer(&pending(&apic)));
        let apic = lines(
            "LVTT\t 0x000300ec active-hi edge   masked    periodic  Fixed  (vec 236)\n\
             Timer\t DCR=0x3 (divide by 16) initial_count = 268435455 current_count = 174",
        );
        assert!(has_no_timer(&pending(&apic)));
    }
}
