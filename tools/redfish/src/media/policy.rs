//! Which images may be inserted: those below places that root's file names. A request
//! could otherwise point the server at any address of its network, and at any file.

use serde::Deserialize;
use std::path::PathBuf;

/// What the file says of images.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Policy {
    /// Beginnings of addresses, each up to a slash: `https://images.example.org/cells/`.
    pub(crate) from: Vec<String>,
    /// PEM file of the authorities that sign certificates of places with `https`.
    #[serde(default = "authorities")]
    pub(crate) authorities: PathBuf,
    /// MiB of an image at most.
    #[serde(default = "largest")]
    pub(crate) largest_mib: u64,
}

fn authorities() -> PathBuf {
    "/etc/ssl/certs/ca-certificates.crt".into()
}

const fn largest() -> u64 {
    4096
}

/// An address that the policy allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    File(PathBuf),
    Http {
        tls: bool,
        /// Name or address, without brackets and port.
        host: String,
        port: u16,
        /// As it stands in the request's line.
        path: String,
    },
}

impl Policy {
    /// What is wrong with a place, if anything.
    pub(crate) fn mistake(&self) -> Option<String> {
        let wrong = self
            .from
            .iter()
            .find(|place| !place.ends_with('/') || parse(place).is_none())?;
        Some(format!(
            "\"{wrong}\" is no http://…/, https://…/ or file:///…/"
        ))
    }

    /// Where an image is, if it may be inserted.
    pub(super) fn source(&self, image: &str) -> Option<Source> {
        let fits = |place: &String| image.len() > place.len() && image.starts_with(&**place);
        self.from.iter().any(fits).then(|| parse(image))?
    }

    pub(super) fn largest(&self) -> u64 {
        self.largest_mib.saturating_mul(1 << 20)
    }
}

/// Reads an address: of a plain form, which nobody can take for another one.
fn parse(address: &str) -> Option<Source> {
    let (scheme, rest) = address.split_once("://")?;
    let (place, path) = rest.split_at(rest.find('/')?);
    let (file, query) = path.split_once('?').unwrap_or((path, ""));
    let is_plain = |c: u8| c.is_ascii_alphanumeric() || b"-._~/+,".contains(&c);
    let is_query = |c: u8| c.is_ascii_graphic() && c != b'#';
    let goes_up = file.split('/').any(|part| part == ".." || part == ".");
    if !file.bytes().all(is_plain)
        || !query.bytes().all(is_query)
        || goes_up
        || address.len() > 2048
    {
        return None;
    }
    let tls = match scheme {
        "file" if place.is_empty() && query.is_empty() => return Some(Source::File(file.into())),
        "http" => false,
        "https" => true,
        _ => return None,
    };
    let (host, port) = authority(place, if tls { 443 } else { 80 })?;
    Some(Source::Http {
        tls,
        host,
        port,
        path: path.to_owned(),
    })
}

/// Name or address, and port.
fn authority(place: &str, usual: u16) -> Option<(String, u16)> {
    let (host, rest) = match place.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => place.split_at(place.find(':').unwrap_or(place.len())),
    };
    let fits = |c: u8| c.is_ascii_alphanumeric() || b"-.".contains(&c);
    let is_address = place.starts_with('[') && host.parse::<std::net::Ipv6Addr>().is_ok();
    let is_name = !host.is_empty() && host.bytes().all(fits);
    let port = match rest.strip_prefix(':') {
        Some(port) => port.parse().ok()?,
        None if rest.is_empty() => usual,
        None => return None,
    };
    (is_address || is_name && !place.starts_with('[')).then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn policy(places: &[&str]) -> Policy {
        Policy {
            from: places.iter().map(|place| (*place).to_owned()).collect(),
            ..Policy::default()
        }
    }

    #[test]
    fn what_is_below_a_place_may_be_inserted() {
        let policy = policy(&[
            "https://a.example/iso/",
            "http://[::1]:8080/",
            "file:///srv/",
        ]);
        assert_eq!(policy.mistake(), None);
        let http = |tls, host: &str, port, path: &str| {
            Some(Source::Http {
                tls,
                host: host.to_owned(),
                port,
                path: path.to_owned(),
            })
        };
        for (image, source) in [
            (
                "https://a.example/iso/x.iso",
                http(true, "a.example", 443, "/iso/x.iso"),
            ),
            (
                "https://a.example/iso/x?sig=a%2Fb",
                http(true, "a.example", 443, "/iso/x?sig=a%2Fb"),
            ),
            (
                "http://[::1]:8080/x.iso",
                http(false, "::1", 8080, "/x.iso"),
            ),
            ("file:///srv/x.iso", Some(Source::File("/srv/x.iso".into()))),
            ("https://a.example/iso/", None),
            ("https://a.example/other/x.iso", None),
            ("https://a.example.evil/iso/x.iso", None),
            ("http://a.example/iso/x.iso", None),
            ("https://a.example/iso/../x.iso", None),
            ("https://a.example/iso/%2e%2e/x.iso", None),
            ("https://a.example/iso/x.iso#y", None),
            ("https://a.example/iso/x\r\nHost: b", None),
            ("file:///srv/../etc/shadow", None),
            ("file:///etc/shadow", None),
            ("ftp://a.example/iso/x.iso", None),
        ] {
            assert_eq!(policy.source(image), source, "{image}");
        }
    }

    #[test]
    fn places_that_are_none_are_told() {
        for place in [
            "",
            "/",
            "https://a",
            "https://a/b",
            "http://a:b/",
            "file://a/",
            "https://u@a/",
            "x://a/",
        ] {
            assert!(policy(&[place]).mistake().is_some(), "{place}");
        }
        assert_eq!(policy(&[]).mistake(), None);
    }

    proptest! {
        #[test]
        fn nothing_leads_elsewhere(rest in "[a-z./:@?#%\\[\\]-]{0,20}") {
            let policy = policy(&["http://a.example/iso/"]);
            match policy.source(&format!("http://a.example/iso/{rest}")) {
                None => {}
                Some(Source::Http { tls: false, host, port: 80, path }) => {
                    prop_assert_eq!(host, "a.example");
                    prop_assert!(path.starts_with("/iso/") && !path.split('?').next().unwrap_or("").contains(".."));
                }
                other => prop_assert!(false, "{other:?}"),
            }
        }
    }
}
