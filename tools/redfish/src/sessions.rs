//! Sessions: who logged in and comes back with a token.
//!
//! Of a token its digest alone is kept, by which it is found: neither a look at this
//! process's memory nor the time that a search takes tells a token.

use crate::error::Result;
use crate::passwords::{User, random};
use ring::digest;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Sessions at a time.
const MOST: usize = 64;

/// Of one account, so that none keeps the others out.
const MOST_OF_ONE: usize = 16;

/// One session.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) user: User,
    /// Where it came from.
    pub(crate) from: String,
    pub(crate) since: SystemTime,
    token: Vec<u8>,
    used: Instant,
}

/// All sessions.
pub(crate) struct Sessions {
    timeout: Duration,
    all: Mutex<Vec<Session>>,
}

impl Sessions {
    pub(crate) fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            all: Mutex::default(),
        }
    }

    /// Seconds that one lives without a request.
    pub(crate) fn timeout(&self) -> u64 {
        self.timeout.as_secs()
    }

    /// Begins one: the session and its token, or `None` if there are too many.
    ///
    /// # Errors
    ///
    /// The kernel gives no random numbers.
    pub(crate) fn begin(&self, user: User, from: String) -> Result<Option<(Session, String)>> {
        let token = hex(&random::<32>()?);
        let session = Session {
            id: hex(&random::<8>()?),
            user,
            from,
            since: SystemTime::now(),
            token: digested(&token),
            used: Instant::now(),
        };
        let mut all = self.alive();
        let of_one = all.iter().filter(|s| s.user.name == session.user.name);
        if of_one.count() >= MOST_OF_ONE || all.len() >= MOST {
            return Ok(None);
        }
        all.push(session.clone());
        Ok(Some((session, token)))
    }

    /// The session of a token, which lives longer by that.
    pub(crate) fn of(&self, token: &str) -> Option<Session> {
        let token = digested(token);
        let mut all = self.alive();
        let session = all.iter_mut().find(|session| session.token == token)?;
        session.used = Instant::now();
        Some(session.clone())
    }

    /// Those that there are, in the order in which they began.
    pub(crate) fn list(&self) -> Vec<Session> {
        self.alive().clone()
    }

    pub(crate) fn end(&self, id: &str) {
        self.alive().retain(|session| session.id != id);
    }

    /// The table, without those whose time is over.
    fn alive(&self) -> MutexGuard<'_, Vec<Session>> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|session| session.used.elapsed() < self.timeout);
        all
    }
}

fn digested(token: &str) -> Vec<u8> {
    digest::digest(&digest::SHA256, token.as_bytes())
        .as_ref()
        .to_vec()
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roles::Role;

    fn user(name: &str) -> User {
        User {
            name: name.to_owned(),
            role: Role::ReadOnly,
        }
    }

    #[test]
    fn a_token_is_good_until_its_session_ends() {
        let sessions = Sessions::new(Duration::from_secs(60));
        let begin = || {
            sessions
                .begin(user("a"), "::1".into())
                .expect("random numbers")
        };
        let ((one, token), (two, other)) = (begin().expect("room"), begin().expect("room"));
        assert_ne!(token, other);
        assert_eq!(sessions.of(&token).expect("it").id, one.id);
        assert!(sessions.of("").is_none() && sessions.of(&one.id).is_none());
        sessions.end(&one.id);
        assert!(sessions.of(&token).is_none());
        assert_eq!(sessions.of(&other).expect("it").id, two.id);
    }

    #[test]
    fn one_account_leaves_room_for_others() {
        let sessions = Sessions::new(Duration::from_secs(60));
        let begin = |name: &str| sessions.begin(user(name), String::new()).expect("numbers");
        let made = (0..MOST).filter(|_| begin("a").is_some()).count();
        assert_eq!(made, MOST_OF_ONE);
        assert!(begin("b").is_some());
        let made = (0..100)
            .filter(|n| begin(&format!("c{n}")).is_some())
            .count();
        assert_eq!(made, MOST - MOST_OF_ONE - 1);
    }

    #[test]
    fn a_session_that_nobody_uses_is_over() {
        let sessions = Sessions::new(Duration::ZERO);
        let (_, token) = sessions
            .begin(user("a"), String::new())
            .expect("n")
            .expect("room");
        assert!(sessions.of(&token).is_none());
        assert!(sessions.list().is_empty());
    }
}
