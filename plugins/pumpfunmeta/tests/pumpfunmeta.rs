//! The element and a coin that is known, changes, or is another one.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

use gst::{meta::CustomMeta, prelude::*};
use haven_rig::pumpfun::{Coin, Endpoint, random_mint};
use support::{Bench, Upstream, init, name_on, named, pull};

#[test]
fn a_fresh_element_has_the_defaults_it_declares() {
    init();
    let element = gst::ElementFactory::make("pumpfunmeta").build().unwrap();
    let own: Vec<_> = element
        .list_properties()
        .iter()
        .filter(|property| property.owner_type() == element.type_() && property.name() != "stats")
        .map(|property| {
            let value = element.property_value(property.name());
            let default = property.default_value();
            let is_none = |value: &gst::glib::Value| {
                matches!(value.get::<Option<gst::Structure>>(), Ok(None))
            };
            // GStreamer can't print a structure that isn't there.
            if !is_none(&value) || !is_none(default) {
                let (is, declared) = (format!("{value:?}"), format!("{default:?}"));
                assert_eq!(is, declared, "{}", property.name());
            }
            property.name().to_owned()
        })
        .collect();
    assert_eq!(own, ["mint-id", "refresh-interval", "frontend-url", "coin"]);
}

#[test]
fn every_property_says_what_it_is_and_when_it_may_change() {
    init();
    let element = gst::ElementFactory::make("pumpfunmeta").build().unwrap();
    let factory = element.factory().unwrap();
    for key in ["long-name", "klass", "description", "author"] {
        assert!(!factory.metadata(key).unwrap().is_empty(), "{key}");
    }
    for property in element.list_properties().iter() {
        if property.owner_type() != element.type_() {
            continue;
        }
        assert!(property.blurb().unwrap().len() > 20, "{}", property.name());
        assert!(!property.nick().is_empty());
        let flags = property.flags();
        let changes = flags.contains(gst::PARAM_FLAG_MUTABLE_READY)
            || flags.contains(gst::PARAM_FLAG_MUTABLE_PLAYING);
        assert_eq!(
            changes,
            flags.contains(gst::glib::ParamFlags::WRITABLE),
            "{}",
            property.name()
        );
    }
}

#[test]
fn each_buffer_carries_what_is_known() {
    let upstream = Upstream::start();
    let bench = Bench::simple(&upstream.element());
    let told = bench.wait_for_any();
    assert_eq!(told.name(), "pumpfun-coin");
    let buffer = bench.pass();
    let meta = CustomMeta::from_buffer(&buffer, "PumpFunCoinMeta").unwrap();
    let coin = meta.structure();
    assert_eq!(coin.get::<&str>("mint"), Ok(&*upstream.mint));
    assert_eq!(coin.get::<&str>("name"), Ok("KindnessCoin"));
    assert_eq!(coin.get::<&str>("symbol"), Ok("KIND"));
    assert_eq!(coin.get::<f64>("market-cap-sol"), Ok(652.4));
    assert_eq!(coin.get::<f64>("market-cap-usd"), Ok(101_778.36));
    assert_eq!(coin.get::<u64>("participants"), Ok(231));
    assert_eq!(coin.get::<bool>("live"), Ok(true));
    assert_eq!(coin.get::<bool>("nsfw"), Ok(false));
    assert_eq!(
        coin.get::<&str>("twitter"),
        Ok("https://x.com/kindnesscoin")
    );
    assert_eq!(
        coin.get::<&str>("telegram"),
        Ok("https://t.me/kindnesscoin")
    );
    assert!(coin.get::<&str>("creator").unwrap().len() > 31);
    assert!(
        coin.get::<&str>("image")
            .unwrap()
            .starts_with("https://ipfs.io/")
    );
    assert!(coin.get::<gst::DateTime>("fetched-at").unwrap().has_time());
    // The platform said null.
    assert!(!coin.has_field("website"));

    let stats = bench.stats();
    assert_eq!(stats.get::<&str>("mint"), Ok(&*upstream.mint));
    assert_eq!(stats.get::<u64>("buffers"), Ok(1));
    assert_eq!(stats.get::<u64>("failures"), Ok(0));
    assert!(stats.get::<u64>("age").unwrap() < 60_000_000_000);
    assert!(!stats.has_field("last-error"));
}

