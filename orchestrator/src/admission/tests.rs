use super::*;

fn admission(cores: f64, percent: u64) -> Admission {
    let machine = Machine {
        cores,
        memory_bytes: Some(1_000_000_000),
    };
    let shares = Shares {
        cpu_percent: percent,
        memory_percent: 50,
    };
    Admission::new(machine, shares)
}

fn costs() -> Costs {
    let cost = |cpu| Cost {
        cpu,
        memory_bytes: 100_000_000,
    };
    Costs {
        session: cost(0.01),
        decoding: cost(0.2),
        preview: cost(0.3),
        recordings: [("h264".to_owned(), [("low".to_owned(), cost(0.5))].into())].into(),
    }
}

fn planned() -> Planned {
    Planned {
        format: "h264".into(),
        quality: "low".into(),
        decodes: true,
    }
}

fn screens() -> Screens {
    Screens::new("room")
}

#[tokio::test]
async fn what_is_recorded_is_not_starved_by_what_begins_beside_it() {
    let admission = admission(2.0, 50);
    let seats = [admission.seat(&screens()), admission.seat(&screens())];
    // Before the machine was measured nothing is known that could suffer.
    seats[0].admit_recording(&planned()).unwrap();
    seats[0].update(Doing::default());
    admission.set_costs(Some(costs()));
    assert_eq!(admission.budget().unwrap().cpu, Some(1.0));
    seats[0].admit_recording(&planned()).unwrap();
    admission.settled().await;
    let refused = seats[1].admit_recording(&planned()).unwrap_err();
    assert_eq!(refused.code(), OVER_BUDGET);
    assert_eq!(refused.wait(), Some(RETRY_AFTER));
    let cpu = &refused.details()["cpu_cores"];
    assert_eq!(*cpu, json!({"used": 0.72, "needed": 0.7, "budget": 1.0}));
    assert!(refused.message().contains("cpu_budget_percent is 50"));
    let shown = seats[1].view().admit().unwrap_err();
    assert_eq!(shown.code(), OVER_BUDGET);
    // Its pictures are decoded already, and they fit in.
    drop(seats);
    admission.admit_session().unwrap();
    assert_eq!(admission.budget().unwrap().taken, Cost::default());
}

#[tokio::test]
async fn without_recordings_nothing_is_refused() {
    let admission = admission(1.0, 10);
    admission.set_costs(Some(costs()));
    let seat = admission.seat(&screens());
    seat.view().admit().unwrap();
    seat.admit_recording(&planned()).unwrap();
    assert_eq!(seat.view().admit().unwrap_err().code(), OVER_BUDGET);
}

#[tokio::test]
async fn memory_counts_too() {
    let admission = admission(100.0, 100);
    admission.set_costs(Some(costs()));
    let seat = admission.seat(&screens());
    seat.admit_recording(&planned()).unwrap();
    // Session, decoder and encoder; the next session has the same.
    let other = admission.seat(&screens());
    let refused = other.admit_recording(&planned()).unwrap_err();
    assert!(refused.message().contains("memory_budget_percent is 50"));
}

#[tokio::test]
async fn where_nothing_is_limited_or_known_nothing_is_refused() {
    for admission in [
        Admission::new(admission(1.0, 1).machine(), Shares::UNLIMITED),
        admission(1.0, 1),
    ] {
        admission.set_costs(None);
        let seat = admission.seat(&screens());
        for _ in 0..9 {
            seat.admit_recording(&planned()).unwrap();
        }
        admission.settled().await;
        assert!(admission.budget().is_none());
    }
}
