use crate::{
    decode::{Decoder, Lease},
    inbox::{Decoded, Event, Inbox, Media, Outbox},
    preview::PreviewError,
    previews::Previews,
    probe,
    recording::{Inputs, Plan, Recording, Signature},
    source::{Guests, Source, SourceError},
    status::{self, Reporter},
    tap::Unit,
    timebase::Timebase,
    tokens::Tokens,
};
use haven_wire::{
    AudioChoice, EndReason, RecordingConfig, RecordingProgress, ServerMessage, SessionConfig,
    WorkerMessage,
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    thread::JoinHandle,
    time::Duration,
};

/// How often the session looks after itself when nothing happens.
const TICK: Duration = Duration::from_millis(100);
/// Why a session can't begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("viewers cannot be served: {0}")]
    Preview(#[from] PreviewError),
}

/// A live session: what comes from one room, and all that is made of it. It lives on one thread,
/// which alone changes it.
#[derive(Debug)]
pub(crate) struct Session {
    config: SessionConfig,
    timebase: Timebase,
    inbox: Inbox,
    outbox: Outbox,
    tokens: Arc<Tokens>,
    source: Source,
    video: Decoder,
    /// Everybody's sound.
    audio: Decoder,
    /// The streamer's sound alone.
    streamer: Decoder,
    previews: Previews,
    recordings: BTreeMap<i64, Recording>,
    status: Reporter,
    sizing: Sizing,
    preload: Option<JoinHandle<()>>,
}

/// Whether the size of the video is known.
#[derive(Debug)]
enum Sizing {
    /// No, and there is no video yet.
    Wanted,
    /// Its first pictures are being decoded.
    Decoding { _lease: Lease },
    /// Yes, of the video of this key frame.
    Known(Option<KeyFrame>),
}

/// A key frame: when it was, and the parameters of the video then.
#[derive(Debug)]
struct KeyFrame {
    pts: gst::ClockTime,
    signature: Option<Signature>,
}

impl KeyFrame {
    fn of(unit: &Unit) -> Self {
        Self {
            pts: unit.pts,
            signature: Signature::of(unit),
        }
    }
}

/// Whether the video is another one since the key frame that is known, which `newest` then is. Each is
/// read once: to find what it says takes going through all of it.
fn is_another(known: &mut Option<KeyFrame>, newest: &Unit) -> bool {
    if known.as_ref().is_some_and(|known| known.pts == newest.pts) {
        return false;
    }
    let KeyFrame { pts, signature } = KeyFrame::of(newest);
    let before = known.take().and_then(|known| known.signature);
    let differs = signature.is_some() && signature != before;
    let signature = signature.or(before);
    *known = Some(KeyFrame { pts, signature });
    differs
}

impl Session {
    /// Listens for viewers and joins the room.
    ///
    /// # Errors
    /// When the media socket can't be had, or an element is missing.
    pub(crate) fn start(
        config: SessionConfig,
        inbox: Inbox,
        outbox: Outbox,
        tokens: Arc<Tokens>,
    ) -> Result<Self, SessionError> {
        let timebase = Timebase::start();
        let previews = Previews::start(&config, &timebase, &inbox)?;
        let source = Source::new(&config, &timebase, &inbox, &tokens)?;
        let decoder = |what: Decoded, guests: Guests| {
            let encoded = source.tap(what.media()).clone();
            Decoder::new(what, encoded, guests, timebase.clone(), inbox.clone())
        };
        let video = decoder(Decoded::Pictures, Guests::default());
        let audio = decoder(Decoded::Voices, source.guests().clone());
        let streamer = decoder(Decoded::Streamer, Guests::default());
        outbox.send(WorkerMessage::Ready {
            version: env!("CARGO_PKG_VERSION").into(),
        });
        source.play()?;
        let preload = probe::preload()
            .inspect_err(|error| tracing::warn!(%error, "plug-ins load when they are needed"))
            .ok();
        Ok(Self {
            status: Reporter::new(outbox.clone()),
            sizing: Sizing::Wanted,
            config,
            timebase,
            inbox,
            outbox,
            tokens,
            source,
            video,
            audio,
            streamer,
            previews,
            recordings: BTreeMap::new(),
            preload,
        })
    }

    /// Runs until the room or the server ends it; every file is finalised then.
    pub(crate) fn run(mut self, events: &Receiver<Event>) -> EndReason {
        let reason = loop {
            let event = match events.recv_timeout(TICK) {
                Ok(event) => Some(event),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break EndReason::Stopped,
            };
            if let Some(reason) = event.and_then(|event| self.handle(event)) {
                break reason;
            }
            self.look_after();
        };
        tracing::info!(?reason, "session ends");
        self.end();
        reason
    }

    /// Deals with one event; a reason where the session is over by it.
    fn handle(&mut self, event: Event) -> Option<EndReason> {
        match event {
            Event::Server(message) => return self.obey(message),
            Event::Stop => return Some(EndReason::Stopped),
            Event::SourceEnded(reason) => return Some(reason),
            Event::DecoderFailed {
                decoded,
                run,
                error,
            } => match decoded {
                Decoded::Pictures => self.video.failed(run, &error),
                Decoded::Voices => self.audio.failed(run, &error),
                Decoded::Streamer => self.streamer.failed(run, &error),
            },
            Event::PreviewFailed { run, error } => {
                let failed = self.previews.failed(run, error);
                return failed.err().map(|message| EndReason::Error { message });
            }
            Event::RecordingOver(id) => {
                if let Some(recording) = self.recordings.remove(&id) {
                    recording.join();
                }
            }
            Event::CapsChanged | Event::SourceChanged | Event::ViewersChanged => {}
        }
        None
    }

