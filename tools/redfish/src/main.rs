//! `cellvisor-redfish`: cells of this machine as Redfish systems.
//!
//! The server ([`mod@serve`], [`router`]) runs as a user that may look at cells and no more.
//! What it shows is in [`resources`]; it comes from `cellctl --json` ([`look`]). What it
//! changes is done by the same program as root, behind a socket that the server alone may
//! open ([`power`], [`manage`]). Who may come is in [`config`].

mod boots;
mod cells;
mod config;
mod error;
mod events;
mod http;
mod look;
mod manage;
mod media;
mod passwords;
mod places;
mod power;
mod resources;
mod roles;
mod router;
mod serve;
mod service;
mod sessions;
#[cfg(test)]
mod testing;
mod tls;

use config::Config;
use error::{Error, Result};
use places::Places;
use serve::Limits;
use service::Service;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

const USAGE: &str = "serve | check | hash | power, each with --config FILE, --state DIR, \
    --slices DIR, --cellctl PATH, --power SOCKET, --boot DIR as needed";

/// The command line.
struct Line {
    verb: String,
    config: PathBuf,
    places: Places,
}

fn line(mut words: impl Iterator<Item = String>) -> Result<Line> {
    let wrong = |why: String| {
        let help = format!("cellvisor-redfish {USAGE}");
        Error::new("the command line is wrong", why, help)
    };
    let verb = words
        .next()
        .ok_or_else(|| wrong("a verb is missing".into()))?;
    let mut line = Line {
        verb,
        config: config::FILE.into(),
        places: Places {
            cellctl: "/usr/bin/cellctl".into(),
            slices: "/etc/cellvisor/slices".into(),
            power: "/run/cellvisor-redfish-power.sock".into(),
            state: "/var/lib/cellvisor-redfish".into(),
            boot: "/run/cellvisor-redfish".into(),
        },
    };
    while let Some(option) = words.next() {
        let place = match &*option {
            "--config" => &mut line.config,
            "--state" => &mut line.places.state,
            "--slices" => &mut line.places.slices,
            "--cellctl" => &mut line.places.cellctl,
            "--power" => &mut line.places.power,
            "--boot" => &mut line.places.boot,
            _ => return Err(wrong(format!("`{option}` is no option"))),
        };
        let value = words.next();
        *place = value
            .ok_or_else(|| wrong(format!("{option} wants a path")))?
            .into();
    }
    Ok(line)
}

fn run(line: Line) -> Result<()> {
    match &*line.verb {
        "serve" => serve(&Config::load(&line.config)?, &line.places),
        "check" => {
            let config = Config::load(&line.config)?;
            println!("{} accounts, no mistakes", config.accounts.len());
            Ok(())
        }
        "hash" => {
            let mut password = String::new();
            let read = std::io::stdin().read_line(&mut password);
            let help = "give the password as a line on standard input";
            read.map_err(|e| Error::new("cannot read", e.to_string(), help))?;
            println!(
                "{}",
                passwords::hash(password.trim_end_matches(['\r', '\n']))?
            );
            Ok(())
        }
        "power" => {
            let answer = power::Root::new(line.places).serve(std::io::stdin().lock());
            println!("{}", serde_json::json!(answer));
            Ok(())
        }
        verb => Err(Error::new(
            "the command line is wrong",
            format!("`{verb}` is no verb"),
            format!("cellvisor-redfish {USAGE}"),
        )),
    }
}

fn serve(config: &Config, places: &Places) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(8)
        .build();
    let runtime = runtime.map_err(|e| {
        let help = "see the limits of its unit";
        Error::new("cannot start", e.to_string(), help)
    })?;
    runtime.block_on(async {
        let service = Service::new(config, places)?;
        let tls = tls::acceptor(config, &places.state, &service.host)?;
        let listener = serve::listen(config.listen).await?;
        if config.accounts.is_empty() {
            eprintln!("there is no account: nobody can log in");
        }
        eprintln!("listening on {}", config.listen);
        let router = router::router(Arc::new(service));
        serve::run(listener, tls, router, Limits::USUAL).await;
        Ok(())
    })
}

fn main() -> ExitCode {
    match line(std::env::args().skip(1)).and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("cellvisor-redfish: {why}");
            ExitCode::FAILURE
        }
    }
}
