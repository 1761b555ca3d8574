//! Pictures and the pipeline's clock.

// Clippy takes only the test functions themselves for tests, not their helpers.
#![allow(clippy::unwrap_used)]

mod support;

use gst::prelude::*;
use std::{
    sync::mpsc,
    time::{Duration, Instant},
};
use support::{Bench, DEADLINE, next_picture, push, run};

#[test]
fn pictures_are_sent_at_their_time() {
    let bench = Bench::new();
    bench.sink.set_property("sync", true);
    bench.sink.set_property("max-lateness", -1i64);
    let bench = bench.play();
    let source = bench.feed();
    run(async {
        let mut client = bench.client("/ws").await;
        bench.wait_for_clients(1);
        // 33 ms each: the last is due 990 ms after the stream began.
        let begin = Instant::now();
        let running = || {
            let clock = bench.pipeline.clock().unwrap().time();
            Duration::from(clock - bench.pipeline.base_time().unwrap())
        };
        let offset = running();
        for number in [0, 30] {
            push(&source, number, 100);
        }
        while next_picture(&mut client).await != 30 {}
        let shown_at = offset + begin.elapsed();
        assert!(shown_at >= Duration::from_millis(985), "{shown_at:?}");
    });
}

#[test]
fn what_comes_too_late_is_dropped_and_upstream_is_told() {
    let bench = Bench::new();
    bench.sink.set_property("sync", true);
    // The stream began long ago by the pipeline's clock: every picture is late.
    let clock = gst::SystemClock::obtain();
    bench.pipeline.use_clock(Some(&clock));
    bench.pipeline.set_start_time(gst::ClockTime::NONE);
    let long_ago = clock
        .time()
        .saturating_sub(gst::ClockTime::from_seconds(100));
    bench.pipeline.set_base_time(long_ago);
    let bench = bench.play();
    let source = bench.feed();
    let (told, heard) = mpsc::channel();
    let pad = source.static_pad("src").unwrap();
    pad.add_probe(gst::PadProbeType::EVENT_UPSTREAM, move |_, info| {
        if let Some(event) = info.event()
            && let gst::EventView::Qos(qos) = event.view()
        {
            let (kind, proportion, late, _) = qos.get();
            _ = told.send((kind, proportion, late));
        }
        gst::PadProbeReturn::Ok
    });
    for number in 0..20 {
        push(&source, number, 100);
    }
    let deadline = Instant::now() + DEADLINE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let (kind, _, late) = heard.recv_timeout(left).unwrap();
        if kind == gst::QOSType::Underflow && late > 1_000_000_000 {
            break;
        }
    }
    let stats = bench.sink.property::<gst::Structure>("stats");
    assert!(stats.get::<u64>("frames-published").unwrap() < 20);
}
