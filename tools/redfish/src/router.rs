//! Which path leads to what.

use crate::http::{Refusal, guard::guard};
use crate::resources::{
    accounts, chassis, events, manager, media, parts, reset, root, sessions, systems,
};
use crate::service::Service;
use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, Uri};
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, delete, get, post};
use std::convert::Infallible;
use std::sync::Arc;
use tower::ServiceExt;

/// Methods of a path; all others are refused with their names.
fn only(methods: MethodRouter<Arc<Service>>, allow: &'static str) -> MethodRouter<Arc<Service>> {
    methods.fallback(move || async move { Refusal::Method(allow) })
}

/// A path, what answers there, and its methods.
type Route = (&'static str, MethodRouter<Arc<Service>>, &'static str);

/// Methods of what is only looked at.
const LOOK: &str = "GET, HEAD";

/// All paths.
pub(crate) fn router(service: Arc<Service>) -> Router {
    let routes = looks().into_iter().chain(changes());
    let all = routes.fold(Router::new(), |router, (path, methods, allow)| {
        router.route(path, only(methods, allow))
    });
    all.fallback(missing)
        .layer(from_fn_with_state(Arc::clone(&service), guard))
        .with_state(service)
}

/// What is only looked at.
fn looks() -> Vec<Route> {
    let looks = [
        ("/redfish", get(root::versions)),
        ("/redfish/v1", get(root::root)),
        ("/redfish/v1/odata", get(root::odata)),
        ("/redfish/v1/$metadata", get(root::metadata)),
        ("/redfish/v1/Systems", get(systems::collection)),
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
        (
            "/redfish/v1/Systems/{system}/VirtualMedia",
            get(media::collection),
        ),
        (
            "/redfish/v1/Systems/{system}/VirtualMedia/{media}",
            get(media::one),
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
    let route = |(path, methods)| (path, methods, LOOK);
    looks.into_iter().map(route).collect()
}

/// What can be changed, too.
fn changes() -> [Route; 7] {
    let all = get(sessions::collection).post(sessions::begin);
    let each = get(sessions::one).merge(delete(sessions::end));
    let stream = get(events::one).merge(delete(events::end));
    let system = get(systems::one).patch(systems::change);
    [
        ("/redfish/v1/Systems/{system}", system, systems::EACH),
        (
            "/redfish/v1/Systems/{system}/VirtualMedia/{media}/Actions/{action}",
            post(media::act),
            "POST",
        ),
        (
            "/redfish/v1/Systems/{system}/Actions/{action}",
            post(reset::reset),
            "POST",
        ),
        ("/redfish/v1/SessionService/Sessions", all, sessions::ALL),
        (
            "/redfish/v1/SessionService/Sessions/Members",
            post(sessions::begin),
            "POST",
        ),
        (
            "/redfish/v1/SessionService/Sessions/{session}",
            each,
            sessions::EACH,
        ),
        (
            "/redfish/v1/EventService/Subscriptions/{stream}",
            stream,
            events::EACH,
        ),
    ]
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
