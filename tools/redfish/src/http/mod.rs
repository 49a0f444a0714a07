//! What all requests and answers have in common.

pub(crate) mod answer;
pub(crate) mod body;
pub(crate) mod guard;
pub(crate) mod refusal;

pub(crate) use answer::{Answer, collection, link, links, unchanged};
pub(crate) use refusal::Refusal;

/// What a handler returns.
pub(crate) type Reply = std::result::Result<Answer, Refusal>;
