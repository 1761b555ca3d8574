//! What the element does without a room; the rooms are in `tests/e2e`.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use gst::prelude::*;
use std::sync::Once;

fn init() {
    static INIT: Once = Once::new();
    INIT.call_once(|| {
        gst::init().unwrap();
        gstlivekitsrc::plugin_register_static().unwrap();
    });
}

fn element() -> gst::Element {
    init();
    gst::ElementFactory::make("livekitsrc").build().unwrap()
}

/// Takes the element to PAUSED and back; the error that was posted.
fn start_and_fail(element: &gst::Element) -> gst::glib::Error {
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    let _ = element.set_state(gst::State::Paused);
    let message =
        bus.timed_pop_filtered(gst::ClockTime::from_seconds(20), &[gst::MessageType::Error]);
    element.set_state(gst::State::Null).unwrap();
    let message = message.expect("an error is posted");
    let gst::MessageView::Error(error) = message.view() else {
        unreachable!("only errors are popped");
    };
    error.error()
}

#[test]
fn a_fresh_element_has_the_defaults_it_declares() {
    let element = element();
    for property in element.list_properties() {
        let own = property.owner_type() == element.type_();
        if !own
            || !property.flags().contains(gst::glib::ParamFlags::READABLE)
            || property.name() == "stats"
        {
            continue;
        }
        let value = element.property_value(property.name());
        assert_eq!(
            format!("{value:?}"),
            format!("{:?}", property.default_value()),
            "{}",
            property.name()
        );
    }
}

#[test]
fn settings_that_lead_nowhere_say_what_to_set() {
    let cases: [(&[(&str, &str)], &str); 6] = [
        (&[], "set mint-id"),
        (
            &[("mint-id", "demo"), ("url", "ws://127.0.0.1:1")],
            "both mint-id and url",
        ),
        (&[("mint-id", "0OIl")], "no mint"),
        (&[("url", "127.0.0.1"), ("token", "x")], "wss://"),
        (&[("url", "ws://127.0.0.1:1"), ("api-key", "k")], "no token"),
        (
            &[
                ("url", "ws://127.0.0.1:1"),
                ("token", "x"),
                ("ice-addresses", "lo"),
            ],
            "no IP address",
        ),
    ];
    for (properties, hint) in cases {
        let element = element();
        for (name, value) in properties {
            element.set_property(name, value);
        }
        let error = start_and_fail(&element);
        assert!(error.matches(gst::ResourceError::Settings), "{error}");
        assert!(error.message().contains(hint), "{error}");
    }
}

#[test]
fn a_server_that_is_not_there_is_an_error_to_open() {
    // A port that was free a moment ago and has no listener.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let element = element();
    element.set_property("url", format!("ws://127.0.0.1:{port}"));
    element.set_property("token", "not-a-token");
    let error = start_and_fail(&element);
    assert!(error.matches(gst::ResourceError::OpenRead), "{error}");
    assert!(error.message().contains("connection"), "{error}");
}

#[test]
fn it_stops_within_a_second_while_a_server_never_answers() {
    // Accepts connections and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    for _ in 0..3 {
        let element = element();
        element.set_property("url", format!("ws://127.0.0.1:{port}"));
        element.set_property("token", "not-a-token");
        element.set_state(gst::State::Playing).unwrap();
        let before = std::time::Instant::now();
        element.set_state(gst::State::Null).unwrap();
        assert!(
            before.elapsed() < std::time::Duration::from_millis(1500),
            "{:?}",
            before.elapsed()
        );
    }
}

#[test]
fn secrets_cannot_be_read_back() {
    let element = element();
    for name in ["token", "api-secret"] {
        let flags = element.find_property(name).unwrap().flags();
        assert!(!flags.contains(gst::glib::ParamFlags::READABLE), "{name}");
    }
}

#[test]
fn no_property_lacks_its_text() {
    let element = element();
    for property in element.list_properties() {
        if property.owner_type() == element.type_() {
            assert!(
                property.blurb().is_some_and(|blurb| blurb.len() > 10),
                "{}",
                property.name()
            );
            assert_ne!(property.nick(), "", "{}", property.name());
        }
    }
}
