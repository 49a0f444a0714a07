//! `ComputerSystem.Reset`: power of cells.

use super::{demand, systems};
use crate::boots::Boots;
use crate::cells::System;
use crate::http::{Answer, Refusal, Reply, body};
use crate::manage::Done;
use crate::passwords::User;
use crate::power::{self, Verb};
use crate::roles::Privilege;
use crate::service::Service;
use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Request, Uri};
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::Duration;

const ACTION: &str = "ComputerSystem.Reset";
const KEY: &str = "ResetType";

/// How long an answer waits for what it asked for: most failures are seen by then. A
/// system that powers off in order takes longer, which its power state tells.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a cell can be asked for.
pub(crate) const TYPES: [(&str, Verb); 6] = [
    ("On", Verb::On),
    ("ForceOff", Verb::Off),
    ("GracefulShutdown", Verb::Shutdown),
    ("GracefulRestart", Verb::Restart),
    ("ForceRestart", Verb::Reset),
    ("Nmi", Verb::Nmi),
];

/// The action.
pub(crate) async fn reset(
    State(service): State<Arc<Service>>,
    Extension(user): Extension<Option<User>>,
    Path((name, action)): Path<(String, String)>,
    uri: Uri,
    request: Request<Body>,
) -> Reply {
    demand(user.as_ref(), Privilege::ConfigureComponents)?;
    systems::find(&service, &name, &uri).await?;
    if action != ACTION {
        return Err(Refusal::Action(action));
    }
    let verb = verb(&body::object(request).await?)?;
    let Some(leave) = service.manage.leave() else {
        return Err(Refusal::Busy);
    };
    let who = user.map(|user| user.name).unwrap_or_default();
    // It goes on when the client has its answer, or has gone.
    let mut task = tokio::spawn(async move {
        let _leave = leave;
        change(&service, &who, name, verb, &uri).await
    });
    match tokio::time::timeout(PATIENCE, &mut task).await {
        Err(_) => Ok(Answer::Done),
        Ok(Ok(reply)) => reply,
        Ok(Err(_)) => Err(Refusal::Broken),
    }
}

/// Does to a system what its state leaves to do, when those who came before are done.
async fn change(service: &Service, who: &str, name: String, verb: Verb, uri: &Uri) -> Reply {
    if verb == Verb::Off && service.manage.is_patient(&name) {
        // Nobody who wants it off at once waits for that. What it comes to, the turn shows.
        let name = name.clone();
        let boots = Boots::Slice;
        let _ = ask(service, who, &power::Request { verb, name, boots }).await;
    }
    let _turn = match verb {
        // Why another change takes so long may be the question.
        Verb::Nmi => None,
        _ => Some(service.manage.turn(&name, verb).await),
    };
    match needed(verb, &systems::find(service, &name, uri).await?) {
        Needed::Yes => {}
        Needed::No => return Ok(Answer::Done),
        Needed::Never => return Err(Refusal::Standby),
    }
    let boots = match verb {
        Verb::On | Verb::Restart | Verb::Reset => service.media.boots(&name),
        Verb::Off | Verb::Shutdown | Verb::Nmi => Boots::Slice,
    };
    ask(service, who, &power::Request { verb, name, boots }).await
}

fn verb(object: &Map<String, Value>) -> Result<Verb, Refusal> {
    if let Some(key) = object.keys().find(|key| *key != KEY) {
        return Err(Refusal::Extra(ACTION, key.clone()));
    }
    let value = object.get(KEY).ok_or(Refusal::Lacks(ACTION, KEY))?;
    let Some(word) = value.as_str() else {
        return Err(Refusal::Type(value.to_string(), KEY, ACTION));
    };
    let known = TYPES.iter().find(|(name, _)| *name == word);
    known
        .map(|(_, verb)| *verb)
        .ok_or_else(|| Refusal::Value(word.to_owned(), KEY, ACTION))
}

enum Needed {
    Yes,
    /// It is so already.
    No,
    /// It makes no sense for a system that is off.
    Never,
}

fn needed(verb: Verb, system: &System) -> Needed {
    match (verb, system.is_on()) {
        (Verb::On, true) | (Verb::Off | Verb::Shutdown, false) => Needed::No,
        (Verb::Restart | Verb::Reset | Verb::Nmi, false) => Needed::Never,
        _ => Needed::Yes,
    }
}

/// What was to be booted once has been.
fn over(service: &Service, request: &power::Request) {
    if matches!(request.verb, Verb::On | Verb::Restart | Verb::Reset)
        && let Err(why) = service.media.started(&request.name)
    {
        eprintln!("{request}: {why}");
    }
}

/// Has it done, for this user.
async fn ask(service: &Service, who: &str, request: &power::Request) -> Reply {
    eprintln!("{who}: {request}");
    let done = service.manage.run(request).await;
    service.look.forget().await;
    match done {
        Ok(Done::Yes) => {
            over(service, request);
            Ok(Answer::Done)
        }
        Ok(Done::No(why)) => {
            let help = why.help.replace('\n', "; ");
            eprintln!("{request}: {}: {} ({help})", why.what, why.why);
            let told = format!("{}: {}", why.what, why.why);
            Err(Refusal::Refused(told, why.help))
        }
        Err(why) => {
            eprintln!("{request}: {why}");
            Err(Refusal::Broken)
        }
    }
}