    fn obey(&mut self, message: ServerMessage) -> Option<EndReason> {
        match message {
            ServerMessage::Start(_) => tracing::warn!("the session has started already"),
            ServerMessage::Token(reply) => self.tokens.answer(reply),
            ServerMessage::StartRecording(config) => self.start_recording(config),
            ServerMessage::StopRecording { recording_id } => {
                match self.recordings.get(&recording_id) {
                    Some(recording) => recording.stop(),
                    // It failed by itself, and its report is under way or read.
                    None => tracing::debug!(recording_id, "no such recording"),
                }
            }
            ServerMessage::Show { width } => self.previews.show(width),
            ServerMessage::Shutdown => return Some(EndReason::Stopped),
        }
        None
    }

    fn look_after(&mut self) {
        self.video.update();
        self.audio.update();
        self.streamer.update();
        self.previews.update(&mut self.video, &mut self.audio);
        self.learn_size();
        let decoded = self.video.decoded().caps();
        let now = self.timebase.now();
        self.status.update(&self.source, decoded.as_ref(), now);
    }

    /// A stream as published needn't tell its size: then its first pictures are decoded, whoever
    /// watches.
    fn learn_size(&mut self) {
        let tap = self.source.tap(Media::Video);
        let newest = || tap.key_frame(self.timebase.now());
        let known = || Sizing::Known(newest().as_ref().map(KeyFrame::of));
        match (&mut self.sizing, tap.caps()) {
            (Sizing::Wanted, Some(caps)) => {
                self.sizing = match status::size(&caps) {
                    Some(_) => known(),
                    None => Sizing::Decoding {
                        _lease: self.video.lease(),
                    },
                };
            }
            (Sizing::Decoding { .. }, _) if self.video.decoded().caps().is_some() => {
                self.sizing = known();
            }
            // Another codec, another size: what was learned may not hold.
            (Sizing::Known(known), _) => {
                let changed = newest().is_some_and(|newest| is_another(known, &newest));
                if changed {
                    self.sizing = Sizing::Wanted;
                }
            }
            _ => {}
        }
    }

    fn start_recording(&mut self, config: RecordingConfig) {
        // Before anything that takes time: from here on is recorded.
        let asked = self.timebase.now();
        let id = config.recording_id;
        if self.recordings.contains_key(&id) {
            tracing::warn!(recording_id = id, "this recording runs already");
            return;
        }
        let started = self.plan(&config).and_then(|plan| {
            let inputs = self.inputs(&plan, config.audio, asked);
            let (inbox, outbox) = (self.inbox.clone(), self.outbox.clone());
            Recording::start(config, plan, inputs, inbox, outbox).map_err(|error| error.to_string())
        });
        match started {
            Ok(recording) => {
                self.recordings.insert(id, recording);
            }
            Err(error) => {
                tracing::error!(recording_id = id, error, "cannot record");
                self.outbox.send(WorkerMessage::RecordingFinished {
                    progress: RecordingProgress {
                        recording_id: id,
                        ..RecordingProgress::default()
                    },
                    error: Some(error),
                    disk_full: false,
                });
            }
        }
    }

    fn plan(&self, config: &RecordingConfig) -> Result<Plan, String> {
        let formats_dir = self.config.formats_dir.as_deref();
        Plan::choose(
            &config.format,
            &config.quality,
            &config.encoders,
            formats_dir,
        )
        .map_err(|error| error.to_string())
    }

    fn inputs(&mut self, plan: &Plan, audio: AudioChoice, asked: gst::ClockTime) -> Inputs {
        let copies = matches!(plan, Plan::Copy);
        let mixes = !copies || audio == AudioChoice::Mix;
        let mut leases = Vec::new();
        if matches!(plan, Plan::Encode(_)) {
            leases.push(self.video.lease());
        }
        let sound = match audio {
            AudioChoice::Mix => &mut self.audio,
            AudioChoice::Streamer => &mut self.streamer,
        };
        if mixes {
            leases.push(sound.lease());
        }
        let audio = if mixes {
            sound.decoded().clone()
        } else {
            self.source.tap(Media::Audio).clone()
        };
        let video = if copies {
            self.source.tap(Media::Video)
        } else {
            self.video.decoded()
        };
        Inputs {
            video: video.clone(),
            audio,
            mixes,
            _leases: leases,
            timebase: self.timebase.clone(),
            asked,
        }
    }

    /// Finalises every recording, all at a time, then leaves the room.
    fn end(mut self) {
        self.tokens.close();
        for recording in self.recordings.values() {
            recording.stop();
        }
        for (_, recording) in std::mem::take(&mut self.recordings) {
            recording.join();
        }
        if let Some(preload) = self.preload.take()
            && preload.join().is_err()
        {
            tracing::error!("the thread that loads plug-ins panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_video_is_another_one_once_a_key_frame_says_so() {
        gst::init().unwrap();
        let unit = |ms, side| Unit {
            buffer: gst::Buffer::from_slice([0x10, 0, 0, 0x9d, 1, 0x2a, side, 0, side, 0]),
            caps: gst::Caps::new_empty_simple("video/x-vp8"),
            pts: gst::ClockTime::from_mseconds(ms),
            key: true,
        };
        let mut known = None;
        assert!(is_another(&mut known, &unit(0, 64)));
        assert!(!is_another(&mut known, &unit(1000, 64)));
        // What was read once isn't read again.
        assert!(!is_another(&mut known, &unit(1000, 80)));
        // One that says nothing changes nothing.
        let delta = Unit {
            key: false,
            ..unit(2000, 80)
        };
        assert!(!is_another(&mut known, &delta));
        assert!(!is_another(&mut known, &unit(3000, 64)));
        assert!(is_another(&mut known, &unit(4000, 80)));
    }
}
