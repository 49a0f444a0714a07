//! Connections as clients see them: TLS, and what is cut.

use super::*;
use crate::config::Config;
use crate::testing::{Machine, block_on};
use crate::tls;
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

const LIMITS: Limits = Limits {
    connections: 2,
    head: Duration::from_millis(500),
    life: Duration::from_secs(5),
};

/// A server on a free port, and the certificate that clients trust.
async fn start(machine: &Machine) -> (SocketAddr, TlsConnector) {
    let config = Config::parse("version = 1\nlisten = \"127.0.0.1:0\"").expect("a file");
    let state = &machine.places.state;
    let acceptor = tls::acceptor(&config, state, "m1").expect("a certificate");
    let listener = listen(config.listen).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(run(listener, acceptor, machine.router(), LIMITS));
    let mut roots = RootCertStore::empty();
    let made = CertificateDer::from_pem_file(state.join("certificate.pem"));
    roots.add(made.expect("a certificate")).expect("a root");
    let client = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    (address, TlsConnector::from(Arc::new(client)))
}

async fn connect(address: SocketAddr, tls: &TlsConnector) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("m1").expect("a name");
    tls.connect(name, stream).await
}

/// Sends text and reads until the server ends the connection.
async fn say(stream: &mut TlsStream<TcpStream>, text: &str) -> String {
    // It may end before it has all.
    let _ = stream.write_all(text.as_bytes()).await;
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn a_client_that_trusts_the_certificate_is_answered() {
    let machine = Machine::new();
    block_on(async {
        let (address, tls) = start(&machine).await;
        let mut stream = connect(address, &tls).await.expect("a connection");
        let text = "GET /redfish HTTP/1.1\r\nhost: m1\r\nconnection: close\r\n\r\n";
        let told = say(&mut stream, text).await;
        assert!(told.starts_with("HTTP/1.1 200 OK\r\n"), "{told}");
        assert!(told.ends_with("{\"v1\":\"/redfish/v1/\"}"), "{told}");
    });
}

#[test]
fn what_is_no_tls_is_not_answered() {
    let machine = Machine::new();
    block_on(async {
        let (address, _) = start(&machine).await;
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        let sent = stream.write_all(b"GET /redfish HTTP/1.1\r\n\r\n").await;
        sent.expect("sent");
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes).await;
        assert!(!String::from_utf8_lossy(&bytes).contains("HTTP"));
    });
}

#[test]
fn who_says_nothing_is_cut_and_leaves_room() {
    let machine = Machine::new();
    block_on(async {
        let (address, tls) = start(&machine).await;
        let since = Instant::now();
        // Two that say nothing at all, two that say nothing after their handshake.
        let silent = [
            TcpStream::connect(address).await,
            TcpStream::connect(address).await,
        ];
        let mut idle = connect(address, &tls).await.expect("room");
        let mut half = connect(address, &tls).await.expect("room");
        assert!(
            since.elapsed() >= LIMITS.head,
            "there was room for more than two"
        );
        assert_eq!(say(&mut idle, "").await, "");
        let told = say(&mut half, "GET /redfish HTTP/1.1\r\nhost:").await;
        assert!(!told.contains("200 OK"), "{told}");
        drop(silent);
        let mut stream = connect(address, &tls).await.expect("room");
        let text = "GET /redfish HTTP/1.1\r\nhost: m1\r\nconnection: close\r\n\r\n";
        assert!(say(&mut stream, text).await.contains("200 OK"));
    });
}

#[test]
fn heads_that_are_too_long_are_refused() {
    let machine = Machine::new();
    block_on(async {
        let (address, tls) = start(&machine).await;
        let mut stream = connect(address, &tls).await.expect("a connection");
        let long = "x".repeat(2 * HEAD);
        let told = say(&mut stream, &format!("GET / HTTP/1.1\r\nx: {long}\r\n\r\n")).await;
        assert!(!told.contains("200 OK"), "{told}");
    });
}
