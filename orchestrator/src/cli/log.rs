//! The log: on standard error, for people or for machines.

use serde_json::{Map, Value};
use std::{fmt, io};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    EnvFilter,
    field::RecordFields,
    fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields, format::Writer},
    registry::LookupSpan,
    reload,
};

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum LogFormat {
    /// Lines for people.
    Text,
    /// A JSON object a line: `timestamp`, `level`, `target`, `message`, the event's own fields,
    /// and those of what it is a part of, as `session_id` and `mint`.
    Json,
}

/// Changes what is logged while the process runs.
pub(super) struct LogControl(Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>);

impl LogControl {
    /// Logs what `filter` names from now on.
    ///
    /// # Errors
    /// What is wrong with it; what was logged before still is.
    pub(super) fn set(&self, filter: &str) -> Result<(), String> {
        let filter = EnvFilter::try_new(filter).map_err(|error| error.to_string())?;
        (self.0)(filter).map_err(|error| error.to_string())
    }
}

/// Starts the log. Standard output is for the answers of commands; the log goes to standard
/// error. `RUST_LOG` chooses what is logged; where it says nothing, or nothing that can be
/// understood, `default` does.
pub(super) fn start(format: LogFormat, default: &str) -> LogControl {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| LossyStderr);
    match format {
        LogFormat::Text => {
            let builder = builder
                .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
                .with_filter_reloading();
            let handle = builder.reload_handle();
            builder.init();
            LogControl(Box::new(move |filter| handle.reload(filter)))
        }
        LogFormat::Json => {
            let builder = builder
                .with_ansi(false)
                .fmt_fields(JsonFields)
                .event_format(JsonLines)
                .with_filter_reloading();
            let handle = builder.reload_handle();
            builder.init();
            LogControl(Box::new(move |filter| handle.reload(filter)))
        }
    }
}

/// Standard error whose failures are no failures: a server whose log nobody reads any more runs
/// on.
struct LossyStderr;

impl io::Write for LossyStderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = io::stderr().write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Fields of a span or an event as members of a JSON object.
#[derive(Default)]
struct Members(Map<String, Value>);

impl Members {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Members {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}

/// Keeps a span's fields as JSON objects, one a line: what is recorded later is a line of its own.
struct JsonFields;

impl<'writer> FormatFields<'writer> for JsonFields {
    fn format_fields<R: RecordFields>(
        &self,
        mut writer: Writer<'writer>,
        fields: R,
    ) -> fmt::Result {
        let mut members = Members::default();
        fields.record(&mut members);
        writeln!(writer, "{}", Value::Object(members.0))
    }

    fn add_fields(
        &self,
        current: &'writer mut FormattedFields<Self>,
        fields: &tracing::span::Record<'_>,
    ) -> fmt::Result {
        self.format_fields(current.as_writer(), fields)
    }
}

/// Events as JSON objects, one a line.
struct JsonLines;

impl<S> FormatEvent<S, JsonFields> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = Members::default();
        let spans = context
            .event_scope()
            .into_iter()
            .flat_map(|scope| scope.from_root());
        for span in spans {
            let extensions = span.extensions();
            let fields = extensions.get::<FormattedFields<JsonFields>>();
            for text in fields.into_iter().flat_map(|fields| fields.lines()) {
                if let Ok(Value::Object(members)) = serde_json::from_str(text) {
                    line.0.extend(members);
                }
            }
        }
        event.record(&mut line);
        let metadata = event.metadata();
        let mut line = line.0;
        line.insert(
            "timestamp".into(),
            crate::clock::rfc3339(crate::clock::now_ms()).into(),
        );
        line.insert("level".into(), metadata.level().to_string().into());
        line.insert("target".into(), metadata.target().into());
        writeln!(writer, "{}", Value::Object(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_of_json_has_the_fields_of_all_that_it_is_a_part_of() {
        let kept = Kept::default();
        let writer = kept.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .fmt_fields(JsonFields)
            .event_format(JsonLines)
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!(
                "session",
                mint = "de\"mo",
                session_id = tracing::field::Empty
            );
            span.record("session_id", 7);
            let _inside = span.enter();
            let inner = tracing::info_span!("worker", generation = 2u64);
            let _deeper = inner.enter();
            tracing::warn!(count = 3, error = %"odd\nline", "it said {}", "x");
        });
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.matches('\n').count(), 1, "{text}");
        let line: Value = serde_json::from_str(&text).unwrap();
        for (field, value) in [
            ("mint", Value::from("de\"mo")),
            ("session_id", 7.into()),
            ("generation", 2.into()),
            ("count", 3.into()),
            ("error", "odd\nline".into()),
            ("message", "it said x".into()),
            ("level", "WARN".into()),
        ] {
            assert_eq!(line[field], value, "{field}: {text}");
        }
        assert!(
            line["timestamp"]
                .as_str()
                .is_some_and(|time| time.ends_with('Z'))
        );
    }
}
