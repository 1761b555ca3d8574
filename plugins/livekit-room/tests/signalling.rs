//! The life of a connection against a server that does what no real one does on command.

mod support;

use livekit_protocol as proto;
use livekit_room::{AccessError, EndReason, FixedToken, RoomConfig, RoomEvent};
use proto::DisconnectReason as Reason;
use proto::leave_request::Action;
use proto::signal_request::Message as Request;
use proto::signal_response::Message as Response;
use std::time::{Duration, Instant};
use support::{Client, FakeServer, Tokens, join_response, person};

#[tokio::test]
async fn a_leave_that_ends_it_says_how_it_ended() {
    for (action, reason, end) in [
        (
            Action::Disconnect,
            Reason::DuplicateIdentity,
            EndReason::DuplicateIdentity,
        ),
        (
            Action::Reconnect,
            Reason::DuplicateIdentity,
            EndReason::DuplicateIdentity,
        ),
        (
            Action::Disconnect,
            Reason::RoomDeleted,
            EndReason::RoomDeleted,
        ),
        (
            Action::Disconnect,
            Reason::RoomClosed,
            EndReason::RoomDeleted,
        ),
        (
            Action::Disconnect,
            Reason::ParticipantRemoved,
            EndReason::Removed,
        ),
    ] {
        let server = FakeServer::start().await;
        let client = Client::start(Tokens::of(&server));
        let mut connection = server.join(&[]).await;
        connection.leave(action, reason as i32).await;
        assert_eq!(client.end().await, end, "{action:?} {reason:?}");
    }
}

#[tokio::test]
async fn a_leave_for_the_servers_own_reasons_is_followed_by_a_join_with_a_fresh_token() {
    let reasons = [
        Reason::UnknownReason,
        Reason::ClientInitiated,
        Reason::ServerShutdown,
        Reason::StateMismatch,
        Reason::JoinFailure,
        Reason::Migration,
        Reason::SignalClose,
        Reason::ConnectionTimeout,
        Reason::MediaFailure,
    ];
    for reason in reasons
        .map(|reason| reason as i32)
        .into_iter()
        .chain([4711])
    {
        for action in [Action::Disconnect, Action::Reconnect] {
            let server = FakeServer::start().await;
            let mut client = Client::start(Tokens::of(&server));
            let mut connection = server.join(&[]).await;
            assert_eq!(connection.token, "token-1");
            connection.leave(action, reason).await;
            assert_eq!(server.join(&[]).await.token, "token-2");
            client.joined().await;
            client.joined().await;
        }
    }
}

#[tokio::test]
async fn a_leave_for_a_resume_keeps_the_session_and_its_newest_token() {
    let server = FakeServer::start().await;
    let mut client = Client::start(Tokens::of(&server));
    let streamer = person("PA_1", "creator", &["TR_v"]);
    let mut connection = server.join(&[streamer]).await;
    client.joined().await;
    connection
        .send(Response::RefreshToken("fresh".into()))
        .await;
    connection.leave(Action::Resume, 0).await;
    let mut resumed = server.resume().await;
    assert_eq!(resumed.token, "fresh");
    assert_eq!(resumed.query["sid"], "PA_me");
    let Some(Request::SyncState(sync)) = resumed.request().await else {
        panic!("a resume begins with the state");
    };
    assert_eq!(sync.subscription.unwrap().track_sids, ["TR_v"]);
    // The next resume is in the same session, too.
    drop(resumed);
    assert_eq!(server.resume().await.token, "fresh");
}

#[tokio::test]
async fn a_resume_that_is_refused_becomes_a_join_with_a_token_of_its_own() {
    for status in [401, 404] {
        let server = FakeServer::start().await;
        let mut client = Client::start(Tokens::of(&server));
        drop(server.join(&[]).await);
        server.answer(status, "session expired").await;
        assert_eq!(server.join(&[]).await.token, "token-2");
        client.joined().await;
        client.joined().await;
    }
}

#[tokio::test]
async fn a_resume_that_is_answered_with_a_leave_does_what_that_says() {
    let server = FakeServer::start().await;
    let mut client = Client::start(Tokens::of(&server));
    drop(server.join(&[]).await);
    let mut resumed = server.accept().await;
    resumed
        .leave(Action::Reconnect, Reason::StateMismatch as i32)
        .await;
    drop(server.join(&[]).await);
    client.joined().await;
    let mut resumed = server.accept().await;
    assert!(resumed.is_resume());
    resumed
        .leave(Action::Disconnect, Reason::RoomDeleted as i32)
        .await;
    assert_eq!(client.end().await, EndReason::RoomDeleted);
}

