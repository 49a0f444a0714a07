//! `Managers`: the monitor, with this server before it.

use super::{chassis, missing, systems};
use crate::http::{self, Answer, Refusal, Reply, links};
use crate::service::Service;
use axum::extract::{Path, State};
use axum::http::Uri;
use serde_json::json;
use std::sync::Arc;

const PATH: &str = "/redfish/v1/Managers";
const ID: &str = "cellvisor";

/// Where it is.
pub(crate) fn path() -> String {
    format!("{PATH}/{ID}")
}

/// The collection.
pub(crate) async fn collection() -> Reply {
    let all = http::collection("ManagerCollection", PATH, "Managers", vec![path()]);
    Ok(Answer::read_only(all))
}

/// The one that there is.
pub(crate) async fn one(
    State(service): State<Arc<Service>>,
    Path(id): Path<String>,
    uri: Uri,
) -> Reply {
    if id != ID {
        return Err(missing(&uri));
    }
    let monitor = service.look.monitor().await;
    let monitor = monitor.map_err(|why| Refusal::broken(&why))?;
    // It is turned on by the first cell that is created.
    let state = if monitor.enabled {
        "Enabled"
    } else {
        "StandbyOffline"
    };
    Ok(Answer::read_only(json!({
        "@odata.id": path(),
        "@odata.type": "#Manager.v1_17_0.Manager",
        "Id": ID,
        "Name": "cellvisor",
        "Description": "The monitor under this machine's Linux and its cells",
        "ManagerType": "Service",
        "FirmwareVersion": env!("CARGO_PKG_VERSION"),
        "ServiceEntryPointUUID": service.uuid,
        "Status": { "State": state, "Health": "OK" },
        "Links": {
            "ManagerForChassis": links(vec![chassis::path()]),
            "ManagerForServers": links(systems::paths(&service).await?),
            "ManagerInChassis": http::link(chassis::path()),
        },
    })))
}
