//! What a session's parts take of this machine. Each is measured in a process of its own, this
//! program with `--cost`: codecs abort, drivers hang, and what one of them leaves in memory is
//! nothing to the next one. `docs/pipelines.md` says what is measured and what isn't.

mod bench;
mod footage;
mod gauge;
mod published;
mod standing;
mod subject;
mod usage;

pub(crate) use bench::measure;

use crate::{
    child::{self, ChildError},
    formats::{FormatError, Formats},
    probe,
};
use haven_wire::{Cost, Costs, FormatProbe};
use std::{
    collections::BTreeMap,
    io,
    path::Path,
    time::{Duration, Instant},
};
use subject::{Subject, Task, Wanted};

/// How many pictures count, where nobody says: a second and a third, with one key frame that was
/// asked for, as a recording does each second.
pub(crate) const PICTURES: u32 = 40;
/// How long one measurement may take. It ends by itself before that, see [`mod@bench`].
const TASK_LIMIT: Duration = Duration::from_secs(15);
/// How long all of it may take: what isn't measured by then is left out.
const TOTAL_LIMIT: Duration = Duration::from_secs(60);

/// Why there are no costs.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CostError {
    #[error(transparent)]
    Formats(#[from] FormatError),
    #[error("there is no folder for what is measured with: {0}")]
    Folder(#[from] io::Error),
    #[error("{subject} can't be measured: {source}")]
    Task {
        subject: String,
        source: MeasureError,
    },
}

/// Why one thing isn't measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MeasureError {
    #[error(transparent)]
    Child(#[from] ChildError),
    #[error("there was no time left for it")]
    NoTime,
    #[error("what is to be measured can't be told, or what was measured: {0}")]
    Json(#[from] serde_json::Error),
}

/// Measures everything with so many pictures each. A recording that can't be measured is left out.
///
/// # Errors
/// When a file of formats is malformed, or what every session needs can't be measured.
pub(crate) fn costs(formats_dir: Option<&Path>, pictures: u32) -> Result<Costs, CostError> {
    let until = Instant::now() + TOTAL_LIMIT;
    let qualities = Formats::load(formats_dir)?.qualities();
    let formats = probe::probe(formats_dir)?.formats;
    let folder = tempfile::tempdir()?;
    let survey = Survey {
        folder: folder.path(),
        pictures,
        until,
    };
    survey.needed(Subject::Publishing)?;
    Ok(Costs {
        session: survey.needed(Subject::Session)?,
        decoding: survey.needed(Subject::Decoding)?,
        preview: survey.needed(Subject::Preview)?,
        recordings: formats
            .iter()
            .filter(|(_, format)| format.available())
            .map(|(name, format)| {
                let costs = survey.recordings(name, format, &qualities, formats_dir);
                (name.clone(), costs)
            })
            .filter(|(_, costs)| !costs.is_empty())
            .collect(),
    })
}

/// The measurements of one run.
struct Survey<'a> {
    folder: &'a Path,
    pictures: u32,
    until: Instant,
}

impl Survey<'_> {
    /// What recordings in a format cost, by quality.
    fn recordings(
        &self,
        name: &str,
        format: &FormatProbe,
        qualities: &[String],
        formats_dir: Option<&Path>,
    ) -> BTreeMap<String, Cost> {
        let measure = |quality: &str| {
            let subject = Subject::Recording(Wanted {
                format: name.to_owned(),
                quality: quality.to_owned(),
                encoders: format.chosen.clone(),
                formats_dir: formats_dir.map(Path::to_owned),
            });
            self.run(&subject)
                .inspect_err(|error| tracing::warn!(%subject, %error, "not measured"))
                .ok()
        };
        if format.qualities.is_empty() {
            // It has none, and is the same whichever is asked for.
            let cost = qualities.first().and_then(|quality| measure(quality));
            let all = qualities.iter();
            return all
                .filter_map(|quality| Some((quality.clone(), cost?)))
                .collect();
        }
        let own = format.qualities.keys();
        own.filter_map(|quality| Some((quality.clone(), measure(quality)?)))
            .collect()
    }

    fn needed(&self, subject: Subject) -> Result<Cost, CostError> {
        self.run(&subject).map_err(|source| CostError::Task {
            subject: subject.to_string(),
            source,
        })
    }

    fn run(&self, subject: &Subject) -> Result<Cost, MeasureError> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(MeasureError::NoTime);
        }
        let task = serde_json::to_string(&Task {
            pictures: self.pictures,
            folder: self.folder.to_owned(),
            subject: subject.clone(),
        })?;
        let answer = child::run(["--cost", &task], left.min(TASK_LIMIT))?;
        Ok(serde_json::from_str(&answer)?)
    }
}
