//! `VirtualMedia`: a drive for each system, and what the system boots of it.

use super::{demand, missing, systems};
use crate::http::{self, Answer, Refusal, Reply, body};
use crate::media::{Drive, Enabled, Inserted, Target};
use crate::passwords::User;
use crate::roles::Privilege;
use crate::service::Service;
use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Request, Uri};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// The one drive that each system has.
const ID: &str = "Cd";

const INSERT: &str = "VirtualMedia.InsertMedia";
const EJECT: &str = "VirtualMedia.EjectMedia";
const IMAGE: &str = "Image";

const ENABLED: &str = "BootSourceOverrideEnabled";
const TARGET: &str = "BootSourceOverrideTarget";

/// Refuses paths of systems and drives that are not there.
async fn find(service: &Service, system: &str, id: &str, uri: &Uri) -> Result<(), Refusal> {
    systems::find(service, system, uri).await?;
    match service.media.is_there() && id == ID {
        true => Ok(()),
        false => Err(missing(uri)),
    }
}

/// The collection.
pub(crate) async fn collection(
    State(service): State<Arc<Service>>,
    Path(system): Path<String>,
    uri: Uri,
) -> Reply {
    find(&service, &system, ID, &uri).await?;
    let members = vec![format!("{}/{ID}", uri.path())];
    let kind = "VirtualMediaCollection";
    let all = http::collection(kind, uri.path(), "Drives", members);
    Ok(Answer::read_only(all))
}

/// The drive.
pub(crate) async fn one(
    State(service): State<Arc<Service>>,
    Path((system, id)): Path<(String, String)>,
    uri: Uri,
) -> Reply {
    find(&service, &system, &id, &uri).await?;
    let path = uri.path();
    let drive = service.media.drive(&system);
    let image = drive.image.as_deref();
    let name = image.and_then(|image| image.split('?').next()?.rsplit('/').next());
    Ok(Answer::read_only(json!({
        "@odata.id": path,
        "@odata.type": "#VirtualMedia.v1_6_3.VirtualMedia",
        "Id": ID,
        "Name": "Drive",
        "Description": "An image whose kernel and initial RAM disks the system can boot",
        "MediaTypes": ["CD", "DVD"],
        "Image": image,
        "ImageName": name,
        "Inserted": image.is_some(),
        "ConnectedVia": if image.is_some() { "URI" } else { "NotConnected" },
        "WriteProtected": true,
        "Status": { "State": "Enabled", "Health": "OK" },
        "Actions": {
            format!("#{INSERT}"): { "target": format!("{path}/Actions/{INSERT}") },
            format!("#{EJECT}"): { "target": format!("{path}/Actions/{EJECT}") },
        },
    })))
}

/// Inserts an image, or takes it out.
pub(crate) async fn act(
    State(service): State<Arc<Service>>,
    Extension(user): Extension<Option<User>>,
    Path((system, id, action)): Path<(String, String, String)>,
    uri: Uri,
    request: Request<Body>,
) -> Reply {
    demand(user.as_ref(), Privilege::ConfigureComponents)?;
    find(&service, &system, &id, &uri).await?;
    let who = user.map(|user| user.name).unwrap_or_default();
    let done = match &*action {
        INSERT => {
            let image = image(&body::object(request).await?)?;
            eprintln!("{who}: {system} gets {image}");
            match service.media.insert(&system, &image).await {
                Ok(Inserted::Yes) => Ok(()),
                Ok(Inserted::Busy) => return Err(Refusal::Busy),
                Ok(Inserted::Forbidden) => return Err(Refusal::Forbids(image)),
                Err(why) => Err(why),
            }
        }
        EJECT => {
            let object = body::object_or_nothing(request).await?;
            if let Some(key) = object.keys().next() {
                return Err(Refusal::Extra(EJECT, key.clone()));
            }
            eprintln!("{who}: {system} loses its image");
            service.media.eject(&system)
        }
        _ => return Err(Refusal::Action(action)),
    };
    done.map(|()| Answer::Done).map_err(|why| {
        eprintln!("{system}: {why}");
        Refusal::Refused(format!("{}: {}", why.what, why.why), why.help)
    })
}

/// The image's address. An image is read and never written, at once and as a whole: who
/// wishes otherwise is refused.
fn image(object: &Map<String, Value>) -> Result<String, Refusal> {
    for (key, value) in object {
        let allowed: &[Value] = match &**key {
            IMAGE => continue,
            "Inserted" | "WriteProtected" => &[json!(true)],
            "TransferMethod" => &[json!("Upload")],
            "TransferProtocolType" => &[json!("HTTP"), json!("HTTPS")],
            "MediaType" => &[json!("CD"), json!("DVD")],
            _ => return Err(Refusal::Extra(INSERT, key.clone())),
        };
        if !value.is_null() && !allowed.contains(value) {
            return Err(Refusal::Extra(INSERT, format!("{key}={value}")));
        }
    }
    let value = object.get(IMAGE).ok_or(Refusal::Lacks(INSERT, IMAGE))?;
    let image = value.as_str().map(str::to_owned);
    image.ok_or_else(|| Refusal::Type(value.to_string(), IMAGE, INSERT))
}

/// `Boot` of a system.
pub(crate) fn boot(drive: &Drive) -> Value {
    json!({
        ENABLED: drive.enabled,
        format!("{ENABLED}@Redfish.AllowableValues"): ["Disabled", "Once", "Continuous"],
        TARGET: drive.target,
        format!("{TARGET}@Redfish.AllowableValues"): ["None", "Cd", "Hdd"],
    })
}

/// What `Boot` is asked to be.
pub(crate) fn wish(drive: &Drive, wish: Value) -> Result<(Enabled, Target), Refusal> {
    let (mut enabled, mut target) = (drive.enabled, drive.target);
    let object = match wish {
        Value::Object(object) => object,
        other => return Err(Refusal::Kind(other.to_string(), "Boot")),
    };
    for (key, value) in object {
        match &*key {
            ENABLED => enabled = listed(value, ENABLED)?,
            TARGET => target = listed(value, TARGET)?,
            _ => return Err(Refusal::Stray(key)),
        }
    }
    Ok(match (enabled, target) {
        (Enabled::Disabled, _) | (_, Target::None) => (Enabled::Disabled, Target::None),
        both => both,
    })
}

fn listed<T: serde::de::DeserializeOwned>(value: Value, key: &'static str) -> Result<T, Refusal> {
    let Some(word) = value.as_str().map(str::to_owned) else {
        return Err(Refusal::Kind(value.to_string(), key));
    };
    serde_json::from_value(value).map_err(|_| Refusal::Unlisted(word, key))
}
