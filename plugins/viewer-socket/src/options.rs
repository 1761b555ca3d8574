//! What a viewer may ask for in its address.

use crate::AudioFormat;
use std::time::Duration;
use url::form_urlencoded;

/// Pictures a second that a viewer may ask for at least: one in 100 s. Far less has no length as a
/// [`Duration`].
const MIN_FPS: f64 = 0.01;
const MAX_FPS: f64 = 240.0;

/// The sound a viewer wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AudioChoice {
    /// None.
    Off,
    /// In this format, one of [`AudioFormat::OFFERED`].
    On(AudioFormat),
}

/// What a viewer asked for, and how patient we are with it.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewerOptions {
    /// At most so many pictures a second, 0.01 to 240 (none: all of them).
    pub max_fps: Option<f64>,
    /// Pictures of at most so many pixels' width: 320 or 640. Whoever has hubs of several sizes gives the
    /// viewer one of them; in a hub all pictures have one size.
    pub max_width: Option<u32>,
    /// Which sound. [`Protocol::Relay`](crate::Protocol::Relay) gets it as it was published, unless it is off.
    pub audio: AudioChoice,
    /// A viewer whose connection takes no byte for so long is dropped. The default is 10 s.
    pub stall_timeout: Duration,
    /// A ping is sent so often; two without an answer end the connection. The default is 20 s.
    pub ping_interval: Duration,
}

impl Default for ViewerOptions {
    fn default() -> Self {
        Self {
            max_fps: None,
            max_width: None,
            audio: AudioChoice::On(AudioFormat::OFFERED[0]),
            stall_timeout: Duration::from_secs(10),
            ping_interval: Duration::from_secs(20),
        }
    }
}

/// A parameter of a viewer's address that can't be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{parameter} must be {expected}")]
pub struct QueryError {
    /// Its name.
    pub parameter: &'static str,
    /// What it may be.
    pub expected: &'static str,
}

impl ViewerOptions {
    /// Time from one picture to the next at least, where there is a limit to their rate.
    pub(crate) fn picture_interval(&self) -> Option<Duration> {
        let fps = self.max_fps?.clamp(MIN_FPS, MAX_FPS);
        // Not a number is no rate.
        Some(Duration::try_from_secs_f64(1.0 / fps).unwrap_or_default())
    }

    /// Reads `max_fps`, `max_width`, `audio` and `channels`; other parameters are not ours.
    ///
    /// # Errors
    /// When one of the four has a value that isn't offered.
    pub fn from_query(query: Option<&str>) -> Result<Self, QueryError> {
        let mut options = Self::default();
        let mut format = AudioFormat::OFFERED[0];
        let mut off = false;
        for (name, value) in form_urlencoded::parse(query.unwrap_or("").as_bytes()) {
            let wrong = |parameter, expected| QueryError {
                parameter,
                expected,
            };
            match (&*name, &*value) {
                ("max_fps", value) => {
                    let fps = value.parse().ok();
                    let fps = fps.filter(|fps| (MIN_FPS..=MAX_FPS).contains(fps));
                    options.max_fps =
                        Some(fps.ok_or(wrong("max_fps", "a number from 0.01 to 240"))?);
                }
                ("max_width", "320") => options.max_width = Some(320),
                ("max_width", "640") => options.max_width = Some(640),
                ("max_width", _) => return Err(wrong("max_width", "320 or 640")),
                ("audio", "off") => off = true,
                ("audio", "44100") => (off, format.sample_rate) = (false, 44_100),
                ("audio", "48000") => (off, format.sample_rate) = (false, 48_000),
                ("audio", _) => return Err(wrong("audio", "off, 44100 or 48000")),
                ("channels", "1") => format.channels = 1,
                ("channels", "2") => format.channels = 2,
                ("channels", _) => return Err(wrong("channels", "1 or 2")),
                _ => {}
            }
        }
        options.audio = match off {
            true => AudioChoice::Off,
            false => AudioChoice::On(format),
        };
        Ok(options)
    }
}
