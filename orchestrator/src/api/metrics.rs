//! `/metrics`: figures in Prometheus' text format (version 0.0.4).

use super::{
    App,
    reply::{self, Problem},
    with,
};
use crate::{
    Error,
    admission::Admission,
    autorecord::LiveState,
    limits::Refused,
    pumpfun::{Counts, ENDPOINTS, OUTCOMES},
    recordings::Recording,
    sessions::{Phase, View},
};
use haven_wire::SessionState;
use http::{HeaderValue, header};
use std::{
    fmt::{Display, Write},
    sync::{Arc, atomic::Ordering},
};
use warp::{Filter, Reply, filters::BoxedFilter, path, reply::Response};

/// The states of sessions, as `/api/live-sessions/active` has them, and one for those that end.
const STATES: [&str; 5] = ["connecting", "live", "waiting", "reconnecting", "stopping"];

pub(super) fn routes(app: &Arc<App>) -> BoxedFilter<(Response,)> {
    path!("metrics")
        .and(warp::get())
        .and(with(app))
        .then(|app| async { show(app).await })
        .boxed()
}

/// Figures for Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "operations", operation_id = "metrics",
    responses(
        (status = 200, description = "Prometheus' text format", body = String, content_type = "text/plain"),
        (status = 500, description = "The database fails", body = Problem),
    )
)]
pub(super) async fn show(app: Arc<App>) -> Response {
    match text(&app).await {
        Ok(text) => {
            let mut response = text.into_response();
            let format = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
            response.headers_mut().insert(header::CONTENT_TYPE, format);
            response
        }
        Err(error) => reply::problem(error),
    }
}

async fn text(app: &App) -> Result<String, Error> {
    let context = app.registry.context();
    let stored = context.db.recording_totals().await?;
    let views: Vec<_> = app
        .registry
        .all()
        .iter()
        .map(|handle| handle.view())
        .collect();
    let mut page = Page::default();
    page.gauge("haven_build_info", "The server's version.");
    page.sample(
        "haven_build_info",
        &[("version", env!("CARGO_PKG_VERSION"))],
        1,
    );
    sessions(&mut page, app, &views);
    budget(&mut page, &context.admission);
    traffic(&mut page, app);
    page.one_counter(
        "haven_worker_restarts_total",
        "Workers that were replaced because they ended unasked.",
        context.worker_restarts.load(Ordering::Relaxed),
    );
    page.counter(
        "haven_refused_total",
        "What was refused since a limit was reached, by the answer's code.",
    );
    for what in Refused::ALL {
        page.sample(
            "haven_refused_total",
            &[("code", what.code())],
            context.limits.refused(what),
        );
    }
    recordings(&mut page, &views);
    page.one_gauge(
        "haven_stored_files",
        "Complete files of recordings.",
        stored.files,
    );
    page.one_gauge("haven_stored_bytes", "Their size.", stored.bytes);
    page.one_gauge(
        "haven_stored_dropped_frames",
        "Frames that arrived while they were written, and are not in them.",
        stored.dropped_frames,
    );
    upstream(&mut page, context.sources.pumpfun.upstream().counts());
    watching(&mut page, app);
    let waiting = app.webhooks.receivers().await?;
    webhooks(
        &mut page,
        app,
        waiting.iter().map(|one| one.row.waiting).sum(),
    );
    Ok(page.0)
}

fn sessions(page: &mut Page, app: &App, views: &[View]) {
    page.gauge("haven_sessions", "Live sessions by state.");
    for state in STATES {
        let count = views.iter().filter(|view| state_of(view) == state).count();
        page.sample("haven_sessions", &[("state", state)], count);
    }
    let (started, ended) = app.registry.totals();
    page.one_counter(
        "haven_sessions_started_total",
        "Sessions that were begun.",
        started,
    );
    page.one_counter(
        "haven_sessions_ended_total",
        "Sessions that are over.",
        ended,
    );
}

/// What is taken of the machine, once it was measured, and what may be.
fn budget(page: &mut Page, admission: &Admission) {
    let Some(budget) = admission.budget() else {
        return;
    };
    page.one_gauge(
        "haven_cpu_taken_cores",
        "Processor cores that run sessions take, as they use them or are known to need them.",
        budget.taken.cpu,
    );
    page.one_gauge(
        "haven_memory_taken_bytes",
        "Memory that they take.",
        budget.taken.memory_bytes,
    );
    if let Some(cores) = budget.cpu {
        let help = "Cores above which nothing more is begun beside recordings.";
        page.one_gauge("haven_cpu_budget_cores", help, cores);
    }
    if let Some(bytes) = budget.memory_bytes {
        let help = "Memory above which nothing more is begun beside recordings.";
        page.one_gauge("haven_memory_budget_bytes", help, bytes);
    }
}

fn state_of(view: &View) -> &'static str {
    match (view.phase, view.status.state) {
        (Phase::Stopping | Phase::Ended, _) => "stopping",
        (_, SessionState::Connecting) => "connecting",
        (_, SessionState::Live) => "live",
        (_, SessionState::Waiting) => "waiting",
        (_, SessionState::Reconnecting) => "reconnecting",
    }
}

