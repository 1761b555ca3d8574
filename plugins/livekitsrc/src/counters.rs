//! What the `stats` property says.

use livekit_room::{Codec, ConnectionState, Frame, Kind, RoomEvent, RoomStats, Track, TrackStats};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A bit rate is measured each second while there is a connection.
const BITRATE_LASTS: Duration = Duration::from_secs(3);

/// What is counted since the element started, and what is known of the connection it has now.
#[derive(Default)]
pub(crate) struct Counters(Mutex<State>);

#[derive(Default)]
struct State {
    totals: Totals,
    tracks: Vec<TrackCounters>,
    room: RoomStats,
}

#[derive(Default)]
struct Totals {
    video_frames: u64,
    video_bytes: u64,
    audio_frames: u64,
    audio_bytes: u64,
    dropped_frames: u64,
    reconnects: u64,
}

/// A track from its start to its end.
struct TrackCounters {
    track: Track,
    codec: Option<Codec>,
    muted: bool,
    frames: u64,
    bytes: u64,
    key_frames: u64,
    dropped_frames: u64,
    bitrate: u64,
    /// When the bit rate was taken, and the bytes of then.
    measured: (Instant, u64),
    engine: Option<TrackStats>,
}

impl TrackCounters {
    fn new(track: &Track) -> Self {
        Self {
            track: track.clone(),
            codec: None,
            muted: false,
            frames: 0,
            bytes: 0,
            key_frames: 0,
            dropped_frames: 0,
            bitrate: 0,
            measured: (Instant::now(), 0),
            engine: None,
        }
    }

    fn measure(&mut self, now: Instant) {
        let (since, bytes) = self.measured;
        let elapsed = now.duration_since(since).as_secs_f64();
        if elapsed > 0.0 {
            self.bitrate = ((self.bytes - bytes) as f64 * 8.0 / elapsed).round() as u64;
            self.measured = (now, self.bytes);
        }
    }

    /// 0 where the connection is lost and so nothing is measured any more.
    fn newest_bitrate(&self) -> u64 {
        if self.measured.0.elapsed() < BITRATE_LASTS {
            self.bitrate
        } else {
            0
        }
    }

    fn structure(&self) -> gst::Structure {
        let known = |pixels: u32| (pixels > 0).then_some(pixels);
        let engine = self.engine.as_ref();
        gst::Structure::builder("livekitsrc-track-stats")
            .field("sid", &*self.track.sid)
            .field("identity", &*self.track.identity)
            .field("kind", kind_name(self.track.kind))
            .field_if_some("codec", self.codec.map(Codec::name))
            .field_if_some("width", known(self.track.width))
            .field_if_some("height", known(self.track.height))
            .field("muted", self.muted)
            .field("frames", self.frames)
            .field("bytes", self.bytes)
            .field("bitrate", self.newest_bitrate())
            .field("key-frames", self.key_frames)
            .field("dropped-frames", self.dropped_frames)
            .field_if_some("packets", engine.map(|engine| engine.packets))
            .field_if_some("packets-lost", engine.map(|engine| engine.packets_lost))
            .field_if_some("loss", engine.and_then(|engine| engine.loss).map(f64::from))
            .field_if_some("jitter", engine.map(|engine| nanoseconds(engine.jitter)))
            .field_if_some("nacks", engine.map(|engine| engine.nacks))
            .field_if_some("plis", engine.map(|engine| engine.plis))
            .build()
    }
}

impl Counters {
    pub(crate) fn received(&self, frame: &Frame) {
        let mut state = self.0.lock();
        let bytes = frame.data.len() as u64;
        let totals = &mut state.totals;
        match frame.codec.kind() {
            Kind::Video => {
                totals.video_frames += 1;
                totals.video_bytes += bytes;
            }
            Kind::Audio => {
                totals.audio_frames += 1;
                totals.audio_bytes += bytes;
            }
        }
        if let Some(track) = state.track(&frame.track) {
            track.codec = Some(frame.codec);
            track.frames += 1;
            track.bytes += bytes;
            track.key_frames += u64::from(frame.key && frame.codec.kind() == Kind::Video);
        }
    }

    pub(crate) fn dropped(&self, frame: &Frame) {
        let mut state = self.0.lock();
        state.totals.dropped_frames += 1;
        if let Some(track) = state.track(&frame.track) {
            track.dropped_frames += 1;
        }
    }

    pub(crate) fn on_room_event(&self, event: &RoomEvent) {
        let mut state = self.0.lock();
        match event {
            RoomEvent::TrackStarted(track) => {
                state.remove(&track.sid);
                state.tracks.push(TrackCounters::new(track));
            }
            RoomEvent::TrackEnded(track) => state.remove(&track.sid),
            RoomEvent::TrackMuted { track, muted } => {
                if let Some(track) = state.track(&track.sid) {
                    track.muted = *muted;
                }
            }
            RoomEvent::Stats(stats) => state.on_stats(stats),
            // Said once for each loss, however many attempts it takes.
            RoomEvent::State(ConnectionState::Reconnecting) => state.totals.reconnects += 1,
            _ => {}
        }
    }

    pub(crate) fn reset(&self) {
        *self.0.lock() = State::default();
    }

    /// As the `stats` property has them.
    pub(crate) fn structure(&self) -> gst::Structure {
        let state = self.0.lock();
        let totals = &state.totals;
        let room = &state.room;
        let path = room.path.as_ref();
        let tracks = state.tracks.iter().map(TrackCounters::structure);
        gst::Structure::builder("livekitsrc-stats")
            .field("video-frames", totals.video_frames)
            .field("video-bytes", totals.video_bytes)
            .field("audio-frames", totals.audio_frames)
            .field("audio-bytes", totals.audio_bytes)
            .field("dropped-frames", totals.dropped_frames)
            .field("reconnects", totals.reconnects)
            .field_if_some("round-trip-time", room.round_trip.map(nanoseconds))
            .field_if_some("protocol", path.map(|path| path.transport.name()))
            .field_if_some("local-address", path.map(|path| path.local.to_string()))
            .field_if_some("remote-address", path.map(|path| path.remote.to_string()))
            .field("tracks", gst::Array::new(tracks))
            .build()
    }
}

impl State {
    fn track(&mut self, sid: &Arc<str>) -> Option<&mut TrackCounters> {
        self.tracks.iter_mut().find(|track| track.track.sid == *sid)
    }

    fn remove(&mut self, sid: &Arc<str>) {
        self.tracks.retain(|track| track.track.sid != *sid);
    }

    fn on_stats(&mut self, stats: &RoomStats) {
        self.room = stats.clone();
        let now = Instant::now();
        for track in &mut self.tracks {
            track.measure(now);
            let engine = stats
                .tracks
                .iter()
                .find(|stats| stats.track == track.track.sid);
            track.engine = engine.cloned();
        }
    }
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Video => "video",
        Kind::Audio => "audio",
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    duration.as_nanos().try_into().unwrap_or(u64::MAX)
}
