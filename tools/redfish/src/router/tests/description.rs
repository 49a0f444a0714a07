//! The description of all operations (OpenAPI) by which tools like schemathesis make up
//! requests: `ci/redfish-fuzz`. It is made of the routes, so none is missing, and none is
//! in it that is not there.

use super::fuzz::{LOGIN, OPEN};
use super::*;
use crate::resources::reset::TYPES;
use crate::router::{changes, looks};
use serde_json::Map;
use std::path::PathBuf;

/// Path and methods of each route.
fn routes() -> Vec<(&'static str, Vec<&'static str>)> {
    let all = looks().into_iter().chain(changes());
    all.map(|(path, _, allow)| (path, allow.split(", ").collect()))
        .collect()
}

/// What stands for a part of a path on the stand-in machine.
fn values(part: &str) -> &'static [&'static str] {
    match part {
        "system" => &["web", "db", "spare"],
        "cpu" => &["0", "1"],
        "memory" => &["ram"],
        "nic" => &["0000-02-10-1"],
        "media" => &["Cd"],
        "manager" => &["cellvisor"],
        "chassis" => &["machine"],
        "name" => &["admin", "operator", "reader"],
        "role" => &["Administrator", "Operator", "ReadOnly"],
        "session" | "stream" => &["1"],
        _ => unreachable!("{part} stands for nothing"),
    }
}

/// Actions below a path.
fn actions(path: &str) -> &'static [&'static str] {
    match path.contains("VirtualMedia") {
        true => &["VirtualMedia.InsertMedia", "VirtualMedia.EjectMedia"],
        false => &["ComputerSystem.Reset"],
    }
}

/// What a request brings.
fn body(path: &str, method: &str) -> Option<Value> {
    let one_of = |values: &[&str]| json!({ "type": "string", "enum": values });
    let object = |required: &[&str], properties: Value| {
        json!({ "type": "object", "required": required, "additionalProperties": false,
            "properties": properties })
    };
    let text = json!({ "type": "string" });
    let flag = json!({ "type": "boolean", "enum": [true] });
    Some(match (method, path) {
        ("POST", path) if path.contains("/Sessions") => object(
            &["UserName", "Password"],
            json!({ "UserName": text, "Password": text }),
        ),
        ("POST", path) if path.contains("/VirtualMedia/") => object(
            &[],
            json!({ "Image": text, "Inserted": flag, "WriteProtected": flag }),
        ),
        ("POST", _) => object(
            &["ResetType"],
            json!({ "ResetType": one_of(&TYPES.map(|(name, _)| name)) }),
        ),
        ("PATCH", _) => {
            let boot = json!({
                "BootSourceOverrideTarget": one_of(&["None", "Cd", "Hdd"]),
                "BootSourceOverrideEnabled": one_of(&["Disabled", "Once", "Continuous"]),
            });
            object(&["Boot"], json!({ "Boot": object(&[], boot) }))
        }
        _ => return None,
    })
}

fn operation(path: &str, method: &str) -> Value {
    let parts = path.split('/').filter_map(|part| part.strip_prefix('{'));
    let mut parameters: Vec<_> = parts
        .map(|part| {
            let part = part.trim_end_matches('}');
            let values = match part {
                "action" => actions(path),
                part => values(part),
            };
            json!({ "name": part, "in": "path", "required": true,
                "schema": { "type": "string", "enum": values } })
        })
        .collect();
    parameters.push(json!({ "name": "OData-Version", "in": "header",
        "schema": { "type": "string", "enum": ["4.0"] } }));
    parameters.push(json!({ "name": "only", "in": "query", "schema": { "type": "string" } }));
    let mut value = json!({
        "parameters": parameters,
        "responses": { "default": { "description": "An answer" } },
    });
    if let Some(schema) = body(path, method) {
        value["requestBody"] =
            json!({ "required": true, "content": { "application/json": { "schema": schema } } });
    }
    if OPEN.contains(&path) || (method == "POST" && LOGIN.contains(&path)) {
        value["security"] = json!([]);
    }
    value
}

/// All of it. A stream has no end, and HEAD is GET without a body: both are left out.
fn description() -> Value {
    let mut paths = Map::new();
    for (path, methods) in routes() {
        if path.ends_with("/SSE") {
            continue;
        }
        let methods = methods.into_iter().filter(|method| *method != "HEAD");
        let operations = methods.map(|method| (method.to_lowercase(), operation(path, method)));
        paths.insert(path.to_owned(), Value::Object(operations.collect()));
    }
    json!({
        "openapi": "3.0.3",
        "info": { "title": "cellvisor-redfish", "version": "1" },
        "components": { "securitySchemes": { "basic": { "type": "http", "scheme": "basic" } } },
        "security": [{ "basic": [] }],
        "paths": paths,
    })
}

#[test]
fn the_description_is_that_of_all_routes() {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../ci/redfish-fuzz/openapi.json");
    let made = description();
    if std::env::var_os("UPDATE").is_some() {
        let text = serde_json::to_string_pretty(&made).expect("JSON") + "\n";
        std::fs::write(&file, text).expect("written");
    }
    // As values: in which order a text has its keys depends on what else is built.
    let there = std::fs::read_to_string(&file).unwrap_or_default();
    let there: Value = serde_json::from_str(&there).unwrap_or_default();
    assert!(there == made, "run the tests with UPDATE=1");
}

#[test]
fn each_route_has_the_methods_that_it_says_and_no_other() {
    let machine = Machine::new();
    block_on(async {
        let router = machine.router();
        for (path, methods) in routes() {
            let there = path.replace("{action}", actions(path)[0]);
            let there = there.split('/').map(|part| match part.strip_prefix('{') {
                Some(part) => values(part.trim_end_matches('}'))[0],
                None => part,
            });
            let there = there.collect::<Vec<_>>().join("/");
            for method in ["GET", "HEAD", "POST", "PATCH", "PUT", "DELETE"] {
                if there.ends_with("/SSE") && methods.contains(&method) {
                    continue;
                }
                let named = Method::from_bytes(method.as_bytes()).expect("a method");
                let came = ask(&router, request(named, &there, "admin")).await;
                let is_none = came.status == 405;
                assert_eq!(is_none, !methods.contains(&method), "{method} {there}");
            }
        }
    });
}
