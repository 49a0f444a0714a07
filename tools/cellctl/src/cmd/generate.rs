//! Shell completions from the definition of the command line.

use crate::cli::Cli;
use crate::error::Result;
use crate::output;
use clap::CommandFactory;
use clap_complete::Shell;

/// `completions`.
pub(super) fn completions(shell: Shell) -> Result<()> {
    let mut command = Cli::command();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "cellctl", &mut script);
    output::bytes(&script);
    Ok(())
}
