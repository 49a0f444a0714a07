//! The root of the service, and what describes it.

use crate::http::{Answer, Reply, link};
use crate::service::Service;
use axum::extract::State;
use serde_json::{Value, json};
use std::sync::Arc;

/// Which versions there are.
pub(crate) async fn versions() -> Answer {
    Answer::read_only(json!({ "v1": "/redfish/v1/" }))
}

/// `ServiceRoot`.
pub(crate) async fn root(State(service): State<Arc<Service>>) -> Answer {
    Answer::read_only(json!({
        "@odata.id": "/redfish/v1/",
        "@odata.type": "#ServiceRoot.v1_15_0.ServiceRoot",
        "Id": "RootService",
        "Name": "cellvisor",
        "Product": "cellvisor-redfish",
        "Vendor": "cellvisor",
        "RedfishVersion": "1.18.0",
        "UUID": service.uuid,
        "ProtocolFeaturesSupported": {
            "ExcerptQuery": false,
            "ExpandQuery": {
                "ExpandAll": false, "Levels": false, "Links": false, "NoLinks": false,
            },
            "FilterQuery": false,
            "OnlyMemberQuery": false,
            "SelectQuery": false,
        },
        "Systems": link("/redfish/v1/Systems"),
        "Managers": link("/redfish/v1/Managers"),
        "Chassis": link("/redfish/v1/Chassis"),
        "SessionService": link("/redfish/v1/SessionService"),
        "AccountService": link("/redfish/v1/AccountService"),
        "EventService": link("/redfish/v1/EventService"),
        "Links": { "Sessions": link("/redfish/v1/SessionService/Sessions") },
    }))
}

/// The OData service document.
pub(crate) async fn odata() -> Answer {
    let names = [
        "Systems",
        "Managers",
        "Chassis",
        "SessionService",
        "AccountService",
        "EventService",
    ];
    let entry = |name: &str, url: String| json!({ "name": name, "kind": "Singleton", "url": url });
    let mut value: Vec<Value> = vec![entry("Service", "/redfish/v1/".to_owned())];
    value.extend(names.map(|name| entry(name, format!("/redfish/v1/{name}"))));
    let sessions = "/redfish/v1/SessionService/Sessions";
    value.push(entry("Sessions", sessions.to_owned()));
    Answer::read_only(json!({
        "@odata.context": "/redfish/v1/$metadata",
        "value": value,
    }))
}

/// The metadata document: which schemas there are.
pub(crate) async fn metadata() -> Reply {
    Ok(Answer::Metadata(include_str!("metadata.xml")))
}