fn traffic(page: &mut Page, app: &App) {
    let traffic = app.registry.traffic();
    page.one_gauge(
        "haven_viewers",
        "WebSockets that show a session.",
        traffic.viewers,
    );
    for (name, help, value) in [
        (
            "haven_frames_published_total",
            "Pictures that came from workers.",
            traffic.frames_published,
        ),
        (
            "haven_frames_sent_total",
            "Pictures that went to viewers.",
            traffic.frames_sent,
        ),
        (
            "haven_frames_skipped_total",
            "Pictures that viewers did not get: they were slow, or asked for fewer.",
            traffic.frames_skipped,
        ),
        (
            "haven_audio_published_total",
            "Chunks of sound that came from workers.",
            traffic.audio_published,
        ),
        (
            "haven_audio_lagged_total",
            "Chunks of sound that slow viewers lost.",
            traffic.audio_lagged,
        ),
        (
            "haven_viewer_bytes_total",
            "Bytes that went to viewers.",
            traffic.bytes_sent,
        ),
    ] {
        page.one_counter(name, help, value);
    }
}

fn recordings(page: &mut Page, views: &[View]) {
    let running: Vec<&Recording> = views.iter().flat_map(|view| &view.recordings).collect();
    let mut formats: Vec<&str> = running.iter().map(|one| one.format.as_str()).collect();
    formats.sort_unstable();
    formats.dedup();
    page.gauge("haven_recordings", "Recordings that run, by format.");
    for format in formats {
        let count = running.iter().filter(|one| one.format == format).count();
        page.sample("haven_recordings", &[("format", format)], count);
    }
    let parts = || running.iter().flat_map(|one| &one.parts);
    let bytes: u64 = parts().map(|part| part.progress.bytes).sum();
    let dropped: u64 = parts().map(|part| part.progress.dropped_frames).sum();
    page.one_gauge(
        "haven_recording_bytes",
        "Size of the recordings that run.",
        bytes,
    );
    page.one_gauge(
        "haven_recording_dropped_frames",
        "Frames that arrived and are not in the recordings that run.",
        dropped,
    );
}

fn upstream(page: &mut Page, counts: &Counts) {
    let name = "haven_upstream_requests_total";
    page.counter(
        name,
        "Calls of pump.fun's API by what was asked and how it went.",
    );
    for (endpoint, endpoint_name) in ENDPOINTS {
        for (outcome, outcome_name) in OUTCOMES {
            let labels = [("endpoint", endpoint_name), ("outcome", outcome_name)];
            page.sample(name, &labels, counts.get(endpoint, outcome));
        }
    }
}

fn watching(page: &mut Page, app: &App) {
    let (rules, live) = (app.watcher.rules(), app.watcher.live());
    page.one_gauge("haven_watch_rules", "Watch rules.", rules.len());
    page.gauge(
        "haven_watch_live",
        "Coins that are live and that a rule is about, by what is done about them.",
    );
    for (name, state) in [
        ("starting", LiveState::Starting),
        ("recording", LiveState::Recording),
        ("failing", LiveState::Failing),
        ("dismissed", LiveState::Dismissed),
    ] {
        let count = live.iter().filter(|shown| shown.state == state).count();
        page.sample("haven_watch_live", &[("state", name)], count);
    }
    let looks = app.watcher.looks();
    page.counter(
        "haven_watch_looks_total",
        "Looks at the list of live coins, for all rules together.",
    );
    for (outcome, count) in [("ok", looks.done), ("failed", looks.failed)] {
        page.sample("haven_watch_looks_total", &[("outcome", outcome)], count);
    }
    page.one_counter(
        "haven_watch_recordings_total",
        "Recordings that were begun for a rule.",
        looks.recordings,
    );
}

fn webhooks(page: &mut Page, app: &App, waiting: u64) {
    page.one_gauge(
        "haven_webhook_events_waiting",
        "Events that receivers are still to be told.",
        waiting,
    );
    let told = app.webhooks.told();
    page.counter(
        "haven_webhook_events_total",
        "Events for receivers: taken, refused (each try), dropped because too many waited, or \
         missed before they were stored.",
    );
    for (outcome, count) in [
        ("delivered", &told.delivered),
        ("refused", &told.failed),
        ("dropped", &told.dropped),
        ("missed", &told.missed),
    ] {
        let count = count.load(Ordering::Relaxed);
        page.sample("haven_webhook_events_total", &[("outcome", outcome)], count);
    }
}

/// The text as it grows. Writing to it can't fail.
#[derive(Default)]
struct Page(String);

impl Page {
    fn gauge(&mut self, name: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} gauge");
    }

    fn counter(&mut self, name: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} counter");
    }

    fn one_gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.gauge(name, help);
        self.sample(name, &[], value);
    }

    fn one_counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.counter(name, help);
        self.sample(name, &[], value);
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<_> = labels
            .iter()
            .map(|(label, value)| format!("{label}=\"{}\"", escaped(value)))
            .collect();
        let _ = match labels.is_empty() {
            true => writeln!(self.0, "{name} {value}"),
            false => writeln!(self.0, "{name}{{{}}} {value}", labels.join(",")),
        };
    }
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_quoted_as_prometheus_reads_them() {
        let mut page = Page::default();
        page.sample("m", &[("a", "x\"\\\n"), ("b", "")], 1.5);
        assert_eq!(page.0, "m{a=\"x\\\"\\\\\\n\",b=\"\"} 1.5\n");
    }
}
