//! Images in drives, and what is booted of them.

use super::*;
use crate::media::iso::tests::image;

const SYSTEM: &str = "/redfish/v1/Systems/web";
const DRIVE: &str = "/redfish/v1/Systems/web/VirtualMedia/Cd";

fn iso() -> Vec<u8> {
    let menu = b"label a\nkernel /vmlinuz\nappend initrd=/initrd quiet\n";
    image(&[
        ("isolinux/isolinux.cfg", menu),
        ("vmlinuz", b"kernel"),
        ("initrd", b"disk"),
    ])
}

async fn act(router: &Router, action: &str, body: Value, name: &str) -> Came {
    let path = format!("{DRIVE}/Actions/VirtualMedia.{action}Media");
    ask(
        router,
        with(request(Method::POST, &path, name), body.to_string()),
    )
    .await
}

async fn boot(router: &Router, body: Value, name: &str) -> Came {
    ask(
        router,
        with(request(Method::PATCH, SYSTEM, name), body.to_string()),
    )
    .await
}

async fn reset(router: &Router, kind: &str) -> Came {
    let path = format!("{SYSTEM}/Actions/ComputerSystem.Reset");
    let body = json!({ "ResetType": kind }).to_string();
    ask(router, with(request(Method::POST, &path, "operator"), body)).await
}

#[test]
fn an_image_is_booted_by_the_next_start_and_no_later_one() {
    let machine = Machine::new();
    let url = machine.image("a.iso", &iso());
    block_on(async {
        let router = machine.router();
        let image = json!({ "Image": url, "Inserted": true, "WriteProtected": true });
        assert_eq!(act(&router, "Insert", image, "operator").await.status, 204);
        let body = get(&router, DRIVE, "reader").await.body;
        assert_eq!(
            (&body["Inserted"], &body["ImageName"]),
            (&json!(true), &json!("a.iso"))
        );
        let once = json!({ "Boot": { "BootSourceOverrideTarget": "Cd", "BootSourceOverrideEnabled": "Once" } });
        let came = boot(&router, once, "operator").await;
        assert_eq!(
            came.body["Boot"]["BootSourceOverrideTarget"], "Cd",
            "{}",
            came.text
        );
        for kind in ["ForceRestart", "ForceRestart", "ForceOff", "On"] {
            assert_eq!(reset(&router, kind).await.status, 204, "{kind}");
        }
        let body = get(&router, SYSTEM, "reader").await.body;
        assert_eq!(body["Boot"]["BootSourceOverrideEnabled"], "Disabled");
    });
    let files = machine.places.boot.join("web").display().to_string();
    let start = format!(
        "start web --kernel {files}/kernel --initrd {files}/initrd --cmdline=console=ttyS0 quiet"
    );
    let restart = "restart web --timeout 0";
    assert_eq!(
        machine.asked(),
        ["kill web", &start, restart, "kill web", "start web"]
    );
    assert!(
        !machine.places.boot.join("web").exists(),
        "copies are not kept"
    );
}

#[test]
fn continuous_holds_until_the_drive_is_empty() {
    let machine = Machine::new();
    let url = machine.image("a.iso", &iso());
    block_on(async {
        let router = machine.router();
        act(&router, "Insert", json!({ "Image": url }), "operator").await;
        let always = json!({ "Boot": { "BootSourceOverrideTarget": "Cd", "BootSourceOverrideEnabled": "Continuous" } });
        assert_eq!(boot(&router, always, "operator").await.status, 200);
        for kind in ["ForceOff", "On", "GracefulRestart"] {
            assert_eq!(reset(&router, kind).await.status, 204, "{kind}");
        }
        assert_eq!(
            act(&router, "Eject", json!({}), "operator").await.status,
            204
        );
        assert_eq!(reset(&router, "GracefulRestart").await.status, 204);
        let body = get(&router, DRIVE, "reader").await.body;
        assert_eq!(
            (&body["Inserted"], &body["Image"]),
            (&json!(false), &Value::Null)
        );
    });
    let asked = machine.asked();
    let verbs: Vec<_> = asked
        .iter()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(verbs, ["kill", "start", "stop", "start", "restart"]);
    assert!(asked[1].ends_with(" --again") && asked[3].ends_with(" --again"));
}

