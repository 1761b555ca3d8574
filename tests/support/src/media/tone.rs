use crate::sound;
use std::f64::consts::{PI, TAU};

/// Length of one measurement in seconds: narrow enough in frequency to leave the beep out.
const WINDOW_S: f64 = 0.040;
/// Distance of measurements in seconds.
const STEP_S: f64 = 0.010;
/// Phases are compared over this many steps, so that the two windows don't overlap.
const LAG: usize = 5;
/// How far the phase may move over that distance, beyond the frequency's own share, in radians: half a
/// millisecond of lost sound moves it by 1.38.
const MAX_PHASE_STEP: f64 = 0.5;
/// Below this share of its usual loudness the tone counts as missing.
const MIN_SHARE: f64 = 0.5;

/// The continuous tone, as it was found in a sound.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tone {
    /// Frequency in hertz; 0 where there is no tone.
    pub frequency_hz: f64,
    /// Its usual amplitude, of 1.
    pub amplitude: f64,
    /// Where the tone jumps or is missing, in seconds from the start: lost, repeated or silent sound.
    /// Breaks closer than 100 ms are one. A loss of whole periods of the tone (each 25 ms is 11 of them)
    /// leaves no jump: for that, look at the distance of the beeps.
    pub breaks_s: Vec<f64>,
}

/// Measures the continuous tone of the test sound in a sound of ±1.
pub fn measure_tone(samples: &[f32], sample_rate: u32) -> Tone {
    let rate = f64::from(sample_rate);
    let points: Vec<Point> = {
        let window = (WINDOW_S * rate) as usize;
        let step = STEP_S * rate;
        let count = samples.len().saturating_sub(window) as f64 / step;
        (0..count as usize)
            .map(|index| {
                measure(
                    samples,
                    (index as f64 * step).round() as usize,
                    window,
                    rate,
                )
            })
            .collect()
    };
    let mut amplitudes: Vec<f64> = points.iter().map(|point| point.amplitude).collect();
    amplitudes.sort_by(f64::total_cmp);
    let Some(&amplitude) = amplitudes.get(amplitudes.len() / 2) else {
        return Tone::default();
    };
    if amplitude < 0.001 {
        return Tone {
            amplitude,
            ..Tone::default()
        };
    }
    // Phase steps between neighbours; their median gives the frequency.
    let mut steps: Vec<f64> = points
        .windows(2)
        .map(|p| wrap(p[1].phase - p[0].phase))
        .collect();
    steps.sort_by(f64::total_cmp);
    let usual = steps.get(steps.len() / 2).copied().unwrap_or(0.0);
    let mut breaks_s: Vec<f64> = Vec::new();
    let mut last = f64::NEG_INFINITY;
    for (index, span) in points.windows(LAG + 1).enumerate() {
        let missing = span[LAG].amplitude < MIN_SHARE * amplitude;
        let moved = span[LAG].phase - span[0].phase - LAG as f64 * usual;
        let at = (index as f64 + LAG as f64 / 2.0) * STEP_S + WINDOW_S / 2.0;
        if missing || wrap(moved).abs() > MAX_PHASE_STEP {
            // Spans overlap: one break is seen in several of them.
            if at - last > 2.0 * STEP_S {
                breaks_s.push(at);
            }
            last = at;
        }
    }
    Tone {
        frequency_hz: sound::TONE_HZ + usual / (TAU * STEP_S),
        amplitude,
        breaks_s,
    }
}

struct Point {
    amplitude: f64,
    phase: f64,
}

/// Amplitude and phase of the tone's frequency in one window (Hann).
fn measure(samples: &[f32], start: usize, window: usize, rate: f64) -> Point {
    let (mut real, mut imaginary, mut weight) = (0.0, 0.0, 0.0);
    for (index, sample) in samples[start..start + window].iter().enumerate() {
        let hann = (PI * (index as f64 + 0.5) / window as f64).sin().powi(2);
        let angle = TAU * (sound::TONE_HZ * (start + index) as f64 / rate).fract();
        real += f64::from(*sample) * hann * angle.cos();
        imaginary -= f64::from(*sample) * hann * angle.sin();
        weight += hann;
    }
    Point {
        amplitude: 2.0 * real.hypot(imaginary) / weight,
        phase: imaginary.atan2(real),
    }
}

fn wrap(angle: f64) -> f64 {
    (angle + PI).rem_euclid(TAU) - PI
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::samples_of;

    fn sound_of(seconds: f64) -> Vec<f32> {
        samples_of(&sound::pcm(44_100, 1, seconds), 1)
    }

    #[test]
    fn an_unbroken_tone_has_its_frequency_and_no_breaks() {
        let tone = measure_tone(&sound_of(5.0), 44_100);
        assert!((tone.frequency_hz - 440.0).abs() < 0.05, "{tone:?}");
        assert!(
            (tone.amplitude - sound::TONE_AMPLITUDE).abs() < 0.005,
            "{tone:?}"
        );
        assert_eq!(tone.breaks_s, [] as [f64; 0]);
    }

    #[test]
    fn a_lost_chunk_is_a_break() {
        let mut samples = sound_of(5.0);
        samples.drain(110_250..110_250 + 882);
        let tone = measure_tone(&samples, 44_100);
        assert_eq!(tone.breaks_s.len(), 1, "{tone:?}");
        assert!((tone.breaks_s[0] - 2.5).abs() < 0.06, "{tone:?}");
    }

    #[test]
    fn silence_in_between_is_a_break() {
        let mut samples = sound_of(5.0);
        samples[66_150..77_175].fill(0.0);
        let tone = measure_tone(&samples, 44_100);
        assert!(
            !tone.breaks_s.is_empty() && (tone.breaks_s[0] - 1.5).abs() < 0.06,
            "{tone:?}"
        );
    }

    #[test]
    fn the_wrong_rate_shows_in_the_frequency() {
        let tone = measure_tone(&sound_of(5.0), 44_000);
        assert!((tone.frequency_hz - 439.0).abs() < 0.1, "{tone:?}");
    }

    #[test]
    fn silence_has_no_tone() {
        assert_eq!(measure_tone(&[0.0; 44_100], 44_100).frequency_hz, 0.0);
        assert_eq!(measure_tone(&[], 44_100), Tone::default());
    }
}
