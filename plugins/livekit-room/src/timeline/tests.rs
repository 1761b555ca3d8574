//! The time line against made-up senders.

use super::*;

const MS: i64 = 1_000_000;

/// A track whose publisher captures a frame every `interval_ms`.
struct Publisher {
    timeline: Timeline,
    epoch: Instant,
    last: Option<f64>,
}

impl Publisher {
    fn new() -> Self {
        Self {
            timeline: Timeline::default(),
            epoch: Instant::now(),
            last: None,
        }
    }

    /// A frame captured at `captured_ms`, `way_ms` on its way; what it is mapped to, in ms.
    fn frame(
        &mut self,
        track: &str,
        rate: u32,
        captured_ms: i64,
        way_ms: i64,
        report: bool,
    ) -> f64 {
        let base = if rate == 48_000 { 4_294_900_000u64 } else { 77 };
        let rtp = base + (captured_ms * i64::from(rate) / 1000) as u64;
        let sample = Sample {
            rtp,
            clock_rate: rate,
            arrival: instant_at(self.epoch, (captured_ms + way_ms) * MS),
            report: report.then(|| SenderReport {
                ntp: UNIX_EPOCH + Duration::from_millis(1_000_000 + captured_ms as u64),
                rtp: rtp as u32,
            }),
        };
        let shown = self
            .timeline
            .map(&"publisher".into(), &track.into(), &sample);
        nanos_between(self.epoch, shown) as f64 / MS as f64
    }
}

#[test]
fn jitter_is_taken_out() {
    let mut publisher = Publisher::new();
    let mut last = None;
    for n in 0..300i64 {
        let jitter = [0, 13, 4, 22, 9][(n % 5) as usize];
        let shown = publisher.frame("video", 90_000, n * 40, 30 + jitter, false);
        if let Some(last) = last
            && n > 100
        {
            let interval: f64 = shown - last;
            assert!((interval - 40.0).abs() < 1.1, "{interval}");
        }
        last = Some(shown);
    }
}

#[test]
fn a_late_start_is_made_up_for_within_its_first_moments() {
    let mut publisher = Publisher::new();
    let mut last = f64::MIN;
    for n in 0..60i64 {
        // Six frames come at once, the first of them 180 ms late.
        let captured = n * 33;
        let way = (200 - captured).max(20);
        let shown = publisher.frame("video", 90_000, captured, way, false);
        assert!(shown - last > 16.0, "{shown} after {last}");
        last = shown;
        if captured > 500 {
            let late = shown - captured as f64 - 20.0;
            assert!(late.abs() < 1.0, "{late} at {captured}");
        }
    }
}

#[test]
fn a_later_correction_is_slow() {
    let mut publisher = Publisher::new();
    for n in 0..300i64 {
        let way = if n < 100 { 120 } else { 20 };
        let shown = publisher.frame("video", 90_000, n * 20, way, false);
        let before = publisher.last.replace(shown).unwrap_or(shown - 20.0);
        assert!(
            (shown - before - 20.0).abs() < 0.6,
            "{shown} after {before}"
        );
    }
}

#[test]
fn delayed_audio_brings_video_back_to_it_once_reports_came() {
    let mut publisher = Publisher::new();
    let mut apart = f64::MAX;
    for n in 0..1000i64 {
        let report = n > 200;
        let video = publisher.frame("video", 90_000, n * 20, 20, report);
        let audio = publisher.frame("audio", 48_000, n * 20, 170, report);
        apart = audio - video;
        if n == 199 {
            assert!((apart - 150.0).abs() < 1.0, "{apart}");
        }
    }
    assert!(apart.abs() < 1.0, "{apart}");
}

#[test]
fn another_publishers_reports_do_not_move_a_track() {
    let mut timeline = Timeline::default();
    let epoch = Instant::now();
    for n in 0..500u64 {
        let sample = |way: u64| Sample {
            rtp: n * 960,
            clock_rate: 48_000,
            arrival: epoch + Duration::from_millis(n * 20 + way),
            report: Some(SenderReport {
                ntp: UNIX_EPOCH + Duration::from_millis(n * 20),
                rtp: (n * 960) as u32,
            }),
        };
        let near = sample(10);
        let shown = timeline.map(&"near".into(), &"a".into(), &near);
        timeline.map(&"far".into(), &"b".into(), &sample(400));
        assert!(nanos_between(near.arrival, shown).abs() < MS);
    }
}

#[test]
fn a_clock_that_drifts_is_followed() {
    let mut publisher = Publisher::new();
    // 500 ppm: ten minutes make 300 ms.
    let mut late = 0.0;
    for n in 0..30_000i64 {
        let way = 30 + n * 20 / 2000;
        let captured = n * 20;
        late = (captured + way) as f64 - publisher.frame("audio", 48_000, captured, way, false);
    }
    assert!((0.0..11.0).contains(&late), "{late}");
}

#[test]
fn late_packets_of_a_stall_keep_their_own_time() {
    let mut publisher = Publisher::new();
    for n in 0..100i64 {
        publisher.frame("video", 90_000, n * 33, 20, false);
    }
    let shown = publisher.frame("video", 90_000, 100 * 33, 3000, false);
    assert!((shown - 3320.0).abs() < 80.0, "{shown}");
    let after = publisher.frame("video", 90_000, 200 * 33, 20, false);
    assert!((after - 6620.0).abs() < 80.0, "{after}");
}

#[test]
fn a_jump_of_the_rtp_clock_starts_anew_at_arrival() {
    let mut publisher = Publisher::new();
    publisher.frame("video", 90_000, 0, 20, false);
    for (captured, way) in [(3_600_000, -3_598_000), (5000, 20)] {
        let shown = publisher.frame("video", 90_000, captured, way, false);
        let arrival = (captured + way) as f64;
        assert!((shown - arrival).abs() < 1.0, "{shown} {arrival}");
    }
}

#[test]
fn time_never_runs_backwards_within_a_track() {
    let mut publisher = Publisher::new();
    let mut last = f64::MIN;
    for captured in [0, 40, 20, 80, 80, 60, 120] {
        let shown = publisher.frame("video", 90_000, captured, 20, false);
        assert!(shown > last);
        last = shown;
    }
}