#[test]
fn the_first_buffer_does_not_wait_for_an_answer() {
    let upstream = Upstream::start();
    upstream
        .pumpfun
        .fail(Endpoint::Coin, haven_rig::pumpfun::Fault::Hang, None);
    let bench = Bench::simple(&upstream.element());
    for _ in 0..3 {
        assert!(CustomMeta::from_buffer(&bench.pass(), "PumpFunCoinMeta").is_err());
    }
    assert_eq!(
        bench.element.property::<Option<gst::Structure>>("coin"),
        None
    );
}

#[test]
fn a_change_is_told_once_and_reaches_the_next_buffer() {
    let upstream = Upstream::start();
    let bench = Bench::simple(&upstream.element());
    bench.wait_for_any();
    assert_eq!(name_on(&bench.pass()).as_deref(), Some("KindnessCoin"));
    upstream.change(|coin| coin.name = "Other".into());
    bench.wait_for(named("Other"));
    assert_eq!(name_on(&bench.pass()).as_deref(), Some("Other"));
    // Two more answers that say the same.
    let asked = upstream.pumpfun.count(Endpoint::Coin) as u64;
    bench.wait_for_stats(|stats| stats.get::<u64>("requests").unwrap() >= asked + 2);
    assert_eq!(bench.changes(), 0);
    let names: Vec<_> = bench
        .messages(&[gst::MessageType::Element])
        .iter()
        .map(|message| {
            let coin = message.structure().unwrap();
            assert_eq!(coin.name(), "pumpfun-coin");
            coin.get::<String>("name").unwrap()
        })
        .collect();
    assert_eq!(names, ["KindnessCoin", "Other"]);
}

#[test]
fn another_mint_takes_over_while_playing() {
    let upstream = Upstream::start();
    let mut other = Coin::new(random_mint());
    other.name = "Second".into();
    let second = other.mint.clone();
    upstream.pumpfun.add_coin(other);
    let bench = Bench::simple(&upstream.element());
    bench.wait_for_any();
    bench.element.set_property("mint-id", &second);
    bench.wait_for(named("Second"));
    assert_eq!(name_on(&bench.pass()).as_deref(), Some("Second"));
    // None: nothing is attached any more.
    bench.element.set_property("mint-id", "");
    assert_eq!(name_on(&bench.pass()), None);
    // One that is none is told, and the stream goes on.
    bench.element.set_property("mint-id", "0OIl");
    assert_eq!(name_on(&bench.pass()), None);
    let warnings = bench.messages(&[gst::MessageType::Warning]);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
}

#[test]
fn without_a_mint_upstreams_event_says_which() {
    let upstream = Upstream::start();
    let bench = Bench::simple(&upstream.element_without_mint());
    assert_eq!(name_on(&bench.pass()), None);
    assert_eq!(upstream.pumpfun.count(Endpoint::Coin), 0);
    let said = gst::Structure::builder("pumpfun-mint")
        .field("mint-id", &upstream.mint)
        .build();
    let event = gst::event::CustomDownstreamSticky::new(said);
    assert!(bench.source().send_event(event));
    // The event comes with the buffer.
    bench.pass();
    bench.wait_for_any();
    assert_eq!(name_on(&bench.pass()).as_deref(), Some("KindnessCoin"));
    // The property counts more.
    let mut other = Coin::new(random_mint());
    other.name = "Second".into();
    let second = other.mint.clone();
    upstream.pumpfun.add_coin(other);
    bench.element.set_property("mint-id", &second);
    bench.wait_for(named("Second"));
    bench.element.set_property("mint-id", None::<&str>);
    bench.wait_for(named("KindnessCoin"));
}

