//! A subscriber to a LiveKit room: encoded frames with a common time line, reconnecting, no GStreamer.
