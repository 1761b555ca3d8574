//! `wsjpegsink` in this process, showing what a pipeline makes.

use crate::Result;
use gst::prelude::*;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// A pipeline that ends in a `wsjpegsink`, and plays.
#[derive(Debug)]
pub struct JpegSink {
    pipeline: gst::Pipeline,
    /// The sink.
    pub element: gst::Element,
    encoded: Arc<AtomicU64>,
}

/// What one client had, from the element's statistics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkClient {
    /// Its number.
    pub id: u64,
    /// Where it comes from.
    pub address: String,
    /// `json`, `binary` or `relay`.
    pub protocol: String,
    /// For how long it has been there.
    pub connected: Duration,
    /// Pictures sent.
    pub frames_sent: u64,
    /// Pictures passed over.
    pub frames_skipped: u64,
}

impl JpegSink {
    /// Plays `launch`, whose `wsjpegsink` has the name `sink`.
    ///
    /// # Errors
    /// When the pipeline can't be made or doesn't play.
    pub fn play(launch: &str) -> Result<Self> {
        gst::init()?;
        // A second registration is the same plugin.
        _ = gstwsjpegsink::plugin_register_static();
        let pipeline = gst::parse::launch(launch)?
            .downcast::<gst::Pipeline>()
            .map_err(|_| "no pipeline")?;
        let element = pipeline.by_name("sink").ok_or("no sink of that name")?;
        let encoded = Arc::new(AtomicU64::new(0));
        if let Some(encoder) = pipeline.by_name("encoder") {
            let pad = encoder.static_pad("src").ok_or("the encoder has no pad")?;
            let counted = Arc::clone(&encoded);
            pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
                counted.fetch_add(1, Ordering::Relaxed);
                gst::PadProbeReturn::Ok
            });
        }
        let sink = Self {
            pipeline,
            element,
            encoded,
        };
        sink.pipeline.set_state(gst::State::Playing)?;
        let limit = gst::ClockTime::from_seconds(60);
        sink.pipeline.state(limit).0?;
        Ok(sink)
    }

    /// Its address, `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port())
    }

    /// The port that it listens on.
    pub fn port(&self) -> u32 {
        self.element.property("port")
    }

    /// An element of the pipeline, by its name.
    ///
    /// # Errors
    /// When there is none.
    pub fn part(&self, name: &str) -> Result<gst::Element> {
        Ok(self.pipeline.by_name(name).ok_or("no such element")?)
    }

    /// Pictures that the element named `encoder` made.
    pub fn encoded(&self) -> u64 {
        self.encoded.load(Ordering::Relaxed)
    }

    /// A counter of its statistics.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn counter(&self, name: &str) -> Result<u64> {
        Ok(self.element.property::<gst::Structure>("stats").get(name)?)
    }

    /// The clients in its statistics.
    ///
    /// # Errors
    /// When a field is missing.
    pub fn clients(&self) -> Result<Vec<SinkClient>> {
        let stats = self.element.property::<gst::Structure>("stats");
        let all = stats.get::<gst::Array>("client-stats")?;
        all.iter()
            .map(|value| {
                let client = value.get::<gst::Structure>()?;
                Ok(SinkClient {
                    id: client.get("id")?,
                    address: client.get("address")?,
                    protocol: client.get("protocol")?,
                    connected: client.get::<gst::ClockTime>("connected-for")?.into(),
                    frames_sent: client.get("frames-sent")?,
                    frames_skipped: client.get("frames-skipped")?,
                })
            })
            .collect()
    }

    /// Ends it; clients are closed with 1001.
    ///
    /// # Errors
    /// When an element failed while it played.
    pub fn stop(self) -> Result {
        let bus = self.pipeline.bus().ok_or("no bus")?;
        let failed = bus.pop_filtered(&[gst::MessageType::Error]);
        self.pipeline.set_state(gst::State::Null)?;
        match failed {
            Some(message) => Err(format!("{message:?}").into()),
            None => Ok(()),
        }
    }
}

impl Drop for JpegSink {
    fn drop(&mut self) {
        _ = self.pipeline.set_state(gst::State::Null);
    }
}
