//! Pump.fun is down, or says what it shouldn't: the stream goes on, and what is known stays.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

use gst::prelude::*;
use haven_rig::pumpfun::{Endpoint, Fault};
use serde_json::json;
use std::time::Instant;
use support::{Bench, Upstream, name_on, named};

const FAULTS: [Fault; 10] = [
    Fault::RateLimited {
        retry_after_s: Some(1),
    },
    Fault::RateLimited {
        retry_after_s: None,
    },
    Fault::ServerError,
    Fault::Unavailable,
    Fault::Forbidden,
    Fault::Html,
    Fault::Empty,
    Fault::WrongShape,
    Fault::Truncated,
    Fault::Huge,
];

fn failures(stats: &gst::Structure) -> u64 {
    stats.get("failures").unwrap()
}

/// Waits for the one warning of an outage.
fn warning_of(bench: &Bench, what: Fault) {
    let types = [gst::MessageType::Warning, gst::MessageType::Error];
    let limit = gst::ClockTime::from_seconds(support::DEADLINE.as_secs());
    let told = bench
        .pipeline
        .bus()
        .unwrap()
        .timed_pop_filtered(limit, &types);
    let told = told.unwrap_or_else(|| panic!("{what:?}: no warning"));
    assert_eq!(told.type_(), gst::MessageType::Warning, "{told:?}");
}

/// An outage of each of these kinds, all at the same time.
fn go_through(faults: &[Fault]) {
    let all: Vec<_> = faults
        .iter()
        .map(|fault| {
            let upstream = Upstream::start();
            let bench = Bench::simple(&upstream.element());
            bench.wait_for_any();
            upstream.pumpfun.fail(Endpoint::Coin, *fault, None);
            (*fault, upstream, bench)
        })
        .collect();
    for (fault, _, bench) in &all {
        let stats = bench.wait_for_stats(|stats| failures(stats) >= 2);
        assert!(stats.has_field("last-error"), "{fault:?}");
        assert!(
            stats.get::<u64>("age").unwrap() > 1_000_000_000,
            "{fault:?}"
        );
        assert_eq!(name_on(&bench.pass()).as_deref(), Some("KindnessCoin"));
        assert_eq!(bench.changes(), 0, "{fault:?}");
        warning_of(bench, *fault);
    }
    for (_, upstream, _) in &all {
        upstream.pumpfun.recover();
        upstream.change(|coin| coin.name = "Back".into());
    }
    for (fault, _, bench) in &all {
        bench.wait_for(named("Back"));
        assert!(!bench.stats().has_field("last-error"), "{fault:?}");
        let more = bench.messages(&[gst::MessageType::Warning, gst::MessageType::Error]);
        assert!(more.is_empty(), "{fault:?}: {more:?}");
    }
}

#[test]
fn whatever_it_answers_the_known_stays_and_one_warning_comes() {
    go_through(&FAULTS);
}

#[test]
fn when_it_never_answers_the_known_stays_and_one_warning_comes() {
    go_through(&[Fault::Hang]);
}

#[test]
fn a_second_outage_is_told_again() {
    let upstream = Upstream::start();
    let bench = Bench::simple(&upstream.element());
    for name in ["First", "Second"] {
        upstream.change(|coin| coin.name = name.into());
        bench.wait_for(named(name));
        upstream
            .pumpfun
            .fail(Endpoint::Coin, Fault::ServerError, None);
        warning_of(&bench, Fault::ServerError);
        upstream.pumpfun.recover();
    }
    assert!(bench.messages(&[gst::MessageType::Warning]).is_empty());
}

#[test]
fn one_failure_is_no_outage() {
    let upstream = Upstream::start();
    let bench = Bench::simple(&upstream.element());
    bench.wait_for_any();
    upstream
        .pumpfun
        .fail(Endpoint::Coin, Fault::ServerError, Some(1));
    let asked = upstream.pumpfun.count(Endpoint::Coin) as u64;
    bench.wait_for_stats(|stats| stats.get::<u64>("requests").unwrap() >= asked + 2);
    assert!(bench.messages(&[gst::MessageType::Warning]).is_empty());
}

