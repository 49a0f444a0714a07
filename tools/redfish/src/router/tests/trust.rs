//! Who sees what, and who may do what.

use super::*;
use crate::testing::basic;
use axum::body::Body;
use axum::http::Request;

const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";
const RESET: &str = "/redfish/v1/Systems/web/Actions/ComputerSystem.Reset";

async fn login(router: &Router, name: &str, password: &str) -> Came {
    let body = json!({ "UserName": name, "Password": password }).to_string();
    ask(router, with(request(Method::POST, SESSIONS, ""), body)).await
}

async fn by_token(router: &Router, method: Method, path: &str, token: &str) -> Came {
    let builder = Request::builder().method(method).uri(path);
    let request = builder.header("x-auth-token", token).body(Body::empty());
    ask(router, request.expect("a request")).await
}

#[test]
fn strangers_see_the_root_and_nothing_else() {
    let machine = Machine::new();
    block_on(async {
        let router = machine.router();
        let found = walk(&router, "admin").await;
        for (path, _) in &found {
            let came = get(&router, path, "").await;
            let status = if path == "/redfish/v1/" { 200 } else { 401 };
            assert_eq!(came.status, status, "{path}");
        }
        let nowhere = get(&router, "/redfish/v1/Systems/nothing", "").await;
        let known = get(&router, "/redfish/v1/Systems/web", "").await;
        assert_eq!(
            nowhere.text, known.text,
            "what is there cannot be told from what is not"
        );
        assert!(!known.text.contains("web"), "{}", known.text);
        assert!(known.header("www-authenticate").starts_with("Basic"));
        let post = with(
            request(Method::POST, RESET, ""),
            "{\"ResetType\":\"ForceOff\"}",
        );
        assert_eq!(ask(&router, post).await.status, 401);
    });
    assert!(machine.asked().is_empty());
}

#[test]
fn wrong_credentials_are_none() {
    let machine = Machine::new();
    block_on(async {
        let router = machine.router();
        for value in [
            basic("admin", "wrong"),
            basic("admin", ""),
            basic("nobody", "admin"),
            "Basic".to_owned(),
            "Basic !!!".to_owned(),
            "Basic YWRtaW4=".to_owned(),
            "Bearer YWRtaW46YWRtaW4=".to_owned(),
        ] {
            let builder = Request::builder().uri("/redfish/v1/Systems");
            let request = builder.header("authorization", &value).body(Body::empty());
            let came = ask(&router, request.expect("a request")).await;
            assert_eq!(
                (came.status.as_u16(), came.message()),
                (401, "NoValidSession"),
                "{value}"
            );
        }
        assert_eq!(
            by_token(&router, Method::GET, "/redfish/v1/Systems", "x")
                .await
                .status,
            401
        );
        for (name, password) in [("admin", "wrong"), ("nobody", "x"), ("", "")] {
            let came = login(&router, name, password).await;
            assert_eq!(
                (came.status.as_u16(), came.header("x-auth-token")),
                (401, "")
            );
        }
    });
}

#[test]
fn roles_are_borders() {
    let machine = Machine::new();
    block_on(async {
        let router = machine.router();
        for (name, status) in [("reader", 403), ("operator", 204), ("admin", 204)] {
            let post = with(request(Method::POST, RESET, name), "{\"ResetType\":\"On\"}");
            assert_eq!(ask(&router, post).await.status, status, "{name}");
        }
        for (name, whose, status) in [
            ("reader", "reader", 200),
            ("reader", "admin", 403),
            ("reader", "nobody", 403),
            ("operator", "admin", 403),
            ("admin", "reader", 200),
            ("admin", "nobody", 404),
        ] {
            let path = format!("/redfish/v1/AccountService/Accounts/{whose}");
            assert_eq!(
                get(&router, &path, name).await.status,
                status,
                "{name} {whose}"
            );
        }
    });
}

#[test]
fn a_session_is_its_users_until_it_ends() {
    let machine = Machine::new();
    block_on(async {
        let router = machine.router();
        let came = login(&router, "reader", "reader").await;
        assert_eq!(came.status, 201);
        let (token, place) = (came.header("x-auth-token"), came.header("location"));
        assert_eq!(came.body["@odata.id"], place);
        assert_eq!(came.body["UserName"], "reader");
        assert!(
            !came.text.contains(token),
            "the token is in the header alone"
        );
        let systems = "/redfish/v1/Systems";
        assert_eq!(
            by_token(&router, Method::GET, systems, token).await.status,
            200
        );
        let delete = |name: &str| request(Method::DELETE, place, name);
        assert_eq!(ask(&router, delete("operator")).await.status, 403);
        assert_eq!(
            by_token(&router, Method::DELETE, place, token).await.status,
            204
        );
        assert_eq!(
            by_token(&router, Method::GET, systems, token).await.status,
            401
        );
        assert_eq!(ask(&router, delete("admin")).await.status, 404);
        let other = login(&router, "reader", "reader").await;
        let place = other.header("location");
        assert_eq!(
            ask(&router, request(Method::DELETE, place, "admin"))
                .await
                .status,
            204
        );
    });
}

#[test]
fn no_more_sessions_than_there_is_room_for() {
    let machine = Machine::new();
    block_on(async {
        let router = machine.router();
        let mut last = 0;
        for _ in 0..17 {
            last = login(&router, "reader", "reader").await.status.as_u16();
        }
        assert_eq!(last, 503);
        assert_eq!(login(&router, "operator", "operator").await.status, 201);
    });
}

#[test]
fn what_a_login_must_be() {
    let machine = Machine::new();
    block_on(async {
        let router = machine.router();
        for (body, message) in [
            ("{}", "PropertyMissing"),
            ("{\"UserName\":\"reader\"}", "PropertyMissing"),
            (
                "{\"UserName\":1,\"Password\":\"x\"}",
                "PropertyValueTypeError",
            ),
            (
                "{\"UserName\":\"a\",\"Password\":\"b\",\"c\":1}",
                "PropertyUnknown",
            ),
        ] {
            let came = ask(&router, with(request(Method::POST, SESSIONS, ""), body)).await;
            assert_eq!(
                (came.status.as_u16(), came.message()),
                (400, message),
                "{body}"
            );
        }
    });
}
