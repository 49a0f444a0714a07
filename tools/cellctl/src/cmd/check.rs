//! `check`: what this machine has and lacks, one line each, with the fix.

use super::{Context, planning};
use crate::cli;
use crate::driver::Driver;
use crate::error::{Error, Result};
use crate::host_check::{self, Fact, Verdict};
use crate::output::{self, BAD, GOOD, WARN, say};

/// `check`.
pub(super) fn check(context: &Context<'_>, options: &cli::Check) -> Result<()> {
    if !options.files.is_empty() {
        return planning::check(context, &options.files, options.host.as_deref());
    }
    if options.host.is_some() {
        return Err(Error::new(
            "cannot check a saved host alone",
            "it does not say what a live machine says",
            "name slice files as well: cellctl check FILE.toml --host HOST",
        ));
    }
    let mut facts = host_check::machine(std::path::Path::new("/"), host_check::cpuid());
    facts.push(driver(context));
    if context.cli.json {
        output::json(&facts)?;
    } else {
        facts.iter().for_each(print);
    }
    let missing = facts
        .iter()
        .filter(|f| f.verdict == Verdict::Missing)
        .count();
    if missing == 0 {
        return Ok(());
    }
    Err(Error::new(
        "this machine cannot run cells yet",
        match missing {
            1 => "one thing is missing".to_owned(),
            n => format!("{n} things are missing"),
        },
        "do what the lines above say",
    ))
}

/// Whether the driver is there, of our version, and what it says.
fn driver(context: &Context<'_>) -> Fact {
    let state = context.looking_driver().and_then(|d| d.info());
    match state {
        Ok(info) if info.enabled != 0 => Fact::good("driver", "loaded; the monitor is on"),
        Ok(_) => Fact::good("driver", "loaded; the monitor is off"),
        Err(Error::One(failure)) => Fact::missing("driver", failure.why, failure.help),
        Err(Error::Report(report)) => Fact::missing("driver", report.to_string(), ""),
    }
}

fn print(fact: &Fact) {
    let (style, mark) = match fact.verdict {
        Verdict::Good => (GOOD, "ok     "),
        Verdict::Warning => (WARN, "warning"),
        Verdict::Missing => (BAD, "missing"),
    };
    let fix = match &fact.fix {
        Some(fix) => format!("; {fix}"),
        None => String::new(),
    };
    say(format!(
        "{style}{mark}{style:#}  {}: {}{fix}",
        fact.name, fact.found
    ));
}
