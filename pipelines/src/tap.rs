use gst::prelude::*;
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Longest group of pictures that is kept for consumers who come later.
const MAX_GOP_TIME: gst::ClockTime = gst::ClockTime::from_seconds(10);
/// Largest group of pictures that is kept.
const MAX_GOP_BYTES: usize = 16 << 20;
/// How much of a stream without key frames is kept for consumers that begin in the past.
const MAX_RECENT_TIME: gst::ClockTime = gst::ClockTime::from_seconds(2);
/// A stream whose last buffer is older than this stands still.
const FRESH: gst::ClockTime = gst::ClockTime::from_seconds(2);
/// Key frames are asked for at most this often: each costs the publisher a burst.
const KEY_FRAME_INTERVAL: gst::ClockTime = gst::ClockTime::SECOND;

/// One buffer of a stream; its PTS is running time.
#[derive(Clone, Debug)]
pub(crate) struct Unit {
    /// The media.
    pub(crate) buffer: gst::Buffer,
    /// What it is.
    pub(crate) caps: gst::Caps,
    /// Running time.
    pub(crate) pts: gst::ClockTime,
    /// Whether decoding can start here.
    pub(crate) key: bool,
}

/// Takes what flows through a [`Tap`].
pub(crate) trait Consumer: Send + Sync {
    /// Called on the streaming thread, in order: it must neither block nor call the tap.
    fn take(&self, unit: &Unit) -> Taken;
}

/// What a consumer did with a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Used it, or left it out for good.
    Done,
    /// Left it out, and will until a key frame comes.
    NeedsKeyFrame,
    /// Left it out for a consumer that will attach from here on.
    Keep,
}

/// What a tap remembers for consumers that attach later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Memory {
    /// Nothing: any buffer is as good a start as another.
    Nothing,
    /// What came in the last moments, for consumers that attach from there on.
    Recent,
    /// The last buffer.
    Last,
    /// The last key frame and what followed it.
    Gop,
}

/// Hands the buffers of one stream to any number of consumers, of which none can hold up another.
///
/// Consumers stay attached, and what is remembered stays, when the pipeline that feeds the tap is
/// replaced.
pub(crate) struct Tap {
    name: &'static str,
    memory: Memory,
    inner: Mutex<Inner>,
    buffers: AtomicU64,
    bytes: AtomicU64,
    on_caps: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct Inner {
    consumers: Vec<(u64, Arc<dyn Consumer>)>,
    next_id: u64,
    caps: Option<gst::Caps>,
    kept: VecDeque<Unit>,
    kept_bytes: usize,
    /// From when on buffers are kept though newer key frames came, for who attaches from there.
    pinned: Vec<gst::ClockTime>,
    newest: Option<gst::ClockTime>,
    sink: Option<gst::glib::WeakRef<gst_app::AppSink>>,
    key_frame_asked: Option<gst::ClockTime>,
}

/// Totals since the tap was made.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flow {
    /// Buffers.
    pub(crate) buffers: u64,
    /// Bytes.
    pub(crate) bytes: u64,
}

