//! The Haven server.
fn main() {}
