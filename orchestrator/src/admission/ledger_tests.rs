use super::*;

const MEGABYTE: u64 = 1 << 20;

fn cost(cpu: f64) -> Cost {
    Cost {
        cpu,
        memory_bytes: 10 * MEGABYTE,
    }
}

fn costs() -> Costs {
    let of = |cpu| [("medium".to_owned(), cost(cpu))].into();
    Costs {
        session: cost(0.02),
        decoding: cost(0.2),
        preview: cost(0.3),
        recordings: [
            ("h264".to_owned(), of(0.4)),
            ("av1".to_owned(), of(0.9)),
            ("source".to_owned(), of(0.01)),
        ]
        .into(),
    }
}

fn planned(format: &str) -> Planned {
    Planned {
        format: format.into(),
        quality: "medium".into(),
        decodes: format != "source",
    }
}

fn doing(formats: &[&str]) -> Doing {
    Doing {
        pid: Some(7),
        live: true,
        pixel_rate: None,
        recordings: formats.iter().map(|format| planned(format)).collect(),
    }
}

fn is_about(cost: Cost, cpu: f64) {
    assert!((cost.cpu - cpu).abs() < 1e-9, "{cost:?} isn't {cpu}");
}

#[test]
fn pictures_are_decoded_once_for_all_who_need_them() {
    let (costs, now) = (costs(), Instant::now());
    let mut ledger = Ledger::default();
    let id = ledger.open(now);
    let wish = planned("h264");
    is_about(ledger.needed(&Wish::Session, &costs), 0.02);
    is_about(ledger.needed(&Wish::Recording(id, &wish), &costs), 0.6);
    is_about(
        ledger.needed(&Wish::Recording(id, &planned("source")), &costs),
        0.01,
    );
    assert!(!ledger.records());
    ledger.expect(id, wish.clone());
    assert!(ledger.records());
    is_about(ledger.taken(&costs, now), 0.62);
    is_about(ledger.needed(&Wish::View(id), &costs), 0.3);
    // What was let in runs: it doesn't count twice.
    ledger.update(id, doing(&["h264"]), now);
    is_about(ledger.taken(&costs, now), 0.62);
    ledger.watch(id, true, now);
    is_about(ledger.taken(&costs, now), 0.92);
    let more = ledger.needed(&Wish::Recording(id, &planned("av1")), &costs);
    is_about(more, 0.9);
    ledger.close(id);
    is_about(ledger.taken(&costs, now), 0.0);
}

#[test]
fn small_pictures_cost_less_and_what_is_unknown_the_most() {
    let (costs, now) = (costs(), Instant::now());
    let mut ledger = Ledger::default();
    let id = ledger.open(now);
    let small = Doing {
        pixel_rate: Some(640.0 * 360.0 * 30.0),
        ..doing(&[])
    };
    ledger.update(id, small, now);
    let needed = |planned: &Planned| ledger.needed(&Wish::Recording(id, planned), &costs);
    is_about(needed(&planned("h264")), 0.6 / 4.0);
    is_about(needed(&planned("theora")), 1.1 / 4.0);
    let high = Planned {
        quality: "high".into(),
        ..planned("h264")
    };
    is_about(needed(&high), 0.6 / 4.0);
}

#[test]
fn what_a_worker_really_uses_counts_once_it_has_run_for_a_while() {
    let (costs, begin) = (costs(), Instant::now());
    let mut ledger = Ledger::default();
    let id = ledger.open(begin);
    let at = |seconds| begin + Duration::from_secs(seconds);
    ledger.update(id, doing(&["h264"]), begin);
    let used = |seconds: u64| Used {
        cpu_s: 0.5 * seconds as f64,
        memory_bytes: 50 * MEGABYTE,
    };
    for seconds in (0..=30).step_by(2) {
        ledger.sample(id, 7, used(seconds), at(seconds));
        // The process before it, whose figures came late.
        ledger.sample(id, 6, used(100 * seconds), at(seconds));
        let expected = if seconds < 8 { 0.62 } else { 0.5 };
        is_about(ledger.taken(&costs, at(seconds)), expected);
    }
    assert_eq!(
        ledger.taken(&costs, at(30)).memory_bytes,
        used(30).memory_bytes
    );
    // A size that wobbles changes nothing; one more recording does, and so does a publisher's pause.
    let sized = |rate| Doing {
        pixel_rate: Some(rate),
        ..doing(&["h264"])
    };
    ledger.update(id, sized(1e6), at(30));
    for seconds in (30..=60).step_by(2) {
        ledger.update(id, sized(1e6 + seconds as f64), at(seconds));
        ledger.sample(id, 7, used(seconds), at(seconds));
    }
    is_about(ledger.taken(&costs, at(60)), 0.5);
    ledger.update(id, doing(&["h264", "source"]), at(60));
    is_about(ledger.taken(&costs, at(60)), 0.63);
    let paused = Doing {
        live: false,
        ..doing(&["h264"])
    };
    ledger.update(id, paused, at(62));
    for seconds in (62..=90).step_by(2) {
        ledger.sample(id, 7, used(62), at(seconds));
    }
    is_about(ledger.taken(&costs, at(90)), 0.62);
}

#[test]
fn the_server_itself_counts() {
    let (costs, begin) = (costs(), Instant::now());
    let mut ledger = Ledger::default();
    for seconds in [0, 2] {
        let used = Used {
            cpu_s: 0.25 * seconds as f64,
            memory_bytes: MEGABYTE,
        };
        ledger.sample_own(used, begin + Duration::from_secs(seconds));
    }
    is_about(ledger.taken(&costs, begin + Duration::from_secs(2)), 0.25);
}
