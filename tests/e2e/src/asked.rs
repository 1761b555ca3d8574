use crate::{Haven, Result, scene::now_s};
use serde_json::{Value, json};
use std::ops::RangeInclusive;

/// A recording that a test has asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    request: Value,
    /// When it was asked for, and when that was answered, in seconds since 1970.
    start_s: (f64, f64),
}

impl Asked {
    /// Starts a recording of a session.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn start(haven: &Haven, mint: &str, format: &str) -> Result<Self> {
        let request = json!({"mint_id": mint, "output_format": format});
        let asked_s = now_s();
        let answer = haven.post("/api/recording/start", &request).await?;
        answer.expect_ok()?;
        Ok(Self {
            request,
            start_s: (asked_s, now_s()),
        })
    }

    /// Stops it: what the server says, and how long it may be.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn stop(&self, haven: &Haven) -> Result<(Value, Length)> {
        let (asked_s, answered_s) = self.start_s;
        let least_s = now_s() - answered_s;
        let answer = haven.post("/api/recording/stop", &self.request).await?;
        Ok((answer.expect_ok()?, Length(least_s..=now_s() - asked_s)))
    }
}

/// The least and the most that a recording may hold, in seconds: from the start's answer to the stop's
/// request, and from the start's request to the stop's answer.
#[derive(Clone, Debug)]
pub struct Length(RangeInclusive<f64>);

impl Length {
    /// How far a length is from it, in seconds.
    pub fn beside_s(&self, length_s: f64) -> f64 {
        length_s - length_s.clamp(*self.0.start(), *self.0.end())
    }
}
