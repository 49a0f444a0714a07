//! Requests that nobody meant: the server answers each, and never with a fault of its own.

use super::*;
use crate::testing::basic;
use axum::body::Body;
use axum::http::{Request, Response};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

/// Parts of paths, some of which there are.
const PART: &str = "redfish|v1|Systems|web|spare|Processors|[01]|Memory|ram|EthernetInterfaces|\
    Actions|ComputerSystem.Reset|VirtualMedia|Cd|VirtualMedia.(Insert|Eject)Media|SessionService|Sessions|Members|AccountService|Accounts|reader|\
    Roles|Managers|cellvisor|Chassis|[$]metadata|[a-zA-Z0-9%._~$:;,=@-]{0,12}|(%[0-9a-f]{2}){1,4}";

/// Requests of one run.
const CASES: u32 = 500;

const BODY: &str = "|\\{\\}|\\[\\]|\\{\"ResetType\":\"(On|ForceOff|Nmi|[a-z]{0,9})\"\\}|\
    \\{\"Image\":(1|\"(file|https?)://[a-z/.?]{0,9}\")\\}|\\{\"Boot\":(1|\\{\"BootSourceOverride(Target|Enabled)\":(1|\"(Cd|Once|x)\")\\})\\}|\
    \\{\"UserName\":\"[a-z]{0,9}\",\"Password\":(1|null|\"[a-z]{0,4}\")\\}|[\\[{\":,}a0\\\\]{0,40}";

/// Who may ask: names, which are passwords as well unless one stands behind a slash.
const ANYBODY: &str = "admin|admin|admin|reader|reader|operator||[a-z:]{1,5}";
const STRANGERS: &str = "|||||admin/wrong|operator/|reader/admin|x";
const READERS: &str = "reader";

/// What everybody may read, and where sessions begin.
pub(super) const OPEN: [&str; 4] = [
    "/redfish",
    "/redfish/v1",
    "/redfish/v1/odata",
    "/redfish/v1/$metadata",
];
pub(super) const LOGIN: [&str; 2] = [
    "/redfish/v1/SessionService/Sessions",
    "/redfish/v1/SessionService/Sessions/Members",
];

/// A request: method, path, query, body, and who of these asks.
fn requests(who: &'static str) -> impl Strategy<Value = Option<Request<Body>>> {
    let method = "GET|HEAD|POST|PATCH|PUT|DELETE|OPTIONS|[A-Z]{1,8}";
    let parts = proptest::collection::vec(PART, 0..7);
    let query = "|[?][$a-z=&*%]{0,12}";
    let header = "[ -~]{0,40}";
    (method, parts, query, BODY, who, header).prop_map(
        |(method, parts, query, body, who, header)| {
            let root = if parts.first().is_some_and(|part| part == "redfish") {
                ""
            } else {
                "/redfish/v1"
            };
            let path = format!("{root}/{}{query}", parts.join("/"));
            let mut builder = Request::builder().method(&*method).uri(path);
            if !who.is_empty() {
                let (name, password) = who.split_once('/').unwrap_or((&who, &who));
                builder = builder.header("authorization", basic(name, password));
            }
            for key in ["accept", "if-none-match", "x-auth-token", "odata-version"] {
                if header.len() % 9 == key.len() % 9 {
                    builder = builder.header(key, &header);
                }
            }
            let json = builder.header("content-type", "application/json");
            json.body(Body::from(body)).ok()
        },
    )
}

/// What is wrong with an answer.
fn wrong(response: &Response<Body>) -> Option<String> {
    let status = response.status().as_u16();
    // A query that is not known, sessions without number.
    let is_fault = status >= 500 && ![501, 503].contains(&status);
    let lacks = response.headers().get("odata-version").is_none();
    (is_fault || lacks).then(|| format!("{response:?}"))
}

/// Has requests of these answered on a machine, and looks at each answer.
fn run(who: &'static str, look: impl Fn(&str, &str, Response<Body>) -> Option<String>) -> Machine {
    let machine = Machine::new();
    let router = machine.router();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime");
    let mut runner = TestRunner::new(ProptestConfig::with_cases(CASES));
    let asked = std::cell::Cell::new(0);
    let ran = runner.run(&requests(who), |request| {
        if let Some(request) = request {
            asked.set(asked.get() + 1);
            let shown = format!("{request:?}");
            let method = request.method().as_str().to_owned();
            let path = request.uri().path().to_owned();
            let path = path.strip_suffix('/').unwrap_or(&path);
            let answer = crate::router::answer(router.clone(), request);
            let answer = runtime.block_on(answer);
            prop_assert_eq!(wrong(&answer), None, "{}", shown);
            prop_assert_eq!(look(&method, path, answer), None, "{}", shown);
        }
        Ok(())
    });
    ran.expect("an answer to each");
    let asked = asked.get();
    assert!(asked > CASES / 2, "{asked} of {CASES} were requests");
    machine
}

/// Fails if something was asked of root, or is inserted.
fn is_as_before(machine: &Machine) {
    assert_eq!(machine.asked(), Vec::<String>::new());
    let states = ["web", "db"].map(|name| machine.state(name));
    let states = states.map(Option::unwrap_or_default);
    assert_eq!(states, ["running", "stopped"]);
    let inserted = machine.places.state.join("media");
    let files = std::fs::read_dir(inserted).into_iter().flatten();
    assert_eq!(files.count(), 0, "something is inserted");
}

#[test]
fn whatever_is_asked_is_answered() {
    run(ANYBODY, |_, _, _| None);
}

#[test]
fn whatever_strangers_ask_they_see_the_root_and_change_nothing() {
    let machine = run(STRANGERS, |method, path, answer| {
        let is_look = ["GET", "HEAD"].contains(&method) && OPEN.contains(&path);
        let is_login = method == "POST" && LOGIN.contains(&path);
        let status = answer.status();
        let is_fine = match (is_look, is_login) {
            (true, _) => true,
            (_, true) => status.is_client_error(),
            _ => status == 401,
        };
        (!is_fine).then(|| format!("{answer:?}"))
    });
    is_as_before(&machine);
}

#[test]
fn whatever_readers_ask_they_change_nothing() {
    let machine = run(READERS, |method, path, answer| {
        let may_change = ["GET", "HEAD"].contains(&method) || path.contains("/Session");
        let is_fine = may_change || !answer.status().is_success();
        (!is_fine).then(|| format!("{answer:?}"))
    });
    is_as_before(&machine);
}
