//! All that viewers of a session are served: pictures of the size that comes, and smaller ones once the
//! server wants them.

use crate::{
    decode::Decoder,
    inbox::Inbox,
    preview::{Preview, PreviewError},
    timebase::Timebase,
};
use haven_wire::SessionConfig;
use std::collections::BTreeMap;

/// A preview that fails this often in a row, without a minute between, ends the session: the
/// server then starts anew.
const MAX_FAILURES: u32 = 3;
const FAILURE_MEMORY: gst::ClockTime = gst::ClockTime::from_seconds(60);

/// A session's previews.
#[derive(Debug)]
pub(crate) struct Previews {
    config: SessionConfig,
    timebase: Timebase,
    inbox: Inbox,
    /// By their greatest width; without one, pictures have the size that comes.
    all: BTreeMap<Option<u32>, Preview>,
    /// How many were started.
    runs: u64,
    failures: u32,
    /// Since when they are counted.
    since: gst::ClockTime,
}

impl Previews {
    /// Serves pictures of the size that comes.
    ///
    /// # Errors
    /// When an element is missing, or the socket can't be had.
    pub(crate) fn start(
        config: &SessionConfig,
        timebase: &Timebase,
        inbox: &Inbox,
    ) -> Result<Self, PreviewError> {
        let mut this = Self {
            config: config.clone(),
            timebase: timebase.clone(),
            inbox: inbox.clone(),
            all: BTreeMap::new(),
            runs: 0,
            failures: 0,
            since: timebase.now(),
        };
        this.add(None)?;
        Ok(this)
    }

    /// Serves pictures of at most this width, too, from now on.
    pub(crate) fn show(&mut self, width: u32) {
        if self.all.contains_key(&Some(width)) {
            return;
        }
        if let Err(error) = self.add(Some(width)) {
            tracing::warn!(width, %error, "smaller pictures can't be served");
        }
    }

    /// Has media decoded and encoded for those that somebody watches.
    pub(crate) fn update(&mut self, video: &mut Decoder, audio: &mut Decoder) {
        for preview in self.all.values_mut() {
            preview.update(video, audio);
        }
    }

    /// Replaces one that has failed, unless it was replaced already. Smaller pictures come back once
    /// the server asks for them again.
    ///
    /// # Errors
    /// When there is no use in trying again.
    pub(crate) fn failed(&mut self, run: u64, error: String) -> Result<(), String> {
        let failed = self.all.iter().find(|(_, preview)| preview.run() == run);
        let Some((width, _)) = failed.map(|(width, preview)| (*width, preview.run())) else {
            return Ok(());
        };
        tracing::warn!(error, width, "serving viewers failed, starting anew");
        // Its socket is free again before the next one is made.
        self.all.remove(&width);
        if width.is_some() {
            return Ok(());
        }
        let now = self.timebase.now();
        if now > self.since + FAILURE_MEMORY {
            self.failures = 0;
            self.since = now;
        }
        self.failures += 1;
        if self.failures >= MAX_FAILURES {
            return Err(error);
        }
        self.add(None).map_err(|error| error.to_string())
    }

    fn add(&mut self, width: Option<u32>) -> Result<(), PreviewError> {
        self.runs += 1;
        let preview = Preview::start(&self.config, width, &self.timebase, &self.inbox, self.runs)?;
        self.all.insert(width, preview);
        Ok(())
    }
}
