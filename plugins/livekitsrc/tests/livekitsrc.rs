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
    let cases: [(&[(&str, &str)], &str); 7] = [
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
        (
            &[
                ("url", "ws://127.0.0.1:1"),
                ("token", "x"),
                ("turn-servers", "turn://host"),
            ],
            "user name or the password",
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
    for name in ["token", "api-secret", "turn-servers"] {
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

fn refused(element: &gst::Element, uri: &str) -> (gst::URIError, String) {
    let handler = element.dynamic_cast_ref::<gst::URIHandler>().unwrap();
    let error = handler.set_uri(uri).unwrap_err();
    (
        error.kind().expect("an error of GstURIError"),
        error.message().into(),
    )
}

#[test]
fn a_uri_becomes_properties_and_comes_back_without_its_secrets() {
    init();
    let uri = "livekits://example.livekit.cloud/my%20room?token=hush&latency=300&participant=ann";
    let element = gst::Element::make_from_uri(gst::URIType::Src, uri, None).unwrap();
    assert_eq!(element.type_().name(), "GstLiveKitSrc");
    assert_eq!(
        element.property::<String>("url"),
        "wss://example.livekit.cloud"
    );
    assert_eq!(element.property::<String>("room"), "my room");
    assert_eq!(element.property::<u32>("latency"), 300);
    let handler = element.dynamic_cast_ref::<gst::URIHandler>().unwrap();
    let said = handler.uri().unwrap();
    assert!(
        said.contains("latency=300") && !said.contains("hush"),
        "{said}"
    );
    element.set_property("participant", "bob");
    assert!(handler.uri().unwrap().contains("participant=bob"));
}

#[test]
fn a_wrong_uri_is_refused_with_a_reason_and_changes_nothing() {
    let element = element();
    element.set_property("url", "ws://127.0.0.1:1");
    for (uri, hint) in [
        ("pumpfun://0OIl", "no mint"),
        ("livekit://host/room?token=hush&color=red", "'color'"),
        (
            "livekit://host/room?api-secret=hush&latency=many",
            "'latency'",
        ),
        ("livekit://me:hush@host/room", "api-secret"),
    ] {
        let (kind, text) = refused(&element, uri);
        assert_eq!(kind, gst::URIError::BadUri, "{uri}");
        assert!(
            text.contains(hint) && !text.contains("hush"),
            "{uri}: {text}"
        );
    }
    assert_eq!(element.property::<String>("url"), "ws://127.0.0.1:1");
}

#[test]
fn the_uri_of_a_running_element_stays() {
    // Accepts connections and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let element = element();
    let uri = format!("livekit://127.0.0.1:{port}/room?token=x");
    let handler = element.dynamic_cast_ref::<gst::URIHandler>().unwrap();
    handler.set_uri(&uri).unwrap();
    element.set_state(gst::State::Paused).unwrap();
    let (kind, _) = refused(&element, "livekit://other/room");
    assert_eq!(kind, gst::URIError::BadState);
    element.set_state(gst::State::Null).unwrap();
    handler.set_uri("livekit://other/room").unwrap();
    assert_eq!(handler.uri().unwrap(), "livekit://other/room");
}

#[test]
fn the_latency_is_known_before_there_are_pads() {
    let element = element();
    element.set_property("latency", 350u32);
    let mut query = gst::query::Latency::new();
    assert!(element.query(&mut query));
    let expected = (true, gst::ClockTime::from_mseconds(350), None);
    assert_eq!(query.result(), expected);
}

#[test]
fn a_fresh_element_counts_from_zero() {
    let stats = element().property::<gst::Structure>("stats");
    assert_eq!(stats.get::<u64>("video-frames"), Ok(0));
    assert_eq!(stats.get::<gst::Array>("tracks").unwrap().len(), 0);
    assert!(!stats.has_field("round-trip-time"));
}

#[test]
fn the_document_names_every_property_signal_and_enum_value() {
    let element = element();
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/elements/livekitsrc.md"
    );
    let document = std::fs::read_to_string(path).unwrap();
    let has = |name: &str| document.contains(&format!("`{name}"));
    for property in element.list_properties() {
        if property.owner_type() != element.type_() {
            continue;
        }
        assert!(has(property.name()), "{}", property.name());
        if let Some(values) = gst::glib::EnumClass::with_type(property.value_type()) {
            for value in values.values() {
                assert!(has(value.nick()), "{}: {}", property.name(), value.nick());
            }
        }
    }
    for signal in ["request-token", "select-track"] {
        let known = gst::glib::subclass::SignalId::lookup(signal, element.type_());
        assert!(known.is_some() && has(signal), "{signal}");
    }
}
