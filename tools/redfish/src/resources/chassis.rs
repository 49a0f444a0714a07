//! `Chassis`: the machine.

use super::{manager, missing, systems};
use crate::http::{self, Answer, Reply, links};
use crate::service::Service;
use axum::extract::{Path, State};
use axum::http::Uri;
use serde_json::json;
use std::sync::Arc;

const PATH: &str = "/redfish/v1/Chassis";
const ID: &str = "machine";

/// Where it is.
pub(crate) fn path() -> String {
    format!("{PATH}/{ID}")
}

/// The collection.
pub(crate) async fn collection() -> Reply {
    let all = http::collection("ChassisCollection", PATH, "Machines", vec![path()]);
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
    let mut value = json!({
        "@odata.id": path(),
        "@odata.type": "#Chassis.v1_22_0.Chassis",
        "Id": ID,
        "Name": service.host,
        "ChassisType": "Other",
        "PowerState": "On",
        "Status": { "State": "Enabled", "Health": "OK" },
        "Links": {
            "ComputerSystems": links(systems::paths(&service).await?),
            "ManagedBy": links(vec![manager::path()]),
        },
    });
    for (key, text) in &service.machine {
        value[*key] = text.as_str().into();
    }
    Ok(Answer::read_only(value))
}
