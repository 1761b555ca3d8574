//! In a process of its own: what starts and stops leave behind.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

use gst::prelude::*;
use support::{Bench, Upstream, wait_until};

fn count(folder: &str) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

fn own_threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .filter(|name| name.trim() == "pumpfunmeta")
        .count()
}

/// The kernel lists a thread for a moment after it was joined.
fn all_threads_ended() {
    wait_until("end of the element's threads", || match own_threads() {
        0 => Ok(()),
        left => Err(left),
    });
}

#[test]
fn fifty_starts_and_stops_leave_no_thread_no_socket_and_no_element() {
    let upstream = Upstream::start();
    let bench = Bench::simple(&upstream.element());
    let start_and_stop = |known: bool| {
        bench.play();
        if known {
            bench.wait_for_any();
        }
        bench.pass();
        bench.stop();
    };
    // What GStreamer and the stand-in keep for good comes with the first ones.
    bench.stop();
    for _ in 0..5 {
        start_and_stop(true);
    }
    all_threads_ended();
    let (descriptors, threads) = (count("/proc/self/fd"), count("/proc/self/task"));
    for round in 0..50 {
        // Also while the first request is under way.
        start_and_stop(round % 2 == 0);
    }
    all_threads_ended();
    let (descriptors_now, threads_now) = (count("/proc/self/fd"), count("/proc/self/task"));
    // The stand-in closes its ends of connections a moment later; a leak would be fifty.
    assert!(
        descriptors_now <= descriptors + 10,
        "{descriptors} became {descriptors_now}"
    );
    assert!(threads_now <= threads + 5, "{threads} became {threads_now}");
    let weak = bench.element.downgrade();
    drop(bench);
    assert!(weak.upgrade().is_none(), "the element is freed");
}
