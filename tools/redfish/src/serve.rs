//! Connections: how many, how long, and what they may bring.

use crate::error::{Error, Result};
use crate::router as paths;
use axum::Router;
use axum::body::Body;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

/// How much strangers may ask of this server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Connections at a time; the next ones wait in the kernel's queue.
    pub(crate) connections: usize,
    /// For TLS's handshake, and for a request's head, also while a connection is idle.
    pub(crate) head: Duration,
    /// For a connection in all, so that nobody keeps one by reading slowly.
    pub(crate) life: Duration,
}

impl Limits {
    pub(crate) const USUAL: Self = Self {
        connections: 128,
        head: Duration::from_secs(20),
        life: Duration::from_secs(3600),
    };
}

/// Bytes of a request's head.
const HEAD: usize = 32 << 10;

/// # Errors
///
/// The address is taken, or not to be had.
pub(crate) async fn listen(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|e| {
        let help = "name another one as `listen`; ports below 1024 want CAP_NET_BIND_SERVICE";
        Error::new(format!("cannot listen on {address}"), e.to_string(), help)
    })
}

/// Serves whoever connects, for ever.
pub(crate) async fn run(listener: TcpListener, tls: TlsAcceptor, router: Router, limits: Limits) {
    let room = Arc::new(Semaphore::new(limits.connections));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        let (stream, from) = match listener.accept().await {
            Ok(pair) => pair,
            Err(why) => {
                // No descriptors: others have to go first.
                eprintln!("cannot accept: {why}");
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
        };
        let (tls, router) = (tls.clone(), router.clone());
        tokio::spawn(async move {
            let served = connection(stream, from, tls, router, limits);
            // What goes wrong on a connection is its client's affair.
            let _ = tokio::time::timeout(limits.life, served).await;
            drop(permit);
        });
    }
}

/// Serves one connection until it ends; `None` if it ended badly.
async fn connection(
    stream: TcpStream,
    from: SocketAddr,
    tls: TlsAcceptor,
    router: Router,
    limits: Limits,
) -> Option<()> {
    let handshake = tokio::time::timeout(limits.head, tls.accept(stream));
    let stream = handshake.await.ok()?.ok()?;
    let answer = service_fn(move |request: Request<Incoming>| {
        let router = router.clone();
        async move {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(from);
            Ok::<_, Infallible>(paths::answer(router, request).await)
        }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(stream), answer)
        .await
        .ok()
}

#[cfg(test)]
mod tests;
