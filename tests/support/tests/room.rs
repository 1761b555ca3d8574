//! A real server and real publishers, seen through the server's room service.

use haven_rig::{
    Clip, ClipParticipant, ClipSpec, Codec, LiveKitServer, LiveOptions, Publisher, Role, TrackKind,
};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_clip_is_published_with_picture_and_sound_into_several_rooms() {
    let server = LiveKitServer::start().await.unwrap();
    let clip = Clip::get(ClipSpec::small(Codec::H264, 12)).await.unwrap();
    let rooms = ["one", "two", "three"];
    let participants: Vec<_> = rooms
        .iter()
        .map(|room| {
            let token = server.token(room, room, Role::Publisher).unwrap();
            ClipParticipant::new(*room, token)
        })
        .collect();
    let mut publisher = Publisher::clip(&server.url(), &clip, &participants, true)
        .await
        .unwrap();
    let service = server.room_service();
    for room in rooms {
        let seen = service
            .wait_until(room, LIMIT, |all| {
                all.iter().any(|one| one.tracks.len() == 2)
            })
            .await
            .unwrap();
        let kinds: Vec<_> = seen[0]
            .tracks
            .iter()
            .map(|track| &*track.mime_type)
            .collect();
        assert!(
            kinds.contains(&"video/H264") && kinds.contains(&"audio/opus"),
            "{kinds:?}"
        );
        assert!(seen[0].permission.can_publish);
    }
    publisher.mute(TrackKind::Video).await.unwrap();
    let muted = |track: &haven_rig::Track| track.kind == "VIDEO" && track.muted;
    service
        .wait_until("one", LIMIT, |all| all[0].tracks.iter().any(muted))
        .await
        .unwrap();
    publisher.unmute(TrackKind::Video).await.unwrap();
    for room in rooms {
        publisher
            .take(LIMIT, |event| {
                let enough = event.video_frames >= 30 && event.audio_packets >= 50;
                event.event == "progress" && event.identity == room && enough
            })
            .await
            .unwrap();
    }
    let sent = publisher.stop().await.unwrap();
    assert_eq!(sent.len(), 3);
    for one in &sent {
        assert!(one.video_frames >= 30 && one.audio_packets >= 50, "{one:?}");
    }
    service
        .wait_until("one", LIMIT, <[_]>::is_empty)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_clip_that_is_not_repeated_ends_by_itself() {
    let server = LiveKitServer::start().await.unwrap();
    let clip = Clip::get(ClipSpec::small(Codec::Vp8, 2)).await.unwrap();
    let token = server.token("room", "streamer", Role::Publisher).unwrap();
    let participants = [ClipParticipant::new("streamer", token)];
    let mut publisher = Publisher::clip(&server.url(), &clip, &participants, false)
        .await
        .unwrap();
    let finished = publisher
        .take(LIMIT, |event| event.event == "finished")
        .await
        .unwrap();
    assert_eq!(finished.video_frames, 60);
    assert_eq!(finished.audio_packets, 100);
    publisher.stop().await.unwrap();
}

#[tokio::test]
async fn a_track_comes_back_under_a_new_name() {
    let server = LiveKitServer::start().await.unwrap();
    let clip = Clip::get(ClipSpec::small(Codec::H264, 12)).await.unwrap();
    let token = server.token("room", "streamer", Role::Publisher).unwrap();
    let participants = [ClipParticipant::new("streamer", token)];
    let mut publisher = Publisher::clip(&server.url(), &clip, &participants, true)
        .await
        .unwrap();
    let service = server.room_service();
    publisher.unpublish(TrackKind::Video).await.unwrap();
    service
        .wait_until("room", LIMIT, |all| all[0].tracks.len() == 1)
        .await
        .unwrap();
    let sid = publisher.republish(TrackKind::Video).await.unwrap();
    service
        .wait_until("room", LIMIT, |all| {
            all[0].tracks.iter().any(|track| track.sid == sid)
        })
        .await
        .unwrap();
    publisher.stop().await.unwrap();
}

#[tokio::test]
async fn the_live_publisher_obeys() {
    let server = LiveKitServer::start().await.unwrap();
    let token = server.token("room", "streamer", Role::Publisher).unwrap();
    let options = LiveOptions {
        width: 320,
        height: 180,
        fps: 15,
        ..LiveOptions::default()
    };
    let mut publisher = Publisher::live(&server.url(), "streamer", &token, &options)
        .await
        .unwrap();
    let service = server.room_service();
    let video = |all: &[haven_rig::Participant], mime: &str, muted: bool| {
        all.iter()
            .flat_map(|one| &one.tracks)
            .any(|track| track.mime_type == mime && track.muted == muted)
    };
    service
        .wait_until("room", LIMIT, |all| video(all, "video/H264", false))
        .await
        .unwrap();
    publisher.mute(TrackKind::Video).await.unwrap();
    service
        .wait_until("room", LIMIT, |all| video(all, "video/H264", true))
        .await
        .unwrap();
    publisher.unmute(TrackKind::Video).await.unwrap();
    publisher.change_codec("vp8").await.unwrap();
    service
        .wait_until("room", LIMIT, |all| video(all, "video/VP8", false))
        .await
        .unwrap();
    publisher.change_size(180, 320).await.unwrap();
    publisher.unpublish(TrackKind::Audio).await.unwrap();
    service
        .wait_until("room", LIMIT, |all| all[0].tracks.len() == 1)
        .await
        .unwrap();
    publisher.republish(TrackKind::Audio).await.unwrap();
    publisher
        .take(LIMIT, |event| {
            event.event == "progress" && event.video_frames > 0
        })
        .await
        .unwrap();
    let sent = publisher.stop().await.unwrap();
    assert!(sent[0].video_frames > 0, "{sent:?}");
}

#[tokio::test]
async fn a_killed_server_comes_back_on_the_same_port() {
    let mut server = LiveKitServer::start().await.unwrap();
    let url = server.url();
    server.kill().await.unwrap();
    assert!(server.room_service().rooms().await.is_err());
    server.restart().await.unwrap();
    assert_eq!(server.url(), url);
    assert!(server.room_service().rooms().await.unwrap().is_empty());
    server.stop().await.unwrap();
    assert!(server.room_service().rooms().await.is_err());
}

#[tokio::test]
async fn the_room_service_puts_out_participants_and_closes_rooms() {
    let server = LiveKitServer::start().await.unwrap();
    let service = server.room_service();
    assert!(service.participants("nowhere").await.unwrap().is_empty());
    assert!(
        service
            .remove_participant("nowhere", "nobody")
            .await
            .is_err()
    );
    let clip = Clip::get(ClipSpec::small(Codec::H264, 12)).await.unwrap();
    let participants: Vec<_> = ["first", "second"]
        .map(|name| {
            ClipParticipant::new(name, server.token("room", name, Role::Publisher).unwrap())
        })
        .into();
    let mut publisher = Publisher::clip(&server.url(), &clip, &participants, true)
        .await
        .unwrap();
    service.remove_participant("room", "first").await.unwrap();
    let left = async |publisher: &mut Publisher, name: &str| {
        let gone = |event: &haven_rig::PublisherEvent| {
            event.event == "disconnected" && event.identity == name
        };
        publisher.take(LIMIT, gone).await.unwrap();
    };
    left(&mut publisher, "first").await;
    service.delete_room("room").await.unwrap();
    left(&mut publisher, "second").await;
    service
        .wait_until("room", LIMIT, <[_]>::is_empty)
        .await
        .unwrap();
    publisher.stop().await.unwrap();
}

#[tokio::test]
async fn a_wrong_token_is_refused_with_a_reason() {
    let server = LiveKitServer::start().await.unwrap();
    let clip = Clip::get(ClipSpec::small(Codec::Vp8, 2)).await.unwrap();
    let participants = [ClipParticipant::new("streamer", "not-a-token")];
    let error = Publisher::clip(&server.url(), &clip, &participants, true)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("streamer"), "{error}");
}
