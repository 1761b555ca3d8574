use crate::tap::{Consumer, Taken, Unit};
use gst::prelude::*;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a [`Feed`] does with what doesn't fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overflow {
    /// Leave it out: each buffer stands for itself.
    DropBuffer,
    /// Leave out all until the next key frame, since the rest can't be decoded without it.
    DropToKeyFrame,
}

/// An appsrc with a bound, fed without ever waiting.
#[derive(Debug)]
pub(crate) struct Feed {
    appsrc: gst_app::AppSrc,
    max_bytes: u64,
    overflow: Overflow,
    state: Mutex<State>,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    caps: Option<gst::Caps>,
    /// Something was left out since the last buffer that went in.
    gap: bool,
    /// Everything is left out until a key frame comes.
    broken: bool,
}

impl Feed {
    /// A feed for this appsrc, which must have been made by [`live_appsrc`] or be without limits
    /// of its own.
    pub(crate) fn new(appsrc: gst_app::AppSrc, max_bytes: u64, overflow: Overflow) -> Self {
        Self {
            appsrc,
            max_bytes,
            overflow,
            state: Mutex::default(),
            dropped: AtomicU64::new(0),
        }
    }

    /// Puts a buffer in, or leaves it out where the appsrc is full or closed.
    pub(crate) fn push(&self, mut buffer: gst::Buffer, caps: &gst::Caps, key: bool) -> Taken {
        let mut state = self.state.lock();
        let full = self.appsrc.current_level_bytes() + buffer.size() as u64 > self.max_bytes;
        if full || (state.broken && !key) {
            state.gap = true;
            state.broken = self.overflow == Overflow::DropToKeyFrame;
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return if state.broken {
                Taken::NeedsKeyFrame
            } else {
                Taken::Done
            };
        }
        if state.caps.as_ref() != Some(caps) {
            self.appsrc.set_caps(Some(caps));
            state.caps = Some(caps.clone());
        }
        state.broken = false;
        if std::mem::take(&mut state.gap) {
            buffer.make_mut().set_flags(gst::BufferFlags::DISCONT);
        }
        if let Err(error) = self.appsrc.push_buffer(buffer) {
            tracing::trace!(appsrc = %self.appsrc.name(), %error, "not taken");
        }
        Taken::Done
    }

    /// Says that nothing comes for a while, behind what came.
    pub(crate) fn gap(&self, from: gst::ClockTime, length: gst::ClockTime) {
        let event = gst::event::Gap::builder(from).duration(length).build();
        if !self.appsrc.send_event(event) {
            tracing::trace!(appsrc = %self.appsrc.name(), "a gap is not taken");
        }
    }

    /// Ends the stream.
    pub(crate) fn end(&self) {
        if let Err(error) = self.appsrc.end_of_stream() {
            tracing::debug!(appsrc = %self.appsrc.name(), %error, "end of stream not taken");
        }
    }

    /// Buffers left out so far.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl Consumer for Feed {
    fn take(&self, unit: &Unit) -> Taken {
        self.push(unit.buffer.clone(), &unit.caps, unit.key)
    }
}

/// Has whoever pushes into these appsrcs of a pipeline wait until it is taken, where two buffers wait
/// already. Nobody waits any more once the pipeline has failed.
pub(crate) fn take_everything(pipeline: &gst::Pipeline, appsrcs: &[gst_app::AppSrc]) {
    for appsrc in appsrcs {
        appsrc.set_max_buffers(2);
        appsrc.set_property("block", true);
    }
    let Some(bus) = pipeline.bus() else { return };
    let waited_for: Vec<_> = appsrcs.iter().map(|appsrc| appsrc.downgrade()).collect();
    bus.set_sync_handler(move |_, message| {
        if message.type_() == gst::MessageType::Error {
            for appsrc in waited_for.iter().filter_map(|appsrc| appsrc.upgrade()) {
                appsrc.set_max_buffers(0);
            }
        }
        gst::BusSyncReply::Pass
    });
}

/// An appsrc whose buffers carry running time and whose bound is kept by a [`Feed`].
pub(crate) fn live_appsrc(name: &str) -> gst_app::AppSrc {
    gst_app::AppSrc::builder()
        .name(name)
        .format(gst::Format::Time)
        .is_live(true)
        .do_timestamp(false)
        .max_bytes(0)
        .block(false)
        .build()
}
