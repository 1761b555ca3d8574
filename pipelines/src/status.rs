use crate::{
    inbox::{Media, Outbox},
    source::{Connection, Source},
    tap::Flow,
};
use haven_wire::{AudioStatus, SessionState, SessionStatus, VideoStatus, WorkerMessage};

/// Rates are averages over this long.
const WINDOW: gst::ClockTime = gst::ClockTime::from_seconds(2);
/// Rates are looked at this often.
const INTERVAL: gst::ClockTime = gst::ClockTime::from_seconds(1);

/// Tells the server what is true whenever it changes; rates once a second.
#[derive(Debug)]
pub(crate) struct Reporter {
    outbox: Outbox,
    sent: Option<SessionStatus>,
    joined: bool,
    /// Width and height of the last picture that was decoded.
    size: Option<(u32, u32)>,
    video: Rate,
    audio: Rate,
    measured_at: gst::ClockTime,
}

impl Reporter {
    /// Nothing is said yet.
    pub(crate) fn new(outbox: Outbox) -> Self {
        Self {
            outbox,
            sent: None,
            joined: false,
            size: None,
            video: Rate::default(),
            audio: Rate::default(),
            measured_at: gst::ClockTime::ZERO,
        }
    }

    /// Looks, and tells what has changed. `decoded` is the caps of the decoded video, where it is
    /// decoded.
    pub(crate) fn update(
        &mut self,
        source: &Source,
        decoded: Option<&gst::Caps>,
        now: gst::ClockTime,
    ) {
        if now >= self.measured_at + INTERVAL {
            self.measured_at = now;
            self.video.sample(source.tap(Media::Video).flow(), now);
            self.audio.sample(source.tap(Media::Audio).flow(), now);
        }
        if let Some(size) = decoded.and_then(size) {
            self.size = Some(size);
        }
        let connection = source.connection();
        let state = self.state(&connection);
        let caps = |media: Media| source.tap(media).caps();
        let status = SessionStatus {
            state,
            room_name: connection.room_name,
            participant_sid: connection.participant_sid,
            video: caps(Media::Video).map(|caps| video_status(&caps, self.size, &self.video)),
            audio: caps(Media::Audio).map(|caps| audio_status(&caps, &self.audio)),
            publishers: source.publishers(),
        };
        if self.sent.as_ref() == Some(&status) {
            return;
        }
        if self.sent.as_ref().map(|sent| sent.state) != Some(status.state) {
            tracing::info!(state = ?status.state, room = status.room_name, "session");
        }
        // Where there is no room for it, the next look tells it.
        if self.outbox.offer(WorkerMessage::Status(status.clone())) {
            self.sent = Some(status);
        }
    }

    /// A room that was joined and isn't connected is being reconnected.
    fn state(&mut self, connection: &Connection) -> SessionState {
        match connection.state {
            SessionState::Connecting if self.joined => SessionState::Reconnecting,
            state => {
                self.joined |= matches!(state, SessionState::Live | SessionState::Waiting);
                state
            }
        }
    }
}

/// Rates from totals.
#[derive(Debug, Default)]
struct Rate {
    samples: Vec<(gst::ClockTime, Flow)>,
}

impl Rate {
    fn sample(&mut self, flow: Flow, now: gst::ClockTime) {
        let oldest = now.saturating_sub(WINDOW + INTERVAL / 2);
        self.samples.retain(|(at, _)| *at >= oldest);
        self.samples.push((now, flow));
    }

    /// Buffers a second, to a tenth, and bits a second, to a thousand.
    fn rates(&self) -> (f64, u64) {
        let (Some((from, first)), Some((to, last))) = (self.samples.first(), self.samples.last())
        else {
            return (0.0, 0);
        };
        let seconds = to.saturating_sub(*from).nseconds() as f64 / 1e9;
        if seconds <= 0.0 {
            return (0.0, 0);
        }
        let buffers = (last.buffers - first.buffers) as f64 / seconds;
        let bits = (last.bytes - first.bytes) as f64 * 8.0 / seconds;
        ((buffers * 10.0).round() / 10.0, (bits / 1e3) as u64 * 1000)
    }
}

fn video_status(caps: &gst::Caps, decoded: Option<(u32, u32)>, rate: &Rate) -> VideoStatus {
    let (fps, bitrate) = rate.rates();
    // A stream as published needn't tell its size; the decoder knows.
    let (width, height) = size(caps).or(decoded).unwrap_or_default();
    VideoStatus {
        codec: codec(caps),
        width,
        height,
        fps,
        bitrate,
    }
}

fn audio_status(caps: &gst::Caps, rate: &Rate) -> AudioStatus {
    AudioStatus {
        codec: codec(caps),
        sample_rate: number(caps, "rate").unwrap_or(48_000),
        channels: number(caps, "channels").unwrap_or(2),
        bitrate: rate.rates().1,
    }
}

/// Width and height in pixels, where the caps tell.
pub(crate) fn size(caps: &gst::Caps) -> Option<(u32, u32)> {
    Some((number(caps, "width")?, number(caps, "height")?))
}

/// `h264` of `video/x-h264`.
fn codec(caps: &gst::Caps) -> String {
    let name = caps.structure(0).map_or("", |structure| structure.name());
    name.rsplit_once("x-")
        .map_or(name, |(_, codec)| codec)
        .into()
}

fn number(caps: &gst::Caps, field: &str) -> Option<u32> {
    u32::try_from(caps.structure(0)?.get::<i32>(field).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_averages_over_the_last_seconds() {
        let mut rate = Rate::default();
        for second in 0..10 {
            let flow = Flow {
                buffers: second * 30,
                bytes: second * 125_000,
            };
            rate.sample(flow, gst::ClockTime::from_seconds(second));
        }
        assert_eq!(rate.rates(), (30.0, 1_000_000));
        assert_eq!(rate.samples.len(), 3);
    }

    #[test]
    fn a_codec_is_named_as_the_api_has_it() {
        gst::init().unwrap();
        assert_eq!(codec(&gst::Caps::new_empty_simple("video/x-h264")), "h264");
        assert_eq!(codec(&gst::Caps::new_empty_simple("audio/x-opus")), "opus");
    }
}
