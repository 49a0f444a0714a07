//! What a new system is configured with, checked before anything is made: it goes into
//! a shell script's environment and into files of the system.

use super::files::{self, File};
use crate::cli;
use crate::error::{Error, Result};
use std::fs;
use std::net::IpAddr;
use std::path::Path;

/// How keys of users begin in the file of a public key.
const KEYS: [&str; 3] = ["ssh-", "ecdsa-", "sk-"];

/// Environment of `configure.sh`, and files for it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) hostname: String,
    pub(super) user: String,
    /// Lines of `authorized_keys`.
    pub(super) keys: String,
    /// A file of systemd.network(5).
    pub(super) network: String,
    pub(super) files: Vec<File>,
}

impl Settings {
    /// From the command line.
    ///
    /// # Errors
    ///
    /// A value that cannot be one; nothing was done by then.
    pub(super) fn of(options: &cli::ImageBuild, what: &str) -> Result<Self> {
        let word = |value: &str, name: &str, more: &str, help: &str| {
            let plain = |b: u8| {
                b.is_ascii_lowercase() || b.is_ascii_digit() || more.contains(char::from(b))
            };
            let first = value
                .bytes()
                .next()
                .is_some_and(|b| b.is_ascii_alphanumeric());
            match first && value.len() <= 63 && value.bytes().all(plain) {
                true => Ok(value.to_owned()),
                false => Err(Error::new(
                    what,
                    format!("{name} cannot be {value:?}"),
                    help,
                )),
            }
        };
        word(
            &options.suite,
            "--suite",
            "-",
            "name a release, such as bookworm",
        )?;
        for package in &options.include {
            word(
                package,
                "--include",
                "-+.:",
                "name packages of Debian, with commas between them",
            )?;
        }
        if let Some(mirror) = options.mirror.as_ref().filter(|m| m.starts_with('-')) {
            let why = format!("--mirror cannot be {mirror:?}");
            return Err(Error::new(
                what,
                why,
                "name a URL, or lines of sources.list",
            ));
        }
        let user = word(&options.user, "--user", "-_", "use a-z, 0-9, - and _")?;
        if user == "root" {
            let why = "root has no way in by a key".to_owned();
            return Err(Error::new(what, why, "name a user, who may use sudo"));
        }
        Ok(Self {
            hostname: word(&options.hostname, "--hostname", "-", "use a-z, 0-9 and -")?,
            user,
            keys: keys(&options.ssh_key, what)?,
            network: network(options, what)?,
            files: files::all(&options.copy, options.first_boot.as_deref(), what)?,
        })
    }
}

/// The public keys in a file.
fn keys(path: &Path, what: &str) -> Result<String> {
    let help = "name the file of a public key, such as ~/.ssh/id_ed25519.pub";
    let text = fs::read_to_string(path).map_err(|e| Error::file("cannot read", path, &e, help))?;
    let lines: Vec<_> = text
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .collect();
    let good = |line: &&str| KEYS.iter().any(|key| line.starts_with(key));
    if lines.is_empty() || !lines.iter().all(good) {
        let why = format!("{} holds something else than public keys", path.display());
        return Err(Error::new(what, why, help));
    }
    Ok(lines.join("\n"))
}

/// Addresses of all Ethernet functions of the cell, and of no interface that programs
/// make: links have addresses of their own.
fn network(options: &cli::ImageBuild, what: &str) -> Result<String> {
    let mut text = "[Match]\nType=ether\nKind=!*\n\n[Network]\n".to_owned();
    let Some(address) = &options.address else {
        return Ok(text + "DHCP=yes\n");
    };
    let (ip, prefix) = address.split_once('/').unwrap_or_default();
    let most = match ip.parse() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => 0,
    };
    if !prefix
        .parse()
        .is_ok_and(|bits: u8| (1..=most).contains(&bits))
    {
        let why = format!("--address cannot be {address:?}");
        return Err(Error::new(
            what,
            why,
            "write address and prefix, such as 192.168.1.20/24",
        ));
    }
    text += &format!("Address={address}\n");
    if let Some(gateway) = &options.gateway {
        text += &format!("Gateway={gateway}\n");
    }
    for server in &options.dns {
        text += &format!("DNS={server}\n");
    }
    Ok(text)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::cli::{Cli, Image, Verb};
    use clap::Parser;

    /// Options of a command line without `cellctl image build --out x`.
    pub(in crate::cmd::image) fn options(line: &str) -> cli::ImageBuild {
        let words = ["cellctl", "image", "build"]
            .into_iter()
            .chain(line.split_whitespace());
        let verb = Cli::try_parse_from(words).expect("a command line").verb;
        let Verb::Image(image) = verb else {
            unreachable!("{verb:?}");
        };
        match *image {
            Image::Build(options) => *options,
            Image::Import(other) => unreachable!("{other:?}"),
        }
    }

    fn with_key(key: &str, more: &str) -> Result<Settings> {
        let dir = tempfile::tempdir().expect("temporary folder");
        let path = dir.path().join("key");
        fs::write(&path, key).expect("writes");
        let line = format!("--out x --ssh-key {} {more}", path.display());
        Settings::of(&options(&line), "cannot make an image")
    }

    const KEY: &str = "ssh-ed25519 AAAA me\n\n";

    #[test]
    fn by_default_ethernet_is_configured_by_dhcp_and_links_are_not() {
        let settings = with_key(KEY, "").expect("good");
        assert_eq!(settings.keys, "ssh-ed25519 AAAA me");
        assert!(
            settings
                .network
                .contains("Kind=!*\n\n[Network]\nDHCP=yes\n")
        );
    }

    #[test]
    fn addresses_are_told_to_networkd() {
        let line = "--address 10.0.0.2/24 --gateway 10.0.0.1 --dns 10.0.0.3";
        let network = with_key(KEY, line).expect("good").network;
        assert!(network.ends_with("Address=10.0.0.2/24\nGateway=10.0.0.1\nDNS=10.0.0.3\n"));
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_option() {
        for (line, told) in [
            ("--suite ../x", "--suite cannot be"),
            ("--include vim,$(id)", "--include cannot be"),
            ("--mirror=-x", "--mirror cannot be"),
            ("--user a:b", "--user cannot be"),
            ("--user root", "root has no way in"),
            ("--hostname A", "--hostname cannot be"),
            ("--address 10.0.0.2", "--address cannot be"),
            ("--address 10.0.0.2/33", "--address cannot be"),
        ] {
            let error = with_key(KEY, line).expect_err(line).to_string();
            assert!(error.contains(told), "{error}");
        }
        for key in ["", "-----BEGIN OPENSSH PRIVATE KEY-----\n"] {
            let error = with_key(key, "").expect_err("no public key").to_string();
            assert!(error.contains("something else than public keys"), "{error}");
        }
    }
}
