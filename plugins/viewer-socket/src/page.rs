//! The browser's end: scripts without dependencies that a page shows a hub's frames with.
//!
//! Both are classic scripts. A page loads `sound.js` and then `player.js`, makes a `Picture` of a
//! canvas, a `Sound` with the address of `sound.js` (which it loads once more, as the worklet that
//! plays without breaks), and a `Watch` with the address of a viewer socket. They need no inline
//! script, no `eval` and no worker: `script-src 'self'` is enough of a content security policy.

/// `sound.js`: a buffer for sound and one resampler for the whole stream.
pub const SOUND_SCRIPT: &str = include_str!("../web/sound.js");
/// `player.js`: the socket with its reconnections, the picture, the sound.
pub const PLAYER_SCRIPT: &str = include_str!("../web/player.js");
