//! The certificate: that of the file, or one that is made at the first start.

use crate::config::Config;
use crate::error::{Error, Result};
use rcgen::{CertificateParams, DnType, KeyPair};
use std::fs::OpenOptions;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// What speaks TLS 1.2 and 1.3 to clients.
///
/// # Errors
///
/// Certificate or key cannot be read, made or used.
pub(crate) fn acceptor(config: &Config, state: &Path, host: &str) -> Result<TlsAcceptor> {
    let (certificate, key) = match (&config.certificate, &config.key) {
        (Some(certificate), Some(key)) => (certificate.clone(), key.clone()),
        _ => {
            let places = (state.join("certificate.pem"), state.join("key.pem"));
            if !places.0.exists() {
                make(&names(config, host), &places.0, &places.1)?;
            }
            places
        }
    };
    let help = "name PEM files that user cellvisor-redfish may read";
    let bad = |path: &Path, why: &dyn std::fmt::Display| Error::file("cannot use", path, why, help);
    let chain = CertificateDer::pem_file_iter(&certificate)
        .and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>)
        .map_err(|e| bad(&certificate, &e))?;
    let private = PrivateKeyDer::from_pem_file(&key).map_err(|e| bad(&key, &e))?;
    let mut server = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder
                .with_no_client_auth()
                .with_single_cert(chain, private)
        })
        .map_err(|e| bad(&certificate, &e))?;
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(server)))
}

/// What clients may call the server.
fn names(config: &Config, host: &str) -> Vec<String> {
    if !config.names.is_empty() {
        return config.names.clone();
    }
    let address = Some(config.listen.ip()).filter(|ip| !ip.is_unspecified());
    let local = [host.to_owned(), "localhost".to_owned()];
    let mut names: Vec<_> = local.into_iter().filter(|name| !name.is_empty()).collect();
    names.extend(address.as_ref().map(IpAddr::to_string));
    names
}

/// Makes a key and a certificate that it signs itself. The certificate is written last:
/// where it is, the key is whole.
fn make(names: &[String], certificate: &Path, key: &Path) -> Result<()> {
    let failed = |e: rcgen::Error| {
        let help = "name certificate and key in the file, or other `names`";
        Error::new("cannot make a certificate", e.to_string(), help)
    };
    let mut params = CertificateParams::new(names).map_err(failed)?;
    if let Some(first) = names.first() {
        params.distinguished_name.push(DnType::CommonName, first);
    }
    let pair = KeyPair::generate().map_err(failed)?;
    let made = params.self_signed(&pair).map_err(failed)?;
    write(key, &pair.serialize_pem())?;
    write(certificate, &made.pem())?;
    eprintln!(
        "made a certificate for {}: {}",
        names.join(", "),
        certificate.display()
    );
    Ok(())
}

/// Writes a file that its owner alone may read.
fn write(path: &Path, text: &str) -> Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let written = options.open(path).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    let help = "its folder has to be there, and of user cellvisor-redfish";
    written.map_err(|e| Error::file("cannot write", path, e, help))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_certificate_is_made_once_and_its_key_is_nobody_elses() {
        let dir = tempfile::tempdir().expect("a folder");
        let config = Config::parse("version = 1").expect("a file");
        acceptor(&config, dir.path(), "m1").expect("made");
        let read = |name: &str| std::fs::read(dir.path().join(name)).expect("a file");
        let (certificate, key) = (read("certificate.pem"), read("key.pem"));
        acceptor(&config, dir.path(), "m1").expect("read");
        assert_eq!(
            (read("certificate.pem"), read("key.pem")),
            (certificate, key)
        );
        let mode = std::fs::metadata(dir.path().join("key.pem")).expect("a key");
        assert_eq!(mode.permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn files_that_are_none_are_named() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("c.pem");
        std::fs::write(&path, "nothing").expect("a file");
        let text = format!("version = 1\ncertificate = {path:?}\nkey = {path:?}\n");
        let config = Config::parse(&text).expect("a file");
        let error = acceptor(&config, dir.path(), "m1")
            .map(drop)
            .expect_err("no certificate");
        assert!(error.what.contains("c.pem"), "{error}");
    }
}
