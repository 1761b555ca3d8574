use crate::sound;
use std::f64::consts::TAU;

/// Length of the sliding window in seconds: whole periods of the beep, and short against the beep.
const WINDOW_S: f64 = 0.008;
/// Distance of the points at which the envelope is taken, in seconds.
const STEP_S: f64 = 0.000_25;
/// A beep must last at least this long at half its height to be one.
const MIN_LENGTH_S: f64 = 0.03;
/// Quieter than this, of ±1, nothing is taken for a beep.
const MIN_AMPLITUDE: f64 = 0.05;

/// When beeps begin in a sound of ±1, in seconds from its start. A beep that sounds already at the
/// beginning has no known start and is left out.
pub fn beep_onsets(samples: &[f32], sample_rate: u32) -> Vec<f64> {
    let envelope = envelope(samples, f64::from(sample_rate));
    let loudest = envelope.iter().copied().fold(0.0, f64::max);
    if loudest < MIN_AMPLITUDE {
        return Vec::new();
    }
    let threshold = loudest / 2.0;
    let min_points = (MIN_LENGTH_S / STEP_S) as usize;
    let mut onsets = Vec::new();
    let mut index = 1;
    while index < envelope.len() {
        let (before, here) = (envelope[index - 1], envelope[index]);
        if before < threshold && here >= threshold {
            let length = envelope[index..]
                .iter()
                .take_while(|e| **e >= threshold)
                .count();
            if length >= min_points {
                // The envelope of a step rises evenly over the window and is at half where the step is.
                let between = (threshold - before) / (here - before);
                onsets.push((index as f64 - 1.0 + between) * STEP_S);
            }
            index += length;
        }
        index += 1;
    }
    onsets
}

/// Amplitude of the beep's frequency in a window around each point.
fn envelope(samples: &[f32], sample_rate: f64) -> Vec<f64> {
    // Running sums of the mixed-down sound: a window's sum is a difference of two.
    let mut sums = Vec::with_capacity(samples.len() + 1);
    let mut sum = (0.0, 0.0);
    sums.push(sum);
    for (index, sample) in samples.iter().enumerate() {
        let angle = TAU * (sound::BEEP_HZ * index as f64 / sample_rate).fract();
        sum.0 += f64::from(*sample) * angle.cos();
        sum.1 += f64::from(*sample) * angle.sin();
        sums.push(sum);
    }
    let half = WINDOW_S * sample_rate / 2.0;
    let points = (samples.len() as f64 / sample_rate / STEP_S) as usize;
    (0..points)
        .map(|point| {
            let centre = point as f64 * STEP_S * sample_rate;
            let start = (centre - half).round().max(0.0) as usize;
            let end = ((centre + half).round() as usize).min(samples.len());
            let (from, to) = (sums[start], sums[end]);
            2.0 * (to.0 - from.0).hypot(to.1 - from.1) / (2.0 * half)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::samples_of;

    #[test]
    fn beeps_are_found_to_a_millisecond_at_every_rate() {
        for rate in [8_000, 44_100, 48_000] {
            let samples = samples_of(&sound::pcm(rate, 1, 4.5), 1);
            let skipped = (0.3 * f64::from(rate)) as usize;
            let onsets = beep_onsets(&samples[skipped..], rate);
            assert_eq!(onsets.len(), 4, "{rate}: {onsets:?}");
            for (second, onset) in onsets.iter().enumerate() {
                let expected = second as f64 + 0.7;
                assert!(
                    (onset - expected).abs() < 0.001,
                    "{rate}: {onset} for {expected}"
                );
            }
        }
    }

    #[test]
    fn a_tone_without_beeps_has_none() {
        let tone = |index: i32| (0.9 * (TAU * 440.0 * f64::from(index) / 48_000.0).sin()) as f32;
        assert!(beep_onsets(&(0..96_000).map(tone).collect::<Vec<_>>(), 48_000).is_empty());
        assert!(beep_onsets(&[0.0; 48_000], 48_000).is_empty());
        assert!(beep_onsets(&[], 48_000).is_empty());
    }
}
