//! Which track flows through which pad.

use crate::flow::{Flows, is_full};
use crate::media;
use crate::mixer::{Mixer, MixerError};
use crate::stream::{PadIdentity, Stream, StreamError, make_pad};
use gst::prelude::*;
use livekit_room::{Frame, Kind, Role, Stopper, Track, TrackSource};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A chosen participant that publishes nothing for this long loses its pad; a republish takes less.
const PAD_LINGER: Duration = Duration::from_secs(10);
/// A voice that isn't published for this long is no longer waited for.
const VOICE_LINGER: Duration = Duration::from_secs(2);
/// A kind that is published at all is published this soon after the other one.
const MORE_PADS_WITHIN: Duration = Duration::from_secs(1);
/// What the mixer adds to the latency: it waits for a whole block.
const MIXER_LATENCY: gst::ClockTime = gst::ClockTime::from_mseconds(20);

/// Where frames of a track go. The same for whatever its publisher publishes in its place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Slot {
    /// To the pad of the streamer's picture or sound.
    Main(Kind),
    /// Into the mix.
    Voice(Arc<str>),
    /// To a pad of its own.
    Chosen(Arc<str>, TrackSource, Kind),
}

impl Slot {
    fn of(track: &Track) -> Self {
        match track.role {
            Role::Main => Self::Main(track.kind),
            Role::Speaker => Self::Voice(format!("{}/{:?}", track.identity, track.source).into()),
            Role::Chosen => Self::Chosen(track.identity.clone(), track.source, track.kind),
        }
    }
}

struct Taken {
    slot: Slot,
    muted: bool,
    tags: gst::TagList,
}

/// The pads of one session and what flows through them.
pub(crate) struct Pads {
    bin: gst::Bin,
    stopper: Stopper,
    latency: gst::ClockTime,
    /// Every voice of the room goes into one stream.
    mixes: bool,
    room: String,
    mint: Option<Arc<str>>,
    group: gst::GroupId,
    tracks: HashMap<Arc<str>, Taken>,
    streams: HashMap<Slot, Stream>,
    /// Of the tracks that have a pad.
    flows: Flows,
    mix: Option<Mix>,
    /// Since when nothing is published for these.
    idle_since: HashMap<Slot, Instant>,
    /// What can't be given out; an error has said why.
    broken: HashSet<Slot>,
    /// Numbers of the next pads, video and audio.
    next: [u32; 2],
    first_pad: Option<Instant>,
    no_more_pads: bool,
}

impl Pads {
    pub(crate) fn new(
        bin: gst::Bin,
        stopper: Stopper,
        latency: gst::ClockTime,
        mixes: bool,
    ) -> Self {
        Self {
            bin,
            stopper,
            latency,
            mixes,
            room: String::new(),
            mint: None,
            group: gst::GroupId::next(),
            tracks: HashMap::new(),
            streams: HashMap::new(),
            flows: Flows::default(),
            mix: None,
            idle_since: HashMap::new(),
            broken: HashSet::new(),
            next: [1, 1],
            first_pad: None,
            no_more_pads: false,
        }
    }

    /// Where frames can be given out beside [`Pads::push`], as long as nothing waits for this side.
    pub(crate) fn flows(&self) -> &Flows {
        &self.flows
    }

    /// The room's name, for stream IDs and tags.
    pub(crate) fn set_room(&mut self, name: &str) {
        name.clone_into(&mut self.room);
    }

    /// The coin whose livestream it is, for who wants to know more about it.
    pub(crate) fn set_mint(&mut self, mint: Option<&str>) {
        self.mint = mint.map(Into::into);
    }

    pub(crate) fn track_started(&mut self, track: &Track) {
        let slot = Slot::of(track);
        self.idle_since.remove(&slot);
        let tags = self.tags(track);
        if let Some(stream) = self.streams.get(&slot) {
            stream.flow().lock().set_tags(tags.clone());
        }
        let taken = Taken {
            slot,
            muted: false,
            tags,
        };
        self.tracks.insert(track.sid.clone(), taken);
    }

    pub(crate) fn track_muted(&mut self, track: &Track, muted: bool) {
        if let Some(taken) = self.tracks.get_mut(&track.sid) {
            taken.muted = muted;
        }
    }

