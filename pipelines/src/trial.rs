//! Trying an encoder: a few pictures, or a moment of sound, encoded in a process of its own, since
//! codecs abort and drivers crash or hang. The process is this program with `--try`.

use crate::{
    child::{self, Fuse},
    formats::Trials,
    inbox::Media,
};
use gst::prelude::*;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// How long one trial may take; a software encoder needs a fifth of a second.
const TRIAL_LIMIT: Duration = Duration::from_secs(10);
/// How long all trials of a probe may take: the server waits a minute for the probe.
const TOTAL_LIMIT: Duration = Duration::from_secs(40);

/// Tries encoders in processes of their own, each chain once.
pub(crate) struct ProcessTrials {
    until: Instant,
    outcomes: HashMap<Vec<String>, Result<(), String>>,
}

impl ProcessTrials {
    pub(crate) fn new() -> Self {
        Self {
            until: Instant::now() + TOTAL_LIMIT,
            outcomes: HashMap::new(),
        }
    }
}

impl Trials for ProcessTrials {
    fn run(&mut self, media: Media, chains: &[String]) -> Result<(), String> {
        if let Some(outcome) = self.outcomes.get(chains) {
            return outcome.clone();
        }
        let limit = self.until.saturating_duration_since(Instant::now());
        let outcome = try_in_process(media, chains, limit.min(TRIAL_LIMIT));
        self.outcomes.insert(chains.to_vec(), outcome.clone());
        outcome
    }
}

fn try_in_process(media: Media, chains: &[String], limit: Duration) -> Result<(), String> {
    if limit.is_zero() {
        return Err("there was no time left to try it".into());
    }
    let what = ["--try", word(media)].into_iter();
    let arguments = what.chain(chains.iter().map(String::as_str));
    match child::run(arguments, limit) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

fn word(media: Media) -> &'static str {
    match media {
        Media::Video => "video",
        Media::Audio => "audio",
    }
}

/// What the process does: encodes a little with each chain.
///
/// # Errors
/// What went wrong with the first one that doesn't work.
pub(crate) fn try_chains(media: &str, chains: &[&str]) -> Result<(), String> {
    let _fuse = Fuse::new(TRIAL_LIMIT).map_err(|error| error.to_string())?;
    chains.iter().try_for_each(|chain| try_chain(media, chain))
}

fn try_chain(media: &str, chain: &str) -> Result<(), String> {
    // As a recording gives it, and of a size that hardware takes.
    let source = match media {
        "video" => {
            "videotestsrc num-buffers=10 ! video/x-raw,format=I420,width=640,height=360,framerate=30/1"
        }
        _ => {
            "audiotestsrc num-buffers=20 ! audio/x-raw,rate=48000,channels=2 ! audioconvert ! audioresample"
        }
    };
    let text = format!("{source} ! {chain} ! fakesink name=sink");
    let pipeline = gst::parse::launch_full(&text, None, gst::ParseFlags::FATAL_ERRORS)
        .map_err(|error| error.message().to_owned())?
        .downcast::<gst::Pipeline>()
        .map_err(|_| "not a pipeline".to_owned())?;
    let encoded = Arc::new(AtomicBool::new(false));
    let noticed = encoded.clone();
    let pad = pipeline
        .by_name("sink")
        .and_then(|sink| sink.static_pad("sink"));
    pad.ok_or("no sink")?
        .add_probe(gst::PadProbeType::BUFFER, move |_, _| {
            noticed.store(true, Ordering::Relaxed);
            gst::PadProbeReturn::Ok
        });
    let started = pipeline.set_state(gst::State::Playing);
    let types = [gst::MessageType::Eos, gst::MessageType::Error];
    // A refusal has its reason on the bus.
    let patience = started.map_or(gst::ClockTime::ZERO, |_| gst::ClockTime::from_seconds(30));
    let message = pipeline
        .bus()
        .and_then(|bus| bus.timed_pop_filtered(patience, &types));
    let outcome = match message.as_ref().map(|message| message.view()) {
        Some(gst::MessageView::Eos(_)) if encoded.load(Ordering::Relaxed) => Ok(()),
        Some(gst::MessageView::Eos(_)) => Err("it gave nothing out".into()),
        Some(gst::MessageView::Error(error)) => Err(crate::decode::describe(error)),
        _ => Err("it doesn't start".into()),
    };
    let _ = pipeline.set_state(gst::State::Null);
    outcome
}
