//! Which pictures and which sound a viewer gets, and when.

use crate::{FRAME, binary, chunk, client, frame, hub, number, text, view, viewers};
use futures_util::StreamExt;
use std::time::Duration;
use tokio::{
    io::AsyncReadExt,
    time::{Instant, interval, sleep},
};
use tokio_tungstenite::tungstenite::Message;
use viewer_socket::{EndReason, Protocol, State, ViewerOptions};

#[tokio::test(start_paused = true)]
async fn a_late_joiner_gets_the_status_and_the_last_picture_at_once() {
    let hub = hub();
    hub.set_status(State::Live.into());
    for seq in 0..10 {
        hub.publish_video(frame(seq, 1_000));
    }
    let begin = Instant::now();
    let (io, _task) = view(&hub, Protocol::Json, ViewerOptions::default(), 1 << 20);
    let mut client = client(io).await;
    let status: serde_json::Value = serde_json::from_str(&text(&mut client).await).unwrap();
    assert_eq!(status["state"], "live");
    let picture: serde_json::Value = serde_json::from_str(&text(&mut client).await).unwrap();
    assert_eq!(picture["seq"], 9);
    assert_eq!(picture["mint_id"], "demo");
    assert_eq!(begin.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn who_keeps_up_gets_every_picture_and_all_sound_in_order() {
    let hub = hub();
    let (io, task) = view(&hub, Protocol::Binary, ViewerOptions::default(), 1 << 20);
    let mut client = client(io).await;
    viewers(&hub, 1).await;
    for seq in 0..100 {
        hub.publish_video(frame(seq, 50_000));
        hub.publish_audio(chunk(seq as u32));
        let (mut picture, mut sound) = (None, None);
        while picture.is_none() || sound.is_none() {
            match client.next().await.unwrap().unwrap() {
                Message::Binary(bytes) => picture = Some(number(&bytes)),
                Message::Text(text) => sound = Some(text),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(picture, Some(seq));
        assert!(sound.unwrap().starts_with("audio:"));
    }
    client.close(None).await.unwrap();
    let end = task.await.unwrap();
    assert_eq!(end.reason, EndReason::Left(None));
    assert_eq!((end.frames_sent, end.frames_skipped), (100, 0));
    assert!(end.bytes > 5_000_000);
    assert_eq!(hub.stats().frames_sent, 100);
}

#[tokio::test(start_paused = true)]
async fn a_viewer_that_woke_late_still_gets_the_last_few_pictures() {
    let hub = hub();
    let (io, _task) = view(&hub, Protocol::Binary, ViewerOptions::default(), 1 << 20);
    let mut client = client(io).await;
    viewers(&hub, 1).await;
    hub.publish_video(frame(0, 100));
    assert_eq!(number(&binary(&mut client).await), 0);
    for seq in 1..=6 {
        hub.publish_video(frame(seq, 100));
    }
    for seq in 1..=6 {
        assert_eq!(number(&binary(&mut client).await), seq);
    }
}

#[tokio::test(start_paused = true)]
async fn slow_viewer_skips_to_newest_frame() {
    let hub = hub();
    let (io, task) = view(&hub, Protocol::Binary, ViewerOptions::default(), 1_000);
    viewers(&hub, 1).await;
    hub.publish_video(frame(0, 10_000));
    sleep(FRAME).await;
    for seq in 1..=100 {
        hub.publish_video(frame(seq, 10_000));
        sleep(FRAME).await;
    }
    let mut client = client(io).await;
    assert_eq!(number(&binary(&mut client).await), 0);
    assert_eq!(number(&binary(&mut client).await), 100);
    client.close(None).await.unwrap();
    let end = task.await.unwrap();
    assert_eq!((end.frames_sent, end.frames_skipped), (2, 99));
    assert_eq!(hub.stats().frames_skipped, 99);
}

/// A picture every [`FRAME`], and a viewer whose connection has room for half a picture: how many of
/// `pictures` it got when it read `share` of a picture's bytes in a picture's time, and by how many
/// pictures the one that it had read was behind at most.
async fn read_at(share: f64, pictures: u64) -> (u64, u64) {
    const SIZE: usize = 10_000;
    let hub = hub();
    let options = ViewerOptions::from_query(Some("audio=off")).unwrap();
    let (mut io, task) = view(&hub, Protocol::Binary, options, SIZE / 2);
    viewers(&hub, 1).await;
    let publisher = hub.clone();
    let publishing = tokio::spawn(async move {
        for seq in 0..pictures {
            publisher.publish_video(frame(seq, SIZE));
            sleep(FRAME).await;
        }
    });
    let (mut got, mut most_behind) = (0, 0);
    let (mut message, mut space) = (Vec::new(), vec![0; SIZE / 10]);
    let mut turns = interval(FRAME.div_f64(10.0 * share));
    while !publishing.is_finished() {
        turns.tick().await;
        let Ok(read) = io.read(&mut space).await else {
            break;
        };
        message.extend_from_slice(&space[..read]);
        // A header of four bytes, and the picture.
        while message.len() >= SIZE + 4 {
            let shown = number(&message[4..]);
            message.drain(..SIZE + 4);
            got += 1;
            let behind = (hub.stats().frames_published - 1).saturating_sub(shown);
            most_behind = most_behind.max(behind);
        }
    }
    drop(io);
    task.await.unwrap();
    (got, most_behind)
}

#[tokio::test(start_paused = true)]
async fn who_takes_half_of_the_pictures_is_never_shown_old_ones() {
    let (got, most_behind) = read_at(0.5, 300).await;
    assert!((135..=160).contains(&got), "{got} of 300");
    // What is on its way, and what led to the judgement.
    assert!(most_behind <= 8, "{most_behind} pictures behind");
}

#[tokio::test(start_paused = true)]
async fn who_takes_nearly_all_pictures_is_never_shown_old_ones() {
    let (got, most_behind) = read_at(0.95, 300).await;
    assert!((270..=299).contains(&got), "{got} of 300");
    assert!(most_behind <= 8, "{most_behind} pictures behind");
}

#[tokio::test(start_paused = true)]
async fn the_relay_gets_no_picture_of_an_earlier_time() {
    let hub = hub();
    hub.publish_video(frame(0, 100));
    sleep(Duration::from_secs(3600)).await;
    let (io, _task) = view(&hub, Protocol::Relay, ViewerOptions::default(), 1 << 20);
    let (shown, _other) = view(&hub, Protocol::Binary, ViewerOptions::default(), 1 << 20);
    assert_eq!(number(&binary(&mut client(shown).await).await), 0);
    viewers(&hub, 2).await;
    hub.publish_video(frame(1, 100));
    let message = binary(&mut client(io).await).await;
    let Ok(viewer_socket::RelayMessage::Video(picture)) = viewer_socket::decode_relay(&message)
    else {
        panic!("no picture");
    };
    assert_eq!(picture.seq, 1);
}

#[tokio::test(start_paused = true)]
async fn pictures_that_are_forgotten_are_shown_to_nobody() {
    let hub = hub();
    hub.publish_video(frame(0, 100));
    hub.forget_pictures();
    let (io, task) = view(&hub, Protocol::Binary, ViewerOptions::default(), 1 << 20);
    let mut client = client(io).await;
    viewers(&hub, 1).await;
    hub.publish_video(frame(1, 100));
    assert_eq!(number(&binary(&mut client).await), 1);
    client.close(None).await.unwrap();
    assert_eq!(task.await.unwrap().frames_skipped, 0);
}

#[tokio::test(start_paused = true)]
async fn sound_that_lags_skips_to_the_newest() {
    let hub = hub();
    let (io, _task) = view(&hub, Protocol::Json, ViewerOptions::default(), 1_000);
    viewers(&hub, 1).await;
    for number in 0..200 {
        hub.publish_audio(chunk(number));
        sleep(Duration::from_millis(20)).await;
    }
    let mut client = client(io).await;
    let mut pts = Vec::new();
    for _ in 0..2 {
        let sound: serde_json::Value = serde_json::from_str(&text(&mut client).await).unwrap();
        pts.push(sound["pts_ms"].as_u64().unwrap());
    }
    assert_eq!(pts, [0, 3_980]);
    assert_eq!(hub.stats().audio_lagged, 198);
}
