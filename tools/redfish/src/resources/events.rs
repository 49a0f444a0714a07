//! `EventService`: a stream of what happens to cells, and who reads it.

use super::{demand, missing};
use crate::events::{HEARTBEAT, Listener, STREAM};
use crate::http::{self, Answer, Refusal, Reply, link};
use crate::passwords::User;
use crate::roles::Privilege;
use crate::service::Service;
use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Response, Uri, header};
use axum::response::IntoResponse;
use futures_util::stream;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use tokio::sync::mpsc::Receiver;

const PATH: &str = "/redfish/v1/EventService/Subscriptions";

/// Methods of each subscription.
pub(crate) const EACH: &str = "GET, HEAD, DELETE";

/// The service.
pub(crate) async fn service() -> Answer {
    Answer::read_only(json!({
        "@odata.id": "/redfish/v1/EventService",
        "@odata.type": "#EventService.v1_10_0.EventService",
        "Id": "EventService",
        "Name": "Events",
        "ServiceEnabled": true,
        "Status": { "State": "Enabled", "Health": "OK" },
        "EventFormatTypes": ["Event"],
        "RegistryPrefixes": ["ResourceEvent"],
        "ResourceTypes": ["ComputerSystem"],
        "ServerSentEventUri": STREAM,
        "SSEFilterPropertiesSupported": {
            "EventFormatType": false,
            "MessageId": false,
            "MetricReportDefinition": false,
            "OriginResource": false,
            "RegistryPrefix": false,
            "ResourceType": false,
            "SubordinateResources": false,
        },
        "Subscriptions": link(PATH),
    }))
}

/// The stream. It is a subscription for as long as it is read.
pub(crate) async fn stream(
    State(service): State<Arc<Service>>,
    Extension(user): Extension<Option<User>>,
) -> Result<Response<Body>, Refusal> {
    let name = user.map(|user| user.name).unwrap_or_default();
    let queue = service.events.listen(&service.look, &name);
    let queue = queue.ok_or(Refusal::Full)?;
    let events = stream::unfold((queue, true), next);
    let kind = [(header::CONTENT_TYPE, "text/event-stream")];
    Ok((kind, Body::from_stream(events)).into_response())
}

/// What comes next: an event, or a word that the stream is still there, as at its begin.
async fn next(
    (mut queue, is_first): (Receiver<String>, bool),
) -> Option<(Result<String, Infallible>, (Receiver<String>, bool))> {
    let comment = || ": here\n\n".to_owned();
    let text = match is_first {
        true => comment(),
        false => match tokio::time::timeout(HEARTBEAT, queue.recv()).await {
            Ok(event) => event?,
            Err(_) => comment(),
        },
    };
    Some((Ok(text), (queue, false)))
}

/// Who reads streams.
pub(crate) async fn collection(State(service): State<Arc<Service>>) -> Answer {
    let all = service.events.list();
    let members = all.iter().map(|listener| path(&listener.id)).collect();
    let kind = "EventDestinationCollection";
    Answer::read_only(http::collection(kind, PATH, "Streams", members))
}

fn path(id: &str) -> String {
    format!("{PATH}/{id}")
}

fn find(service: &Service, id: &str, uri: &Uri) -> Result<Listener, Refusal> {
    let mut all = service.events.list().into_iter();
    all.find(|listener| listener.id == id)
        .ok_or_else(|| missing(uri))
}

fn resource(listener: &Listener) -> Value {
    json!({
        "@odata.id": path(&listener.id),
        "@odata.type": "#EventDestination.v1_13_0.EventDestination",
        "Id": listener.id,
        "Name": format!("Stream of {}", listener.user),
        "Context": listener.id,
        "Protocol": "Redfish",
        "SubscriptionType": "SSE",
        "EventFormatType": "Event",
    })
}

/// One of them.
pub(crate) async fn one(
    State(service): State<Arc<Service>>,
    Path(id): Path<String>,
    uri: Uri,
) -> Reply {
    let listener = find(&service, &id, &uri)?;
    Ok(Answer::Resource(resource(&listener), EACH))
}

/// Ends a stream: one's own, or an administrator does.
pub(crate) async fn end(
    State(service): State<Arc<Service>>,
    Extension(user): Extension<Option<User>>,
    Path(id): Path<String>,
    uri: Uri,
) -> Reply {
    let listener = find(&service, &id, &uri)?;
    if user.as_ref().is_none_or(|user| user.name != listener.user) {
        demand(user.as_ref(), Privilege::ConfigureManager)?;
    }
    service.events.end(&id);
    Ok(Answer::Done)
}
