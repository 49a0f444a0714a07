//! What a cell is made of: CPUs, memory, network functions.

use super::{missing, systems};
use crate::cells::{Cell, Nic};
use crate::http::{self, Answer, Refusal, Reply};
use crate::service::Service;
use axum::extract::{Path, State};
use axum::http::Uri;
use serde_json::{Value, json};
use std::sync::Arc;

/// What all of a cell's parts say of themselves: they go with it.
fn healthy() -> Value {
    json!({ "State": "Enabled", "Health": "OK" })
}

/// The cell of this name; a slice without one has no parts.
async fn cell(service: &Service, name: &str, uri: &Uri) -> Result<Cell, Refusal> {
    let system = systems::find(service, name, uri).await?;
    system.cell.ok_or_else(|| missing(uri))
}

fn collection(uri: &Uri, kind: &str, name: &str, ids: impl Iterator<Item = String>) -> Reply {
    let path = uri.path();
    let members = ids.map(|id| format!("{path}/{id}")).collect();
    Ok(Answer::read_only(http::collection(
        kind, path, name, members,
    )))
}

/// `Processors`.
pub(crate) async fn processors(
    State(service): State<Arc<Service>>,
    Path(name): Path<String>,
    uri: Uri,
) -> Reply {
    let cell = cell(&service, &name, &uri).await?;
    let ids = (0..cell.cpus.len()).map(|n| n.to_string());
    collection(&uri, "ProcessorCollection", "CPUs", ids)
}

/// A CPU of the machine that is the cell's alone.
pub(crate) async fn processor(
    State(service): State<Arc<Service>>,
    Path((name, id)): Path<(String, String)>,
    uri: Uri,
) -> Reply {
    let cell = cell(&service, &name, &uri).await?;
    let mut cpus = cell.cpus.iter().enumerate();
    let cpu = cpus.find(|(n, _)| n.to_string() == id);
    let (_, linux) = cpu.ok_or_else(|| missing(&uri))?;
    Ok(Answer::read_only(json!({
        "@odata.id": uri.path(),
        "@odata.type": "#Processor.v1_18_0.Processor",
        "Id": id,
        "Name": format!("CPU {id}"),
        "Description": format!("CPU {linux} of the machine"),
        "ProcessorType": "CPU",
        "ProcessorArchitecture": "x86",
        "InstructionSet": "x86-64",
        "TotalThreads": 1,
        "Status": healthy(),
    })))
}

/// `Memory`.
pub(crate) async fn memories(
    State(service): State<Arc<Service>>,
    Path(name): Path<String>,
    uri: Uri,
) -> Reply {
    cell(&service, &name, &uri).await?;
    let ids = std::iter::once(RAM.to_owned());
    collection(&uri, "MemoryCollection", "Memory", ids)
}

/// A cell's memory is one.
const RAM: &str = "ram";

/// All of a cell's memory.
pub(crate) async fn memory(
    State(service): State<Arc<Service>>,
    Path((name, id)): Path<(String, String)>,
    uri: Uri,
) -> Reply {
    let cell = cell(&service, &name, &uri).await?;
    if id != RAM {
        return Err(missing(&uri));
    }
    Ok(Answer::read_only(json!({
        "@odata.id": uri.path(),
        "@odata.type": "#Memory.v1_17_0.Memory",
        "Id": id,
        "Name": "RAM",
        "Description": "Memory of the machine that is this cell's alone",
        "MemoryType": "DRAM",
        "CapacityMiB": cell.memory >> 20,
        "Status": healthy(),
    })))
}

/// `EthernetInterfaces`.
pub(crate) async fn nics(
    State(service): State<Arc<Service>>,
    Path(name): Path<String>,
    uri: Uri,
) -> Reply {
    let nics = cell(&service, &name, &uri).await?.nics();
    if nics.is_empty() {
        return Err(missing(&uri));
    }
    let ids = nics.into_iter().map(|nic| nic.address);
    collection(
        &uri,
        "EthernetInterfaceCollection",
        "Network functions",
        ids,
    )
}

/// A network function of the cell.
pub(crate) async fn nic(
    State(service): State<Arc<Service>>,
    Path((name, id)): Path<(String, String)>,
    uri: Uri,
) -> Reply {
    let nics = cell(&service, &name, &uri).await?.nics();
    let nic = nics.into_iter().find(|nic| nic.address == id);
    let Nic {
        kind, mac, vlan, ..
    } = nic.ok_or_else(|| missing(&uri))?;
    let mut value = json!({
        "@odata.id": uri.path(),
        "@odata.type": "#EthernetInterface.v1_9_0.EthernetInterface",
        "Id": id,
        "Name": id,
        "Description": kind,
        "InterfaceEnabled": true,
        "Status": healthy(),
    });
    if let Some(mac) = mac {
        value["MACAddress"] = mac.into();
    }
    if let Some(vlan) = vlan {
        value["VLAN"] = json!({ "VLANEnable": true, "VLANId": vlan });
    }
    Ok(Answer::read_only(value))
}
