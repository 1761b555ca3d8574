//! One place where frames come in and viewers take them: nothing here waits, nothing here grows.

use crate::{
    AudioChunk, CloseReason, HubStats, Protocol, Status, VideoFrame,
    counters::Counters,
    message::{AudioMessage, VideoMessage, status_wire},
    pcm::{AudioFormat, Converter},
    ring::{Bounds, Ring},
};
use bytes::Bytes;
use parking_lot::Mutex;
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::sync::watch;

/// Pictures kept while somebody watches: a second of 30 a second, as far as 8 MiB hold it and the
/// messages that are built of it. A viewer
/// whose connection takes everything, and whose task merely woke up late, still gets each of them;
/// one that can't keep up skips to the newest.
const VIDEO: Bounds = Bounds {
    items: 30,
    bytes: 8 << 20,
    age: Duration::from_secs(1),
};
/// While nobody watches, the newest picture waits for the next viewer.
const UNWATCHED: Bounds = Bounds { items: 1, ..VIDEO };
/// Two seconds of sound in chunks of 20 ms; who lags further behind skips to the newest.
const AUDIO: Bounds = Bounds {
    items: 100,
    bytes: 4 << 20,
    age: Duration::from_secs(2),
};

/// What a [`Hub`] is made with.
#[derive(Clone, Debug)]
pub struct HubOptions {
    /// The mint, or the room's name: `mint_id` in every JSON message. None is an empty text.
    pub name: Option<String>,
    /// So many viewers at once; the next is closed with 1013. The default is 4096.
    pub max_viewers: usize,
}

impl Default for HubOptions {
    fn default() -> Self {
        Self {
            name: None,
            max_viewers: 4096,
        }
    }
}

/// Frames of one session, and those who watch it. Clones are the same hub.
#[derive(Clone, Debug)]
pub struct Hub {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    max_viewers: usize,
    video: watch::Sender<Ring<VideoMessage>>,
    /// As published, for [`Protocol::Relay`].
    source_audio: watch::Sender<Ring<AudioMessage>>,
    /// In each format that viewers may ask for; made only while one does.
    renditions: [Rendition; AudioFormat::OFFERED.len()],
    control: watch::Sender<Control>,
    viewers: watch::Sender<usize>,
    counters: Counters,
}

#[derive(Debug)]
struct Rendition {
    format: AudioFormat,
    /// Held for the whole of a conversion: two publishers take turns.
    converter: Mutex<Option<Converter>>,
    ring: watch::Sender<Ring<AudioMessage>>,
}

/// What concerns every viewer and is no media.
#[derive(Clone, Debug, Default)]
pub(crate) struct Control {
    status: Option<Arc<Status>>,
    /// Grows with each status, so that a viewer knows which one it has sent.
    pub(crate) status_number: u64,
    pub(crate) closed: Option<CloseReason>,
}

impl Hub {
    /// A hub without viewers or frames.
    pub fn new(options: HubOptions) -> Self {
        let rendition = |format| Rendition {
            format,
            converter: Mutex::new(None),
            ring: watch::Sender::default(),
        };
        Self {
            shared: Arc::new(Shared {
                name: options.name.unwrap_or_default(),
                max_viewers: options.max_viewers,
                video: watch::Sender::default(),
                source_audio: watch::Sender::default(),
                renditions: AudioFormat::OFFERED.map(rendition),
                control: watch::Sender::default(),
                viewers: watch::Sender::default(),
                counters: Counters::default(),
            }),
        }
    }

    /// Shows a picture to everybody who watches, and to whoever comes before the next one.
    pub fn publish_video(&self, frame: VideoFrame) {
        let shared = &self.shared;
        shared
            .counters
            .frames_published
            .fetch_add(1, Ordering::Relaxed);
        let keep = match shared.video.receiver_count() {
            0 => UNWATCHED,
            _ => VIDEO,
        };
        let message = VideoMessage::new(frame);
        shared.video.send_modify(|ring| ring.push(message, keep));
    }

    /// Forgets the pictures: whoever comes next waits for a new one.
    pub fn forget_pictures(&self) {
        self.shared.video.send_modify(Ring::clear);
    }

    /// Plays sound to everybody who listens. Sound that isn't whole samples of one or two
    /// channels, or has no rate, is passed over.
    pub fn publish_audio(&self, chunk: AudioChunk) {
        let Some(from) = AudioFormat::of(&chunk) else {
            tracing::debug!(
                sample_rate = chunk.sample_rate,
                channels = chunk.channels,
                bytes = chunk.pcm.len(),
                "sound is not whole samples of one or two channels"
            );
            return;
        };
        let shared = &self.shared;
        shared
            .counters
            .audio_published
            .fetch_add(1, Ordering::Relaxed);
        for rendition in &shared.renditions {
            rendition.publish(from, &chunk);
        }
        publish_chunk(&shared.source_audio, chunk);
    }

    /// Tells every viewer, and everyone who comes later, what the session is doing. Of several
    /// in a row a viewer may see the last one only.
    pub fn set_status(&self, status: Status) {
        self.shared.control.send_modify(|control| {
            control.status = Some(Arc::new(status));
            control.status_number += 1;
        });
    }

    /// Sends every viewer away once it has the status, now and for ever. The first reason counts.
    pub fn close(&self, reason: CloseReason) {
        self.shared.control.send_if_modified(|control| {
            let first = control.closed.is_none();
            if first {
                control.closed = Some(reason);
            }
            first
        });
    }

    /// Whether [`Self::close`] was called.
    pub fn is_closed(&self) -> bool {
        self.shared.control.borrow().closed.is_some()
    }

    /// How many watch, kept up to date.
    pub fn viewers(&self) -> watch::Receiver<usize> {
        self.shared.viewers.subscribe()
    }

