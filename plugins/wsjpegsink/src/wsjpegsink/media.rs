//! From samples to the hub.

use crate::{chunker::Chunker, jpeg, roster::Roster};
use bytes::Bytes;
use parking_lot::Mutex;
use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};
use viewer_socket::{AudioChunk, CloseReason, Hub, HubOptions, State, VideoFrame};

/// A picture larger than this is none, and would be too large for who relays it.
const MAX_JPEG_BYTES: usize = 15 << 20;

/// What the streaming threads and the server share. Survives starts and stops.
#[derive(Debug, Default)]
pub(crate) struct Media {
    /// Lock order: this one is never held together with another.
    hub: Mutex<Option<Hub>>,
    name: Mutex<String>,
    live: AtomicBool,
    seq: AtomicU64,
    malformed: AtomicU64,
    chunker: Mutex<Option<Chunker>>,
    /// Clients that watch.
    pub(crate) roster: Roster,
}

/// Why a sample isn't shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Rejected {
    #[error("sample without buffer, caps or readable memory")]
    Incomplete,
    #[error("buffer is not one JPEG picture of at most 15 MiB")]
    NotJpeg,
    #[error("sound that is not S16LE of one or two channels")]
    NotPcm,
}

impl Media {
    /// Begins anew, with a hub in which nothing is shown yet.
    pub(crate) fn begin(&self, name: String) {
        *self.name.lock() = name;
        self.live.store(false, Ordering::Release);
        self.seq.store(0, Ordering::Relaxed);
        self.malformed.store(0, Ordering::Relaxed);
        *self.chunker.lock() = None;
        self.replace_hub();
    }

    /// The hub that viewers watch now.
    pub(crate) fn hub(&self) -> Hub {
        let mut hub = self.hub.lock();
        hub.get_or_insert_with(|| new_hub(String::new())).clone()
    }

    /// Buffers that were no picture.
    pub(crate) fn malformed(&self) -> u64 {
        self.malformed.load(Ordering::Relaxed)
    }

    /// The stream is over: viewers are told and sent away.
    pub(crate) fn end(&self) {
        self.live.store(false, Ordering::Release);
        let hub = self.hub();
        hub.set_status(State::Ended.into());
        hub.close(CloseReason::session_ended());
    }

    /// Shows a picture.
    pub(crate) fn video(&self, sample: &gst::Sample) -> Result<(), Rejected> {
        let buffer = sample.buffer().ok_or(Rejected::Incomplete)?;
        let map = buffer.map_readable().map_err(|_| Rejected::Incomplete)?;
        let Some((width, height)) = jpeg::dimensions(&map).filter(|_| map.len() <= MAX_JPEG_BYTES)
        else {
            self.malformed.fetch_add(1, Ordering::Relaxed);
            return Err(Rejected::NotJpeg);
        };
        self.live_hub().publish_video(VideoFrame {
            // A copy: upstream's pool may be small, and the last picture is kept for long.
            jpeg: Bytes::copy_from_slice(&map),
            width,
            height,
            pts: running_time(sample, buffer).unwrap_or_default(),
            timestamp: jiff::Timestamp::now(),
            seq: self.seq.fetch_add(1, Ordering::Relaxed),
        });
        Ok(())
    }

    /// Plays sound.
    pub(crate) fn audio(&self, sample: &gst::Sample) -> Result<(), Rejected> {
        let buffer = sample.buffer().ok_or(Rejected::Incomplete)?;
        let caps = sample.caps().ok_or(Rejected::Incomplete)?;
        let info = gst_audio::AudioInfo::from_caps(caps).map_err(|_| Rejected::NotPcm)?;
        if info.format() != gst_audio::AudioFormat::S16le || !(1..=2).contains(&info.channels()) {
            return Err(Rejected::NotPcm);
        }
        let map = buffer.map_readable().map_err(|_| Rejected::Incomplete)?;
        let (sample_rate, channels) = (info.rate(), info.channels());
        let pts = running_time(sample, buffer).unwrap_or_default();
        let flags = buffer.flags();
        let discont = flags.intersects(gst::BufferFlags::DISCONT | gst::BufferFlags::RESYNC);
        let whole = map.len() - map.len() % (2 * channels as usize);
        let silence;
        let pcm = if flags.contains(gst::BufferFlags::GAP) {
            silence = vec![0; whole];
            &silence
        } else {
            &map[..whole]
        };
        let chunks = {
            let mut chunker = self.chunker.lock();
            let fits = |chunker: &&mut Chunker| chunker.is_for(sample_rate, channels);
            match chunker.as_mut().filter(fits) {
                Some(chunker) => chunker.push(pcm, pts, discont),
                None => chunker
                    .insert(Chunker::new(sample_rate, channels))
                    .push(pcm, pts, discont),
            }
        };
        let hub = self.live_hub();
        let timestamp = jiff::Timestamp::now();
        for chunk in chunks {
            hub.publish_audio(AudioChunk {
                pcm: chunk.pcm.into(),
                sample_rate,
                channels,
                pts: chunk.pts,
                timestamp,
            });
        }
        Ok(())
    }

    /// The hub, where it is known that media arrives. After an end of stream (a seek back, a new
    /// stream) it is a new one.
    fn live_hub(&self) -> Hub {
        if !self.live.swap(true, Ordering::AcqRel) {
            let ended = self.hub.lock().as_ref().is_none_or(Hub::is_closed);
            if ended {
                self.replace_hub();
            }
            self.hub().set_status(State::Live.into());
        }
        self.hub()
    }

    fn replace_hub(&self) {
        let hub = new_hub(self.name.lock().clone());
        hub.set_status(State::Waiting.into());
        *self.hub.lock() = Some(hub);
    }
}

/// The element counts clients itself, before they come to the hub.
fn new_hub(name: String) -> Hub {
    Hub::new(HubOptions {
        name: Some(name),
        max_viewers: usize::MAX,
    })
}

fn running_time(sample: &gst::Sample, buffer: &gst::BufferRef) -> Option<Duration> {
    let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
    segment.to_running_time(buffer.pts()?).map(Duration::from)
}
