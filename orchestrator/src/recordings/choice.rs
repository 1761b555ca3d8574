//! How somebody wants something recorded: what isn't said is what is configured at the time.

use super::formats::{Plan, plan};
use crate::{Error, config};
use haven_wire::{AudioChoice, Probe, Split};
use serde::{Deserialize, Serialize};

/// What was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Choice {
    /// Name of a format, or an alias.
    pub(crate) output_format: Option<String>,
    /// `low`, `medium` or `high`.
    pub(crate) video_quality: Option<String>,
    pub(crate) audio: AudioChoice,
    /// Milliseconds after which it goes on in a new file; 0: never.
    pub(crate) split_ms: Option<u64>,
    /// Bytes after which it goes on in a new file; 0: never.
    pub(crate) split_bytes: Option<u64>,
}

impl Choice {
    /// What a recording of this choice would be now.
    ///
    /// # Errors
    /// Unprocessable for an unknown format or quality, unavailable where the format can't be made
    /// here.
    pub(crate) fn plan(
        &self,
        probe: Option<&Probe>,
        settings: &config::Settings,
    ) -> Result<Plan, Error> {
        let format = self.output_format.as_ref();
        let quality = self.video_quality.as_ref();
        let plan = plan(
            probe,
            format.unwrap_or(&settings.default_output_format),
            quality.unwrap_or(&settings.default_video_quality),
        )?;
        let minutes = settings.split_minutes.unwrap_or(0);
        let split = Split {
            after_ms: self.split_ms.unwrap_or(minutes.saturating_mul(60_000)),
            after_bytes: self.split_bytes.or(settings.split_bytes).unwrap_or(0),
        };
        Ok(plan.with(self.audio, split))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Layer, Layers};
    use haven_wire::FormatProbe;
    use serde_json::json;

    fn settings() -> config::Settings {
        let given = json!({"default_output_format": "wav", "split_minutes": 2});
        let layer = Layer::read(given.as_object().unwrap()).unwrap();
        Layers::default().settings(layer).unwrap()
    }

    #[test]
    fn what_is_not_said_is_what_is_configured() {
        let format = |container: &str| FormatProbe {
            codec: haven_wire::COPIED.into(),
            container: container.into(),
            ..FormatProbe::default()
        };
        let probe = Probe {
            formats: [("wav", "wav"), ("source", "mp4")]
                .map(|(name, container)| (name.to_owned(), format(container)))
                .into(),
            ..Probe::default()
        };
        let (probe, settings) = (Some(&probe), settings());
        let plan = Choice::default().plan(probe, &settings).unwrap();
        assert_eq!(plan.format, "wav");
        assert_eq!(plan.settings.quality, "medium");
        assert_eq!(plan.settings.split.after_ms, 120_000);
        let choice = Choice {
            output_format: Some("source".into()),
            audio: AudioChoice::Streamer,
            split_ms: Some(0),
            split_bytes: Some(70_000),
            ..Choice::default()
        };
        let plan = choice.plan(probe, &settings).unwrap();
        assert_eq!(plan.format, "source");
        assert_eq!(plan.settings.audio, AudioChoice::Streamer);
        assert_eq!(plan.settings.split.after_ms, 0);
        assert_eq!(plan.settings.split.after_bytes, 70_000);
    }

    #[test]
    fn a_choice_is_read_as_it_was_stored() {
        let choice = Choice {
            output_format: Some("h264".into()),
            audio: AudioChoice::Streamer,
            split_bytes: Some(1 << 20),
            ..Choice::default()
        };
        let text = serde_json::to_string(&choice).unwrap();
        assert_eq!(serde_json::from_str::<Choice>(&text).unwrap(), choice);
        assert_eq!(
            serde_json::from_str::<Choice>("{}").unwrap(),
            Choice::default()
        );
    }
}
