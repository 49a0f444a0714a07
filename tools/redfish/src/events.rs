//! What happens to cells, for those who listen.
//!
//! While somebody does, one `cellctl events` runs. Each listener has a short queue of its
//! own; one that does not read it is cut, and may come again.

use crate::error::Error;
use crate::look::Look;
use serde::Deserialize;
use serde_json::{Value, json};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::sync::mpsc;

/// Where the stream is.
pub(crate) const STREAM: &str = "/redfish/v1/EventService/SSE";

/// Listeners at a time.
const MOST: usize = 16;

/// Events that a listener may be behind.
const QUEUE: usize = 64;

/// How often a silent stream says that it is there, so that its end is noticed.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(20);

/// Until `cellctl` is asked again, after it ended with the monitor.
const PAUSE: Duration = Duration::from_secs(5);

/// Who listens.
#[derive(Clone, Debug)]
pub(crate) struct Listener {
    pub(crate) id: String,
    pub(crate) user: String,
    queue: mpsc::Sender<String>,
}

#[derive(Default)]
struct Table {
    listeners: Vec<Listener>,
    /// Listeners so far, and events.
    count: u64,
    events: u64,
    /// `cellctl` is being followed.
    followed: bool,
}

/// All listeners.
#[derive(Default)]
pub(crate) struct Events {
    table: Mutex<Table>,
}

/// One line of `cellctl events --json`, as far as it is wanted here.
#[derive(Debug, Deserialize)]
struct Line {
    time: String,
    cell: String,
    state: String,
    starts: u32,
}

impl Events {
    /// Lets a user listen; `None` if there are too many. Events come from then on.
    pub(crate) fn listen(
        self: &Arc<Self>,
        look: &Arc<Look>,
        user: &str,
    ) -> Option<mpsc::Receiver<String>> {
        let mut table = self.table();
        if table.listeners.len() >= MOST {
            return None;
        }
        let (queue, receiver) = mpsc::channel(QUEUE);
        table.count += 1;
        let id = table.count.to_string();
        table.listeners.push(Listener {
            id,
            user: user.to_owned(),
            queue,
        });
        if !table.followed {
            table.followed = true;
            tokio::spawn(Arc::clone(self).follow(Arc::clone(look)));
        }
        Some(receiver)
    }

    /// Those who listen.
    pub(crate) fn list(&self) -> Vec<Listener> {
        self.table().listeners.clone()
    }

    /// Ends a stream.
    pub(crate) fn end(&self, id: &str) {
        self.table().listeners.retain(|listener| listener.id != id);
    }

    /// The table, without those who have gone.
    fn table(&self) -> MutexGuard<'_, Table> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table
            .listeners
            .retain(|listener| !listener.queue.is_closed());
        table
    }

    /// True while somebody listens; who follows ends otherwise.
    fn is_wanted(&self) -> bool {
        let mut table = self.table();
        table.followed = !table.listeners.is_empty();
        table.followed
    }

    async fn follow(self: Arc<Self>, look: Arc<Look>) {
        while self.is_wanted() {
            if let Err(why) = self.read(&look).await {
                eprintln!("{why}");
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Passes on what `cellctl` says until it ends, or nobody listens.
    async fn read(&self, look: &Look) -> crate::error::Result<()> {
        let failed = |e: std::io::Error| {
            let help = "systemctl status cellvisor; its group `cellvisor` may look";
            Error::new("cellctl events", e.to_string(), help)
        };
        let mut child = Command::new(look.cellctl())
            .args(["--json", "events", "--new"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let Some(output) = child.stdout.take() else {
            return Ok(());
        };
        let mut lines = BufReader::new(output).lines();
        while self.is_wanted() {
            let Ok(line) = tokio::time::timeout(HEARTBEAT, lines.next_line()).await else {
                continue;
            };
            let Some(line) = line.map_err(failed)? else {
                return Ok(());
            };
            if let Ok(line) = serde_json::from_str::<Line>(&line) {
                look.forget().await;
                self.publish(&line, look.is_slice(&line.cell));
            }
        }
        Ok(())
    }

    /// Puts an event into each queue; listeners whose queue is full are cut.
    fn publish(&self, line: &Line, is_slice: bool) {
        let mut table = self.table();
        table.events += 1;
        let id = table.events;
        let text = format!("id: {id}\ndata: {}\n\n", event(id, line, is_slice));
        let takes = |listener: &Listener| listener.queue.try_send(text.clone()).is_ok();
        table.listeners.retain(takes);
    }
}

/// An event in Redfish's form, with a message of its registry.
///
/// Spec: DSP8011 "Redfish standard registries" (ResourceEvent).
fn event(id: u64, line: &Line, is_slice: bool) -> Value {
    let name = &*line.cell;
    let (key, text, args, severity) = match (&*line.state, is_slice) {
        ("running", _) => (
            "ResourcePoweredOn",
            format!("The resource '{name}' has powered on."),
            vec![name],
            "OK",
        ),
        ("stopped" | "powered-off" | "reset", _) => (
            "ResourcePoweredOff",
            format!("The resource '{name}' has powered off."),
            vec![name],
            "OK",
        ),
        ("failed" | "panicked", _) => (
            "ResourceStatusChangedCritical",
            format!("The health of resource '{name}' has changed to Critical."),
            vec![name, "Critical"],
            "Critical",
        ),
        ("loadable", false) if line.starts == 0 => {
            let text = "The resource was created successfully.".to_owned();
            ("ResourceCreated", text, vec![], "OK")
        }
        ("destroyed", false) => {
            let text = "The resource was removed successfully.".to_owned();
            ("ResourceRemoved", text, vec![], "OK")
        }
        _ => {
            let text = "One or more resource properties have changed.".to_owned();
            ("ResourceChanged", text, vec![], "OK")
        }
    };
    json!({
        "@odata.type": "#Event.v1_7_0.Event",
        "Id": id.to_string(),
        "Name": "Cells",
        "Events": [{
            "EventType": "Event",
            "EventId": id.to_string(),
            "EventTimestamp": line.time,
            "MemberId": "0",
            "MessageId": format!("ResourceEvent.1.4.{key}"),
            "Message": text,
            "MessageArgs": args,
            "MessageSeverity": severity,
            "OriginOfCondition": { "@odata.id": format!("/redfish/v1/Systems/{name}") },
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_messages_of_the_registry() {
        for (state, starts, is_slice, key) in [
            ("running", 1, false, "ResourcePoweredOn"),
            ("powered-off", 1, true, "ResourcePoweredOff"),
            ("panicked", 1, false, "ResourceStatusChangedCritical"),
            ("loadable", 0, false, "ResourceCreated"),
            ("loadable", 0, true, "ResourceChanged"),
            ("loadable", 1, false, "ResourceChanged"),
            ("destroyed", 1, false, "ResourceRemoved"),
            ("destroyed", 1, true, "ResourceChanged"),
        ] {
            let line = Line {
                time: "2026-11-27T10:00:00.000Z".to_owned(),
                cell: "a".to_owned(),
                state: state.to_owned(),
                starts,
            };
            let event = event(7, &line, is_slice);
            let id = format!("ResourceEvent.1.4.{key}");
            assert_eq!(
                event["Events"][0]["MessageId"], id,
                "{state} {starts} {is_slice}"
            );
        }
    }
}
