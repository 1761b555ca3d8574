//! What the element's tests share: pump.fun's stand-in, pipelines, and readers of the meta.

// Each test binary uses some of it; a test's helpers may unwrap as the tests do.
#![allow(dead_code, clippy::unwrap_used)]

use gst::{meta::CustomMeta, prelude::*};
use gst_app::{AppSink, AppSrc};
use gstpumpfunmeta::meta::NAME;
use haven_rig::{
    Keys,
    pumpfun::{Coin, FakePumpFun, random_mint},
};
use std::{
    sync::{Once, mpsc},
    time::{Duration, Instant},
};
use tokio::runtime::Runtime;

/// Far more than anything here takes on a machine that does nothing else.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) fn init() {
    static INIT: Once = Once::new();
    INIT.call_once(|| {
        gst::init().unwrap();
        gstpumpfunmeta::plugin_register_static().unwrap();
    });
}

/// Pump.fun's stand-in with one coin.
pub(crate) struct Upstream {
    pub(crate) runtime: Runtime,
    pub(crate) pumpfun: FakePumpFun,
    pub(crate) mint: String,
}

impl Upstream {
    pub(crate) fn start() -> Self {
        init();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let started = FakePumpFun::start_for("ws://127.0.0.1:1".into(), Keys::random());
        let pumpfun = runtime.block_on(started).unwrap();
        let coin = Coin::new(random_mint());
        let mint = coin.mint.clone();
        pumpfun.add_coin(coin);
        Self {
            runtime,
            pumpfun,
            mint,
        }
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Coin)) {
        assert!(self.pumpfun.change_coin(&self.mint, change));
    }

    /// The element in a launch line.
    pub(crate) fn element(&self) -> String {
        format!("{} mint-id={}", self.element_without_mint(), self.mint)
    }

    pub(crate) fn element_without_mint(&self) -> String {
        let url = self.pumpfun.url();
        format!("pumpfunmeta name=meta refresh-interval=1000 frontend-url={url}")
    }
}

/// A pipeline whose element is called `meta`. Dropping it stops it.
pub(crate) struct Bench {
    pub(crate) pipeline: gst::Pipeline,
    pub(crate) element: gst::Element,
    /// The coins that were notified.
    changes: mpsc::Receiver<Option<gst::Structure>>,
}

impl Bench {
    pub(crate) fn launch(line: &str) -> Self {
        init();
        let pipeline = gst::parse::launch(line).unwrap();
        let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
        let element = pipeline.by_name("meta").unwrap();
        let (told, changes) = mpsc::channel();
        element.connect_notify(Some("coin"), move |element, _| {
            // The test may be over.
            let _ = told.send(element.property("coin"));
        });
        Self {
            pipeline,
            element,
            changes,
        }
    }

    /// `appsrc ! pumpfunmeta ! appsink`, playing.
    pub(crate) fn simple(element: &str) -> Self {
        let bench = Self::launch(&format!(
            "appsrc name=in format=time caps=application/x-thing ! {element} ! appsink name=out sync=false"
        ));
        bench.play();
        bench
    }

    pub(crate) fn play(&self) {
        self.pipeline.set_state(gst::State::Playing).unwrap();
    }

    pub(crate) fn stop(&self) {
        self.pipeline.set_state(gst::State::Null).unwrap();
    }

    /// Waits for a coin that is like this.
    pub(crate) fn wait_for(&self, like: impl Fn(&gst::Structure) -> bool) -> gst::Structure {
        let end = Instant::now() + DEADLINE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.changes.recv_timeout(left) {
                Ok(Some(coin)) if like(&coin) => return coin,
                Ok(_) => {}
                Err(_) => panic!("no such coin came; stats: {:?}", self.stats()),
            }
        }
    }

    pub(crate) fn wait_for_any(&self) -> gst::Structure {
        self.wait_for(|_| true)
    }

    /// Changes that were told and not waited for.
    pub(crate) fn changes(&self) -> usize {
        self.changes.try_iter().count()
    }

    pub(crate) fn stats(&self) -> gst::Structure {
        self.element.property("stats")
    }

    /// Waits until the statistics are like this.
    pub(crate) fn wait_for_stats(&self, like: impl Fn(&gst::Structure) -> bool) -> gst::Structure {
        wait_until("such statistics", || {
            let stats = self.stats();
            if like(&stats) { Ok(stats) } else { Err(stats) }
        })
    }

    pub(crate) fn source(&self) -> AppSrc {
        let source = self.pipeline.by_name("in").unwrap();
        source.downcast().unwrap()
    }

    pub(crate) fn sink(&self, name: &str) -> AppSink {
        self.pipeline.by_name(name).unwrap().downcast().unwrap()
    }

    /// Sends a buffer through; what came out.
    pub(crate) fn pass(&self) -> gst::Buffer {
        self.source()
            .push_buffer(gst::Buffer::with_size(16).unwrap())
            .unwrap();
        pull(&self.sink("out"))
    }

    /// Messages on the bus of these types so far.
    pub(crate) fn messages(&self, types: &[gst::MessageType]) -> Vec<gst::Message> {
        let bus = self.pipeline.bus().unwrap();
        std::iter::from_fn(|| bus.pop_filtered(types)).collect()
    }

    /// Waits for the end of the stream.
    pub(crate) fn wait_for_end(&self) {
        let bus = self.pipeline.bus().unwrap();
        let types = [gst::MessageType::Eos, gst::MessageType::Error];
        let end = bus.timed_pop_filtered(gst::ClockTime::from_seconds(DEADLINE.as_secs()), &types);
        match end.as_ref().map(|end| end.view()) {
            Some(gst::MessageView::Eos(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// Waits until there is one; what was there instead is in the panic.
pub(crate) fn wait_until<T, E: std::fmt::Debug>(
    what: &str,
    mut find: impl FnMut() -> Result<T, E>,
) -> T {
    let bus = gst::Bus::new();
    let end = Instant::now() + DEADLINE;
    loop {
        match find() {
            Ok(found) => return found,
            Err(instead) => assert!(Instant::now() < end, "no {what}: {instead:?}"),
        }
        // Nothing is posted on it: a pause that ends.
        bus.timed_pop(gst::ClockTime::from_mseconds(20));
    }
}

pub(crate) fn pull(sink: &AppSink) -> gst::Buffer {
    let sample = sink.try_pull_sample(gst::ClockTime::from_seconds(DEADLINE.as_secs()));
    sample.expect("a buffer comes").buffer_owned().unwrap()
}

/// A coin's name, by the meta of a buffer.
pub(crate) fn name_on(buffer: &gst::BufferRef) -> Option<String> {
    let meta = CustomMeta::from_buffer(buffer, NAME).ok()?;
    meta.structure().get("name").ok()
}

/// Whether its name is this.
pub(crate) fn named(name: &str) -> impl Fn(&gst::Structure) -> bool {
    move |coin| coin.get::<&str>("name") == Ok(name)
}
