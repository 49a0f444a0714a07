//! `enable` and `disable`.

use super::Context;
use crate::cli;
use crate::create;
use crate::driver::Driver;
use crate::error::{Error, Result};
use crate::output::{self, duration, say, size};
use crate::power;
use crate::system::Choices;
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
    let _lock = context.state.lock()?;
    let driver = context.driver()?;
    if driver.info()?.enabled != 0 {
        return Err(Error::new(
            "cannot turn the monitor on",
            "it is on already",
            "see `cellctl status`; turn it off first: cellctl disable",
        ));
    }
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
        fail_cpu: options.inject,
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
    let _lock = context.state.lock()?;
    let driver = context.driver()?;
    let machine = context.machine(&driver);
    let cells = context.state.cells()?;
    if options.force {
        for cell in &cells {
            create::destroy(machine, &context.state, cell)?;
        }
    } else if let Some(cell) = cells.first() {
        return Err(Error::new(
            "cannot turn the monitor off",
            format!("{} cells exist, \"{}\" among them", cells.len(), cell.name),
            "destroy them first: cellctl destroy NAME, or cellctl disable --force",
        ));
    }
    let answer = power::disable(machine, &context.state)?;
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
