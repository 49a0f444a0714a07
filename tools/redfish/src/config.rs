//! `/etc/cellvisor/redfish.toml`: where the server listens, and who may come.

use crate::error::{Error, Result};
use crate::media::Policy;
use crate::roles::Role;
use argon2::PasswordHash;
use serde::Deserialize;
use std::net::{Ipv6Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where the file is unless the command line names another.
pub(crate) const FILE: &str = "/etc/cellvisor/redfish.toml";

/// HTTPS, on all addresses.
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::UNSPECIFIED), 443);

/// Seconds that the schema of the session service allows.
const TIMEOUTS: std::ops::RangeInclusive<u32> = 30..=86400;

/// What the file says, checked.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Config {
    version: u32,
    #[serde(default = "listen")]
    pub(crate) listen: SocketAddr,
    /// Names and addresses that a certificate is made for.
    #[serde(default)]
    pub(crate) names: Vec<String>,
    /// PEM files; one is made at the first start without them.
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    /// Seconds that a session lives without a request.
    #[serde(default = "timeout")]
    pub(crate) session_timeout: u32,
    /// Where images come from; there are no drives without it.
    pub(crate) media: Option<Policy>,
    #[serde(default, rename = "account")]
    pub(crate) accounts: Vec<Account>,
}

/// Who may come.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) role: Role,
    /// What `cellvisor-redfish hash` printed.
    pub(crate) password: String,
}

const fn listen() -> SocketAddr {
    LISTEN
}

const fn timeout() -> u32 {
    1800
}

impl Config {
    /// Reads the file, which others than its owner and group must not be able to read.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is wrong; the message says where.
    pub(crate) fn load(path: &Path) -> Result<Self> {
        let help = "man cellvisor-redfish shows one; it is root's, its group cellvisor-redfish";
        let failed = |e: std::io::Error| Error::file("cannot read", path, e, help);
        let mode = std::fs::metadata(path).map_err(failed)?.mode();
        if mode & 0o007 != 0 {
            let help = format!("chmod o= {}", path.display());
            let why = "everybody may read or change it, and it has hashes of passwords";
            return Err(Error::file("refused to use", path, why, &help));
        }
        let text = std::fs::read_to_string(path).map_err(failed)?;
        Self::parse(&text).map_err(|e| {
            let what = format!("{}: {}", path.display(), e.what);
            Error::new(what, e.why, e.help)
        })
    }

    pub(crate) fn parse(text: &str) -> Result<Self> {
        let config: Self = toml::from_str(text).map_err(|e| {
            Error::new("not what is wanted", e.to_string(), "man cellvisor-redfish")
        })?;
        let wrong = |key: &str, why: &str, help: &str| Err(Error::new(key, why, help));
        if config.version != 1 {
            return wrong("version", "only 1 is known", "write version = 1");
        }
        if config.certificate.is_some() != config.key.is_some() {
            let why = "certificate and key belong together";
            return wrong("certificate", why, "name both, or none to have one made");
        }
        if !TIMEOUTS.contains(&config.session_timeout) {
            let why = "it is not between 30 and 86400 seconds";
            return wrong("session-timeout", why, "leave it out for 1800");
        }
        if let Some(why) = config.media.as_ref().and_then(Policy::mistake) {
            let help = "a place ends with a slash; all images below it may be inserted";
            return wrong("media.from", &why, help);
        }
        for (i, account) in config.accounts.iter().enumerate() {
            let key = format!("account[{i}]");
            if !is_name(&account.name) {
                let why = "a name has 1 to 32 of A-Z a-z 0-9 - _ . and begins with none of -.";
                return wrong(&format!("{key}.name"), why, "give it another one");
            }
            if config.accounts[..i].iter().any(|a| a.name == account.name) {
                let why = format!("there is another \"{}\"", account.name);
                return wrong(&format!("{key}.name"), &why, "leave one of them out");
            }
            let hash = PasswordHash::new(&account.password);
            if !hash.is_ok_and(|hash| hash.algorithm.as_str() == "argon2id") {
                let why = "it is no argon2id hash";
                let help = "write what `cellvisor-redfish hash` prints";
                return wrong(&format!("{key}.password"), why, help);
            }
        }
        Ok(config)
    }
}

/// Names of accounts, which are parts of paths.
fn is_name(name: &str) -> bool {
    let fits = |c: u8| c.is_ascii_alphanumeric() || b"-_.".contains(&c);
    (1..=32).contains(&name.len()) && name.bytes().all(fits) && !name.starts_with(['-', '.'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const HASH: &str = "$argon2id$v=19$m=64,t=1,p=1$YWJjZGVmZ2g$MjM0NTY3ODkwMTIzNDU2Nzg5MDEyMzQ1";

    fn with(accounts: &str) -> Result<Config> {
        Config::parse(&format!("version = 1\n{accounts}"))
    }

    #[test]
    fn a_short_file_has_defaults() {
        let config = with("").expect("a file");
        assert_eq!(config.listen.to_string(), "[::]:443");
        assert_eq!(config.session_timeout, 1800);
        assert!(config.accounts.is_empty());
    }

    #[test]
    fn mistakes_are_told_by_their_keys() {
        let account = |name: &str, password: &str| {
            format!(
                "[[account]]\nname = \"{name}\"\nrole = \"ReadOnly\"\npassword = \"{password}\"\n"
            )
        };
        let twice = account("a", HASH) + &account("a", HASH);
        for (text, key) in [
            ("certificate = \"c.pem\"".to_owned(), "certificate"),
            ("session-timeout = 5".to_owned(), "session-timeout"),
            (account("a/b", HASH), "account[0].name"),
            (account("..", HASH), "account[0].name"),
            (twice, "account[1].name"),
            (account("a", "secret"), "account[0].password"),
            ("unknown = 1".to_owned(), "not what is wanted"),
            ("media.from = [\"http://a\"]".to_owned(), "media.from"),
        ] {
            assert_eq!(with(&text).expect_err(&text).what, key);
        }
        assert_eq!(Config::parse("version = 2").expect_err("2").what, "version");
        with(&account("a", HASH)).expect("nothing wrong");
    }

    #[test]
    fn a_file_that_everybody_reads_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("redfish.toml");
        std::fs::write(&path, "version = 1\n").expect("a file");
        let mode = |bits| {
            let bits = std::fs::Permissions::from_mode(bits);
            std::fs::set_permissions(&path, bits).expect("a mode");
        };
        mode(0o644);
        assert!(
            Config::load(&path)
                .expect_err("refused")
                .help
                .contains("chmod o=")
        );
        mode(0o640);
        Config::load(&path).expect("its group may");
    }
}
