//! JPEG and PCM to many WebSocket viewers: both viewer protocols, newest frame wins, shared bytes.