    /// Counters since the hub was made.
    pub fn stats(&self) -> HubStats {
        let viewers = *self.shared.viewers.borrow();
        self.shared.counters.stats(viewers)
    }

    /// Takes a place among the viewers, or none where all are taken. It is free again when the
    /// value is dropped.
    pub(crate) fn join(&self) -> Option<Place> {
        let joined = self.shared.viewers.send_if_modified(|viewers| {
            let room = *viewers < self.shared.max_viewers;
            *viewers += usize::from(room);
            room
        });
        joined.then(|| Place { hub: self.clone() })
    }

    pub(crate) fn video(&self) -> watch::Receiver<Ring<VideoMessage>> {
        self.shared.video.subscribe()
    }

    /// Sound in a format, or as it was published where none is given or that one isn't offered.
    pub(crate) fn audio(&self, format: Option<AudioFormat>) -> watch::Receiver<Ring<AudioMessage>> {
        let rendition = self
            .shared
            .renditions
            .iter()
            .find(|rendition| Some(rendition.format) == format);
        match rendition {
            Some(rendition) => rendition.ring.subscribe(),
            None => self.shared.source_audio.subscribe(),
        }
    }

    pub(crate) fn control(&self) -> watch::Receiver<Control> {
        self.shared.control.subscribe()
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// `mint_id` in JSON messages.
    pub(crate) fn name(&self) -> &str {
        &self.shared.name
    }
}

impl Rendition {
    /// Converts a chunk for those who listen; forgets what it knew when nobody does.
    fn publish(&self, from: AudioFormat, chunk: &AudioChunk) {
        let mut slot = self.converter.lock();
        if self.ring.receiver_count() == 0 {
            *slot = None;
            return;
        }
        if from == self.format {
            *slot = None;
            publish_chunk(&self.ring, chunk.clone());
            return;
        }
        let fits = slot
            .as_ref()
            .is_some_and(|converter| converter.source() == from);
        if !fits {
            *slot = None;
        }
        let converter = slot.get_or_insert_with(|| Converter::new(from, self.format));
        converter.convert(chunk, |chunk| publish_chunk(&self.ring, chunk));
    }
}

fn publish_chunk(ring: &watch::Sender<Ring<AudioMessage>>, chunk: AudioChunk) {
    if ring.receiver_count() > 0 {
        ring.send_modify(|ring| ring.push(AudioMessage::new(chunk), AUDIO));
    }
}

impl Control {
    pub(crate) fn status(&self, protocol: Protocol, name: &str) -> Option<Bytes> {
        let status = self.status.as_deref()?;
        Some(status_wire(status, protocol, name))
    }
}

/// A viewer's place in a hub.
#[derive(Debug)]
pub(crate) struct Place {
    hub: Hub,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.hub.shared.viewers.send_modify(|viewers| *viewers -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    #[test]
    fn without_viewers_one_picture_is_kept() {
        let hub = Hub::new(HubOptions::default());
        for seq in 0..100 {
            hub.publish_video(VideoFrame {
                seq,
                ..VideoFrame::default()
            });
            hub.publish_audio(AudioChunk {
                pcm: vec![0; 4].into(),
                sample_rate: 8_000,
                channels: 1,
                ..AudioChunk::default()
            });
        }
        let ring = hub.video();
        assert_eq!(ring.borrow().items.len(), 1);
        assert_eq!(ring.borrow().items[0].item.frame.seq, 99);
        assert_eq!(hub.audio(None).borrow().items.len(), 0);
        assert_eq!(hub.stats().frames_published, 100);
    }

    #[test]
    fn memory_is_bounded_while_somebody_watches_and_reads_nothing() {
        let hub = Hub::new(HubOptions::default());
        let (video, audio) = (
            hub.video(),
            hub.audio(AudioFormat::OFFERED.first().copied()),
        );
        for _ in 0..1_000 {
            hub.publish_video(VideoFrame::default());
            hub.publish_audio(AudioChunk {
                pcm: vec![0; 1764].into(),
                sample_rate: 44_100,
                channels: 1,
                ..AudioChunk::default()
            });
        }
        assert_eq!(video.borrow().items.len(), VIDEO.items);
        assert_eq!(audio.borrow().items.len(), AUDIO.items);
    }

    #[test]
    fn the_messages_that_are_built_of_pictures_count_with_them() {
        let hub = Hub::new(HubOptions::default());
        let video = hub.video();
        for seq in 0..64 {
            hub.publish_video(VideoFrame {
                jpeg: vec![0; 1 << 20].into(),
                seq,
                ..VideoFrame::default()
            });
            let newest = video.borrow().items.back().unwrap().item.clone();
            newest.wire(Protocol::Json, "", &AtomicU64::new(0));
        }
        // A picture and its base64, and the newest picture alone when it came.
        let kept = video.borrow().items.len();
        assert!((3..=4).contains(&kept), "{kept}");
    }

    #[test]
    fn places_are_counted_and_given_back() {
        let hub = Hub::new(HubOptions {
            max_viewers: 2,
            ..HubOptions::default()
        });
        let places = (hub.join(), hub.join(), hub.join());
        assert!(places.0.is_some() && places.1.is_some() && places.2.is_none());
        assert_eq!(*hub.viewers().borrow(), 2);
        drop(places);
        assert_eq!(*hub.viewers().borrow(), 0);
    }

    #[test]
    fn the_first_reason_to_close_counts() {
        let hub = Hub::new(HubOptions::default());
        hub.close(CloseReason::session_ended());
        hub.close(CloseReason::going_away());
        let control = hub.control();
        assert_eq!(control.borrow().closed, Some(CloseReason::session_ended()));
    }
}
