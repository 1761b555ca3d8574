//! pump.fun's coins and streams: asked for politely, kept in the database, with their history.

mod catalogue;
mod counts;
mod looked_up;
mod pace;
mod rows;
mod upstream;

pub(crate) use catalogue::{Catalogue, Found};
pub(crate) use counts::{Counts, ENDPOINTS, OUTCOMES};
pub(crate) use upstream::{Failure, Joining, Repeats, Upstream};
