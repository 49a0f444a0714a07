//! `Systems`: cells, and slices of this machine that have none now.

use super::{demand, missing};
use crate::cells::System;
use crate::http::{self, Answer, Refusal, Reply, body, link, links};
use crate::passwords::User;
use crate::roles::Privilege;
use crate::service::Service;
use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Request, Uri};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Where they are.
pub(crate) const PATH: &str = "/redfish/v1/Systems";

/// Methods of each system.
pub(crate) const EACH: &str = "GET, HEAD, PATCH";

/// What can be changed.
const BOOT: &str = "Boot";

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
    Ok(Answer::Resource(resource(&service, &system), EACH))
}

/// Changes what the system boots next.
pub(crate) async fn change(
    State(service): State<Arc<Service>>,
    Extension(user): Extension<Option<User>>,
    Path(name): Path<String>,
    uri: Uri,
    request: Request<Body>,
) -> Reply {
    demand(user.as_ref(), Privilege::ConfigureComponents)?;
    let system = find(&service, &name, &uri).await?;
    http::unchanged(request.headers(), &resource(&service, &system))?;
    let mut wishes = body::object(request).await?;
    let drive = service.media.drive(&name);
    let boot = wishes
        .remove(BOOT)
        .filter(|_| service.media.is_there())
        .ok_or_else(|| stray(&wishes, BOOT))?;
    if !wishes.is_empty() {
        return Err(stray(&wishes, BOOT));
    }
    let (enabled, target) = super::media::wish(&drive, boot)?;
    let kept = service.media.set(&name, enabled, target);
    kept.map_err(|why| Refusal::broken(&why))?;
    let who = user.map(|user| user.name).unwrap_or_default();
    eprintln!("{who}: {name} boots {target:?} ({enabled:?})");
    Ok(Answer::Resource(resource(&service, &system), EACH))
}

/// The first property that is none which could be changed.
fn stray(wishes: &Map<String, Value>, missing: &str) -> Refusal {
    let key = wishes.keys().next().map_or(missing, |key| key);
    Refusal::Stray(key.to_owned())
}

fn resource(service: &Service, system: &System) -> Value {
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
    if service.media.is_there() {
        value[BOOT] = super::media::boot(&service.media.drive(&system.name));
        value["VirtualMedia"] = link(format!("{path}/VirtualMedia"));
    }
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
