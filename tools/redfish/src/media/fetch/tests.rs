//! Servers of images, good and bad.

use super::*;
use crate::config::Config;
use crate::testing::block_on;
use crate::tls;
use std::io::{BufRead, BufReader, Read, Seek};
use std::net::TcpListener;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Fetches `/a.iso` from a server that answers with this.
fn fetched(answer: &'static [u8]) -> Result<Vec<u8>> {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let place = format!("http://{}/", listener.local_addr().expect("an address"));
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut reader = BufReader::new(stream.try_clone().expect("a descriptor"));
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n")
            && reader.read_until(b'\n', &mut head).expect("a head") > 0
        {}
        // A client that has enough goes.
        let _ = stream.write_all(answer);
        String::from_utf8_lossy(&head).into_owned()
    });
    let policy = Policy {
        from: vec![place.clone()],
        largest_mib: 1,
        ..Policy::default()
    };
    let source = policy
        .source(&format!("{place}a.iso?b=c"))
        .expect("an address");
    let folder = tempfile::tempdir().expect("a folder");
    let file = block_on(image(&policy, source, folder.path()));
    let head = server.join().expect("a server");
    assert!(head.starts_with("GET /a.iso?b=c HTTP/1.1\r\n"), "{head}");
    let none = std::fs::read_dir(folder.path())
        .expect("a folder")
        .next()
        .is_none();
    assert!(none, "a copy has no name");
    file.map(|mut file| {
        let mut bytes = Vec::new();
        file.rewind().expect("a file");
        file.read_to_end(&mut bytes).expect("bytes");
        bytes
    })
}

#[test]
fn what_comes_is_copied_and_nothing_else_is_taken() {
    let came = fetched(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nimage");
    assert_eq!(came.expect("an image"), b"image");
    for (answer, why) in [
        (
            &b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"[..],
            "answers 404",
        ),
        (
            b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1/\r\ncontent-length: 0\r\n\r\n",
            "answers 302",
        ),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nimage", ""),
        (b"nonsense\r\n\r\n", ""),
        (b"", ""),
    ] {
        let told = fetched(answer).expect_err(why);
        assert!(told.why.contains(why), "{told}");
    }
}

#[test]
fn what_is_too_large_is_cut() {
    let mut answer = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    answer.resize(2 << 20, b'x');
    let told = fetched(answer.leak()).expect_err("too large");
    assert!(told.why.contains("more than 1 MiB"), "{told}");
}

/// Fetches `/a.iso` from a server that is called `localhost`, at this address, from one
/// who trusts what signed its certificate, or another's.
fn by_tls(host: &str, trusts: bool) -> Result<usize> {
    let folder = tempfile::tempdir().expect("a folder");
    let home = |name: &str| {
        let home = folder.path().join(name);
        std::fs::create_dir(&home).expect("a folder");
        home
    };
    let (ours, others) = (home("ours"), home("others"));
    let config = Config::parse("version = 1\nnames = [\"localhost\"]").expect("a file");
    let acceptor = tls::acceptor(&config, &ours, "m1").expect("a certificate");
    tls::acceptor(&config, &others, "m1").expect("a certificate");
    let authority = if trusts { ours } else { others };
    block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("a client");
            // A client that does not trust it goes.
            let Ok(mut stream) = acceptor.accept(stream).await else {
                return;
            };
            let mut head = [0; 512];
            let read = stream.read(&mut head).await.expect("a head");
            assert!(head[..read].starts_with(b"GET /a.iso HTTP/1.1\r\n"));
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nimage";
            stream.write_all(answer).await.expect("an answer");
            stream.flush().await.expect("an answer");
            // Until it has it.
            let _ = stream.read(&mut head).await;
        });
        let place = format!("https://{host}:{port}/");
        let policy = Policy {
            from: vec![place.clone()],
            authorities: authority.join("certificate.pem"),
            largest_mib: 1,
        };
        let source = policy.source(&format!("{place}a.iso"));
        let mut file = image(&policy, source.expect("an address"), folder.path()).await?;
        let mut bytes = Vec::new();
        file.rewind().expect("a file");
        file.read_to_end(&mut bytes).expect("bytes");
        assert_eq!(bytes, b"image");
        Ok(bytes.len())
    })
}

#[test]
fn by_https_it_comes_from_whom_the_file_trusts_alone() {
    assert_eq!(by_tls("localhost", true).expect("an image"), 5);
    for (host, trusts, why) in [
        ("localhost", false, "invalid peer certificate: BadSignature"),
        // Another name than that of the certificate.
        ("127.0.0.1", true, "not valid for name"),
    ] {
        let told = by_tls(host, trusts).expect_err(why);
        assert!(told.why.contains(why), "{told}");
    }
}

#[test]
fn what_speaks_no_tls_is_no_place_with_https() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut hello = [0; 16];
        stream.read_exact(&mut hello).expect("its first words");
        // A client that has enough goes.
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nimage");
        hello
    });
    let folder = tempfile::tempdir().expect("a folder");
    let config = Config::parse("version = 1").expect("a file");
    tls::acceptor(&config, folder.path(), "localhost").expect("a certificate");
    let policy = Policy {
        from: vec![format!("https://localhost:{port}/")],
        authorities: folder.path().join("certificate.pem"),
        largest_mib: 1,
    };
    let source = policy.source(&format!("https://localhost:{port}/a.iso"));
    let told = block_on(image(&policy, source.expect("an address"), folder.path()));
    assert!(
        told.expect_err("no image")
            .why
            .contains("InvalidContentType")
    );
    let hello = server.join().expect("a server");
    assert_eq!(
        hello[0], 22,
        "a handshake of TLS, and nothing of the request"
    );
}
