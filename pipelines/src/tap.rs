mod memory;

pub(crate) use memory::Memory;

use gst::prelude::*;
use memory::Kept;
use parking_lot::Mutex;
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

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
    /// Left it out for a consumer that will attach from here on: it is kept for as long as the one
    /// that says so stays attached.
    Keep,
}

/// Hands the buffers of one stream to any number of consumers, of which none can hold up another.
///
/// Consumers stay attached, and what is remembered stays, when the pipeline that feeds the tap is
/// replaced.
pub(crate) struct Tap {
    name: &'static str,
    inner: Mutex<Inner>,
    buffers: AtomicU64,
    bytes: AtomicU64,
    on_caps: Box<dyn Fn() + Send + Sync>,
}

struct Inner {
    consumers: Vec<(u64, Arc<dyn Consumer>)>,
    next_id: u64,
    caps: Option<gst::Caps>,
    kept: Kept,
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
            inner: Mutex::new(Inner {
                consumers: Vec::new(),
                next_id: 0,
                caps: None,
                kept: Kept::new(memory),
                newest: None,
                sink: None,
                key_frame_asked: None,
            }),
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
        let id = inner.next_id;
        inner.next_id += 1;
        // It may come to its end already in what is given to it first.
        let mut keeps = false;
        for unit in inner.kept.from(from) {
            keeps |= consumer.take(unit) == Taken::Keep;
        }
        if keeps {
            inner.kept.hold(id);
        }
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

    /// The key frame that a consumer would begin with that attaches from there.
    pub(crate) fn key_frame(&self, from: gst::ClockTime) -> Option<Unit> {
        let inner = self.inner.lock();
        let first = inner.kept.from(Some(from)).next();
        first.filter(|unit| unit.key).cloned()
    }

    /// Whether the stream flows, `now` being the running time.
    pub(crate) fn flows(&self, now: gst::ClockTime) -> bool {
        let newest = self.inner.lock().newest;
        newest.is_some_and(|newest| now < newest + FRESH)
    }

    /// Whether a consumer that attaches now can start at once.
    pub(crate) fn remembers(&self) -> bool {
        self.inner.lock().kept.from(None).next().is_some()
    }

    /// Forgets what was kept: the stream it belonged to is over.
    pub(crate) fn forget(&self) {
        let mut inner = self.inner.lock();
        inner.kept.clear();
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

    /// Hands a sample to everybody, on the streaming thread or on what stands in for it.
    pub(crate) fn push(&self, sample: &gst::Sample) {
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
            inner.newest = Some(unit.pts);
            inner.kept.keep(&unit);
            let mut starving = false;
            let Inner {
                consumers, kept, ..
            } = &mut *inner;
            for (id, consumer) in consumers {
                match consumer.take(&unit) {
                    Taken::Done => {}
                    Taken::NeedsKeyFrame => starving = true,
                    Taken::Keep => kept.hold(*id),
                }
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
        let mut inner = self.inner.lock();
        inner.consumers.retain(|(other, _)| *other != id);
        inner.kept.release(id);
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
    fn may_ask(&mut self, now: gst::ClockTime) -> bool {
        let due = self
            .key_frame_asked
            .is_none_or(|asked| now.saturating_sub(asked) >= KEY_FRAME_INTERVAL);
        if due {
            self.key_frame_asked = Some(now);
        }
        due
    }
}

/// Keeps a consumer attached for as long as it lives, and what the consumer has kept for another one.
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
mod tests;