#[test]
fn odd_types_and_nulls_cost_only_their_own_fields() {
    let upstream = Upstream::start();
    let bench = Bench::simple(&upstream.element());
    bench.wait_for_any();
    upstream.change(|coin| {
        for (field, value) in [
            ("name", json!(null)),
            ("symbol", json!(["KIND"])),
            ("creator", json!({})),
            ("market_cap", json!("652.5")),
            ("usd_market_cap", json!({"usd": 1})),
            ("num_participants", json!(-3)),
            ("is_currently_live", json!("true")),
            ("nsfw", json!(null)),
            ("website", json!("a\u{0}b")),
            ("telegram", json!("x".repeat(100_000))),
        ] {
            coin.overrides.insert(field.into(), value);
        }
    });
    let coin = bench.wait_for(|coin| coin.get::<f64>("market-cap-sol") == Ok(652.5));
    // A coin keeps its name for good, so this is the platform's mistake.
    assert_eq!(coin.get::<&str>("name"), Ok("KindnessCoin"));
    assert_eq!(coin.get::<&str>("symbol"), Ok("KIND"));
    assert!(coin.has_field("creator"));
    assert_eq!(coin.get::<bool>("live"), Ok(true));
    assert_eq!(coin.get::<&str>("website"), Ok("a b"));
    assert!(coin.get::<&str>("telegram").unwrap().len() <= 512);
    for field in ["market-cap-usd", "participants", "nsfw"] {
        assert!(!coin.has_field(field), "{field}");
    }
    assert_eq!(name_on(&bench.pass()).as_deref(), Some("KindnessCoin"));
}

#[test]
fn another_coins_answer_is_not_taken() {
    let upstream = Upstream::start();
    upstream.change(|coin| {
        let other = haven_rig::pumpfun::random_mint();
        coin.overrides.insert("mint".into(), json!(other));
    });
    let bench = Bench::simple(&upstream.element());
    let stats = bench.wait_for_stats(|stats| failures(stats) >= 1);
    assert!(
        stats
            .get::<&str>("last-error")
            .unwrap()
            .contains("asked for"),
        "{stats:?}"
    );
    assert_eq!(name_on(&bench.pass()), None);
}

#[test]
fn nobody_at_the_address_costs_neither_start_nor_stop() {
    // Accepts connections and says nothing; and one that refuses them.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let refused = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    for address in [silent.local_addr().unwrap(), refused] {
        let mint = haven_rig::pumpfun::random_mint();
        let line = format!("pumpfunmeta name=meta mint-id={mint} frontend-url=http://{address}");
        let began = Instant::now();
        for _ in 0..10 {
            let bench = Bench::simple(&line);
            bench.pass();
            bench.stop();
        }
        // A request's time-out is 4 s: ten of them that were waited for are 40.
        assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
    }
}

#[test]
fn a_handler_may_stop_the_pipeline_that_calls_it() {
    let upstream = Upstream::start();
    let bench = Bench::simple(&upstream.element());
    bench.wait_for_any();
    let (done, stopped) = std::sync::mpsc::channel();
    let pipeline = bench.pipeline.downgrade();
    let once = std::sync::atomic::AtomicBool::new(false);
    bench.element.connect_notify(Some("coin"), move |_, _| {
        // The stop itself notifies, too.
        if !once.swap(true, std::sync::atomic::Ordering::Relaxed)
            && let Some(pipeline) = pipeline.upgrade()
        {
            let _ = done.send(pipeline.set_state(gst::State::Null));
        }
    });
    upstream.change(|coin| coin.name = "Other".into());
    let state = stopped.recv_timeout(support::DEADLINE).unwrap();
    assert_eq!(state, Ok(gst::StateChangeSuccess::Success));
    assert!(
        bench
            .element
            .property::<Option<gst::Structure>>("coin")
            .is_none()
    );
    // And it starts again.
    bench.play();
    bench.pass();
    bench.wait_for(named("Other"));
}

#[test]
fn a_handler_that_waits_for_the_stop_does_not_hold_it_up() {
    let upstream = Upstream::start();
    let bench = Bench::simple(&upstream.element());
    bench.wait_for_any();
    let (called, calls) = std::sync::mpsc::channel();
    let (stopped, waits) = std::sync::mpsc::channel::<()>();
    let waits = std::sync::Mutex::new(waits);
    let main = std::thread::current().id();
    bench.element.connect_notify(Some("coin"), move |_, _| {
        if std::thread::current().id() != main {
            let _ = called.send(());
            let _ = waits.lock().unwrap().recv_timeout(support::DEADLINE);
        }
    });
    upstream.change(|coin| coin.name = "Other".into());
    calls.recv_timeout(support::DEADLINE).unwrap();
    let began = Instant::now();
    bench.stop();
    assert!(
        began.elapsed() < support::DEADLINE / 2,
        "{:?}",
        began.elapsed()
    );
    stopped.send(()).unwrap();
}
