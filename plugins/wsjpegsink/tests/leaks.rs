//! In a process of its own: what starts and stops leave behind.

// Clippy takes only the test functions themselves for tests, not their helpers.
#![allow(clippy::unwrap_used)]

mod support;

use gst::prelude::*;
use support::{Bench, next_picture, push, run};

fn count(folder: &str) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

fn start_and_stop(bench: &Bench) {
    bench.pipeline.set_state(gst::State::Playing).unwrap();
    let source = bench.feed();
    run(async {
        let mut client = bench.client("/ws").await;
        push(&source, 1, 100);
        assert_eq!(next_picture(&mut client).await, 1);
        drop(client);
    });
    bench.wait_for_clients(0);
    bench.pipeline.set_state(gst::State::Null).unwrap();
    bench.remove(source);
}

#[test]
fn twenty_starts_and_stops_leave_no_descriptor_and_no_thread() {
    let bench = Bench::new();
    // The plugin's own threads, and what GStreamer keeps for good, come with the first ones.
    for _ in 0..5 {
        start_and_stop(&bench);
    }
    let (descriptors, threads) = (count("/proc/self/fd"), count("/proc/self/task"));
    for _ in 0..20 {
        start_and_stop(&bench);
    }
    let (descriptors_now, threads_now) = (count("/proc/self/fd"), count("/proc/self/task"));
    assert!(
        descriptors_now <= descriptors,
        "{descriptors} became {descriptors_now}"
    );
    // Pooled threads come and go by a few; a leak would be twenty.
    assert!(threads_now <= threads + 5, "{threads} became {threads_now}");
    let weak = bench.sink.downgrade();
    drop(bench);
    assert!(weak.upgrade().is_none(), "the element is freed");
}
