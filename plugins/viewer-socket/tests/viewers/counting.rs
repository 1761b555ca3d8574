//! What a viewer costs.

use crate::{chunk, client, close_code, frame, hub, view, viewers};
use futures_util::StreamExt;
use std::{future::pending, sync::Arc, time::Duration};
use tokio::{io::duplex, sync::oneshot, time::sleep};
use tokio_tungstenite::tungstenite::Message;
use viewer_socket::{
    CloseReason, EndReason, Protocol, ViewerCounters, ViewerOptions, serve_counted_viewer,
    serve_viewer,
};

#[tokio::test(start_paused = true)]
async fn what_a_viewer_gets_is_counted_for_it_and_for_all() {
    let hub = hub();
    let counters = Arc::new(ViewerCounters::default());
    let (dismiss, dismissed) = oneshot::channel();
    let (near, far) = duplex(1 << 16);
    let (served, counted) = (hub.clone(), Arc::clone(&counters));
    let task = tokio::spawn(async move {
        let dismissal = async { dismissed.await.unwrap() };
        let options = ViewerOptions::default();
        serve_counted_viewer(
            near,
            &served,
            Protocol::Binary,
            &options,
            &counted,
            dismissal,
        )
        .await
    });
    viewers(&hub, 1).await;
    let mut client = client(far).await;
    let mut bytes = 0;
    for seq in 0..10 {
        hub.publish_video(frame(seq, 300_000));
        hub.publish_audio(chunk(seq as u32));
        for _ in 0..2 {
            bytes += match client.next().await.unwrap().unwrap() {
                Message::Binary(jpeg) => 10 + jpeg.len(),
                Message::Text(sound) => 4 + sound.len(),
                other => panic!("{other:?}"),
            };
        }
    }
    // A picture that is stuck counts its bytes, but is not sent.
    hub.publish_video(frame(10, 300_000));
    sleep(Duration::from_secs(2)).await;
    let stats = counters.stats();
    assert_eq!((stats.frames_sent, stats.audio_sent), (10, 10));
    assert!(stats.bytes_sent > bytes as u64 + 60_000, "{stats:?}");
    let all = hub.stats();
    assert_eq!((all.frames_sent, all.audio_sent), (10, 10));
    assert_eq!(all.bytes_sent, stats.bytes_sent);
    assert_eq!(all.messages_built, 11);

    dismiss.send(CloseReason::dismissed()).unwrap();
    assert_eq!(close_code(&mut client).await, 1008);
    let end = task.await.unwrap();
    assert_eq!(end.reason, EndReason::Dismissed(CloseReason::dismissed()));
}

#[tokio::test(start_paused = true)]
async fn a_picture_is_prepared_once_for_each_protocol_however_many_watch() {
    let hub = hub();
    let mut clients = Vec::new();
    let mut tasks = Vec::new();
    for (number, protocol) in [Protocol::Json, Protocol::Binary]
        .repeat(10)
        .into_iter()
        .enumerate()
    {
        let (io, task) = view(&hub, protocol, ViewerOptions::default(), 1 << 16);
        clients.push(client(io).await);
        tasks.push(task);
        viewers(&hub, number + 1).await;
    }
    for seq in 0..30 {
        hub.publish_video(frame(seq, 1_000));
        for client in &mut clients {
            client.next().await.unwrap().unwrap();
        }
    }
    assert_eq!(hub.stats().messages_built, 60);
    assert_eq!(hub.stats().frames_sent, 600);
}

#[test]
fn a_viewer_costs_a_few_kilobytes() {
    let hub = hub();
    let options = ViewerOptions::default();
    let (near, _far) = duplex(1);
    let viewer = serve_viewer(near, &hub, Protocol::Json, &options, pending());
    let bytes = std::mem::size_of_val(&viewer);
    assert!(bytes < 8 << 10, "{bytes} bytes");
}