    pub(crate) fn track_ended(&mut self, track: &Track) {
        self.flows.close(&track.sid);
        if let Some(taken) = self.tracks.remove(&track.sid)
            && self.tracks.values().all(|other| other.slot != taken.slot)
        {
            self.idle_since.insert(taken.slot, Instant::now());
        }
    }

    /// Gives a frame out. Returns whether it was taken.
    pub(crate) fn push(
        &mut self,
        frame: &Frame,
        running_time: gst::ClockTime,
    ) -> Result<bool, StreamError> {
        let Some(slot) = self
            .tracks
            .get(&frame.track)
            .map(|taken| taken.slot.clone())
        else {
            return Ok(false);
        };
        if self.broken.contains(&slot) {
            return Ok(false);
        }
        let pushed = self.push_to(&slot, frame, running_time);
        if pushed.is_err() {
            self.broken.insert(slot);
        }
        pushed
    }

    fn push_to(
        &mut self,
        slot: &Slot,
        frame: &Frame,
        running_time: gst::ClockTime,
    ) -> Result<bool, StreamError> {
        if self.mixes && self.mix.is_none() {
            let pad = self.identity("audio_0".into());
            self.first_pad.get_or_insert_with(Instant::now);
            self.mix = Some(Mix::new(&self.bin, &pad)?);
        }
        if let (Slot::Voice(name), Some(mix)) = (slot, &mut self.mix) {
            return mix.push(name, frame, running_time, self.latency);
        }
        let stream = self.stream(slot, frame)?;
        let taken = stream.push(frame, running_time)?;
        let flow = stream.flow().clone();
        self.flows.open(&frame.track, &flow);
        Ok(taken)
    }

    fn stream(&mut self, slot: &Slot, frame: &Frame) -> Result<&mut Stream, StreamError> {
        if !self.streams.contains_key(slot) {
            self.first_pad.get_or_insert_with(Instant::now);
            let kind = frame.codec.kind();
            let identity = self.identity(self.pad_name(slot, kind));
            if let Slot::Chosen(..) = slot {
                self.next[kind as usize] += 1;
            }
            let stream = Stream::new(&self.bin, kind, &identity, self.latency, &self.stopper)?;
            if let Some(taken) = self.tracks.get(&frame.track) {
                stream.flow().lock().set_tags(taken.tags.clone());
            }
            self.streams.insert(slot.clone(), stream);
        }
        self.streams
            .get_mut(slot)
            .ok_or_else(|| gst::glib::bool_error!("no stream for {slot:?}").into())
    }

    fn pad_name(&self, slot: &Slot, kind: Kind) -> String {
        let number = match slot {
            Slot::Main(_) | Slot::Voice(_) => 0,
            Slot::Chosen(..) => self.next[kind as usize],
        };
        match kind {
            Kind::Video => format!("video_{number}"),
            Kind::Audio => format!("audio_{number}"),
        }
    }

    fn identity(&self, name: String) -> PadIdentity {
        PadIdentity {
            stream_id: format!("livekit/{}/{name}", self.room),
            name,
            group: self.group,
            mint: self.mint.clone(),
        }
    }

    fn tags(&self, track: &Track) -> gst::TagList {
        let name = match &*track.participant_name {
            "" => &*track.identity,
            name => name,
        };
        let mut tags = gst::TagList::new();
        let list = tags.make_mut();
        list.add::<gst::tags::Title>(&self.room.as_str(), gst::TagMergeMode::Replace);
        list.add::<gst::tags::Artist>(&name, gst::TagMergeMode::Replace);
        tags
    }

    /// Frames can't be given out now: what comes later must begin anew.
    pub(crate) fn leave_out(&mut self) {
        for stream in self.streams.values_mut() {
            stream.leave_out();
        }
    }

    /// What is to be done now and then. `now` is the running time, where there is one; `live`
    /// whether the connection delivers.
    pub(crate) fn tick(&mut self, now: Option<gst::ClockTime>, live: bool) {
        if let Some(now) = now {
            for (slot, stream) in &self.streams {
                let flows = live
                    && self
                        .tracks
                        .values()
                        .any(|taken| taken.slot == *slot && !taken.muted);
                if !flows {
                    stream.flow().lock().fill(now);
                }
            }
        }
        let gone = |slot: &Slot, since: &Instant| match slot {
            Slot::Main(_) => false,
            Slot::Voice(_) => since.elapsed() > VOICE_LINGER,
            Slot::Chosen(..) => since.elapsed() > PAD_LINGER,
        };
        for (slot, _) in self.idle_since.extract_if(|slot, since| gone(slot, since)) {
            self.broken.remove(&slot);
            match (&slot, &mut self.mix) {
                (Slot::Voice(name), Some(mix)) => mix.remove(name),
                _ => {
                    if let Some(stream) = self.streams.remove(&slot) {
                        stream.remove();
                    }
                }
            }
        }
    }

