//! The test sound: a quiet tone that never stops, and a loud beep at each whole second.

use std::f64::consts::TAU;

/// Frequency of the continuous tone in hertz.
pub const TONE_HZ: f64 = 440.0;
/// Frequency of the beep in hertz.
pub const BEEP_HZ: f64 = 1000.0;
/// Length of a beep in seconds.
pub const BEEP_S: f64 = 0.060;
/// The tone's amplitude, of 1.
pub const TONE_AMPLITUDE: f64 = 0.06;
/// The beep's amplitude, of 1.
pub const BEEP_AMPLITUDE: f64 = 0.5;
/// How long the beep takes to reach its amplitude, in seconds: without a click, but at once.
const RAMP_S: f64 = 0.001;

/// The sound's value, of ±1, `seconds` after its start.
pub fn value_at(seconds: f64) -> f64 {
    let tone = TONE_AMPLITUDE * (TAU * TONE_HZ * seconds).sin();
    let into_second = seconds.rem_euclid(1.0);
    let gain = (into_second / RAMP_S)
        .min((BEEP_S - into_second) / RAMP_S)
        .clamp(0.0, 1.0);
    tone + gain * BEEP_AMPLITUDE * (TAU * BEEP_HZ * into_second).sin()
}

/// The sound as S16LE samples, every channel the same.
pub fn pcm(sample_rate: u32, channels: usize, seconds: f64) -> Vec<u8> {
    let samples = (f64::from(sample_rate) * seconds).round() as usize;
    let mut bytes = Vec::with_capacity(samples * channels * 2);
    for index in 0..samples {
        let value = value_at(index as f64 / f64::from(sample_rate));
        let sample = ((value * 32767.0).round() as i16).to_le_bytes();
        for _ in 0..channels {
            bytes.extend_from_slice(&sample);
        }
    }
    bytes
}
