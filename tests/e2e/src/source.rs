//! `livekitsrc` in the test's own process, and everything that leaves its pads.

mod pad_log;

pub use pad_log::{Left, PadLog};

use crate::{Result, Room};
use gst::prelude::*;
use parking_lot::Mutex;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

/// How long the pipeline may take to end.
const STOP_LIMIT: gst::ClockTime = gst::ClockTime::from_seconds(20);

/// What stands behind the pads, as fragments of a launch line.
#[derive(Clone, Debug)]
pub struct Sinks {
    /// Behind the video pad and its queue.
    pub video: String,
    /// Behind the audio pad and its queue.
    pub audio: String,
    /// What both lead to.
    pub shared: String,
}

impl Sinks {
    /// Takes the frames as they were published.
    pub fn encoded() -> Self {
        Self {
            video: "capsfilter caps=video/x-h264;video/x-vp8;video/x-vp9;video/x-av1 \
                    ! fakesink sync=false"
                .into(),
            audio: "capsfilter caps=audio/x-opus ! fakesink sync=false".into(),
            shared: String::new(),
        }
    }

    /// Wants pictures and samples.
    pub fn raw() -> Self {
        Self {
            video: "capsfilter caps=video/x-raw ! fakesink sync=false".into(),
            audio: "capsfilter caps=audio/x-raw,format=S16LE ! fakesink sync=false".into(),
            shared: String::new(),
        }
    }

    /// Writes a file: the video through `parser` into `muxer`, the sound as it came.
    pub fn file(parser: &str, muxer: &str, path: &std::path::Path) -> Self {
        Self {
            video: format!("{parser} ! mux."),
            audio: "opusparse ! mux.".into(),
            shared: format!("{muxer} name=mux ! filesink location={}", path.display()),
        }
    }
}

/// A pipeline with `livekitsrc`. Dropping it stops it.
pub struct Source {
    /// The element.
    pub element: gst::Element,
    /// When it was set to PLAYING.
    pub started: Instant,
    pipeline: gst::Pipeline,
    logs: Arc<Mutex<Vec<PadLog>>>,
    /// Element messages.
    told: Mutex<Vec<gst::Structure>>,
}

impl Source {
    /// Joins the room; `configure` may set further properties.
    ///
    /// # Errors
    /// When an element is missing.
    pub fn join(room: &Room, sinks: &Sinks, configure: impl FnOnce(&gst::Element)) -> Result<Self> {
        init()?;
        let line = format!(
            "{} queue name=video ! {} queue name=audio ! {}",
            sinks.shared, sinks.video, sinks.audio
        );
        let pipeline = gst::parse::launch(&line)?
            .downcast::<gst::Pipeline>()
            .map_err(|_| "no pipeline")?;
        let element = gst::ElementFactory::make("livekitsrc").build()?;
        element.set_property("url", room.livekit.url());
        element.set_property("api-key", &room.livekit.keys().key);
        element.set_property("api-secret", &room.livekit.keys().secret);
        element.set_property("room", &room.name);
        element.set_property("ice-addresses", "127.0.0.1");
        configure(&element);
        pipeline.add(&element)?;
        let logs = Arc::new(Mutex::new(Vec::new()));
        link_new_pads(&element, &pipeline, logs.clone());
        let started = Instant::now();
        pipeline.set_state(gst::State::Playing)?;
        Ok(Self {
            element,
            started,
            pipeline,
            logs,
            told: Mutex::default(),
        })
    }

    /// What has left the pads of this kind (`video`, `audio`) so far; empty before the first pad.
    pub fn look<T>(&self, kind: &str, look: impl FnOnce(&PadLog) -> T) -> T {
        let logs = self.logs.lock();
        match logs.iter().find(|log| log.name.starts_with(kind)) {
            Some(log) => look(log),
            None => look(&PadLog::default()),
        }
    }

    /// Forgets what has left so far, caps excepted.
    pub fn forget(&self) {
        for log in &mut *self.logs.lock() {
            log.forget();
        }
    }

    /// The names of the pads there have been.
    pub fn pads(&self) -> Vec<String> {
        let mut names: Vec<_> = self
            .logs
            .lock()
            .iter()
            .map(|log| log.name.clone())
            .collect();
        names.sort();
        names
    }

