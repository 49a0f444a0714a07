//! `cellvisor-slurm`: cells as nodes of Slurm that come when a job wants them.
//!
//! `slurmctld` starts it as ResumeProgram, SuspendProgram and ResumeFailProgram with a
//! list of hosts; on each machine the same program answers it, as the forced command of an
//! SSH key or in the same process ([`machine`]). What is asked is in [`request`]; who has
//! which node and what its cell is made from, in [`config`].

mod config;
mod controller;
mod error;
mod hostlist;
mod machine;
mod nodes;
mod request;
mod slice;
mod slurm;

use config::Config;
use error::{Error, Result};
use request::Request;
use std::process::ExitCode;

const USAGE: &str = "resume HOSTS | suspend HOSTS | resume-fail HOSTS | sync | check | nodes NAME | machine NAME [REQUEST]";

fn run(words: &[&str]) -> Result<()> {
    let hosts = |text: &str| {
        let help = "write hosts as slurm.conf does: n1,n2 or n[1-16]";
        hostlist::expand(text).map_err(|why| Error::new("list of hosts", why.to_string(), help))
    };
    match *words {
        ["resume", list] => controller::resume(&Config::load()?, &hosts(list)?),
        ["suspend", list] => controller::suspend(&Config::load()?, &hosts(list)?),
        ["resume-fail", list] => controller::resume_fail(&Config::load()?, &hosts(list)?),
        ["sync"] => controller::sync(&Config::load()?),
        ["check"] => {
            let config = Config::load()?;
            println!("{} machines, no mistakes", config.machines.len());
            Ok(())
        }
        ["nodes", name] => {
            let config = Config::load()?;
            let inventory = controller::here(&config, name).inventory()?;
            for line in nodes::lines(&config, name, &inventory)? {
                println!("{line}");
            }
            Ok(())
        }
        ["machine", name, ref request @ ..] => serve(name, request),
        _ => Err(Error::new(
            "the command line is wrong",
            format!("`{}` is no verb with its words", words.join(" ")),
            format!("cellvisor-slurm {USAGE}"),
        )),
    }
}

/// Answers a request, that of SSH's client where this is a forced command.
fn serve(name: &str, words: &[&str]) -> Result<()> {
    let asked = std::env::var("SSH_ORIGINAL_COMMAND");
    let line = asked.unwrap_or_else(|_| words.join(" "));
    let request = Request::parse(&line)?;
    println!(
        "{}",
        controller::here(&Config::load()?, name).serve(&request)?
    );
    Ok(())
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("cellvisor-slurm: {why}");
            ExitCode::FAILURE
        }
    }
}