    /// Whether it can be said, now and once, that all pads are there.
    pub(crate) fn settles(&mut self) -> bool {
        let has_pad = |slot: &Slot| match slot {
            Slot::Voice(_) => self.mix.is_some(),
            slot => self.streams.contains_key(slot),
        };
        let both = has_pad(&Slot::Main(Kind::Video))
            && (self.mix.is_some() || has_pad(&Slot::Main(Kind::Audio)));
        let waited = self
            .first_pad
            .is_some_and(|first| first.elapsed() > MORE_PADS_WITHIN)
            && self.tracks.values().all(|taken| has_pad(&taken.slot));
        let settles = (both || waited) && !self.no_more_pads;
        self.no_more_pads |= settles;
        settles
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.streams.is_empty() && self.mix.is_none()
    }

    /// Ends every stream.
    pub(crate) fn end(&self) {
        for stream in self.streams.values() {
            stream.end();
        }
        if let Some(mix) = &self.mix {
            mix.end();
        }
    }
}

/// The pad of the mix.
struct Mix {
    mixer: Mixer,
    pad: gst::GhostPad,
    /// What is linked takes raw sound.
    accepted: bool,
    /// Time of each voice's last packet.
    last: HashMap<Arc<str>, gst::ClockTime>,
}

impl Mix {
    fn new(element: &gst::Bin, identity: &PadIdentity) -> Result<Self, StreamError> {
        let mixer = Mixer::new(MIXER_LATENCY)?;
        let pad = make_pad(element, Kind::Audio, identity)?;
        element.add(mixer.bin())?;
        pad.set_target(mixer.bin().static_pad("src").as_ref())?;
        element.add_pad(&pad)?;
        mixer.bin().sync_state_with_parent()?;
        Ok(Self {
            mixer,
            pad,
            accepted: false,
            last: HashMap::new(),
        })
    }

    fn push(
        &mut self,
        name: &Arc<str>,
        frame: &Frame,
        running_time: gst::ClockTime,
        latency: gst::ClockTime,
    ) -> Result<bool, StreamError> {
        self.check_peer()?;
        let source = self.mixer.voice(name)?;
        if !self.last.contains_key(name) {
            source.set_latency(latency, gst::ClockTime::NONE);
        }
        if is_full(&source) {
            return Ok(false);
        }
        let pts = self.last.get(name).map_or(running_time, |last| {
            running_time.max(*last + gst::ClockTime::NSECOND)
        });
        self.last.insert(name.clone(), pts);
        let buffer = media::buffer(frame, pts, frame.discontinuity);
        Ok(source.push_buffer(buffer).is_ok())
    }

    fn check_peer(&mut self) -> Result<(), StreamError> {
        if !self.pad.is_linked() {
            self.accepted = false;
        } else if !self.accepted {
            let accepted = self.pad.peer_query_caps(None);
            if !accepted.can_intersect(&media::raw_caps(Kind::Audio)) {
                return Err(StreamError::NotAccepted(format!(
                    "the mix of the room's voices is raw, and what is linked to {} takes none: {accepted}",
                    self.pad.name(),
                )));
            }
            self.accepted = true;
        }
        Ok(())
    }

    fn remove(&mut self, name: &str) {
        self.mixer.remove_voice(name);
        self.last.remove(name);
    }

    fn end(&self) {
        // The mixer itself never ends: it is stopped, so that nothing follows the end.
        let _ = self.mixer.bin().set_state(gst::State::Null);
        self.pad.push_event(gst::event::Eos::new());
    }
}

impl From<MixerError> for StreamError {
    fn from(error: MixerError) -> Self {
        match error {
            MixerError::NoDecoder(what) => Self::NoDecoder(what),
            MixerError::Internal(error) => Self::Internal(error),
        }
    }
}