#[test]
fn who_may_not_or_asks_for_what_is_not_there_is_refused() {
    let machine = Machine::new();
    let url = machine.image("a.iso", &iso());
    let bad = machine.image("bad.iso", b"text");
    block_on(async {
        let router = machine.router();
        for (action, body, name, status, message) in [
            (
                "Insert",
                json!({ "Image": url }),
                "reader",
                403,
                "InsufficientPrivilege",
            ),
            ("Eject", json!({}), "reader", 403, "InsufficientPrivilege"),
            ("Insert", json!({ "Image": url }), "", 401, "NoValidSession"),
            (
                "Insert",
                json!({}),
                "operator",
                400,
                "ActionParameterMissing",
            ),
            (
                "Insert",
                json!({ "Image": 1 }),
                "operator",
                400,
                "ActionParameterValueTypeError",
            ),
            (
                "Insert",
                json!({ "Image": "file:///etc/passwd" }),
                "operator",
                400,
                "ActionParameterValueError",
            ),
            (
                "Insert",
                json!({ "Image": "http://127.0.0.1/x" }),
                "operator",
                400,
                "ActionParameterValueError",
            ),
            (
                "Insert",
                json!({ "Image": url, "WriteProtected": false }),
                "operator",
                400,
                "ActionParameterUnknown",
            ),
            (
                "Insert",
                json!({ "Image": url, "UserName": "a" }),
                "operator",
                400,
                "ActionParameterUnknown",
            ),
            (
                "Insert",
                json!({ "Image": bad }),
                "operator",
                409,
                "GeneralError",
            ),
            (
                "Eject",
                json!({ "x": 1 }),
                "operator",
                400,
                "ActionParameterUnknown",
            ),
            ("Bend", json!({}), "operator", 400, "ActionNotSupported"),
        ] {
            let came = act(&router, action, body.clone(), name).await;
            assert_eq!(
                (came.status.as_u16(), came.message()),
                (status, message),
                "{action} {body}"
            );
        }
        let key = "BootSourceOverrideTarget";
        for (body, name, status, message) in [
            (
                json!({ "Boot": { key: "Cd" } }),
                "reader",
                403,
                "InsufficientPrivilege",
            ),
            (
                json!({ "Boot": { key: "Pxe" } }),
                "operator",
                400,
                "PropertyValueNotInList",
            ),
            (
                json!({ "Boot": { key: 1 } }),
                "operator",
                400,
                "PropertyValueTypeError",
            ),
            (
                json!({ "Boot": 1 }),
                "operator",
                400,
                "PropertyValueTypeError",
            ),
            (
                json!({ "Boot": { "x": 1 } }),
                "operator",
                400,
                "PropertyUnknown",
            ),
            (
                json!({ "AssetTag": "x" }),
                "operator",
                400,
                "PropertyUnknown",
            ),
            (json!({}), "operator", 400, "PropertyUnknown"),
        ] {
            let came = boot(&router, body.clone(), name).await;
            assert_eq!(
                (came.status.as_u16(), came.message()),
                (status, message),
                "{body}"
            );
        }
        for path in [
            "/redfish/v1/Systems/web/VirtualMedia/Floppy",
            "/redfish/v1/Systems/x/VirtualMedia",
        ] {
            assert_eq!(get(&router, path, "reader").await.status, 404, "{path}");
        }
        assert_eq!(get(&router, DRIVE, "reader").await.body["Inserted"], false);
    });
    assert!(machine.asked().is_empty());
}

#[test]
fn a_change_of_what_the_client_has_not_seen_is_refused() {
    let machine = Machine::new();
    block_on(async {
        let router = machine.router();
        let etag = get(&router, SYSTEM, "operator")
            .await
            .header("etag")
            .to_owned();
        let change = |etag: &str| {
            let body = json!({ "Boot": { "BootSourceOverrideTarget": "Hdd", "BootSourceOverrideEnabled": "Once" } });
            let mut request = with(request(Method::PATCH, SYSTEM, "operator"), body.to_string());
            request
                .headers_mut()
                .insert("if-match", etag.parse().expect("a header"));
            request
        };
        let came = ask(&router, change("\"other\"")).await;
        assert_eq!(
            (came.status.as_u16(), came.message()),
            (412, "PreconditionFailed")
        );
        assert_eq!(ask(&router, change(&etag)).await.status, 200);
    });
}
