//! Power of cells: what is asked of `cellctl`, and what comes of it.

use super::*;
use std::time::{Duration, Instant};

async fn reset(router: &Router, name: &str, kind: &str) -> Came {
    let path = format!("/redfish/v1/Systems/{name}/Actions/ComputerSystem.Reset");
    let body = json!({ "ResetType": kind }).to_string();
    ask(router, with(request(Method::POST, &path, "operator"), body)).await
}

#[test]
fn each_reset_is_a_verb_of_cellctl() {
    for (name, kind, status, asked, state) in [
        ("web", "On", 204, None, "running"),
        ("web", "ForceOff", 204, Some("kill web"), "stopped"),
        (
            "web",
            "GracefulShutdown",
            204,
            Some("stop web"),
            "powered-off",
        ),
        (
            "web",
            "GracefulRestart",
            204,
            Some("restart web"),
            "running",
        ),
        (
            "web",
            "ForceRestart",
            204,
            Some("restart web --timeout 0"),
            "running",
        ),
        ("web", "Nmi", 204, Some("nmi web"), "running"),
        ("db", "On", 204, Some("start db"), "running"),
        ("db", "ForceOff", 204, None, "stopped"),
        ("db", "GracefulShutdown", 204, None, "stopped"),
        ("db", "GracefulRestart", 409, None, "stopped"),
        ("db", "ForceRestart", 409, None, "stopped"),
        ("db", "Nmi", 409, None, "stopped"),
    ] {
        let machine = Machine::new();
        let came = block_on(async { reset(&machine.router(), name, kind).await });
        assert_eq!(came.status, status, "{name} {kind}: {}", came.text);
        let asked: Vec<_> = asked.into_iter().map(str::to_owned).collect();
        assert_eq!(machine.asked(), asked, "{name} {kind}");
        assert_eq!(machine.state(name).as_deref(), Some(state), "{name} {kind}");
    }
}

#[test]
fn a_slice_without_a_cell_gets_one_when_it_is_turned_on() {
    let machine = Machine::new();
    block_on(async {
        let router = machine.router();
        assert_eq!(reset(&router, "spare", "On").await.status, 204);
        let body = get(&router, "/redfish/v1/Systems/spare", "reader")
            .await
            .body;
        assert_eq!(body["PowerState"], "On");
        assert_eq!(reset(&router, "nothing", "On").await.status, 404);
    });
    let file = machine.places.slices.join("spare.toml");
    let create = format!("create {}", file.display());
    assert_eq!(machine.asked(), [&*create, "start spare"]);
}

#[test]
fn a_cell_that_was_made_and_does_not_start_is_gone_again() {
    let machine = Machine::new();
    machine.set("fails", "start");
    block_on(async {
        let came = reset(&machine.router(), "spare", "On").await;
        assert_eq!(
            (came.status.as_u16(), came.message()),
            (409, "GeneralError")
        );
        let info = &came.body["error"]["@Message.ExtendedInfo"][0];
        assert_eq!(info["Message"], "cannot start: no memory");
        assert_eq!(info["Resolution"], "take less");
    });
    assert_eq!(machine.state("spare"), None);
}

#[test]
fn a_system_that_takes_its_time_is_not_waited_for_and_goes_on() {
    let machine = Machine::new();
    machine.set("slow", "6");
    block_on(async {
        let router = machine.router();
        let since = Instant::now();
        assert_eq!(reset(&router, "web", "GracefulShutdown").await.status, 204);
        assert!(since.elapsed() < Duration::from_secs(6));
        assert_eq!(machine.state("web").as_deref(), Some("running"));
        while machine.state("web").as_deref() == Some("running") {
            assert!(since.elapsed() < Duration::from_secs(60), "it is never off");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    assert_eq!(machine.state("web").as_deref(), Some("powered-off"));
}

#[test]
fn a_change_waits_for_the_one_before_it_and_looks_at_what_came_of_it() {
    for (first, then, asked, state) in [
        // Off while the cell is being made: it is made, started, and cut off.
        (
            ("spare", "On"),
            "ForceOff",
            &["create", "start spare", "kill spare"][..],
            "stopped",
        ),
        (("spare", "On"), "On", &["create", "start spare"], "running"),
        (
            ("web", "GracefulShutdown"),
            "On",
            &["stop web", "start web"],
            "running",
        ),
        (
            ("web", "GracefulShutdown"),
            "GracefulShutdown",
            &["stop web"],
            "powered-off",
        ),
        // But why one takes so long may be asked meanwhile.
        (
            ("web", "GracefulShutdown"),
            "Nmi",
            &["stop web", "nmi web"],
            "powered-off",
        ),
        // And nobody waits for a system in vain whose power is to be cut.
        (
            ("web", "GracefulShutdown"),
            "ForceOff",
            &["stop web", "kill web"],
            "stopped",
        ),
    ] {
        let machine = Machine::new();
        machine.set("slow", "2");
        let ((name, kind), since) = (first, Instant::now());
        block_on(async {
            let router = machine.router();
            let second = async {
                while machine.asked().is_empty() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                let came = reset(&router, name, then).await;
                (came.status, since.elapsed())
            };
            let (before, (after, took)) = tokio::join!(reset(&router, name, kind), second);
            assert_eq!((before.status.as_u16(), after.as_u16()), (204, 204));
            let overtakes = matches!((kind, then), (_, "Nmi") | ("GracefulShutdown", "ForceOff"));
            assert_eq!(took < Duration::from_secs(2), overtakes, "{took:?}");
        });
        let told = machine.asked();
        let told: Vec<_> = told
            .iter()
            .map(|line| line.split_once(" /").map_or(&**line, |(verb, _)| verb))
            .collect();
        assert_eq!(told, asked, "{kind}, {then}");
        assert_eq!(
            machine.state(name).as_deref(),
            Some(state),
            "{kind}, {then}"
        );
    }
}

#[test]
fn too_many_changes_at_once_are_refused_for_now() {
    let machine = Machine::new();
    machine.set("slow", "1");
    block_on(async {
        let router = machine.router();
        let all = (0..17).map(|_| reset(&router, "web", "GracefulShutdown"));
        let all = futures_util::future::join_all(all).await;
        let (busy, done): (Vec<_>, Vec<_>) = all.iter().partition(|came| came.status == 503);
        assert_eq!((busy.len(), done.len()), (1, 16));
        assert!(done.iter().all(|came| came.status == 204));
        assert_ne!(busy[0].header("retry-after"), "");
    });
    assert_eq!(machine.asked(), ["stop web"]);
}

#[test]
fn without_root_behind_the_socket_nothing_changes() {
    let machine = Machine::new();
    std::fs::remove_file(&machine.places.power).expect("a socket");
    block_on(async {
        let came = reset(&machine.router(), "web", "ForceOff").await;
        assert_eq!(
            (came.status.as_u16(), came.message()),
            (503, "InternalError")
        );
    });
    assert!(machine.asked().is_empty());
}