#[test]
fn what_the_settings_say_wrong_is_an_error_at_start() {
    init();
    for (name, value, hint) in [
        ("mint-id", "0OIl", "no mint"),
        ("frontend-url", "nowhere", "HAVEN_PUMPFUN_FRONTEND_URL"),
    ] {
        let bench = Bench::launch("fakesrc ! pumpfunmeta name=meta ! fakesink");
        bench.element.set_property(name, value);
        assert!(bench.pipeline.set_state(gst::State::Paused).is_err());
        let errors = bench.messages(&[gst::MessageType::Error]);
        let gst::MessageView::Error(error) = errors[0].view() else {
            unreachable!("only errors are popped");
        };
        assert!(error.error().matches(gst::ResourceError::Settings));
        assert!(error.error().message().contains(hint), "{error:?}");
        assert_eq!(errors.len(), 1);
    }
}

#[test]
fn elements_with_one_coin_share_its_requests() {
    let upstream = Upstream::start();
    let benches: Vec<_> = (0..8).map(|_| Bench::simple(&upstream.element())).collect();
    for bench in &benches {
        bench.wait_for_any();
        assert_eq!(name_on(&bench.pass()).as_deref(), Some("KindnessCoin"));
    }
    // A ninth knows at once what the others know, without a request.
    let asked = upstream.pumpfun.count(Endpoint::Coin);
    let late = Bench::simple(&upstream.element());
    late.wait_for_any();
    let now = upstream.pumpfun.count(Endpoint::Coin);
    // One interval of a second may have passed meanwhile, or some on a busy machine; not nine.
    assert!(asked < 8 && now < 9, "{asked} requests, then {now}");
    drop(benches);
    upstream.change(|coin| coin.name = "Later".into());
    late.wait_for(named("Later"));
}

#[test]
fn it_is_asked_no_more_often_than_the_interval() {
    let upstream = Upstream::start();
    let bench = Bench::simple(&upstream.element());
    bench.wait_for_stats(|stats| stats.get::<u64>("requests").unwrap() >= 4);
    let times: Vec<_> = upstream
        .pumpfun
        .requests()
        .iter()
        .map(|asked| asked.at)
        .collect();
    for pair in times.windows(2) {
        // The server sees the times with the jitter of both programs.
        let apart = pair[1] - pair[0];
        assert!(apart.as_millis() > 800, "{apart:?}");
    }
}

#[test]
fn with_interval_zero_one_answer_is_enough() {
    let upstream = Upstream::start();
    let element = upstream.element();
    let bench = Bench::simple(&format!("{element} refresh-interval=0"));
    bench.wait_for_any();
    // Another element wants news, so there is something to wait for.
    let other = Coin::new(random_mint());
    let second = other.mint.clone();
    upstream.pumpfun.add_coin(other);
    let busy = Bench::simple(&format!(
        "{} mint-id={second}",
        upstream.element_without_mint()
    ));
    busy.wait_for_stats(|stats| stats.get::<u64>("requests").unwrap() >= 3);
    assert_eq!(bench.stats().get::<u64>("requests"), Ok(1));
}

#[test]
fn bytes_are_not_copied_even_where_others_hold_the_buffer() {
    let upstream = Upstream::start();
    let bench = Bench::simple(&upstream.element());
    bench.wait_for_any();
    let buffer = gst::Buffer::from_slice(vec![7u8; 1 << 20]);
    let held = buffer.clone();
    bench.source().push_buffer(buffer).unwrap();
    let out = pull(&bench.sink("out"));
    assert!(name_on(&out).is_some());
    assert!(
        name_on(&held).is_none(),
        "the other holder's buffer is left alone"
    );
    let address = |buffer: &gst::Buffer| buffer.map_readable().unwrap().as_ptr();
    assert_eq!(address(&out), address(&held));

    let mut list = gst::BufferList::new();
    for _ in 0..3 {
        list.get_mut().unwrap().add(held.clone());
    }
    bench.source().push_buffer_list(list).unwrap();
    for _ in 0..3 {
        let out = pull(&bench.sink("out"));
        assert!(name_on(&out).is_some());
        assert_eq!(address(&out), address(&held));
    }
}
