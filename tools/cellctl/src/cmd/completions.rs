//! Shell completions: the shell asks `cellctl` itself at each Tab, so that it
//! knows the cells that there are ([`crate::complete`]).

use crate::cli::Cli;
use crate::error::{Error, Result};
use crate::output;
use clap::CommandFactory;
use clap_complete::Shell;
use clap_complete::env::{CompleteEnv, Shells};

/// What shells set when they ask.
const VARIABLE: &str = "COMPLETE";

/// Answers a shell that asks, and ends; does nothing otherwise.
pub(crate) fn answer() {
    CompleteEnv::with_factory(Cli::command)
        .var(VARIABLE)
        .complete();
}

/// `completions`: what a shell must be told once.
pub(super) fn completions(shell: Shell) -> Result<()> {
    let what = "cannot write completions";
    let known = Shells::builtins();
    let name = shell.to_string();
    let shell = known
        .completer(&name)
        .ok_or_else(|| Error::internal(what, "this shell is unknown"))?;
    let mut script = Vec::new();
    shell
        .write_registration(VARIABLE, "cellctl", "cellctl", "cellctl", &mut script)
        .map_err(|e| Error::internal(what, e))?;
    output::bytes(&script);
    Ok(())
}
