//! The verbs. Each one ties parts together and prints; what it ties stands in
//! modules of its own.

mod acpi;
mod apply;
mod autostart;
mod cells;
mod check;
pub(crate) mod completions;
mod console;
mod dump;
mod edit;
mod events;
mod fleet;
mod image;
mod manual;
mod metrics;
mod nmi;
mod parts;
mod planning;
mod serve;
mod show;
mod start;
mod stats;
mod stop;
mod supervise;
mod switch;
mod top;

use crate::cli::{Cli, Verb};
use crate::create;
use crate::driver::{self, Access, Device, Driver};
use crate::error::Result;
use crate::hypercalls::Monitor;
use crate::journal::Machine;
use crate::state::{CellRecord, Lock, StateDir};
use crate::sysfs::Sysfs;
use cellvisor_abi::call::CellStatus;
use cellvisor_planner::host::Host;

/// What verbs work with.
struct Context<'a> {
    cli: &'a Cli,
    state: StateDir,
    linux: Sysfs,
}

impl<'a> Context<'a> {
    /// What this command line works with.
    fn new(cli: &'a Cli) -> Self {
        Self {
            cli,
            state: StateDir::new(&cli.state_dir),
            linux: Sysfs::new("/"),
        }
    }

    /// Opens the driver to change something.
    fn driver(&self) -> Result<Device> {
        Device::open(&self.cli.device, Access::Manage)
    }

    /// Opens the driver to look, as users may who are not root.
    fn looking_driver(&self) -> Result<Device> {
        Device::open(&self.cli.device, Access::Look)
    }

    /// Waits for a cell's lock, and looks at the cell.
    ///
    /// # Errors
    ///
    /// [`Kind::Absent`](crate::error::Kind::Absent) if there is no such cell, or no
    /// driver.
    fn hold(&self, name: &str) -> Result<Held> {
        let lock = self.state.lock_cell(name)?;
        let record = self.state.cell(name)?;
        let driver = self.driver()?;
        let status = create::status(Monitor(&driver), &record)?;
        Ok(Held {
            _lock: lock,
            driver,
            record,
            status,
        })
    }

    /// The machine behind an open driver.
    fn machine<'d>(&'d self, driver: &'d dyn Driver) -> Machine<'d> {
        Machine {
            driver,
            linux: &self.linux,
            pci: &self.linux,
        }
    }

    /// This machine as the planner sees it.
    fn host(&self) -> Result<Host> {
        Ok(Host::live()?)
    }
}

/// A cell that nobody else changes as long as this lives.
struct Held {
    _lock: Lock,
    driver: Device,
    record: CellRecord,
    /// What the monitor says of it, once the lock is held.
    status: CellStatus,
}

/// Does what the command line says.
pub(crate) fn run(cli: &Cli) -> Result<()> {
    let context = &Context::new(cli);
    if cli.verb.manages() {
        driver::may_manage(&cli.device)?;
    }
    match &cli.verb {
        Verb::Enable(options) => switch::enable(context, options),
        Verb::Disable(options) => switch::disable(context, options),
        Verb::Create(options) => cells::create(context, options),
        Verb::Start(options) => start::start_as(context, options),
        Verb::Run(options) => serve::run(context, options),
        Verb::Stop(options) => stop::stop(context, options),
        Verb::Kill(cell) => stop::kill(context, &cell.name),
        Verb::Nmi(cell) => nmi::nmi(context, &cell.name),
        Verb::Restart(options) => stop::restart(context, options),
        Verb::Destroy(cells) => cells::destroy(context, &cells.names),
        Verb::Apply(options) => apply::apply(context, options),
        Verb::Diff(options) => apply::diff(context, &options.files),
        Verb::Autostart(options) => autostart::autostart(context, options),
        Verb::Edit(slice) => edit::edit(context, &slice.name),
        Verb::Image(verb) => image::image(context, verb),
        Verb::List => show::list(context),
        Verb::Status(cell) => show::status(context, cell.name.as_deref()),
        Verb::Stats(options) => stats::stats(context, options),
        Verb::Top(options) => top::top(context, options),
        Verb::Metrics(options) => metrics::metrics(context, options),
        Verb::Dump(options) => dump::dump(context, options),
        Verb::Events(options) => events::events(context, options),
        Verb::Console(options) => console::console(context, options),
        Verb::Log(options) => console::log(context, options),
        Verb::Check(options) => check::check(context, options),
        Verb::Plan(options) => planning::plan(context, options),
        Verb::Generate(options) => planning::generate(context, options),
        Verb::Acpi(options) => acpi::acpi(context, options),
        Verb::Host(options) => planning::host(context, options),
        Verb::Supervise(cell) => supervise::run(context, &cell.name),
        Verb::Man { dir } => manual::man(dir),
        Verb::Completions { shell } => completions::completions(*shell),
    }
}
