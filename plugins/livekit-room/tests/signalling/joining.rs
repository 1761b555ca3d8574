//! Joining: regions, refusals, tokens, and who is there.

use crate::support::{Client, FakeServer, Tokens, person};
use livekit_protocol as proto;
use livekit_room::{AccessError, EndReason, FixedToken, RoomEvent};
use proto::leave_request::Action;
use proto::signal_response::Message as Response;
use std::time::{Duration, Instant};

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