impl Tap {
    /// A tap; `on_caps` is called on the streaming thread when the stream's caps change.
    pub(crate) fn new(
        name: &'static str,
        memory: Memory,
        on_caps: impl Fn() + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            name,
            memory,
            inner: Mutex::default(),
            buffers: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            on_caps: Box::new(on_caps),
        })
    }

    /// Lets an appsink's samples flow into the tap.
    pub(crate) fn feed_from(self: &Arc<Self>, sink: &gst_app::AppSink) {
        self.inner.lock().sink = Some(sink.downgrade());
        let tap = self.clone();
        sink.set_callbacks(
            gst_app::AppSinkCallbacks::builder()
                .new_sample(move |sink| {
                    let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                    tap.push(&sample);
                    Ok(gst::FlowSuccess::Ok)
                })
                .build(),
        );
    }

    /// Attaches a consumer. It is given what the tap remembers first, then all that comes.
    pub(crate) fn attach(self: &Arc<Self>, consumer: Arc<dyn Consumer>) -> Attachment {
        self.attach_with(consumer, None)
    }

    /// Attaches a consumer that begins at the running time `from`, which a consumer before it may
    /// have said with [`Taken::Keep`]: it is given what is kept from then on first.
    pub(crate) fn attach_from(
        self: &Arc<Self>,
        consumer: Arc<dyn Consumer>,
        from: gst::ClockTime,
    ) -> Attachment {
        self.attach_with(consumer, Some(from))
    }

    fn attach_with(
        self: &Arc<Self>,
        consumer: Arc<dyn Consumer>,
        from: Option<gst::ClockTime>,
    ) -> Attachment {
        let mut inner = self.inner.lock();
        let first = inner.begin(self.memory, from);
        for unit in inner.kept.range(first..) {
            let _ = consumer.take(unit);
        }
        let pinned = &inner.pinned;
        if let Some(index) = pinned.iter().position(|pinned| Some(*pinned) == from) {
            inner.pinned.swap_remove(index);
        }
        let id = inner.next_id;
        inner.next_id += 1;
        inner.consumers.push((id, consumer));
        Attachment {
            tap: self.clone(),
            id,
        }
    }

    /// The stream's caps, once something came.
    pub(crate) fn caps(&self) -> Option<gst::Caps> {
        self.inner.lock().caps.clone()
    }

    /// Nobody will attach from `from` on after all.
    pub(crate) fn forget_from(&self, from: gst::ClockTime) {
        self.inner.lock().pinned.retain(|pinned| *pinned != from);
    }

    /// The key frame that a consumer would begin with that attaches from there.
    pub(crate) fn key_frame(&self, from: gst::ClockTime) -> Option<Unit> {
        let inner = self.inner.lock();
        let first = inner.begin(self.memory, Some(from));
        inner.kept.get(first).filter(|unit| unit.key).cloned()
    }

    /// Whether the stream flows, `now` being the running time.
    pub(crate) fn flows(&self, now: gst::ClockTime) -> bool {
        let newest = self.inner.lock().newest;
        newest.is_some_and(|newest| now < newest + FRESH)
    }

    /// Whether a consumer that attaches now can start at once.
    pub(crate) fn remembers(&self) -> bool {
        !self.inner.lock().kept.is_empty()
    }

    /// Forgets what was kept: the stream it belonged to is over.
    pub(crate) fn forget(&self) {
        let mut inner = self.inner.lock();
        inner.kept.clear();
        inner.kept_bytes = 0;
        inner.pinned.clear();
        inner.caps = None;
    }

    /// Asks whoever encodes the stream for a key frame.
    pub(crate) fn request_key_frame(&self) {
        let sink = self.inner.lock().sink.clone();
        if let Some(sink) = sink.and_then(|sink| sink.upgrade()) {
            let event = gst_video::UpstreamForceKeyUnitEvent::builder()
                .all_headers(true)
                .build();
            let asked = sink.send_event(event);
            tracing::debug!(tap = self.name, asked, "key frame wanted");
        }
    }

    /// Totals, from which rates are made.
    pub(crate) fn flow(&self) -> Flow {
        Flow {
            buffers: self.buffers.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }

    fn push(&self, sample: &gst::Sample) {
        let Some(unit) = unit(sample) else {
            tracing::debug!(tap = self.name, "a buffer without a time is left out");
            return;
        };
        self.buffers.fetch_add(1, Ordering::Relaxed);
        self.bytes
            .fetch_add(unit.buffer.size() as u64, Ordering::Relaxed);
        // Consumers only queue, so holding the lock costs nobody time, and it is what keeps the
        // replay of an attaching consumer and the live buffers in order.
        let (changed, ask) = {
            let mut inner = self.inner.lock();
            let changed = inner.caps.as_ref() != Some(&unit.caps);
            if changed {
                inner.caps = Some(unit.caps.clone());
            }
            inner.keep(self.memory, &unit);
            let (mut starving, mut keep) = (false, false);
            for (_, consumer) in &inner.consumers {
                match consumer.take(&unit) {
                    Taken::Done => {}
                    Taken::NeedsKeyFrame => starving = true,
                    Taken::Keep => keep = true,
                }
            }
            if keep {
                inner.pinned.push(unit.pts);
            }
            (changed, starving && inner.may_ask(unit.pts))
        };
        if ask {
            self.request_key_frame();
        }
        if changed {
            tracing::debug!(tap = self.name, caps = %unit.caps, "caps changed");
            (self.on_caps)();
        }
    }

    fn detach(&self, id: u64) {
        self.inner
            .lock()
            .consumers
            .retain(|(other, _)| *other != id);
    }
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tap")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Inner {
    /// Which of what is kept comes first for a consumer that begins then.
    fn begin(&self, memory: Memory, from: Option<gst::ClockTime>) -> usize {
        let kept = &self.kept;
        match (memory, from) {
            // Between two key frames it needs what is before.
            (Memory::Gop, from) => kept
                .iter()
                .rposition(|unit| unit.key && from.is_none_or(|from| unit.pts <= from))
                .unwrap_or(0),
            (Memory::Recent, None) => kept.len(),
            (Memory::Recent, Some(from)) => kept.partition_point(|unit| unit.pts < from),
            (Memory::Nothing | Memory::Last, _) => 0,
        }
    }

    fn may_ask(&mut self, now: gst::ClockTime) -> bool {
        let due = self
            .key_frame_asked
            .is_none_or(|asked| now.saturating_sub(asked) >= KEY_FRAME_INTERVAL);
        if due {
            self.key_frame_asked = Some(now);
        }
        due
    }

    fn keep(&mut self, memory: Memory, unit: &Unit) {
        self.newest = Some(unit.pts);
        let restart = match memory {
            Memory::Nothing => return,
            Memory::Recent => return self.keep_recent(unit),
            Memory::Last => true,
            Memory::Gop => unit.key && self.pinned.is_empty(),
        };
        if restart {
            self.kept.clear();
            self.kept_bytes = 0;
        } else if self.kept.is_empty() {
            return;
        }
        self.kept_bytes += unit.buffer.size();
        self.kept.push_back(unit.clone());
        let first = self.kept.front().map_or(unit.pts, |first| first.pts);
        // Without its beginning a group of pictures is worth nothing: all or none.
        if memory == Memory::Gop
            && (self.kept_bytes > MAX_GOP_BYTES || unit.pts.saturating_sub(first) > MAX_GOP_TIME)
        {
            self.kept.clear();
            self.kept_bytes = 0;
            self.pinned.clear();
        }
    }

    fn keep_recent(&mut self, unit: &Unit) {
        self.kept.push_back(unit.clone());
        self.kept
            .retain(|kept| unit.pts.saturating_sub(kept.pts) < MAX_RECENT_TIME);
    }
}

