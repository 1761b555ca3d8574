//! What happens, told to other servers: signed as LiveKit signs its webhooks, in order for each
//! session, again and again until it is taken.
//!
//! Events go from the ring into the database, and from there to each receiver: a receiver that is
//! down, and a restart of this server, cost time and no event.

mod address;
mod hub;
mod intake;
mod receiver;
mod sender;
mod signature;

pub(crate) use address::parse as parse_url;
pub(crate) use hub::Webhooks;
pub(crate) use receiver::Receiver;
