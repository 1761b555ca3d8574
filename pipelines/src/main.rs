//! The Haven worker.
fn main() {}