    /// Waits until what left is as wanted.
    ///
    /// # Errors
    /// When that takes longer than `limit`, or the pipeline fails.
    pub async fn wait_until(
        &self,
        kind: &str,
        limit: Duration,
        wanted: impl Fn(&PadLog) -> bool,
    ) -> Result {
        let deadline = Instant::now() + limit;
        while !self.look(kind, &wanted) {
            self.check()?;
            if Instant::now() > deadline {
                let seen = self.look(kind, PadLog::summary);
                return Err(format!("not within {limit:?}: {kind} has {seen}").into());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Waits for this many buffers more of a kind.
    ///
    /// # Errors
    /// As for [`Source::wait_until`].
    pub async fn more(&self, kind: &str, count: usize, limit: Duration) -> Result {
        let before = self.look(kind, |log| log.buffers.len());
        self.wait_until(kind, limit, |log| log.buffers.len() >= before + count)
            .await
    }

    /// Lets it run for a while.
    ///
    /// # Errors
    /// When the pipeline fails meanwhile.
    pub async fn run_for(&self, time: Duration) -> Result {
        let end = Instant::now() + time;
        while Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(50)).await;
            self.check()?;
        }
        Ok(())
    }

    /// Ends the stream, so that a muxer completes its file, and waits for it.
    ///
    /// # Errors
    /// When it takes too long, or the pipeline fails.
    pub async fn finish(&self) -> Result {
        for pad in self.element.src_pads() {
            let entry = pad.peer().ok_or("a pad isn't linked")?;
            // From a task of its own: an event travels in the thread that sends it.
            tokio::task::spawn_blocking(move || entry.send_event(gst::event::Eos::new())).await?;
        }
        let bus = self.pipeline.bus().ok_or("no bus")?;
        let types = [gst::MessageType::Eos, gst::MessageType::Error];
        let message =
            tokio::task::spawn_blocking(move || bus.timed_pop_filtered(STOP_LIMIT, &types)).await?;
        match message.as_ref().map(|message| message.view()) {
            Some(gst::MessageView::Eos(_)) => Ok(()),
            Some(gst::MessageView::Error(error)) => Err(error.to_string().into()),
            _ => Err("the file wasn't completed in time".into()),
        }
    }

    /// The caps that an element of the sinks takes on a pad of this kind.
    pub fn caps_into(&self, element: &str, kind: &str) -> Option<gst::Caps> {
        let pads = self.pipeline.by_name(element)?.sink_pads();
        pads.iter()
            .find(|pad| pad.name().starts_with(kind))?
            .current_caps()
    }

    /// Waits for an element message that is as wanted; those that came before are forgotten.
    ///
    /// # Errors
    /// When that takes longer than `limit`, or the pipeline fails.
    pub async fn told(
        &self,
        limit: Duration,
        wanted: impl Fn(&gst::StructureRef) -> bool,
    ) -> Result<gst::Structure> {
        let deadline = Instant::now() + limit;
        let mut others = Vec::new();
        loop {
            self.check()?;
            let told = std::mem::take(&mut *self.told.lock());
            for structure in told {
                if wanted(&structure) {
                    return Ok(structure);
                }
                others.push(structure.to_string());
            }
            if Instant::now() > deadline {
                return Err(format!("not told within {limit:?}, but {others:#?}").into());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The error that the pipeline has posted, if any.
    fn check(&self) -> Result {
        let bus = self.pipeline.bus().ok_or("no bus")?;
        // Everything is read, or messages would pile up.
        while let Some(message) = bus.pop() {
            if let gst::MessageView::Element(element) = message.view() {
                let structure = element.structure().map(ToOwned::to_owned);
                self.told.lock().extend(structure);
            }
            if let gst::MessageView::Error(error) = message.view() {
                return Err(format!("{}: {:?}", error.error(), error.debug()).into());
            }
        }
        Ok(())
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// Once in a process: a second registration would be refused.
fn init() -> Result {
    static REGISTERED: LazyLock<Result<(), String>> = LazyLock::new(|| {
        gst::init().map_err(|error| error.to_string())?;
        gstlivekitsrc::plugin_register_static().map_err(|error| error.to_string())
    });
    Ok(REGISTERED.clone()?)
}

/// Links each pad to the queue of its kind, and logs what leaves it.
fn link_new_pads(element: &gst::Element, pipeline: &gst::Pipeline, logs: Arc<Mutex<Vec<PadLog>>>) {
    let pipeline = pipeline.downgrade();
    element.connect_pad_added(move |_, pad| {
        let name = pad.name().to_string();
        let kind = name.split('_').next().unwrap_or_default();
        let Some(queue) = pipeline.upgrade().and_then(|all| all.by_name(kind)) else {
            return;
        };
        let index = {
            let mut logs = logs.lock();
            logs.push(PadLog::new(&name));
            logs.len() - 1
        };
        let logs = logs.clone();
        let types = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
        pad.add_probe(types, move |pad, info| {
            match &info.data {
                Some(gst::PadProbeData::Buffer(buffer)) => {
                    // Read before the lock is taken: a test may be looking at the log.
                    let left = Left::new(pad, buffer);
                    let samples = pad_log::samples(pad, buffer);
                    logs.lock()[index].add(left, &samples);
                }
                Some(gst::PadProbeData::Event(event)) => logs.lock()[index].event(event),
                _ => {}
            }
            gst::PadProbeReturn::Ok
        });
        if let Some(entry) = queue.static_pad("sink") {
            let _ = pad.link(&entry);
        }
    });
}
