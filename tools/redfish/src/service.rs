//! The service: what it knows, and which path leads to what.

use crate::config::Config;
use crate::error::Result;
use crate::events::Events;
use crate::http::{Refusal, guard::guard};
use crate::look::Look;
use crate::manage::Manage;
use crate::passwords::Passwords;
use crate::resources::{accounts, chassis, events, manager, parts, reset, root, sessions, systems};
use crate::sessions::Sessions;
use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, Uri};
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, delete, get, post};
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tower::ServiceExt;

/// What all requests share.
pub(crate) struct Service {
    pub(crate) look: Arc<Look>,
    pub(crate) events: Arc<Events>,
    pub(crate) manage: Manage,
    pub(crate) passwords: Passwords,
    pub(crate) sessions: Sessions,
    /// What people call the machine.
    pub(crate) host: String,
    /// The same at each start on this machine.
    pub(crate) uuid: String,
}

/// Where things are on this machine.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    pub(crate) cellctl: PathBuf,
    pub(crate) slices: PathBuf,
    /// Behind it are changes: see [`crate::power`].
    pub(crate) power: PathBuf,
    /// What is kept from start to start.
    pub(crate) state: PathBuf,
}

impl Service {
    /// # Errors
    ///
    /// The kernel gives no random numbers.
    pub(crate) fn new(config: &Config, places: &Places) -> Result<Self> {
        let timeout = Duration::from_secs(config.session_timeout.into());
        let text = |path: &str| std::fs::read_to_string(Path::new(path)).unwrap_or_default();
        let host = text("/proc/sys/kernel/hostname").trim().to_owned();
        Ok(Self {
            look: Arc::new(Look::new(places.cellctl.clone(), places.slices.clone())),
            events: Arc::default(),
            manage: Manage::new(places.power.clone()),
            passwords: Passwords::new(config.accounts.clone())?,
            sessions: Sessions::new(timeout),
            uuid: uuid(text("/etc/machine-id").trim()),
            host,
        })
    }
}

/// A UUID of this service from the machine's id, which itself is not to be shown.
///
/// Spec: RFC 9562 "UUID Version 8"; machine-id(5) on ids of applications.
fn uuid(machine: &str) -> String {
    let text = format!("cellvisor-redfish {machine}");
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = crate::sessions::hex(&bytes);
    let parts = [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ];
    parts.join("-")
}

/// Methods of a path; all others are refused with their names.
fn only(methods: MethodRouter<Arc<Service>>, allow: &'static str) -> MethodRouter<Arc<Service>> {
    methods.fallback(move || async move { Refusal::Method(allow) })
}

/// All paths.
pub(crate) fn router(service: Arc<Service>) -> Router {
    const LOOK: &str = "GET, HEAD";
    let looks = [
        ("/redfish", get(root::versions)),
        ("/redfish/v1", get(root::root)),
        ("/redfish/v1/odata", get(root::odata)),
        ("/redfish/v1/$metadata", get(root::metadata)),
        ("/redfish/v1/Systems", get(systems::collection)),
        ("/redfish/v1/Systems/{system}", get(systems::one)),
        (
            "/redfish/v1/Systems/{system}/Processors",
            get(parts::processors),
        ),
        (
            "/redfish/v1/Systems/{system}/Processors/{cpu}",
            get(parts::processor),
        ),
        ("/redfish/v1/Systems/{system}/Memory", get(parts::memories)),
        (
            "/redfish/v1/Systems/{system}/Memory/{memory}",
            get(parts::memory),
        ),
        (
            "/redfish/v1/Systems/{system}/EthernetInterfaces",
            get(parts::nics),
        ),
        (
            "/redfish/v1/Systems/{system}/EthernetInterfaces/{nic}",
            get(parts::nic),
        ),
        ("/redfish/v1/Managers", get(manager::collection)),
        ("/redfish/v1/Managers/{manager}", get(manager::one)),
        ("/redfish/v1/Chassis", get(chassis::collection)),
        ("/redfish/v1/Chassis/{chassis}", get(chassis::one)),
        ("/redfish/v1/SessionService", get(sessions::service)),
        ("/redfish/v1/EventService", get(events::service)),
        ("/redfish/v1/EventService/SSE", get(events::stream)),
        (
            "/redfish/v1/EventService/Subscriptions",
            get(events::collection),
        ),
        ("/redfish/v1/AccountService", get(accounts::service)),
        (
            "/redfish/v1/AccountService/Accounts",
            get(accounts::collection),
        ),
        (
            "/redfish/v1/AccountService/Accounts/{name}",
            get(accounts::one),
        ),
        ("/redfish/v1/AccountService/Roles", get(accounts::roles)),
        (
            "/redfish/v1/AccountService/Roles/{role}",
            get(accounts::role),
        ),
    ];
    let mut router = Router::new();
    for (path, methods) in looks {
        router = router.route(path, only(methods, LOOK));
    }
    let all = get(sessions::collection).post(sessions::begin);
    let each = get(sessions::one).merge(delete(sessions::end));
    let stream = get(events::one).merge(delete(events::end));
    router
        .route(
            "/redfish/v1/Systems/{system}/Actions/{action}",
            only(post(reset::reset), "POST"),
        )
        .route(
            "/redfish/v1/SessionService/Sessions",
            only(all, sessions::ALL),
        )
        .route(
            "/redfish/v1/SessionService/Sessions/Members",
            only(post(sessions::begin), "POST"),
        )
        .route(
            "/redfish/v1/SessionService/Sessions/{session}",
            only(each, sessions::EACH),
        )
        .route(
            "/redfish/v1/EventService/Subscriptions/{stream}",
            only(stream, events::EACH),
        )
        .fallback(missing)
        .layer(from_fn_with_state(Arc::clone(&service), guard))
        .with_state(service)
}

async fn missing(uri: Uri) -> Refusal {
    Refusal::Missing(uri.path().to_owned())
}

/// Answers one request.
pub(crate) async fn answer(router: Router, request: Request<Body>) -> Response<Body> {
    let answered: std::result::Result<_, Infallible> = router.oneshot(plain(request)).await;
    match answered {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// Without a slash at the end of its path, which means the same.
fn plain(mut request: Request<Body>) -> Request<Body> {
    let uri = request.uri();
    let path = uri.path().strip_suffix('/').unwrap_or_default();
    if !path.is_empty() {
        let query = uri.query().map(|query| format!("?{query}"));
        let text = format!("{path}{}", query.unwrap_or_default());
        if let Ok(uri) = text.parse() {
            *request.uri_mut() = uri;
        }
    }
    request
}

#[cfg(test)]
mod tests;
