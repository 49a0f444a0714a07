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
    // What the firmware says of the machine, as far as everybody may know it.
    for (key, file) in [
        ("Manufacturer", "sys_vendor"),
        ("Model", "product_name"),
        ("SKU", "product_sku"),
    ] {
        let text = std::fs::read_to_string(format!("/sys/class/dmi/id/{file}"));
        let text = text.unwrap_or_default().trim().to_owned();
        if !text.is_empty() {
            value[key] = text.into();
        }
    }
    Ok(Answer::read_only(value))
}
