use super::*;

fn sine(format: AudioFormat, hertz: f64, seconds: f64) -> Vec<AudioChunk> {
    let frames = (f64::from(format.sample_rate) * seconds) as usize;
    let per_chunk = format.sample_rate as usize / 50;
    let samples: Vec<i16> = (0..frames)
        .map(|n| {
            let turn = 2.0 * PI * hertz * n as f64 / f64::from(format.sample_rate);
            (turn.sin() * 20_000.0).round() as i16
        })
        .collect();
    samples
        .chunks(per_chunk)
        .enumerate()
        .map(|(number, samples)| AudioChunk {
            pcm: samples
                .iter()
                .flat_map(|sample| sample.to_le_bytes().repeat(format.channels as usize))
                .collect::<Vec<u8>>()
                .into(),
            sample_rate: format.sample_rate,
            channels: format.channels,
            pts: duration(number * per_chunk, format.sample_rate),
            ..AudioChunk::default()
        })
        .collect()
}

fn convert(from: AudioFormat, to: AudioFormat, chunks: &[AudioChunk]) -> Vec<AudioChunk> {
    let mut converter = Converter::new(from, to);
    let mut out = Vec::new();
    for chunk in chunks {
        converter.convert(chunk, |chunk| out.push(chunk));
    }
    out
}

fn samples(chunks: &[AudioChunk], channel: usize) -> Vec<f64> {
    chunks
        .iter()
        .flat_map(|chunk| {
            let step = 2 * chunk.channels as usize;
            chunk.pcm.chunks_exact(step).map(move |frame| {
                f64::from(i16::from_le_bytes([
                    frame[channel * 2],
                    frame[channel * 2 + 1],
                ]))
            })
        })
        .collect()
}

/// What is left beside the sine of that frequency, in dB below it (least squares).
fn noise_db(samples: &[f64], hertz: f64, rate: u32) -> f64 {
    let turn = |n: usize| 2.0 * PI * hertz * n as f64 / f64::from(rate);
    let half = samples.len() as f64 / 2.0;
    let project = |f: fn(f64) -> f64| {
        samples
            .iter()
            .enumerate()
            .map(|(n, s)| s * f(turn(n)))
            .sum::<f64>()
            / half
    };
    let (a, b) = (project(f64::sin), project(f64::cos));
    let left: f64 = samples
        .iter()
        .enumerate()
        .map(|(n, s)| (s - a * turn(n).sin() - b * turn(n).cos()).powi(2))
        .sum();
    10.0 * (left / samples.len() as f64 / ((a * a + b * b) / 2.0)).log10()
}

#[test]
fn a_tone_keeps_its_frequency_and_stays_clean() {
    for (rate_in, rate_out) in [
        (48_000, 44_100),
        (44_100, 48_000),
        (16_000, 44_100),
        (96_000, 44_100),
    ] {
        for hertz in [440.0, 1_000.0, 5_000.0] {
            let (from, to) = (AudioFormat::new(rate_in, 1), AudioFormat::new(rate_out, 1));
            let out = convert(from, to, &sine(from, hertz, 1.2));
            let samples = samples(&out, 0);
            // A whole number of turns, away from the beginning.
            let second = &samples[2_000..2_000 + rate_out as usize];
            let noise = noise_db(second, hertz, rate_out);
            assert!(
                noise < -70.0,
                "{rate_in} to {rate_out}, {hertz} Hz: {noise:.1} dB"
            );
        }
    }
}

#[test]
fn chunks_are_of_20_ms_and_without_a_gap() {
    for (rate_in, rate_out) in [
        (48_000, 44_100),
        (44_100, 48_000),
        (11_025, 44_100),
        (44_056, 48_000),
    ] {
        let (from, to) = (AudioFormat::new(rate_in, 2), AudioFormat::new(rate_out, 1));
        let out = convert(from, to, &sine(from, 300.0, 2.0));
        assert!(out.len() >= 97, "{} chunks of 100", out.len());
        let bytes = rate_out as usize / 50 * 2;
        for (number, chunk) in out.iter().enumerate() {
            assert_eq!(chunk.pcm.len(), bytes);
            let off = chunk
                .pts
                .abs_diff(Duration::from_millis(20 * number as u64));
            assert!(
                off < Duration::from_micros(1),
                "chunk {number} is off by {off:?}"
            );
        }
    }
}

#[test]
fn the_sound_is_not_late_for_its_time_stamps() {
    let (from, to) = (AudioFormat::new(48_000, 1), AudioFormat::new(44_100, 1));
    let mut chunks = sine(from, 440.0, 0.4);
    for (number, chunk) in chunks.iter_mut().enumerate() {
        // Silence, then a click at 200 ms.
        let mut pcm = vec![0; chunk.pcm.len()];
        if number == 10 {
            pcm[..2].copy_from_slice(&20_000i16.to_le_bytes());
        }
        chunk.pcm = pcm.into();
    }
    let samples = samples(&convert(from, to, &chunks), 0);
    let loudest = (0..samples.len()).max_by(|a, b| samples[*a].total_cmp(&samples[*b]));
    assert_eq!(loudest, Some(8_820));
}

#[test]
fn channels_are_mixed_down_and_doubled() {
    let stereo = AudioChunk {
        pcm: [1_000i16, 3_000]
            .iter()
            .flat_map(|s| s.to_le_bytes())
            .collect::<Vec<_>>()
            .repeat(882)
            .into(),
        sample_rate: 44_100,
        channels: 2,
        ..AudioChunk::default()
    };
    let (mono, two) = (AudioFormat::new(44_100, 1), AudioFormat::new(44_100, 2));
    let mixed = convert(two, mono, std::slice::from_ref(&stereo));
    assert_eq!(samples(&mixed, 0), vec![2_000.0; 882]);
    let doubled = convert(mono, two, &mixed);
    assert_eq!(samples(&doubled, 0), samples(&doubled, 1));
    assert_eq!(samples(&doubled, 0), vec![2_000.0; 882]);
}

#[test]
fn a_gap_begins_anew_at_its_own_time() {
    let (from, to) = (AudioFormat::new(48_000, 1), AudioFormat::new(44_100, 1));
    let mut chunks = sine(from, 440.0, 0.4);
    for chunk in &mut chunks[10..] {
        chunk.pts += Duration::from_secs(3);
    }
    let out = convert(from, to, &chunks);
    let resumed = out
        .iter()
        .find(|chunk| chunk.pts > Duration::from_secs(1))
        .unwrap();
    assert_eq!(resumed.pts, Duration::from_millis(3_200));
    assert!(out.windows(2).all(|pair| pair[0].pts < pair[1].pts));
}

#[test]
fn too_loud_a_sample_is_clipped_not_wrapped() {
    assert_eq!(to_sample(40_000.0), i16::MAX.to_le_bytes());
    assert_eq!(to_sample(-40_000.0), i16::MIN.to_le_bytes());
}

#[test]
fn time_stamps_follow_a_source_whose_clock_wanders() {
    let (from, to) = (AudioFormat::new(48_000, 1), AudioFormat::new(44_100, 1));
    let mut chunks = sine(from, 440.0, 10.0);
    for (number, chunk) in chunks.iter_mut().enumerate() {
        chunk.pts += Duration::from_micros(200 * number as u64);
    }
    let out = convert(from, to, &chunks);
    let (last, end) = (out.last().unwrap(), out.len() as u64 - 1);
    let off = last.pts.abs_diff(Duration::from_micros(20_200 * end));
    assert!(off < Duration::from_millis(1), "{off:?}");
}
