//! Trying an encoder: a few pictures, or a moment of sound, encoded in a process of its own, since
//! codecs abort and drivers crash or hang. The process is this program with `--try`.

use crate::{formats::Trials, inbox::Media};
use gst::prelude::*;
use std::{
    collections::HashMap,
    env,
    io::Read,
    process::{self, Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{RecvTimeoutError, channel},
    },
    thread,
    time::{Duration, Instant},
};

/// How long one trial may take; a software encoder needs a fifth of a second.
const TRIAL_LIMIT: Duration = Duration::from_secs(10);
/// How long all trials of a probe may take: the server waits a minute for the probe.
const TOTAL_LIMIT: Duration = Duration::from_secs(40);
/// More than this, nobody reads.
const LONGEST_REASON_BYTES: u64 = 2000;

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
    let start = || -> std::io::Result<Child> {
        Command::new(env::current_exe()?)
            .args(["--try", word(media)])
            .args(chains)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
    };
    let mut child = start().map_err(|error| format!("it can't be tried: {error}"))?;
    let (sender, ended) = channel();
    let output = child.stdout.take();
    // Ends with the child's standard output: with the child.
    let reader = thread::Builder::new().name("trial".into()).spawn(move || {
        let mut reason = String::new();
        if let Some(output) = output {
            let _ = output
                .take(LONGEST_REASON_BYTES)
                .read_to_string(&mut reason);
        }
        let _ = sender.send(reason);
    });
    let reader = match reader {
        Ok(reader) => reader,
        Err(error) => {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("it can't be tried: {error}"));
        }
    };
    let reason = ended.recv_timeout(limit);
    if reason.is_err() {
        let _ = child.kill();
    }
    // A process that a driver holds in the kernel can't even be killed: not waited for.
    if reason == Err(RecvTimeoutError::Timeout)
        && ended.recv_timeout(Duration::from_secs(1)).is_err()
    {
        return Err(format!(
            "it hangs, and can't be killed: process {}",
            child.id()
        ));
    }
    let _ = reader.join();
    let status = child.wait();
    match (reason, status) {
        (Ok(_), Ok(status)) if status.success() => Ok(()),
        (Ok(reason), Ok(status)) if reason.trim().is_empty() => {
            Err(format!("trying it ended with {status}"))
        }
        (Ok(reason), Ok(_)) => Err(reason.trim().to_owned()),
        (Err(_), _) => Err(format!("it encoded nothing within {} s", limit.as_secs())),
        (_, Err(error)) => Err(format!("it can't be tried: {error}")),
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
    // Whoever started us may be gone: nothing hangs for ever.
    let watch = thread::Builder::new().name("watch".into());
    let (alive, over) = channel::<()>();
    let watch = watch.spawn(move || {
        if over.recv_timeout(TRIAL_LIMIT) == Err(RecvTimeoutError::Timeout) {
            process::abort();
        }
    });
    let watch = watch.map_err(|error| error.to_string())?;
    let outcome = chains.iter().try_for_each(|chain| try_chain(media, chain));
    drop(alive);
    let _ = watch.join();
    outcome
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
