//! What happens to each request before and after its handler: who asks, in which
//! version, and the headers of each answer.

use super::Refusal;
use super::answer::TOKEN;
use crate::events;
use crate::passwords::User;
use crate::service::Service;
use axum::body::Body;
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header,
};
use axum::middleware::Next;
use axum::response::IntoResponse;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::sync::Arc;

const ODATA: HeaderName = HeaderName::from_static("odata-version");
const VERSION: HeaderValue = HeaderValue::from_static("4.0");

/// It is XML.
const METADATA: &str = "/redfish/v1/$metadata";

/// What everybody may read, as clients read it before they log in.
const PUBLIC: [&str; 4] = ["/redfish", "/redfish/v1", "/redfish/v1/odata", METADATA];

/// Where sessions begin.
const SESSIONS: [&str; 2] = [
    "/redfish/v1/SessionService/Sessions",
    "/redfish/v1/SessionService/Sessions/Members",
];

/// Checks the request, has it answered, and completes the answer.
pub(crate) async fn guard(
    State(service): State<Arc<Service>>,
    request: Request<Body>,
    next: Next,
) -> Response<Body> {
    let (mut head, body) = request.into_parts();
    let known = head.headers.get(header::IF_NONE_MATCH).cloned();
    let takes = match head.uri.path() {
        METADATA => true,
        events::STREAM => accepts(&head.headers, "text/event-stream"),
        _ => accepts(&head.headers, "application/json"),
    };
    let mut response = match admit(&service, &head).await {
        Ok(user) => {
            head.extensions.insert(user);
            next.run(Request::from_parts(head, body)).await
        }
        Err(refusal) => refusal.into_response(),
    };
    if response.status() == StatusCode::OK && !takes {
        response = Refusal::Accept.into_response();
    }
    if known.is_some_and(|known| is_known(response.headers(), &known)) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        *response.body_mut() = Body::empty();
        response.headers_mut().remove(header::CONTENT_TYPE);
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    let headers = response.headers_mut();
    headers.insert(ODATA, VERSION);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// True if the client has this very answer.
fn is_known(answer: &HeaderMap, known: &HeaderValue) -> bool {
    let etag = answer.get(header::ETAG).and_then(|etag| etag.to_str().ok());
    let mut known = known.to_str().unwrap_or_default().split(',').map(str::trim);
    etag.is_some_and(|etag| known.any(|one| one == etag || one == "*"))
}

/// Who asks, `None` where it does not matter; or why it is not answered.
async fn admit(service: &Service, request: &Parts) -> Result<Option<User>, Refusal> {
    let (headers, path) = (&request.headers, request.uri.path());
    let is_look = matches!(request.method, Method::GET | Method::HEAD);
    let is_login = request.method == Method::POST && SESSIONS.contains(&path);
    let user = match (is_look && PUBLIC.contains(&path)) || is_login {
        true => None,
        false => Some(user(service, headers).await.ok_or(Refusal::Unknown)?),
    };
    if headers.get(ODATA).is_some_and(|version| version != VERSION) {
        return Err(Refusal::OData);
    }
    if request.uri.query().is_some_and(asks_odata) {
        return Err(Refusal::Query);
    }
    // What is not there is told as that, whatever is accepted.
    match is_look || accepts(headers, "application/json") {
        true => Ok(user),
        false => Err(Refusal::Accept),
    }
}

/// Queries of OData that are not known must be refused; others are passed over.
fn asks_odata(query: &str) -> bool {
    let mut keys = query.split('&').filter_map(|pair| pair.split('=').next());
    keys.any(|key| key.starts_with('$') || key.starts_with("%24"))
}

/// True if the client takes this kind.
fn accepts(headers: &HeaderMap, kind: &str) -> bool {
    let Some(kinds) = headers.get(header::ACCEPT) else {
        return true;
    };
    let kinds = kinds.to_str().unwrap_or_default().split(',');
    let mut kinds = kinds.filter_map(|kind| kind.split(';').next());
    let family = kind.split('/').next().unwrap_or_default();
    kinds.any(|one| {
        let one = one.trim();
        one == "*/*" || one == kind || one.strip_suffix("/*") == Some(family)
    })
}

/// The user of a token, or of a name and a password.
async fn user(service: &Service, headers: &HeaderMap) -> Option<User> {
    if let Some(token) = headers.get(TOKEN) {
        let session = service.sessions.of(token.to_str().ok()?)?;
        return Some(session.user);
    }
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, code) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = STANDARD.decode(code.trim()).ok()?;
    let text = String::from_utf8(text).ok()?;
    let (name, password) = text.split_once(':')?;
    service.passwords.check(name, password).await
}
