//! Voices that can be told apart: each says its words at a pitch of its own.

use crate::clip::{encode_opus, sound_name};
use crate::{error::Result, paths};
use std::f64::consts::TAU;
use std::path::{Path, PathBuf};

/// Samples a second of a spoken clip.
const SAMPLE_RATE: u32 = 48_000;
/// Length of a word in seconds.
pub const WORD_S: f64 = 0.4;
/// From one word to the next, in seconds.
pub const WORD_EVERY_S: f64 = 0.6;
/// Silence before the first word, in seconds: a guest speaks once it is in the room.
pub const LEAD_S: f64 = 2.0;
/// A word's amplitude, of 1.
pub const WORD_AMPLITUDE: f64 = 0.2;
/// Width of the window in which a pitch is measured, in seconds.
const WINDOW_S: f64 = 0.02;
/// A gap this short within a word is none.
const PATIENCE_S: f64 = 0.06;

/// What a voice says: this many words at this pitch, in hertz.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Speech {
    /// Pitch in hertz; pitches a few hundred hertz apart are told apart.
    pub pitch_hz: u32,
    /// Number of words.
    pub words: u32,
}

impl Speech {
    /// The speech as Opus in Ogg, from the cache.
    ///
    /// # Errors
    /// When ffmpeg is missing or fails.
    pub async fn clip(self) -> Result<PathBuf> {
        let name = sound_name(&format!("speech-{}hz-{}words", self.pitch_hz, self.words));
        let recipe = format!("{name} {LEAD_S} {WORD_S} {WORD_EVERY_S} {WORD_AMPLITUDE}");
        paths::cached(&name, &recipe, async |file: &Path| {
            encode_opus(self.pcm(), file).await
        })
        .await
    }

    /// S16LE, stereo.
    fn pcm(self) -> Vec<u8> {
        let seconds = LEAD_S + f64::from(self.words) * WORD_EVERY_S;
        let samples = (seconds * f64::from(SAMPLE_RATE)) as u32;
        let mut bytes = Vec::with_capacity(samples as usize * 4);
        for index in 0..samples {
            let at = f64::from(index) / f64::from(SAMPLE_RATE);
            let sample = ((self.value_at(at) * 32_767.0) as i16).to_le_bytes();
            bytes.extend_from_slice(&sample);
            bytes.extend_from_slice(&sample);
        }
        bytes
    }

    fn value_at(self, seconds: f64) -> f64 {
        let spoken = seconds - LEAD_S;
        if spoken < 0.0 || spoken.rem_euclid(WORD_EVERY_S) >= WORD_S {
            return 0.0;
        }
        WORD_AMPLITUDE * (TAU * f64::from(self.pitch_hz) * seconds).sin()
    }
}

/// The words of one pitch in a sound of ±1: begin and end of each, in seconds.
pub fn words(samples: &[f32], sample_rate: u32, pitch_hz: u32) -> Vec<(f64, f64)> {
    let window = (WINDOW_S * f64::from(sample_rate)) as usize;
    let mut words: Vec<(f64, f64)> = Vec::new();
    for (index, part) in samples.chunks_exact(window).enumerate() {
        if amplitude(part, sample_rate, pitch_hz) < WORD_AMPLITUDE / 2.0 {
            continue;
        }
        let at = index as f64 * WINDOW_S;
        match words.last_mut() {
            Some((_, end)) if at - *end < PATIENCE_S => *end = at + WINDOW_S,
            _ => words.push((at, at + WINDOW_S)),
        }
    }
    words
}

impl Speech {
    /// Whether these [`words`] are what was said, from the first to the last, but for a share of
    /// it (`missing`, of 1): which packets come too late is the machine's affair, on a busy one.
    ///
    /// # Errors
    /// What is missing, or too much.
    pub fn was_heard(self, words: &[(f64, f64)], missing: f64) -> std::result::Result<(), String> {
        let of = f64::from(self.words);
        let differs = |what: &str, heard: f64, said: f64| {
            Err(format!(
                "{} Hz: {what} {heard:.2} s instead of {said:.2} s: {words:.2?}",
                self.pitch_hz
            ))
        };
        let span = match words {
            [] => 0.0,
            [first, ..] => words[words.len() - 1].1 - first.0,
        };
        let said = (of - 1.0) * WORD_EVERY_S + WORD_S;
        // A word of which half is lost is still there.
        if (span - said).abs() > WORD_S / 2.0 {
            return differs("first to last word in", span, said);
        }
        let heard: f64 = words.iter().map(|(begin, end)| end - begin).sum();
        // The windows in which a word begins and ends count or not.
        let least = of * (WORD_S * (1.0 - missing) - 2.0 * WINDOW_S);
        let most = of * (WORD_S + 2.0 * WINDOW_S);
        if !(least..=most).contains(&heard) {
            return differs("heard", heard, of * WORD_S);
        }
        Ok(())
    }
}

/// Amplitude of one frequency in a piece of sound (Goertzel's sum, written out).
fn amplitude(samples: &[f32], sample_rate: u32, pitch_hz: u32) -> f64 {
    let step = TAU * f64::from(pitch_hz) / f64::from(sample_rate);
    let (mut real, mut imaginary) = (0.0, 0.0);
    for (index, sample) in samples.iter().enumerate() {
        let angle = step * index as f64;
        real += f64::from(*sample) * angle.cos();
        imaginary += f64::from(*sample) * angle.sin();
    }
    2.0 * f64::hypot(real, imaginary) / samples.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::samples_of;

    #[test]
    fn each_voice_s_words_are_found_in_the_mix() {
        let low = Speech {
            pitch_hz: 2_000,
            words: 5,
        };
        let high = Speech {
            pitch_hz: 3_000,
            words: 3,
        };
        let (low_pcm, high_pcm) = (samples_of(&low.pcm(), 2), samples_of(&high.pcm(), 2));
        let mut mix = Vec::new();
        mix.extend(
            low_pcm
                .iter()
                .enumerate()
                .map(|(index, sample)| sample + high_pcm.get(index).copied().unwrap_or(0.0)),
        );
        let heard = words(&mix, SAMPLE_RATE, 2_000);
        assert_eq!(heard.len(), 5, "{heard:?}");
        assert!((heard[0].0 - LEAD_S).abs() < 0.03, "{heard:?}");
        assert!(
            heard
                .iter()
                .all(|(begin, end)| (end - begin - WORD_S).abs() < 0.05)
        );
        assert_eq!(words(&mix, SAMPLE_RATE, 3_000).len(), 3);
        assert_eq!(low.was_heard(&heard, 0.0), Ok(()));
        let holed = [heard[0], heard[1], heard[4]];
        assert!(low.was_heard(&holed, 0.2).is_err());
        assert_eq!(low.was_heard(&holed, 0.4), Ok(()));
        assert!(low.was_heard(&heard[1..], 0.9).is_err());
        assert!(high.was_heard(&heard, 0.9).is_err());
        assert!(low.was_heard(&[], 1.0).is_err());
        assert_eq!(words(&mix, SAMPLE_RATE, 5_000), []);
    }
}