#[tokio::test]
async fn a_leave_as_the_answer_to_the_first_join_ends_it() {
    for (reason, end) in [
        (
            Reason::DuplicateIdentity,
            Some(EndReason::DuplicateIdentity),
        ),
        (Reason::RoomDeleted, Some(EndReason::RoomDeleted)),
        (Reason::JoinFailure, None),
    ] {
        let server = FakeServer::start().await;
        let client = Client::start(Tokens::of(&server));
        let mut connection = server.accept().await;
        connection.leave(Action::Disconnect, reason as i32).await;
        match (client.end().await, end) {
            (got, Some(wanted)) => assert_eq!(got, wanted),
            (EndReason::Connection(why), None) => assert!(why.contains("JOIN_FAILURE"), "{why}"),
            (got, None) => panic!("{got:?}"),
        }
    }
}

#[tokio::test]
async fn the_regions_of_a_leave_are_tried_first_and_the_old_server_after_them() {
    let (server, nearby) = (FakeServer::start().await, FakeServer::start().await);
    let mut client = Client::start(Tokens::of(&server));
    let mut connection = server.join(&[]).await;
    client.joined().await;
    let region = |url: String| proto::RegionInfo {
        url,
        ..Default::default()
    };
    let leave = |regions: Vec<proto::RegionInfo>| {
        Response::Leave(proto::LeaveRequest {
            action: Action::Reconnect as i32,
            regions: Some(proto::RegionSettings { regions }),
            ..Default::default()
        })
    };
    let nonsense = region("nonsense".into());
    connection
        .send(leave(vec![nonsense, region(nearby.url())]))
        .await;
    let mut connection = nearby.join(&[]).await;
    assert_eq!(connection.token, "token-2");
    client.joined().await;
    // A region that doesn't answer: its neighbour, with the next attempt.
    let gone = FakeServer::start().await;
    connection.send(leave(vec![region(gone.url())])).await;
    drop(gone);
    server.join(&[]).await;
    client.joined().await;
}

#[tokio::test]
async fn a_service_with_regions_is_asked_for_them_when_it_can_not_be_reached() {
    let (server, nearby) = (FakeServer::start().await, FakeServer::start().await);
    let mut client = Client::start(Tokens {
        has_regions: true,
        ..Tokens::of(&server)
    });
    let asked = server.answer(503, "no capacity").await;
    assert!(asked.starts_with("GET /rtc?"), "{asked}");
    let list = format!(
        r#"{{"regions":[{{"region":"a","url":"{}"}}]}}"#,
        nearby.url()
    );
    let asked = server.answer(200, &list).await.to_lowercase();
    assert!(asked.starts_with("get /settings/regions http"), "{asked}");
    assert!(asked.contains("authorization: bearer token-1"), "{asked}");
    assert_eq!(nearby.join(&[]).await.token, "token-1");
    client.joined().await;
}

#[tokio::test]
async fn a_service_that_lists_no_region_ends_with_its_first_error() {
    for list in [
        "",
        "<html>",
        r#"{"regions":[]}"#,
        r#"{"regions":[{"url":"file:///etc"}]}"#,
    ] {
        let server = FakeServer::start().await;
        let client = Client::start(Tokens {
            has_regions: true,
            ..Tokens::of(&server)
        });
        server.answer(503, "no capacity").await;
        server.answer(200, list).await;
        let EndReason::Connection(why) = client.end().await else {
            panic!("no join, no room");
        };
        assert!(why.contains("503") && why.contains("no capacity"), "{why}");
    }
}

