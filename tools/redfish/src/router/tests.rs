//! The whole service on a stand-in machine, request by request.

mod description;
mod events;
mod fuzz;
mod media;
mod power;
mod trust;

use crate::testing::{Came, Machine, ask, block_on, get, request, with};
use axum::Router;
use axum::http::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// All paths that links lead to from the root, with what is there.
async fn walk(router: &Router, name: &str) -> Vec<(String, Came)> {
    let mut seen = BTreeSet::new();
    let mut open = vec!["/redfish/v1/".to_owned()];
    let mut found = Vec::new();
    while let Some(path) = open.pop() {
        if !seen.insert(path.clone()) {
            continue;
        }
        let came = get(router, &path, name).await;
        links(&came.body, &mut open);
        found.push((path, came));
    }
    found
}

fn links(value: &Value, to: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            to.extend(
                fields
                    .get("@odata.id")
                    .and_then(Value::as_str)
                    .map(str::to_owned),
            );
            fields.values().for_each(|value| links(value, to));
        }
        Value::Array(items) => items.iter().for_each(|item| links(item, to)),
        _ => {}
    }
}

#[test]
fn every_link_leads_to_a_resource_that_says_what_it_is() {
    let machine = Machine::new();
    let metadata = include_str!("../resources/metadata.xml");
    block_on(async {
        let found = walk(&machine.router(), "admin").await;
        let paths: Vec<_> = found.iter().map(|(path, _)| &**path).collect();
        for path in [
            "/redfish/v1/Systems/spare",
            "/redfish/v1/Systems/web/Processors/1",
            "/redfish/v1/Systems/web/Memory/ram",
            "/redfish/v1/Systems/web/EthernetInterfaces/0000-02-10-1",
            "/redfish/v1/Managers/cellvisor",
            "/redfish/v1/Chassis/machine",
            "/redfish/v1/AccountService/Accounts/reader",
            "/redfish/v1/AccountService/Roles/Operator",
        ] {
            assert!(paths.contains(&path), "{path} is not among {paths:?}");
        }
        for (path, came) in &found {
            assert_eq!(came.status, 200, "{path}: {}", came.text);
            assert_eq!(came.body["@odata.id"], **path);
            assert!(came.body["Name"].is_string(), "{path} has no name");
            let kind = came.body["@odata.type"].as_str().expect(path);
            let space = kind.trim_start_matches('#').rsplit_once('.').expect(kind).0;
            assert!(
                metadata.contains(&format!("Namespace=\"{space}\"")),
                "{space}"
            );
            for header in ["etag", "odata-version", "link", "allow", "cache-control"] {
                assert_ne!(came.header(header), "", "{path} has no {header}");
            }
        }
    });
}

#[test]
fn systems_are_cells_and_slices_without_one() {
    let machine = Machine::new();
    machine.set("cells/bad", "panicked");
    block_on(async {
        let router = machine.router();
        let one = async |name: &str| {
            get(&router, &format!("/redfish/v1/Systems/{name}"), "reader")
                .await
                .body
        };
        for (name, power, state, health) in [
            ("web", "On", "Enabled", "OK"),
            ("db", "Off", "StandbyOffline", "OK"),
            ("bad", "Off", "StandbyOffline", "Critical"),
            ("spare", "Off", "StandbyOffline", "OK"),
        ] {
            let body = one(name).await;
            assert_eq!(body["PowerState"], power, "{name}");
            assert_eq!(
                body["Status"],
                json!({ "State": state, "Health": health }),
                "{name}"
            );
        }
        let (web, spare) = (one("web").await, one("spare").await);
        assert_eq!(web["ProcessorSummary"]["Count"], 2);
        assert_eq!(web["MemorySummary"]["TotalSystemMemoryGiB"], 1.5);
        for key in [
            "ProcessorSummary",
            "MemorySummary",
            "Memory",
            "EthernetInterfaces",
        ] {
            assert!(spare.get(key).is_none(), "{key} of a slice without a cell");
        }
        let nic = "/redfish/v1/Systems/web/EthernetInterfaces/0000-02-10-1";
        let nic = get(&router, nic, "reader").await.body;
        assert_eq!(nic["MACAddress"], "02:00:00:00:00:01");
        assert_eq!(nic["VLAN"]["VLANId"], 7);
    });
}

