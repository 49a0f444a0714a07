//! `Systems`: cells, and slices of this machine that have none now.

use super::missing;
use crate::cells::System;
use crate::http::{self, Answer, Refusal, Reply, link, links};
use crate::service::Service;
use axum::extract::{Path, State};
use axum::http::Uri;
use serde_json::{Value, json};
use std::sync::Arc;

/// Where they are.
pub(crate) const PATH: &str = "/redfish/v1/Systems";

/// Where a system is.
pub(crate) fn path(name: &str) -> String {
    format!("{PATH}/{name}")
}

/// The collection.
pub(crate) async fn collection(State(service): State<Arc<Service>>) -> Reply {
    let members = paths(&service).await?;
    let all = http::collection("ComputerSystemCollection", PATH, "Cells", members);
    Ok(Answer::read_only(all))
}

/// Where all systems are.
pub(crate) async fn paths(service: &Service) -> Result<Vec<String>, Refusal> {
    let systems = service.look.systems().await;
    let systems = systems.map_err(|why| Refusal::broken(&why))?;
    Ok(systems.iter().map(|system| path(&system.name)).collect())
}

/// The system of this name.
pub(crate) async fn find(service: &Service, name: &str, uri: &Uri) -> Result<System, Refusal> {
    let systems = service.look.systems().await;
    let systems = systems.map_err(|why| Refusal::broken(&why))?;
    let system = systems.iter().find(|system| system.name == name);
    system.cloned().ok_or_else(|| missing(uri))
}

/// One of them.
pub(crate) async fn one(
    State(service): State<Arc<Service>>,
    Path(name): Path<String>,
    uri: Uri,
) -> Reply {
    let system = find(&service, &name, &uri).await?;
    Ok(Answer::read_only(resource(&system)))
}

fn resource(system: &System) -> Value {
    let path = path(&system.name);
    let state = if system.is_on() {
        "Enabled"
    } else {
        "StandbyOffline"
    };
    let mut value = json!({
        "@odata.id": path,
        "@odata.type": "#ComputerSystem.v1_20_0.ComputerSystem",
        "Id": system.name,
        "Name": system.name,
        "Description": "A cell: a partition of the machine with CPUs, memory and functions of its own",
        "SystemType": "PhysicallyPartitioned",
        "PowerState": system.power(),
        "Status": { "State": state, "Health": system.health() },
        "Actions": { "#ComputerSystem.Reset": {
            "target": format!("{path}/Actions/ComputerSystem.Reset"),
            "ResetType@Redfish.AllowableValues": super::reset::TYPES.map(|(name, _)| name),
        } },
        "Links": {
            "Chassis": links(vec![super::chassis::path()]),
            "ManagedBy": links(vec![super::manager::path()]),
        },
    });
    // A slice without a cell has nothing that could be told.
    let Some(cell) = &system.cell else {
        return value;
    };
    value["ProcessorSummary"] = json!({
        "Count": cell.cpus.len(),
        "LogicalProcessorCount": cell.cpus.len(),
    });
    value["MemorySummary"] = json!({
        "TotalSystemMemoryGiB": gib(cell.memory),
    });
    value["Processors"] = link(format!("{path}/Processors"));
    value["Memory"] = link(format!("{path}/Memory"));
    if !cell.nics().is_empty() {
        value["EthernetInterfaces"] = link(format!("{path}/EthernetInterfaces"));
    }
    value
}

/// Bytes in GiB; whole ones without a point.
fn gib(bytes: u64) -> Value {
    const GIB: u64 = 1 << 30;
    if bytes.is_multiple_of(GIB) {
        return (bytes / GIB).into();
    }
    // A cell's memory is whole pages of 2 MiB: no digit is lost.
    let pages = u32::try_from(bytes >> 21).unwrap_or(u32::MAX);
    (f64::from(pages) / 512.0).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_in_gib() {
        assert_eq!(gib(4 << 30), json!(4));
        assert_eq!(gib(512 << 20), json!(0.5));
        assert_eq!(gib(3 << 29), json!(1.5));
    }
}
