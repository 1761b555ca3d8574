//! End-to-end tests: the built programs against a real LiveKit room.