#[test]
fn headers_and_queries_are_as_the_protocol_has_them() {
    let machine = Machine::new();
    block_on(async {
        let router = machine.router();
        let with_header = async |name: &'static str, value: &str, path: &str| {
            let mut request = request(Method::GET, path, "reader");
            let value = value.parse().expect("a header");
            request.headers_mut().insert(name, value);
            ask(&router, request).await
        };
        let root = "/redfish/v1/";
        let etag = get(&router, root, "").await.header("etag").to_owned();
        let same = with_header("if-none-match", &etag, root).await;
        assert_eq!((same.status.as_u16(), &*same.text), (304, ""));
        assert_eq!(
            with_header("if-none-match", "\"x\"", root).await.status,
            200
        );
        assert_eq!(with_header("odata-version", "4.0", root).await.status, 200);
        assert_eq!(with_header("odata-version", "5.0", root).await.status, 412);
        assert_eq!(
            with_header("accept", "application/json;q=0.9", root)
                .await
                .status,
            200
        );
        assert_eq!(with_header("accept", "text/html", root).await.status, 406);
        assert_eq!(get(&router, "/redfish/v1?only", "").await.status, 200);
        assert_eq!(get(&router, "/redfish/v1?$expand=*", "").await.status, 501);
        assert_eq!(
            get(&router, "/redfish/v1/Systems/", "reader").await.status,
            200
        );
        let nothing = get(&router, "/redfish/v1/Nothing", "reader").await;
        assert_eq!(
            (nothing.status.as_u16(), nothing.message()),
            (404, "ResourceMissingAtURI")
        );
        let post = ask(
            &router,
            request(Method::POST, "/redfish/v1/Systems", "admin"),
        )
        .await;
        assert_eq!(
            (post.status.as_u16(), post.header("allow")),
            (405, "GET, HEAD")
        );
        let head = ask(
            &router,
            request(Method::HEAD, "/redfish/v1/Systems", "reader"),
        )
        .await;
        assert_eq!((head.status.as_u16(), &*head.text), (200, ""));
        let yaml = with_header("accept", "application/yaml", "/redfish/v1/openapi.yaml").await;
        assert_eq!(yaml.status, 404, "it is not there, whatever is accepted");
        let xml = with_header("accept", "application/xml", "/redfish/v1/$metadata").await;
        assert_eq!(xml.header("content-type"), "application/xml;charset=utf-8");
    });
}

#[test]
fn a_machine_that_does_not_answer_is_told_without_its_reason() {
    let machine = Machine::new();
    machine.set("fails", "list");
    block_on(async {
        let router = machine.router();
        let came = get(&router, "/redfish/v1/Systems", "admin").await;
        assert_eq!(
            (came.status.as_u16(), came.message()),
            (503, "InternalError")
        );
        assert!(!came.text.contains("no memory"), "{}", came.text);
    });
}

#[test]
fn bodies_that_are_none_are_refused_with_what_is_wrong() {
    let machine = Machine::new();
    let path = "/redfish/v1/Systems/web/Actions/ComputerSystem.Reset";
    block_on(async {
        let router = machine.router();
        for (body, status, message) in [
            ("", 400, "MalformedJSON"),
            ("[]", 400, "MalformedJSON"),
            ("{\"ResetType\":", 400, "MalformedJSON"),
            ("{}", 400, "ActionParameterMissing"),
            ("{\"ResetType\":1}", 400, "ActionParameterValueTypeError"),
            (
                "{\"ResetType\":\"PowerCycle\"}",
                400,
                "ActionParameterValueNotInList",
            ),
            (
                "{\"ResetType\":\"On\",\"x\":1}",
                400,
                "ActionParameterUnknown",
            ),
        ] {
            let came = ask(&router, with(request(Method::POST, path, "admin"), body)).await;
            assert_eq!(
                (came.status.as_u16(), came.message()),
                (status, message),
                "{body}"
            );
        }
        let large = format!("{{\"ResetType\":\"{}\"}}", "x".repeat(1 << 20));
        let came = ask(&router, with(request(Method::POST, path, "admin"), large)).await;
        assert_eq!(came.status, 413);
        let bare = ask(&router, request(Method::POST, path, "admin")).await;
        assert_eq!(bare.status, 415);
        let other = "/redfish/v1/Systems/web/Actions/ComputerSystem.Decommission";
        let came = ask(&router, with(request(Method::POST, other, "admin"), "{}")).await;
        assert_eq!(
            (came.status.as_u16(), came.message()),
            (400, "ActionNotSupported")
        );
    });
    assert!(machine.asked().is_empty());
}
