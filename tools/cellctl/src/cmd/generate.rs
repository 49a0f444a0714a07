//! Man pages and shell completions from the definition of the command line.

use crate::cli::Cli;
use crate::error::{Error, Result};
use clap::CommandFactory;
use clap_complete::Shell;
use std::path::Path;

/// `man`: one page for each verb.
pub(super) fn man(dir: &Path) -> Result<()> {
    let help = "name a folder that exists and can be written to";
    clap_mangen::generate_to(Cli::command(), dir)
        .map_err(|e| Error::file("cannot write man pages to", dir, &e, help))
}

/// `completions`.
pub(super) fn completions(shell: Shell) -> Result<()> {
    let mut command = Cli::command();
    clap_complete::generate(shell, &mut command, "cellctl", &mut std::io::stdout());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_that_people_use_has_a_man_page() {
        let dir = tempfile::tempdir().expect("temporary folder");
        man(dir.path()).expect("writes");
        let create = dir.path().join("cellctl-create.1");
        let text = std::fs::read_to_string(create).expect("a page for create");
        assert!(text.contains("log\\-port"), "{text}");
        assert!(dir.path().join("cellctl-man.1").exists());
        assert!(!dir.path().join("cellctl-supervise.1").exists());
    }
}
