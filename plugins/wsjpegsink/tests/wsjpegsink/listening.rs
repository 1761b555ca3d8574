//! Whom the element's server answers, and what.

use crate::support::{
    Bench, DEADLINE, answer, close_code, connect, next_picture, push, refusal, run,
};
use gst::prelude::*;
use std::{collections::BTreeSet, sync::mpsc};

#[test]
fn a_port_in_use_is_one_error_that_names_it() {
    let first = Bench::new().play();
    let second = Bench::new();
    second.sink.set_property("port", u32::from(first.port()));
    assert!(second.pipeline.set_state(gst::State::Playing).is_err());
    let message = second.wait_for(gst::MessageType::Error);
    let gst::MessageView::Error(error) = message.view() else {
        unreachable!();
    };
    assert!(error.error().matches(gst::ResourceError::Busy));
    let text = error.error().to_string();
    assert!(
        text.contains(&format!("127.0.0.1:{}", first.port())),
        "{text}"
    );
    drop(first);
    second.pipeline.set_state(gst::State::Null).unwrap();
    second.pipeline.set_state(gst::State::Playing).unwrap();
}

#[test]
fn an_origin_that_is_none_is_a_settings_error() {
    let bench = Bench::new();
    bench
        .sink
        .set_property("origins", "https://fine.example, nonsense");
    assert!(bench.pipeline.set_state(gst::State::Playing).is_err());
    let message = bench.wait_for(gst::MessageType::Error);
    let gst::MessageView::Error(error) = message.view() else {
        unreachable!();
    };
    assert!(error.error().matches(gst::LibraryError::Settings));
    assert!(error.error().to_string().contains("nonsense"));
}

#[test]
fn bytes_that_are_no_request_end_their_connection_only() {
    let bench = Bench::new().play();
    let source = bench.feed();
    let port = bench.port();
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"[..],
        b"\r\n\r\nnonsense\r\n\r\n",
    ] {
        let answer = answer(port, bytes);
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 400"),
            "{answer}"
        );
    }
    let long = [b"GET /".to_vec(), vec![b'a'; 100_000]].concat();
    let refused = answer(port, &long);
    assert!(
        refused.is_empty() || refused.starts_with("HTTP/1.1 4"),
        "{refused}"
    );
    run(async {
        let mut client = bench.client("/ws").await;
        push(&source, 1, 100);
        assert_eq!(next_picture(&mut client).await, 1);
    });
}

#[test]
fn foreign_pages_and_foreign_names_are_refused() {
    let bench = Bench::new();
    bench.sink.set_property("origins", "https://tv.example");
    let bench = bench.play();
    let port = bench.port();
    run(async {
        let origin = |origin| [("origin", origin)];
        assert_eq!(
            refusal(port, "/ws", &origin("http://evil.example")).await,
            403
        );
        assert_eq!(refusal(port, "/ws", &origin("null")).await, 403);
        let own = format!("http://127.0.0.1:{port}");
        for allowed in ["https://tv.example", "http://localhost:5173", &own] {
            connect(port, "/ws", &origin(allowed)).await.unwrap();
        }
        let rebound = [("host", "evil.example"), ("origin", "http://evil.example")];
        assert_eq!(refusal(port, "/ws", &rebound).await, 421);
        assert_eq!(refusal(port, "/nothing", &[]).await, 404);
        assert_eq!(refusal(port, "/relay", &[]).await, 404);
        assert_eq!(refusal(port, "/ws?max_fps=0", &[]).await, 422);
    });
}

#[test]
fn the_page_is_served_with_its_policy_and_errors_are_json() {
    let bench = Bench::new().play();
    let get = |path: &str| {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        answer(bench.port(), request.as_bytes())
    };
    let page = get("/");
    assert!(page.starts_with("HTTP/1.1 200"));
    assert!(page.contains("content-security-policy: default-src 'none'"));
    assert!(page.contains("<canvas") && page.contains("viewer.js"));
    assert!(get("/viewer.js").contains("text/javascript"));
    assert!(get("/viewer.css").contains("text/css"));
    let missing = get("/etc/passwd");
    assert!(missing.starts_with("HTTP/1.1 404"));
    assert!(missing.contains(r#""success":false"#) && missing.contains(r#""code":"not_found""#));
    assert!(get("/ws").starts_with("HTTP/1.1 426"));
}

#[test]
fn a_path_of_ones_own_is_honoured() {
    let bench = Bench::new();
    bench.sink.set_property("path", "/cam/1");
    let bench = bench.play();
    run(async {
        bench.client("/cam/1/ws").await;
        bench.client("/cam/1/api/live-sessions/stream/x").await;
        assert_eq!(refusal(bench.port(), "/ws", &[]).await, 404);
    });
}

#[test]
fn signals_tell_of_every_client() {
    let bench = Bench::new();
    let (events, received) = mpsc::channel();
    for name in ["client-added", "client-removed"] {
        let events = events.clone();
        bench.sink.connect(name, false, move |values| {
            let (id, address): (u64, String) = (values[1].get().unwrap(), values[2].get().unwrap());
            events.send((name, id, address)).unwrap();
            None
        });
    }
    let bench = bench.play();
    run(async {
        let clients = [bench.client("/ws").await, bench.client("/stream").await];
        let added: Vec<_> = (0..2)
            .map(|_| received.recv_timeout(DEADLINE).unwrap())
            .collect();
        assert!(added.iter().all(|(name, _, address)| {
            *name == "client-added" && address.starts_with("127.0.0.1:")
        }));
        drop(clients);
        let removed: Vec<_> = (0..2)
            .map(|_| received.recv_timeout(DEADLINE).unwrap())
            .collect();
        assert!(removed.iter().all(|(name, ..)| *name == "client-removed"));
        let ids = |events: &[(&str, u64, String)]| {
            events.iter().map(|(_, id, _)| *id).collect::<BTreeSet<_>>()
        };
        assert_eq!(ids(&added), ids(&removed));
        assert_eq!(ids(&added).len(), 2);
    });
}

#[test]
fn when_all_places_are_taken_the_next_is_closed_with_1013() {
    let bench = Bench::new();
    bench.sink.set_property("max-clients", 1u32);
    let bench = bench.play();
    run(async {
        let first = bench.client("/ws").await;
        bench.wait_for_clients(1);
        assert_eq!(close_code(&mut bench.client("/ws").await).await, 1013);
        drop(first);
        bench.wait_for_clients(0);
        let source = bench.feed();
        push(&source, 1, 100);
        assert_eq!(next_picture(&mut bench.client("/ws").await).await, 1);
    });
}
