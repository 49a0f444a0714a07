//! `SessionService`: who is logged in.

use super::{demand, missing};
use crate::http::{self, Answer, Refusal, Reply, body, link};
use crate::passwords::User;
use crate::roles::Privilege;
use crate::service::Service;
use crate::sessions::Session;
use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Request, Uri};
use serde_json::{Map, Value, json};
use std::net::SocketAddr;
use std::sync::Arc;

const PATH: &str = "/redfish/v1/SessionService/Sessions";

/// Methods of the collection, and of each session.
pub(crate) const ALL: &str = "GET, HEAD, POST";
pub(crate) const EACH: &str = "GET, HEAD, DELETE";

/// The service.
pub(crate) async fn service(State(service): State<Arc<Service>>) -> Answer {
    Answer::read_only(json!({
        "@odata.id": "/redfish/v1/SessionService",
        "@odata.type": "#SessionService.v1_1_8.SessionService",
        "Id": "SessionService",
        "Name": "Sessions",
        "ServiceEnabled": true,
        "SessionTimeout": service.sessions.timeout(),
        "Status": { "State": "Enabled", "Health": "OK" },
        "Sessions": link(PATH),
    }))
}

/// The collection.
pub(crate) async fn collection(State(service): State<Arc<Service>>) -> Answer {
    let all = service.sessions.list();
    let members = all.iter().map(|session| path(&session.id)).collect();
    let all = http::collection("SessionCollection", PATH, "Sessions", members);
    Answer::Resource(all, ALL)
}

fn path(id: &str) -> String {
    format!("{PATH}/{id}")
}

fn resource(session: &Session) -> Value {
    json!({
        "@odata.id": path(&session.id),
        "@odata.type": "#Session.v1_6_0.Session",
        "Id": session.id,
        "Name": "Session",
        "UserName": session.user.name,
        "Password": null,
        "SessionType": "Redfish",
        "ClientOriginIPAddress": session.from,
        "CreatedTime": humantime::format_rfc3339_seconds(session.since).to_string(),
    })
}

/// Logs in.
pub(crate) async fn begin(State(service): State<Arc<Service>>, request: Request<Body>) -> Reply {
    let from = request.extensions().get::<SocketAddr>().copied();
    let object = body::object(request).await?;
    let (name, password) = (text(&object, "UserName")?, text(&object, "Password")?);
    if let Some(key) = object
        .keys()
        .find(|key| !["UserName", "Password"].contains(&&***key))
    {
        return Err(Refusal::Stray(key.clone()));
    }
    let user = service.passwords.check(name, password).await;
    let user = user.ok_or(Refusal::Unknown)?;
    let from = from.map(|from| from.ip().to_canonical().to_string());
    let begun = service.sessions.begin(user, from.unwrap_or_default());
    match begun.map_err(|why| Refusal::broken(&why))? {
        Some((session, token)) => Ok(Answer::Created(resource(&session), Some(token))),
        None => Err(Refusal::Full),
    }
}

fn text<'o>(object: &'o Map<String, Value>, key: &'static str) -> Result<&'o str, Refusal> {
    let value = object.get(key).ok_or(Refusal::Property(key))?;
    // What it was is not repeated: it may be a password.
    value
        .as_str()
        .ok_or_else(|| Refusal::Kind("...".to_owned(), key))
}

/// The session of this id.
fn find(service: &Service, id: &str, uri: &Uri) -> Result<Session, Refusal> {
    let mut all = service.sessions.list().into_iter();
    all.find(|session| session.id == id)
        .ok_or_else(|| missing(uri))
}

/// One of them.
pub(crate) async fn one(
    State(service): State<Arc<Service>>,
    Path(id): Path<String>,
    uri: Uri,
) -> Reply {
    let session = find(&service, &id, &uri)?;
    Ok(Answer::Resource(resource(&session), EACH))
}

/// Logs out: oneself, or by an administrator.
pub(crate) async fn end(
    State(service): State<Arc<Service>>,
    Extension(user): Extension<Option<User>>,
    Path(id): Path<String>,
    uri: Uri,
) -> Reply {
    let session = find(&service, &id, &uri)?;
    let is_own = user
        .as_ref()
        .is_some_and(|user| user.name == session.user.name);
    let privilege = match is_own {
        true => Privilege::ConfigureSelf,
        false => Privilege::ConfigureManager,
    };
    demand(user.as_ref(), privilege)?;
    service.sessions.end(&id);
    Ok(Answer::Done)
}
