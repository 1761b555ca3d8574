//! The Haven server.
