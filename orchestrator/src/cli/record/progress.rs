//! What `haven record` tells while it records.

use crate::{
    cli::{table, units},
    clock,
    recordings::Recording,
    sessions::View,
};
use haven_wire::SessionState;
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    io::{IsTerminal, Write},
    time::Duration,
};
use tokio::time::Instant;

/// Over which time the rates are taken.
const WINDOW: Duration = Duration::from_secs(5);
/// A line for a log, where no terminal shows the one that is redrawn.
const PLAIN_INTERVAL: Duration = Duration::from_secs(10);
const INTERVAL: Duration = Duration::from_secs(1);

/// How it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// One line that is redrawn.
    Terminal,
    /// A line now and then.
    Plain,
    /// A JSON object a line, on standard output.
    Json,
    /// Nothing.
    Quiet,
}

impl Style {
    pub(super) fn chosen(json: bool, quiet: bool) -> Self {
        match (json, quiet) {
            (true, _) => Self::Json,
            (_, true) => Self::Quiet,
            _ if std::io::stderr().is_terminal() => Self::Terminal,
            _ => Self::Plain,
        }
    }
}

/// What was told, and how.
pub(super) struct Progress {
    style: Style,
    /// Bytes of the recording at these times.
    bytes: VecDeque<(Instant, u64)>,
    told_at: Option<Instant>,
    state: SessionState,
    gaps: usize,
    parts: usize,
    /// Whether a line that is redrawn stands there.
    drawn: bool,
}

impl Progress {
    pub(super) fn new(style: Style) -> Self {
        Self {
            style,
            bytes: VecDeque::new(),
            told_at: None,
            state: SessionState::Connecting,
            gaps: 0,
            parts: 1,
            drawn: false,
        }
    }

    pub(super) fn is_json(&self) -> bool {
        self.style == Style::Json
    }

    /// Something that happened: a sentence for people, an object for machines.
    pub(super) fn tell(&mut self, sentence: &str, event: Value) {
        match self.style {
            Style::Json => say_json(event),
            Style::Quiet => {}
            Style::Terminal | Style::Plain => {
                self.clear();
                // Others have a part in it: reasons, names of rooms.
                eprintln!("{}", table::plain(sentence));
            }
        }
    }

    /// What is true now: changes are told at once, figures when their time has come.
    pub(super) fn update(&mut self, view: &View, recording: &Recording) {
        let now = Instant::now();
        self.bytes.push_back((now, recording.bytes()));
        while self.bytes.len() > 2 && self.bytes.front().is_some_and(|(at, _)| now - *at > WINDOW) {
            self.bytes.pop_front();
        }
        self.tell_changes(view, recording);
        let interval = match self.style {
            Style::Plain => PLAIN_INTERVAL,
            _ => INTERVAL,
        };
        // A little early is better than a tick later.
        let due = self
            .told_at
            .is_none_or(|at| now - at >= interval.mul_f32(0.9));
        if due {
            self.told_at = Some(now);
            self.tell_figures(view, recording);
        }
    }

    fn tell_changes(&mut self, view: &View, recording: &Recording) {
        if view.status.state != self.state {
            self.state = view.status.state;
            let state = json!(self.state);
            let reason = view.state_reason.as_deref();
            let sentence = match (self.state, reason) {
                (SessionState::Live, _) => "media arrives".to_owned(),
                (SessionState::Waiting, _) => "nobody publishes: waiting".to_owned(),
                (_, Some(reason)) => format!("reconnecting: {reason}"),
                (_, None) => "reconnecting".to_owned(),
            };
            self.tell(
                &sentence,
                json!({"event": "state", "state": state, "reason": reason}),
            );
        }
        let gaps = recording.gaps();
        for gap in gaps.iter().skip(self.gaps) {
            let (at_s, for_s) = (clock::seconds(gap.at_ms), clock::seconds(gap.for_ms));
            let sentence = format!(
                "nothing came for {for_s:.1} s, at {}",
                units::clock(gap.at_ms)
            );
            self.tell(
                &sentence,
                json!({"event": "gap", "at_s": at_s, "for_s": for_s}),
            );
        }
        self.gaps = gaps.len();
        for part in recording.parts.iter().skip(self.parts) {
            let path = part.path.to_string_lossy();
            let sentence = format!("going on in {path}");
            self.tell(
                &sentence,
                json!({"event": "part", "part": part.number, "path": path}),
            );
        }
        self.parts = recording.parts.len();
    }

    fn tell_figures(&mut self, view: &View, recording: &Recording) {
        let (duration_ms, bytes) = (recording.duration_ms(), recording.bytes());
        let (rate, dropped) = (self.rate(), recording.dropped_frames());
        let video = view.status.video.as_ref();
        let fps = video.map(|video| video.fps);
        match self.style {
            Style::Quiet => {}
            Style::Json => say_json(json!({
                "event": "progress",
                "state": self.state,
                "duration_s": clock::seconds(duration_ms),
                "bytes": bytes,
                "bitrate_bps": rate.round(),
                "fps": fps,
                "dropped_frames": dropped,
            })),
            Style::Terminal | Style::Plain => {
                let state = match self.state {
                    SessionState::Live => "recording",
                    SessionState::Waiting => "waiting",
                    _ => "reconnecting",
                };
                let fps = fps.map(|fps| format!("  {fps:.1} fps")).unwrap_or_default();
                let line = format!(
                    "{state} {}  {}  {}{fps}  {dropped} dropped",
                    units::clock(duration_ms),
                    units::size(bytes),
                    units::rate(rate),
                );
                self.draw(&line);
            }
        }
    }

    /// Bits a second that were written lately.
    fn rate(&self) -> f64 {
        let (Some((from, before)), Some((to, after))) = (self.bytes.front(), self.bytes.back())
        else {
            return 0.0;
        };
        let seconds = (*to - *from).as_secs_f64();
        if seconds > 0.0 {
            after.saturating_sub(*before) as f64 * 8.0 / seconds
        } else {
            0.0
        }
    }

    fn draw(&mut self, line: &str) {
        if self.style == Style::Terminal {
            // To the begin of the line, and what is longer of the one before goes.
            eprint!("\r{line}\x1b[K");
            let _ = std::io::stderr().flush();
            self.drawn = true;
        } else {
            eprintln!("{line}");
        }
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.drawn) {
            eprintln!();
        }
    }
}

/// A reader that has gone doesn't end the recording.
fn say_json(event: Value) {
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{event}").and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_rate_is_that_of_the_last_seconds() {
        let mut progress = Progress::new(Style::Quiet);
        assert_eq!(progress.rate(), 0.0);
        for second in 0u64..20 {
            let bytes = if second < 10 { 0 } else { (second - 10) * 1000 };
            progress.bytes.push_back((Instant::now(), bytes));
            while progress.bytes.len() > 6 {
                progress.bytes.pop_front();
            }
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(progress.rate(), 8000.0);
    }
}
