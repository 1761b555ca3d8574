//! Viewers: their upgrade to a WebSocket, and the frames' way from the worker to them.

pub(crate) mod relay;
pub(crate) mod screens;
pub(crate) mod upgrade;
