//! Who somebody is, by name and password.
//!
//! Hashing is slow and takes memory by intention, so few run at a time, whoever asks. Who
//! uses basic authentication brings the password with each request: the last good one of
//! each account is remembered, as a code that is worth nothing without this process's key.

use crate::config::Account;
use crate::error::{Error, Result};
use crate::roles::Role;
use argon2::password_hash::{PasswordHasher, SaltString};
use argon2::{Argon2, PasswordHash, PasswordVerifier};
use ring::{hmac, rand};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

/// Passwords that are hashed at a time.
const AT_A_TIME: usize = 2;

/// What a wrong password costs at least.
const PENALTY: Duration = Duration::from_millis(if cfg!(test) { 5 } else { 500 });

/// Longer ones are wrong.
const LONGEST: usize = 256;

/// Hashed where there is no account of the name, so that time does not tell.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$ZGlja2VzLXNhbHo$P4ZmzTQEgW5xbD2CA0nOi0rK1YTPYUHPiZ2ah/n6jho";

/// Who makes a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) role: Role,
}

/// The accounts of the file.
pub(crate) struct Passwords {
    accounts: Vec<Account>,
    gate: Arc<Semaphore>,
    key: hmac::Key,
    seen: Mutex<HashMap<String, hmac::Tag>>,
}

impl Passwords {
    /// # Errors
    ///
    /// The kernel gives no random numbers.
    pub(crate) fn new(accounts: Vec<Account>) -> Result<Self> {
        let random = rand::SystemRandom::new();
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &random).map_err(|_| no_random())?;
        Ok(Self {
            accounts,
            gate: Arc::new(Semaphore::new(AT_A_TIME)),
            key,
            seen: Mutex::default(),
        })
    }

    pub(crate) fn accounts(&self) -> &[Account] {
        &self.accounts
    }

    /// The user of this name, if the password is right. A wrong one takes its time.
    pub(crate) async fn check(&self, name: &str, password: &str) -> Option<User> {
        let account = self.accounts.iter().find(|account| account.name == name);
        let user = account.map(|account| User {
            name: account.name.clone(),
            role: account.role,
        });
        if user.is_some() && self.was_right(name, password) {
            return user;
        }
        let hash = account.map_or(NOBODY, |account| &account.password);
        let right = self.hashes_to(password, hash.to_owned()).await;
        match user.filter(|_| right) {
            Some(user) => {
                let tag = hmac::sign(&self.key, &together(name, password));
                self.seen().insert(user.name.clone(), tag);
                Some(user)
            }
            None => {
                tokio::time::sleep(PENALTY).await;
                None
            }
        }
    }

    fn was_right(&self, name: &str, password: &str) -> bool {
        let seen = self.seen().get(name).copied();
        let text = together(name, password);
        seen.is_some_and(|tag| hmac::verify(&self.key, &text, tag.as_ref()).is_ok())
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, HashMap<String, hmac::Tag>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn hashes_to(&self, password: &str, hash: String) -> bool {
        if password.len() > LONGEST {
            return false;
        }
        let Ok(permit) = Arc::clone(&self.gate).acquire_owned().await else {
            return false;
        };
        let password = password.to_owned();
        // The permit goes along: who hangs up does not make room for another one.
        let hashing = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let hash = PasswordHash::new(&hash).ok()?;
            let verdict = Argon2::default().verify_password(password.as_bytes(), &hash);
            verdict.ok()
        });
        hashing.await.is_ok_and(|verdict| verdict.is_some())
    }
}

/// Names have no zero bytes, so that no two pairs are the same.
fn together(name: &str, password: &str) -> Vec<u8> {
    [name.as_bytes(), &[0], password.as_bytes()].concat()
}

/// What stands for a password in the file.
///
/// # Errors
///
/// The password is empty or too long, or the kernel gives no random numbers.
pub(crate) fn hash(password: &str) -> Result<String> {
    if !(1..=LONGEST).contains(&password.len()) {
        let why = format!("it has {} bytes", password.len());
        let help = format!("give one of 1 to {LONGEST} bytes on standard input");
        return Err(Error::new("cannot use this password", why, help));
    }
    let salt: [u8; 16] = random()?;
    let failed = |e: argon2::password_hash::Error| {
        Error::new("cannot hash", e.to_string(), "this should not happen")
    };
    let salt = SaltString::encode_b64(&salt).map_err(failed)?;
    let hash = Argon2::default().hash_password(password.as_bytes(), &salt);
    hash.map(|hash| hash.to_string()).map_err(failed)
}

/// So many random bytes.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    rand::SecureRandom::fill(&rand::SystemRandom::new(), &mut bytes).map_err(|_| no_random())?;
    Ok(bytes)
}

fn no_random() -> Error {
    let why = "getrandom failed";
    Error::new("the kernel gives no random numbers", why, "start it again")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{account, block_on};

    #[test]
    fn only_the_right_password_of_the_right_name_is_right() {
        let accounts = vec![
            account("a", "one", Role::Operator),
            account("b", "two", Role::ReadOnly),
        ];
        let passwords = Passwords::new(accounts).expect("random numbers");
        block_on(async {
            // Each twice: the second time it is remembered.
            for _ in 0..2 {
                let user = passwords.check("a", "one").await.expect("right");
                assert_eq!((&*user.name, user.role), ("a", Role::Operator));
                for (name, password) in [
                    ("a", "two"),
                    ("a", ""),
                    ("b", "one"),
                    ("c", "one"),
                    ("", ""),
                    ("a", "one "),
                ] {
                    assert_eq!(
                        passwords.check(name, password).await,
                        None,
                        "{name} {password}"
                    );
                }
                let long = "x".repeat(LONGEST + 1);
                assert_eq!(passwords.check("a", &long).await, None);
            }
        });
    }

    #[test]
    fn a_hash_is_of_its_password_and_no_two_are_the_same() {
        let (one, two) = (
            hash("secret").expect("a hash"),
            hash("secret").expect("a hash"),
        );
        assert_ne!(one, two);
        for text in [&one, &two] {
            let hash = PasswordHash::new(text).expect("a hash");
            let verdict = |word: &[u8]| Argon2::default().verify_password(word, &hash).is_ok();
            assert!(verdict(b"secret") && !verdict(b"Secret"));
        }
        hash("").expect_err("empty");
    }

    #[test]
    fn what_is_hashed_for_nobody_is_a_hash_of_the_same_cost() {
        let nobody = PasswordHash::new(NOBODY).expect("a hash");
        let text = hash("x").expect("a hash");
        assert_eq!(
            nobody.params,
            PasswordHash::new(&text).expect("a hash").params
        );
    }
}
