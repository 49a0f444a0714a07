//! Resources: what each path has to say.

pub(crate) mod accounts;
pub(crate) mod chassis;
pub(crate) mod events;
pub(crate) mod manager;
pub(crate) mod media;
pub(crate) mod parts;
pub(crate) mod reset;
pub(crate) mod root;
pub(crate) mod sessions;
pub(crate) mod systems;

use crate::http::Refusal;
use crate::passwords::User;
use crate::roles::Privilege;

/// Refuses users whose role has not the privilege.
pub(crate) fn demand(user: Option<&User>, privilege: Privilege) -> Result<(), Refusal> {
    match user {
        Some(user) if user.role.may(privilege) => Ok(()),
        Some(_) => Err(Refusal::Forbidden),
        None => Err(Refusal::Unknown),
    }
}

/// `uri` is not there.
pub(crate) fn missing(uri: &axum::http::Uri) -> Refusal {
    Refusal::Missing(uri.path().to_owned())
}