/// Keeps a consumer attached for as long as it lives.
#[derive(Debug)]
pub(crate) struct Attachment {
    tap: Arc<Tap>,
    id: u64,
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.tap.detach(self.id);
    }
}

fn unit(sample: &gst::Sample) -> Option<Unit> {
    let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
    let mut buffer = sample.buffer_owned()?;
    let pts = segment.to_running_time(buffer.pts().or(buffer.dts())?)?;
    let key = !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
    {
        let buffer = buffer.make_mut();
        buffer.set_pts(pts);
        buffer.set_dts(gst::ClockTime::NONE);
    }
    Some(Unit {
        buffer,
        caps: sample.caps_owned()?,
        pts,
        key,
    })
}

/// An appsink for a tap: never waits for the clock, never holds up the stream before it.
pub(crate) fn tap_sink(name: &str, caps: &gst::Caps) -> gst_app::AppSink {
    gst_app::AppSink::builder()
        .name(name)
        .caps(caps)
        .sync(false)
        .async_(false)
        .max_buffers(8)
        .drop(true)
        .enable_last_sample(false)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Times(Mutex<Vec<u64>>);

    impl Consumer for Times {
        fn take(&self, unit: &Unit) -> Taken {
            self.0.lock().push(unit.pts.mseconds());
            Taken::Done
        }
    }

    fn push(tap: &Tap, ms: u64, key: bool) {
        let mut buffer = gst::Buffer::with_size(10).unwrap();
        {
            let buffer = buffer.get_mut().unwrap();
            buffer.set_pts(gst::ClockTime::from_mseconds(ms));
            if !key {
                buffer.set_flags(gst::BufferFlags::DELTA_UNIT);
            }
        }
        let caps = gst::Caps::new_empty_simple("video/x-vp8");
        let segment = gst::FormattedSegment::<gst::ClockTime>::new();
        let sample = gst::Sample::builder()
            .buffer(&buffer)
            .caps(&caps)
            .segment(&segment)
            .build();
        tap.push(&sample);
    }

    #[test]
    fn a_late_consumer_starts_at_the_last_key_frame() {
        gst::init().unwrap();
        let tap = Tap::new("test", Memory::Gop, || ());
        for (ms, key) in [(0, true), (33, false), (66, true), (100, false)] {
            push(&tap, ms, key);
        }
        let times = Arc::new(Times::default());
        let attachment = tap.attach(times.clone());
        push(&tap, 133, false);
        drop(attachment);
        push(&tap, 166, false);
        assert_eq!(*times.0.lock(), [66, 100, 133]);
    }

    #[test]
    fn who_begins_where_another_ended_misses_nothing_though_key_frames_came_since() {
        struct Cutter;
        impl Consumer for Cutter {
            fn take(&self, unit: &Unit) -> Taken {
                match unit.pts.mseconds() {
                    66 => Taken::Keep,
                    _ => Taken::Done,
                }
            }
        }
        gst::init().unwrap();
        let tap = Tap::new("test", Memory::Gop, || ());
        let cutter = tap.attach(Arc::new(Cutter));
        for (ms, key) in [
            (0, true),
            (33, false),
            (66, true),
            (100, false),
            (133, true),
        ] {
            push(&tap, ms, key);
        }
        drop(cutter);
        let times = Arc::new(Times::default());
        let _attachment = tap.attach_from(times.clone(), gst::ClockTime::from_mseconds(66));
        push(&tap, 166, true);
        assert_eq!(*times.0.lock(), [66, 100, 133, 166]);
        // What was kept for it is no longer kept.
        let later = Arc::new(Times::default());
        let _later = tap.attach(later.clone());
        assert_eq!(*later.0.lock(), [166]);
    }

    #[test]
    fn recent_sound_is_for_who_begins_in_the_past_alone() {
        gst::init().unwrap();
        let tap = Tap::new("test", Memory::Recent, || ());
        for ms in [0, 1000, 2000, 2500] {
            push(&tap, ms, true);
        }
        let now = Arc::new(Times::default());
        let _now = tap.attach(now.clone());
        assert!(now.0.lock().is_empty());
        let past = Arc::new(Times::default());
        let _past = tap.attach_from(past.clone(), gst::ClockTime::from_mseconds(1500));
        assert_eq!(*past.0.lock(), [2000, 2500]);
    }

    #[test]
    fn an_endless_group_of_pictures_is_given_up() {
        gst::init().unwrap();
        let tap = Tap::new("test", Memory::Gop, || ());
        push(&tap, 0, true);
        push(&tap, 10_001, false);
        push(&tap, 10_100, false);
        assert!(!tap.remembers());
        push(&tap, 10_200, true);
        assert!(tap.remembers());
    }
}
