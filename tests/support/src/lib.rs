//! The test rig: a real livekit-server, real publishers, a stand-in of pump.fun's API, and readers of what came out.
