//! Images come from where the policy allows: by HTTP, HTTPS or from a file of this machine.

use super::policy::{Policy, Source};
use crate::error::{Error, Result};
use axum::body::Body;
use axum::http::{Request, header};
use futures_util::StreamExt;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// How long an image may take to come.
const PATIENCE: Duration = Duration::from_secs(600);

const WHAT: &str = "cannot fetch the image";

fn failed(why: impl std::fmt::Display) -> Error {
    Error::new(WHAT, why.to_string(), "fetch it by hand from this machine")
}

/// Opens an image: a file of this machine, or a copy in `folder` that has no name.
///
/// # Errors
///
/// It is not there, too large, or does not come in time.
pub(super) async fn image(policy: &Policy, source: Source, folder: &Path) -> Result<File> {
    let (tls, host, port, path) = match source {
        Source::File(path) => return local(policy, &path),
        Source::Http {
            tls,
            host,
            port,
            path,
        } => (tls, host, port, path),
    };
    let copy = tempfile::tempfile_in(folder).map_err(failed)?;
    let mut to = copy.try_clone().map_err(failed)?;
    let fetched = async {
        let stream = TcpStream::connect((&*host, port)).await.map_err(failed)?;
        let place = match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        };
        if !tls {
            return body(policy, stream, &place, &path, &mut to).await;
        }
        let name = ServerName::try_from(host.clone()).map_err(failed)?;
        let stream = connector(policy)?.connect(name, stream).await;
        body(policy, stream.map_err(failed)?, &place, &path, &mut to).await
    };
    match tokio::time::timeout(PATIENCE, fetched).await {
        Ok(done) => done.map(|()| copy),
        Err(_) => Err(failed("it does not come within ten minutes")),
    }
}

/// A file of this machine.
fn local(policy: &Policy, path: &Path) -> Result<File> {
    let help = "user cellvisor-redfish has to be able to read it";
    let bad = |why: &dyn std::fmt::Display| Error::file("cannot read", path, why, help);
    let data = std::fs::metadata(path).map_err(|e| bad(&e))?;
    if !data.is_file() {
        return Err(bad(&"it is no file"));
    }
    if data.len() > policy.largest() {
        return Err(bad(&format!("it has more than {} MiB", policy.largest_mib)));
    }
    File::open(path).map_err(|e| bad(&e))
}

/// What trusts the policy's authorities.
fn connector(policy: &Policy) -> Result<TlsConnector> {
    let path = &policy.authorities;
    let help = "apt install ca-certificates, or name a PEM file as media.authorities";
    let bad = |why: &dyn std::fmt::Display| Error::file("cannot use", path, why, help);
    let mut roots = RootCertStore::empty();
    let all = CertificateDer::pem_file_iter(path).map_err(|e| bad(&e))?;
    roots.add_parsable_certificates(all.flatten());
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| bad(&e))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Asks for a path and writes what comes; a redirection could lead anywhere, and is none.
async fn body<S>(policy: &Policy, stream: S, place: &str, path: &str, to: &mut File) -> Result<()>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(failed)?;
    // It ends with the sender.
    let connection = tokio::spawn(connection);
    let request = Request::get(path)
        .header(header::HOST, place)
        .header(header::USER_AGENT, "cellvisor-redfish")
        .body(Body::empty())
        .map_err(failed)?;
    let response = sender.send_request(request).await.map_err(failed)?;
    if response.status() != 200 {
        return Err(failed(format!("{place} answers {}", response.status())));
    }
    let mut parts = Body::new(response.into_body()).into_data_stream();
    let mut left = policy.largest();
    while let Some(part) = parts.next().await {
        let part = part.map_err(failed)?;
        let size = part.len() as u64;
        if size > left {
            return Err(failed(format!(
                "it has more than {} MiB",
                policy.largest_mib
            )));
        }
        left -= size;
        to.write_all(&part).map_err(failed)?;
    }
    connection.abort();
    Ok(())
}

#[cfg(test)]
mod tests;
