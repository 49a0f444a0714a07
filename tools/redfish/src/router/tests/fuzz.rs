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

/// A request: method, path, query, body, and who asks.
fn requests() -> impl Strategy<Value = Option<Request<Body>>> {
    let method = "GET|HEAD|POST|PATCH|PUT|DELETE|OPTIONS|[A-Z]{1,8}";
    let parts = proptest::collection::vec(PART, 0..7);
    let name = "admin|admin|admin|reader|reader|operator||[a-z:]{1,5}";
    let query = "|[?][$a-z=&*%]{0,12}";
    let header = "[ -~]{0,40}";
    (method, parts, query, BODY, name, header).prop_map(
        |(method, parts, query, body, name, header)| {
            let root = if parts.first().is_some_and(|part| part == "redfish") {
                ""
            } else {
                "/redfish/v1"
            };
            let path = format!("{root}/{}{query}", parts.join("/"));
            let mut builder = Request::builder().method(&*method).uri(path);
            if !name.is_empty() {
                builder = builder.header("authorization", basic(&name, &name));
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

#[test]
fn whatever_is_asked_is_answered() {
    let machine = Machine::new();
    let router = machine.router();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime");
    let mut runner = TestRunner::new(ProptestConfig::with_cases(CASES));
    let asked = std::cell::Cell::new(0);
    let ran = runner.run(&requests(), |request| {
        if let Some(request) = request {
            asked.set(asked.get() + 1);
            let shown = format!("{request:?}");
            let answer = crate::router::answer(router.clone(), request);
            let answer = runtime.block_on(answer);
            prop_assert_eq!(wrong(&answer), None, "{}", shown);
        }
        Ok(())
    });
    ran.expect("an answer to each");
    let asked = asked.get();
    assert!(asked > CASES / 2, "{asked} of {CASES} were requests");
}
