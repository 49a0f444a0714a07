//! Streams of events.

use super::*;
use crate::router::answer;
use axum::body::{Body, Bytes};
use futures_util::StreamExt;
use std::time::{Duration, Instant};

const STREAM: &str = "/redfish/v1/EventService/SSE";
const ALL: &str = "/redfish/v1/EventService/Subscriptions";

/// A stream of a user's.
async fn open(router: &Router, name: &str) -> impl StreamExt<Item = Bytes> + Unpin {
    let response = answer(router.clone(), request(Method::GET, STREAM, name)).await;
    assert_eq!(response.status(), 200);
    let kind = response.headers().get("content-type").expect("a type");
    assert_eq!(kind, "text/event-stream");
    let body: Body = response.into_body();
    body.into_data_stream().map(|chunk| chunk.expect("a chunk"))
}

async fn next(stream: &mut (impl StreamExt<Item = Bytes> + Unpin)) -> Option<String> {
    let chunk = tokio::time::timeout(Duration::from_secs(30), stream.next());
    let chunk = chunk.await.expect("a word in time")?;
    Some(String::from_utf8(chunk.to_vec()).expect("text"))
}

#[test]
fn what_happens_to_a_cell_is_told_to_all_who_listen() {
    let machine = Machine::new();
    block_on(async {
        let router = machine.router();
        let (mut one, mut two) = (open(&router, "reader").await, open(&router, "admin").await);
        for stream in [&mut one, &mut two] {
            assert_eq!(next(stream).await.as_deref(), Some(": here\n\n"));
        }
        // Whoever follows has to be there first.
        let since = Instant::now();
        while !machine.path().join("events").exists() {
            assert!(since.elapsed() < Duration::from_secs(30), "nobody follows");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        machine.set(
            "events",
            "{\"time\":\"2026-11-27T10:00:00Z\",\"cell\":\"web\",\"id\":1,\"state\":\"powered-off\",\"starts\":1}\n",
        );
        for stream in [&mut one, &mut two] {
            let told = next(stream).await.expect("an event");
            let data = told.strip_prefix("id: 1\ndata: ").expect(&told);
            let event: Value = serde_json::from_str(data).expect("JSON");
            assert_eq!(
                event["Events"][0]["MessageId"],
                "ResourceEvent.1.4.ResourcePoweredOff"
            );
            let origin = &event["Events"][0]["OriginOfCondition"]["@odata.id"];
            assert_eq!(origin, "/redfish/v1/Systems/web");
        }
    });
}

#[test]
fn a_stream_is_a_subscription_until_one_of_both_ends() {
    let machine = Machine::new();
    block_on(async {
        let router = machine.router();
        let count = async || get(&router, ALL, "reader").await.body["Members@odata.count"].clone();
        let mut one = open(&router, "reader").await;
        let two = open(&router, "admin").await;
        assert_eq!(count().await, 2);
        drop(two);
        assert_eq!(count().await, 1);
        let all = get(&router, ALL, "reader").await.body;
        let path = all["Members"][0]["@odata.id"]
            .as_str()
            .expect("a path")
            .to_owned();
        let delete = |name: &str| request(Method::DELETE, &path, name);
        assert_eq!(
            get(&router, &path, "operator").await.body["SubscriptionType"],
            "SSE"
        );
        assert_eq!(ask(&router, delete("operator")).await.status, 403);
        assert_eq!(ask(&router, delete("reader")).await.status, 204);
        assert_eq!(next(&mut one).await.as_deref(), Some(": here\n\n"));
        assert_eq!(next(&mut one).await, None, "it has ended");
        assert_eq!(count().await, 0);
    });
}

#[test]
fn streams_have_an_end_too() {
    let machine = Machine::new();
    block_on(async {
        let router = machine.router();
        let mut streams = Vec::new();
        for _ in 0..16 {
            streams.push(open(&router, "reader").await);
        }
        assert_eq!(get(&router, STREAM, "reader").await.status, 503);
        assert_eq!(get(&router, STREAM, "").await.status, 401);
        streams.pop();
        drop(open(&router, "reader").await);
        let mut json = request(Method::GET, STREAM, "reader");
        let value = "application/json".parse().expect("a header");
        json.headers_mut().insert("accept", value);
        assert_eq!(ask(&router, json).await.status, 406);
    });
}
