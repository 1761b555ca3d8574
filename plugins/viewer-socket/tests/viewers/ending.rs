//! How a viewer's connection ends, and what keeps it.

use crate::{FRAME, binary, client, close_code, frame, hub, number, text, view, viewers};
use futures_util::StreamExt;
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, duplex},
    sync::oneshot,
    time::{Instant, sleep},
};
use tokio_tungstenite::tungstenite::{Error, Message};
use viewer_socket::{
    CloseReason, EndReason, Hub, HubOptions, Protocol, State, ViewerOptions, close_with,
    serve_viewer,
};

#[tokio::test(start_paused = true)]
async fn a_viewer_that_never_reads_is_dropped_and_hurts_nobody() {
    let hub = hub();
    let begin = Instant::now();
    let (_stuck, stuck) = view(&hub, Protocol::Binary, ViewerOptions::default(), 1_000);
    let (io, _task) = view(&hub, Protocol::Binary, ViewerOptions::default(), 1 << 20);
    let mut other = client(io).await;
    viewers(&hub, 2).await;
    let mut seq = 0;
    while !stuck.is_finished() {
        hub.publish_video(frame(seq, 10_000));
        assert_eq!(number(&binary(&mut other).await), seq);
        seq += 1;
        sleep(FRAME).await;
    }
    let end = stuck.await.unwrap();
    assert_eq!(end.reason, EndReason::Stalled);
    let took = begin.elapsed();
    assert!(
        took >= Duration::from_secs(10) && took < Duration::from_secs(12),
        "{took:?}"
    );
    viewers(&hub, 1).await;
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_session_is_a_status_and_a_close() {
    let hub = hub();
    let (io, task) = view(&hub, Protocol::Json, ViewerOptions::default(), 1 << 16);
    viewers(&hub, 1).await;
    hub.set_status(State::Ended.into());
    hub.close(CloseReason::session_ended());
    let mut client = client(io).await;
    assert!(text(&mut client).await.contains(r#""state":"ended""#));
    let Some(Ok(Message::Close(Some(close)))) = client.next().await else {
        panic!("no close");
    };
    assert_eq!(u16::from(close.code), 1000);
    assert_eq!(close.reason.as_str(), "session ended");
    assert!(matches!(
        client.next().await,
        None | Some(Err(Error::ConnectionClosed))
    ));
    let closed = EndReason::Closed(CloseReason::session_ended());
    assert_eq!(task.await.unwrap().reason, closed);

    let (io, _task) = view(&hub, Protocol::Binary, ViewerOptions::default(), 1 << 16);
    let mut late = self::client(io).await;
    assert!(text(&mut late).await.starts_with("status:"));
    assert_eq!(close_code(&mut late).await, 1000);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_is_1001_and_waits_for_no_viewer() {
    let hub = hub();
    let (stop, stopped) = oneshot::channel::<()>();
    let (near, mut far) = duplex(1 << 16);
    let served = hub.clone();
    let task = tokio::spawn(async move {
        let stopped = async { _ = stopped.await };
        let options = ViewerOptions::default();
        serve_viewer(near, &served, Protocol::Json, &options, stopped).await
    });
    viewers(&hub, 1).await;
    let begin = Instant::now();
    stop.send(()).unwrap();
    assert_eq!(task.await.unwrap().reason, EndReason::ShuttingDown);
    assert!(begin.elapsed() <= Duration::from_secs(2));
    let mut all = Vec::new();
    far.read_to_end(&mut all).await.unwrap();
    assert_eq!(all[0], 0x88);
    assert_eq!(all[2..4], 1001u16.to_be_bytes());
}

#[tokio::test(start_paused = true)]
async fn a_viewer_without_pongs_is_dropped_after_two() {
    let hub = hub();
    let (mut io, task) = view(&hub, Protocol::Json, ViewerOptions::default(), 1 << 16);
    let begin = Instant::now();
    let mut all = Vec::new();
    io.read_to_end(&mut all).await.unwrap();
    assert_eq!(all, [0x89, 0, 0x89, 0]);
    assert_eq!(task.await.unwrap().reason, EndReason::NoPong);
    let took = begin.elapsed();
    assert!(
        took >= Duration::from_secs(60) && took < Duration::from_secs(64),
        "{took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_viewer_that_answers_pings_stays() {
    let hub = hub();
    let (io, task) = view(&hub, Protocol::Json, ViewerOptions::default(), 1 << 16);
    let mut client = client(io).await;
    for _ in 0..30 {
        assert!(matches!(client.next().await, Some(Ok(Message::Ping(_)))));
    }
    assert!(!task.is_finished());
}

#[tokio::test(start_paused = true)]
async fn when_all_places_are_taken_the_next_is_closed_with_1013() {
    let hub = Hub::new(HubOptions {
        max_viewers: 1,
        ..HubOptions::default()
    });
    let (_io, _task) = view(&hub, Protocol::Json, ViewerOptions::default(), 1 << 16);
    viewers(&hub, 1).await;
    let (io, task) = view(&hub, Protocol::Json, ViewerOptions::default(), 1 << 16);
    assert_eq!(close_code(&mut client(io).await).await, 1013);
    assert_eq!(task.await.unwrap().reason, EndReason::Full);
}

#[tokio::test(start_paused = true)]
async fn no_such_session_is_4404_after_the_upgrade() {
    let (near, far) = duplex(1 << 16);
    let task = tokio::spawn(async move { close_with(near, 4404, "no session of that name").await });
    assert_eq!(close_code(&mut client(far).await).await, 4404);
    task.await.unwrap();
}