#[tokio::test]
async fn each_refusal_of_the_first_join_ends_with_what_the_server_said() {
    type Check = fn(&EndReason) -> bool;
    let unauthorized: Check = |end| matches!(end, EndReason::NotAuthorized(_));
    let not_found: Check = |end| matches!(end, EndReason::NotFound(_));
    let connection: Check = |end| matches!(end, EndReason::Connection(_));
    for (status, body, check) in [
        (401, "invalid token: expired", unauthorized),
        (403, "permission denied", unauthorized),
        (404, "room does not exist", not_found),
        (403, "<!DOCTYPE html><title>Blocked</title>", connection),
        (404, "<html>nginx</html>", connection),
        (302, "", connection),
        (500, "oops", connection),
        (503, "\u{0}\u{1}binary", connection),
    ] {
        let server = FakeServer::start().await;
        let client = Client::start(Tokens::of(&server));
        server.answer(status, body).await;
        let end = client.end().await;
        assert!(check(&end), "{status} {body}: {end:?}");
    }
}

#[tokio::test]
async fn garbage_instead_of_an_answer_ends_the_first_join_and_not_a_later_one() {
    use tokio::io::AsyncWriteExt;
    let garbage: [&[u8]; 4] = [
        b"",
        b"\r\n\r\n",
        &[0xff; 3000],
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
    ];
    let server = FakeServer::start().await;
    for garbage in garbage {
        let client = Client::start(Tokens::of(&server));
        let mut stream = server.connection().await;
        stream.write_all(garbage).await.unwrap();
        drop(stream);
        assert!(matches!(client.end().await, EndReason::Connection(_)));
    }
    let mut client = Client::start(Tokens::of(&server));
    let mut connection = server.join(&[]).await;
    client.joined().await;
    connection.leave(Action::Reconnect, 0).await;
    for garbage in garbage {
        let mut stream = server.connection().await;
        stream.write_all(garbage).await.unwrap();
    }
    server.join(&[]).await;
    client.joined().await;
}

#[tokio::test]
async fn a_token_that_is_refused_when_it_joins_again_ends_it_and_a_web_page_does_not() {
    let server = FakeServer::start().await;
    let client = Client::start(Tokens::of(&server));
    let mut connection = server.join(&[]).await;
    connection.leave(Action::Reconnect, 0).await;
    server.answer(403, "<html>try later</html>").await;
    let asked = server.answer(401, "expired").await;
    assert!(
        asked.contains("token-3"),
        "each join has a token of its own: {asked}"
    );
    assert!(matches!(client.end().await, EndReason::NotAuthorized(_)));
}

#[tokio::test]
async fn a_fixed_token_is_replaced_by_what_the_server_gave_last() {
    let server = FakeServer::start().await;
    let mut client = Client::start(FixedToken::new(server.url(), "given"));
    let mut connection = server.join(&[]).await;
    assert_eq!(connection.token, "given");
    for token in ["first", "", "second"] {
        connection.send(Response::RefreshToken(token.into())).await;
    }
    connection.leave(Action::Reconnect, 0).await;
    assert_eq!(server.join(&[]).await.token, "second");
    client.joined().await;
    client.joined().await;
}

#[tokio::test]
async fn a_source_without_tokens_is_asked_again_only_if_that_can_help() {
    for (error, ends) in [
        (AccessError::NotAuthorized("no".into()), true),
        (AccessError::NotFound("not live".into()), true),
        (AccessError::Unavailable("busy".into()), false),
    ] {
        let server = FakeServer::start().await;
        let mut client = Client::start(Tokens {
            later: Some(error),
            ..Tokens::of(&server)
        });
        let mut connection = server.join(&[]).await;
        connection.leave(Action::Reconnect, 0).await;
        if ends {
            let end = client.end().await;
            assert!(matches!(
                end,
                EndReason::NotAuthorized(_) | EndReason::NotFound(_)
            ));
        } else {
            while client.reconnecting().await != "busy" {}
            assert_eq!(client.reconnecting().await, "busy");
        }
    }
}

#[tokio::test]
async fn a_server_that_accepts_and_says_nothing_is_asked_again_within_two_seconds() {
    let server = FakeServer::start().await;
    let mut client = Client::start(Tokens::of(&server));
    let mut connection = server.join(&[]).await;
    client.joined().await;
    connection.leave(Action::Reconnect, 0).await;
    let mut silent = vec![server.connection().await];
    for _ in 0..2 {
        let start = Instant::now();
        silent.push(server.connection().await);
        // 0.9 s for the answer and at most 1 s of waiting; the rest is for a busy machine.
        assert!(
            start.elapsed() < Duration::from_millis(2900),
            "{:?}",
            start.elapsed()
        );
    }
    // One that upgrades and then is silent.
    let upgraded = server.accept().await;
    server.join(&[]).await;
    client.joined().await;
    drop((silent, upgraded));
}

