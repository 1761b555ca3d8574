//! GStreamer source element for LiveKit rooms and pump.fun livestreams.
