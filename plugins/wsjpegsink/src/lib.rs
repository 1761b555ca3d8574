//! GStreamer sink element that shows JPEG and PCM to browsers over WebSocket.