#[tokio::test]
async fn a_server_that_does_not_say_who_we_are_is_no_server() {
    let server = FakeServer::start().await;
    let client = Client::start(Tokens::of(&server));
    let mut connection = server.accept().await;
    let nobody = proto::JoinResponse {
        participant: None,
        ping_interval: 0,
        ping_timeout: i32::MIN,
        ..join_response(&[])
    };
    connection.send(Response::Join(nobody)).await;
    assert!(matches!(client.end().await, EndReason::Connection(_)));
}

#[tokio::test]
async fn absurd_ping_times_do_no_harm() {
    for (ping_interval, ping_timeout) in [(0, 0), (i32::MAX, i32::MIN), (-1, 1)] {
        let server = FakeServer::start().await;
        let mut client = Client::start(Tokens::of(&server));
        let mut connection = server.accept().await;
        let response = proto::JoinResponse {
            ping_interval,
            ping_timeout,
            ..join_response(&[])
        };
        connection.send(Response::Join(response)).await;
        client.joined().await;
        let streamer = person("PA_1", "creator", &["TR_v"]);
        connection
            .send(Response::Update(proto::ParticipantUpdate {
                participants: vec![streamer],
            }))
            .await;
        assert!(matches!(
            connection.request().await,
            Some(Request::Subscription(_))
        ));
        assert!(client.stop().await < Duration::from_secs(5));
    }
}

#[tokio::test]
async fn a_message_that_can_not_be_read_or_is_too_large_ends_the_connection_and_not_the_session() {
    let server = FakeServer::start().await;
    let mut client = Client::start(Tokens::of(&server));
    let mut connection = server.join(&[]).await;
    client.joined().await;
    connection.send_text("not for us").await;
    connection.send_bytes(Vec::new()).await;
    connection.send_bytes(vec![0xff; 40]).await;
    assert!(client.reconnecting().await.contains("can't be read"));
    let mut connection = server.resume().await;
    connection.send_unwanted(vec![0; 10 << 20]).await;
    let why = client.reconnecting().await;
    assert!(why.contains("too long") || why.contains("too big"), "{why}");
    server.resume().await;
}

#[tokio::test]
async fn a_track_that_is_named_twice_is_taken_once() {
    let server = FakeServer::start().await;
    let _client = Client::start(Tokens::of(&server));
    let streamer = person("PA_1", "creator", &["TR_v", "TR_v", ""]);
    let mut connection = server.join(&[streamer.clone(), streamer]).await;
    let Some(Request::Subscription(taken)) = connection.request().await else {
        panic!("a track is taken");
    };
    assert_eq!(taken.track_sids, ["TR_v"]);
    // What is said about tracks that nobody knows is heard and forgotten.
    let unknown = proto::SubscriptionResponse {
        track_sid: "TR_unknown".into(),
        err: 4711,
    };
    connection
        .send(Response::SubscriptionResponse(unknown))
        .await;
    let gone = person("PA_1", "creator", &[]);
    connection
        .send(Response::Update(proto::ParticipantUpdate {
            participants: vec![gone],
        }))
        .await;
    let Some(Request::Subscription(left)) = connection.request().await else {
        panic!("a track is given back");
    };
    assert!(!left.subscribe && left.track_sids == ["TR_v"]);
}

#[tokio::test]
async fn absurd_offers_are_followed_by_joins_at_a_bounded_rate() {
    let server = FakeServer::start().await;
    let _client = Client::start(Tokens::of(&server));
    let offers = [
        String::new(),
        "v=0".into(),
        "\u{0}".repeat(1000),
        "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n"
            .into(),
        "m=".repeat(100_000),
    ];
    let start = Instant::now();
    let mut joins = 0;
    while start.elapsed() < Duration::from_secs(4) {
        let mut connection = server.join(&[]).await;
        let offer = proto::SessionDescription {
            r#type: "offer".into(),
            sdp: offers[joins % offers.len()].clone(),
            ..Default::default()
        };
        connection.send(Response::Offer(offer)).await;
        joins += 1;
    }
    assert!((2..30).contains(&joins), "{joins} joins in four seconds");
}

