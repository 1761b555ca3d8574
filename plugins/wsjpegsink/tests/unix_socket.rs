//! The Unix socket, by which a worker serves the server.

// Clippy takes only the test functions themselves for tests, not their helpers.
#![allow(clippy::unwrap_used)]

mod support;

use gst::prelude::*;
use std::{
    os::unix::{fs::PermissionsExt, net::UnixListener},
    path::Path,
};
use support::{Bench, push, run};
use viewer_socket::{
    Hub, HubOptions,
    relay::{Relay, RelayEnd, StatusFrom},
};

fn bench(path: &Path) -> Bench {
    let bench = Bench::new();
    bench
        .sink
        .set_property("socket-path", path.to_str().unwrap());
    bench
}

#[test]
fn a_relay_gets_pictures_and_counts_as_a_client() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("media");
    let bench = bench(&path).play();
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    run(async {
        let hub = Hub::new(HubOptions::default());
        let relay = Relay::connect(&path).await.unwrap();
        bench.wait_for_clients(1);
        let copy = hub.clone();
        let run = tokio::spawn(async move { relay.run(&copy, StatusFrom::Worker).await });
        let source = bench.feed();
        for number in 0..20 {
            push(&source, number, 50_000);
            while hub.stats().frames_published <= u64::from(number) {
                tokio::task::yield_now().await;
            }
        }
        let pipeline = bench.pipeline.clone();
        let stop = tokio::task::spawn_blocking(move || pipeline.set_state(gst::State::Null));
        assert!(matches!(run.await.unwrap(), RelayEnd::Closed(Some(1001))));
        stop.await.unwrap().unwrap();
    });
    assert!(!path.exists(), "the socket is removed at the stop");
}

#[test]
fn a_stale_socket_is_replaced_and_one_in_use_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("media");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let first = bench(&path).play();
    let second = bench(&path);
    assert!(second.pipeline.set_state(gst::State::Playing).is_err());
    let message = second.wait_for(gst::MessageType::Error);
    let gst::MessageView::Error(error) = message.view() else {
        unreachable!();
    };
    assert!(error.error().matches(gst::ResourceError::Busy));
    drop(second);
    run(async { Relay::connect(&path).await }).unwrap();
    drop(first);
    assert!(!path.exists());
}

#[test]
fn another_kind_of_file_is_never_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("media");
    std::fs::write(&path, "precious").unwrap();
    assert!(
        bench(&path)
            .pipeline
            .set_state(gst::State::Playing)
            .is_err()
    );
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}
