//! Answers: resources as JSON, with the headers that belong to them.

use super::Refusal;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use ring::digest;
use serde_json::{Map, Value, json};

/// What a handler has to say.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A resource, and the methods that it knows.
    Resource(Value, &'static str),
    /// Something new: where it is, its token if it is a session, and itself.
    Created(Value, Option<String>),
    /// XML.
    Metadata(&'static str),
    /// It is done.
    Done,
}

impl Answer {
    /// A resource that can be read and nothing else.
    pub(crate) fn read_only(value: Value) -> Self {
        Self::Resource(value, "GET, HEAD")
    }
}

/// A collection that cannot be changed.
pub(crate) fn collection(kind: &str, path: &str, name: &str, members: Vec<String>) -> Value {
    json!({
        "@odata.id": path,
        "@odata.type": format!("#{kind}.{kind}"),
        "Name": name,
        "Members@odata.count": members.len(),
        "Members": links(members),
    })
}

/// A link to a resource.
pub(crate) fn link(path: impl Into<String>) -> Value {
    let path: String = path.into();
    json!({ "@odata.id": path })
}

/// Links to resources.
pub(crate) fn links(paths: Vec<String>) -> Value {
    Value::Array(paths.into_iter().map(link).collect())
}

/// Names the schema that describes a value, as `Link` does.
fn described(value: &Value) -> Option<HeaderValue> {
    let kind = value.get("@odata.type")?.as_str()?.strip_prefix('#')?;
    // Versioned: `Chassis.v1_22_0.Chassis` is in Chassis.v1_22_0.json.
    let file = kind.rsplit_once('.')?.0;
    let text = format!("<http://redfish.dmtf.org/schemas/v1/{file}.json>; rel=describedby");
    HeaderValue::from_str(&text).ok()
}

/// What changes with a value.
fn etag(bytes: &[u8]) -> Option<HeaderValue> {
    let digest = digest::digest(&digest::SHA256, bytes);
    let first = digest.as_ref().get(..12)?;
    HeaderValue::from_str(&format!("\"{}\"", crate::sessions::hex(first))).ok()
}

/// Refuses a change by a client that has seen another state of a resource than this one.
///
/// # Errors
///
/// So it is.
pub(crate) fn unchanged(headers: &HeaderMap, now: &Value) -> Result<(), Refusal> {
    let Some(seen) = headers.get(header::IF_MATCH) else {
        return Ok(());
    };
    let tag = etag(now.to_string().as_bytes());
    let tag = tag.as_ref().and_then(|tag| tag.to_str().ok());
    let mut seen = seen.to_str().unwrap_or_default().split(',').map(str::trim);
    match seen.any(|one| one == "*" || Some(one) == tag) {
        true => Ok(()),
        false => Err(Refusal::Changed),
    }
}

const JSON: HeaderValue = HeaderValue::from_static("application/json;charset=utf-8");

/// A value as a body, with all its headers.
fn value(status: StatusCode, value: &Value) -> Response<Body> {
    let bytes = value.to_string().into_bytes();
    let (link, etag) = (described(value), etag(&bytes));
    let mut response = (status, [(header::CONTENT_TYPE, JSON)], bytes).into_response();
    let headers = response.headers_mut();
    headers.extend(link.map(|link| (header::LINK, link)));
    headers.extend(etag.map(|etag| (header::ETAG, etag)));
    response
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response<Body> {
        match self {
            Self::Resource(body, methods) => {
                let mut response = value(StatusCode::OK, &body);
                let methods = HeaderValue::from_static(methods);
                response.headers_mut().insert(header::ALLOW, methods);
                response
            }
            Self::Created(body, token) => {
                let place = text(body.get("@odata.id"));
                let mut response = value(StatusCode::CREATED, &body);
                let headers = response.headers_mut();
                headers.extend(place.map(|place| (header::LOCATION, place)));
                let token = token.and_then(|token| HeaderValue::from_str(&token).ok());
                headers.extend(token.map(|token| (TOKEN, token)));
                response
            }
            Self::Metadata(xml) => {
                let kind = HeaderValue::from_static("application/xml;charset=utf-8");
                let allow = HeaderValue::from_static("GET, HEAD");
                ([(header::CONTENT_TYPE, kind), (header::ALLOW, allow)], xml).into_response()
            }
            Self::Done => StatusCode::NO_CONTENT.into_response(),
        }
    }
}

/// The header that a session's token is in.
pub(crate) const TOKEN: HeaderName = HeaderName::from_static("x-auth-token");

fn text(value: Option<&Value>) -> Option<HeaderValue> {
    HeaderValue::from_str(value?.as_str()?).ok()
}

/// The body of an error.
pub(crate) fn error(status: StatusCode, message: Map<String, Value>) -> Response<Body> {
    let of = |key| message.get(key).cloned().unwrap_or_default();
    let body = json!({ "error": {
        "code": of("MessageId"),
        "message": of("Message"),
        "@Message.ExtendedInfo": [message],
    } });
    (status, [(header::CONTENT_TYPE, JSON)], body.to_string()).into_response()
}