#[tokio::test]
async fn a_server_that_reads_nothing_stands_in_nobodys_way() {
    let server = FakeServer::start().await;
    let mut client = Client::start(Tokens::of(&server));
    let mut connection = server.join(&[]).await;
    client.joined().await;
    // Long names fill the socket soon; each update asks for two requests.
    let sid = |n: usize| format!("{n:03}{}", "x".repeat(64 << 10));
    let mut updates = 0;
    let why = loop {
        let participants = vec![person("PA_1", "creator", &[&sid(updates)])];
        let update = proto::ParticipantUpdate { participants };
        connection.send(Response::Update(update)).await;
        updates += 1;
        let start = Instant::now();
        let told = client
            .event(|event| match event {
                RoomEvent::TrackStarted(_) => Some(None),
                RoomEvent::Reconnecting { reason, .. } => Some(Some(reason.clone())),
                _ => None,
            })
            .await;
        assert!(
            start.elapsed() < Duration::from_secs(2),
            "an update waited for the socket"
        );
        if let Some(why) = told {
            break why;
        }
        assert!(updates < 2000, "the queue has no end");
    };
    assert!(why.contains("reads nothing"), "{why}");
    server.resume().await;
}

#[tokio::test]
async fn it_stops_within_a_second_at_any_moment() {
    let limit = Duration::from_secs(1);
    let server = FakeServer::start().await;
    // While a token is asked for.
    let stuck = Client::start(Tokens {
        stuck: true,
        ..Tokens::of(&server)
    });
    tokio::task::yield_now().await;
    assert!(stuck.stop().await < limit);
    // While the first join gets no answer, before and after the upgrade.
    let client = Client::start(Tokens::of(&server));
    let silent = server.connection().await;
    assert!(client.stop().await < limit);
    let client = Client::start(Tokens::of(&server));
    let upgraded = server.accept().await;
    assert!(client.stop().await < limit);
    drop((silent, upgraded));
    // In the room, where it says goodbye.
    let mut client = Client::start(Tokens::of(&server));
    let mut connection = server.join(&[]).await;
    client.joined().await;
    assert!(client.stop().await < limit);
    assert!(matches!(
        connection.request().await,
        Some(Request::Leave(_))
    ));
    // While a resume gets no answer.
    let mut client = Client::start(Tokens::of(&server));
    drop(server.join(&[]).await);
    client.reconnecting().await;
    let silent = server.connection().await;
    assert!(client.stop().await < limit);
    drop(silent);
    // While it waits for the next join.
    let mut client = Client::start(Tokens::of(&server));
    let mut connection = server.join(&[]).await;
    connection.leave(Action::Reconnect, 0).await;
    for _ in 0..3 {
        server.answer(503, "").await;
        client.reconnecting().await;
    }
    assert!(client.stop().await < limit);
}

#[tokio::test]
async fn a_server_that_stays_away_ends_it_after_the_reconnect_timeout() {
    let server = FakeServer::start().await;
    let config = RoomConfig {
        reconnect_timeout: Some(Duration::from_secs(2)),
        ..RoomConfig::default()
    };
    let mut client = Client::start_with(config, Tokens::of(&server));
    drop(server.join(&[]).await);
    client.joined().await;
    drop(server);
    let start = Instant::now();
    assert!(matches!(client.end().await, EndReason::Connection(_)));
    assert!(start.elapsed() > Duration::from_secs(1));
}

#[tokio::test]
async fn who_comes_and_goes_is_told() {
    let server = FakeServer::start().await;
    let mut client = Client::start(Tokens::of(&server));
    let guest = person("PA_2", "viewer-1", &[]);
    let mut connection = server
        .join(&[person("PA_1", "creator", &[]), guest.clone()])
        .await;
    let came = |event: &RoomEvent| match event {
        RoomEvent::ParticipantJoined(one) => Some(one.identity.clone()),
        _ => None,
    };
    assert_eq!(client.event(came).await, "creator");
    assert_eq!(client.event(came).await, "viewer-1");
    let gone = proto::ParticipantInfo {
        state: proto::participant_info::State::Disconnected as i32,
        ..guest
    };
    let update = proto::ParticipantUpdate {
        participants: vec![gone],
    };
    connection.send(Response::Update(update)).await;
    let left = client
        .event(|event| match event {
            RoomEvent::ParticipantLeft(one) => Some(one.identity.clone()),
            _ => None,
        })
        .await;
    assert_eq!(left, "viewer-1");
}
