//! Bodies of requests: JSON objects, of few bytes, in a short time.

use super::Refusal;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, header};
use hyper::body::Body as _;
use serde_json::{Map, Value};
use std::time::Duration;

/// Bytes at most.
const LARGEST: usize = 64 << 10;

/// How long a body may take to come.
const PATIENCE: Duration = Duration::from_secs(10);

/// The same, where a request may come without a body.
///
/// # Errors
///
/// As [`object`].
pub(crate) async fn object_or_nothing(
    request: Request<Body>,
) -> Result<Map<String, Value>, Refusal> {
    match request.body().is_end_stream() {
        true => Ok(Map::new()),
        false => object(request).await,
    }
}

/// The object that is a request's body.
///
/// # Errors
///
/// There is no such object, it is not said to be JSON, is too large or too slow.
pub(crate) async fn object(request: Request<Body>) -> Result<Map<String, Value>, Refusal> {
    if !says_json(request.headers()) {
        return Err(Refusal::Media);
    }
    let bytes = to_bytes(request.into_body(), LARGEST);
    let bytes = tokio::time::timeout(PATIENCE, bytes).await;
    let bytes = bytes
        .map_err(|_| Refusal::Slow)?
        .map_err(|_| Refusal::Large)?;
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(object)) => Ok(object),
        _ => Err(Refusal::Json),
    }
}

fn says_json(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let kind = kind.and_then(|text| text.split(';').next()).map(str::trim);
    kind.is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"))
}
