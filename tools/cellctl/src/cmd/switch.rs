//! `enable` and `disable`.

use super::Context;
use super::cells::{self, say_unless_json};
use crate::cli;
use crate::driver::Driver;
use crate::error::{Error, Result};
use crate::links;
use crate::output::{self, duration, say, size};
use crate::power;
use crate::signals;
use crate::system_plan::Choices;
use cellvisor_abi::ioctl;
use serde::Serialize;

#[derive(Serialize)]
struct Switched {
    enabled: bool,
    cpus: u32,
    pause_ns: u64,
    memory: Option<u64>,
}

/// `enable`.
pub(super) fn enable(context: &Context<'_>, options: &cli::Enable) -> Result<()> {
    let _machine = context.state.lock_machine()?;
    let driver = context.driver()?;
    if driver.info()?.enabled != 0 {
        return Err(Error::new(
            "cannot turn the monitor on",
            "it is on already",
            "see `cellctl status`; turn it off first: cellctl disable",
        ));
    }
    signals::catch()?;
    let (memory, answer) = turn_on(context, &driver, options)?;
    if context.cli.json {
        return print(true, &answer, Some(memory));
    }
    say(format!(
        "monitor is on, on {} CPUs with {} of memory; longest pause {}",
        answer.cpus,
        size(memory),
        duration(answer.pause_ns)
    ));
    Ok(())
}

/// Turns the monitor on; returns the bytes of its memory and what the driver
/// said.
pub(super) fn turn_on(
    context: &Context<'_>,
    driver: &dyn Driver,
    options: &cli::Enable,
) -> Result<(u64, ioctl::Enable)> {
    let choices = Choices {
        log_port: options.log_port.unwrap_or(0),
        memory: options.memory,
        provoke: options.inject,
    };
    let (record, answer) = power::enable(
        context.machine(driver),
        &context.state,
        &|| context.host(),
        &options.image,
        choices,
    )?;
    Ok((record.memory, answer))
}

/// `disable`.
pub(super) fn disable(context: &Context<'_>, options: &cli::Disable) -> Result<()> {
    let _machine = context.state.lock_machine()?;
    let driver = context.driver()?;
    let cells = context.state.cells()?;
    let good = cells.good.iter().map(|cell| &cell.name);
    let names: Vec<&String> = good.chain(cells.bad.iter().map(|(name, _)| name)).collect();
    signals::catch()?;
    if options.force {
        for name in names {
            cells::destroy_one(context, &driver, name)?;
        }
    } else if let Some(first) = names.first() {
        return Err(Error::new(
            "cannot turn the monitor off",
            match names.len() {
                1 => format!("cell \"{first}\" exists"),
                number => format!("{number} cells exist, \"{first}\" among them"),
            },
            "destroy them first: cellctl destroy NAME, or cellctl disable --force",
        ));
    }
    links::swept(context.machine(&driver), &context.state)?;
    let Some(answer) = power::disable(context.machine(&driver), &context.state)? else {
        say_unless_json(
            context,
            "monitor was off; what a crash had left of it is given back".into(),
        );
        return Ok(());
    };
    if context.cli.json {
        return print(false, &answer, None);
    }
    say(format!(
        "monitor is off; longest pause {}",
        duration(answer.pause_ns)
    ));
    Ok(())
}

fn print(enabled: bool, answer: &ioctl::Enable, memory: Option<u64>) -> Result<()> {
    output::json(&Switched {
        enabled,
        cpus: answer.cpus,
        pause_ns: answer.pause_ns,
        memory,
    })
}
