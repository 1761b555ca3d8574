use super::*;
use livekit_protocol::TrackSource;

fn track(sid: &str, source: TrackSource) -> proto::TrackInfo {
    let video = matches!(source, TrackSource::Camera | TrackSource::ScreenShare);
    proto::TrackInfo {
        sid: sid.into(),
        r#type: if video {
            proto::TrackType::Video
        } else {
            proto::TrackType::Audio
        } as i32,
        source: source as i32,
        ..Default::default()
    }
}

fn person(sid: &str, identity: &str, tracks: &[proto::TrackInfo]) -> proto::ParticipantInfo {
    proto::ParticipantInfo {
        sid: sid.into(),
        identity: identity.into(),
        state: proto::participant_info::State::Active as i32,
        tracks: tracks.to_vec(),
        ..Default::default()
    }
}

fn room() -> Tracks {
    Tracks::new(&RoomConfig::default())
}

fn sids(tracks: &Tracks) -> Vec<String> {
    tracks.taken_sids()
}

#[test]
fn viewers_are_never_the_streamer() {
    let mut tracks = room();
    let camera = [track("v", TrackSource::Camera)];
    tracks.reset("me", &[person("a", "viewer-1", &camera)]);
    tracks.select(Instant::now());
    assert_eq!(sids(&tracks), Vec::<String>::new());
    tracks.update(&[person("b", "creator", &camera)]);
    tracks.select(Instant::now());
    assert_eq!(tracks.streamer.as_ref().unwrap().sid, "b");
}

#[test]
fn the_camera_is_preferred_and_the_screen_share_follows() {
    let mut tracks = room();
    let both = [
        track("s", TrackSource::ScreenShare),
        track("c", TrackSource::Camera),
        track("m", TrackSource::Microphone),
    ];
    tracks.reset("me", &[person("a", "creator", &both)]);
    tracks.select(Instant::now());
    assert_eq!(sids(&tracks), ["c", "m"]);
    tracks.update(&[person("a", "creator", &both[..1])]);
    tracks.select(Instant::now());
    assert_eq!(sids(&tracks), ["s"]);
}

#[test]
fn a_guest_does_not_take_over_while_the_streamer_republishes() {
    let mut tracks = room();
    let start = Instant::now();
    let camera = [track("c", TrackSource::Camera)];
    let guest = [track("g", TrackSource::Camera)];
    tracks.reset(
        "me",
        &[
            person("a", "creator", &camera),
            person("b", "guest", &guest),
        ],
    );
    tracks.select(start);
    tracks.update(&[person("a", "creator", &[])]);
    tracks.select(start);
    assert_eq!(sids(&tracks), Vec::<String>::new());
    let again = [track("c2", TrackSource::Camera)];
    tracks.update(&[person("a", "creator", &again)]);
    tracks.select(start + Duration::from_secs(2));
    assert_eq!(sids(&tracks), ["c2"]);
    tracks.update(&[person("a", "creator", &[])]);
    tracks.select(start + Duration::from_secs(3));
    assert_eq!(tracks.deadline(), Some(start + Duration::from_secs(8)));
    tracks.select(start + Duration::from_secs(8));
    assert_eq!(sids(&tracks), ["g"]);
}

#[test]
fn a_streamer_that_returns_with_another_sid_is_still_the_streamer() {
    let mut tracks = room();
    let start = Instant::now();
    let guest = [track("g", TrackSource::Camera)];
    tracks.reset(
        "me",
        &[person("a", "creator", &[track("c", TrackSource::Camera)])],
    );
    tracks.select(start);
    let mut gone = person("a", "creator", &[]);
    gone.state = proto::participant_info::State::Disconnected as i32;
    tracks.update(&[gone, person("b", "guest", &guest)]);
    tracks.select(start);
    tracks.update(&[person("a2", "creator", &[track("c2", TrackSource::Camera)])]);
    tracks.select(start + Duration::from_secs(1));
    assert_eq!(sids(&tracks), ["c2"]);
}

#[test]
fn mute_is_told_and_expected_media_follows_it() {
    let mut tracks = room();
    let mut camera = track("c", TrackSource::Camera);
    tracks.reset("me", &[person("a", "creator", &[camera.clone()])]);
    tracks.select(Instant::now());
    assert!(tracks.expects_media());
    camera.muted = true;
    tracks.update(&[person("a", "creator", &[camera])]);
    let changes = tracks.select(Instant::now());
    assert!(matches!(&changes[..], [Change::Muted(_, true)]));
    assert!(!tracks.expects_media() && tracks.any_taken());
}

#[test]
fn a_named_participant_is_taken_though_it_is_called_viewer() {
    let mut tracks = Tracks::new(&RoomConfig {
        participant: Some("viewer-9".into()),
        ..RoomConfig::default()
    });
    let camera = [track("c", TrackSource::Camera)];
    let mine = [track("d", TrackSource::Camera)];
    tracks.reset(
        "me",
        &[
            person("a", "creator", &camera),
            person("b", "viewer-9", &mine),
        ],
    );
    tracks.select(Instant::now());
    assert_eq!(sids(&tracks), ["d"]);
}

#[test]
fn everybody_s_sound_is_taken_and_only_the_streamer_s_picture() {
    let mut tracks = Tracks::new(&RoomConfig {
        audio: AudioMode::Everyone,
        ..RoomConfig::default()
    });
    let stage = |sid: &str, prefix: &str| {
        let sources = [TrackSource::Camera, TrackSource::Microphone];
        let tracks: Vec<_> = sources
            .into_iter()
            .enumerate()
            .map(|(index, source)| track(&format!("{prefix}{index}"), source))
            .collect();
        person(sid, prefix, &tracks)
    };
    tracks.reset("me", &[stage("a", "creator"), stage("b", "guest")]);
    tracks.select(Instant::now());
    assert_eq!(sids(&tracks), ["creator0", "creator1", "guest1"]);
    let role = |sid: &str| tracks.taken(sid).unwrap().role;
    assert_eq!(role("creator0"), Role::Main);
    assert_eq!(role("creator1"), Role::Speaker);
    assert_eq!(role("guest1"), Role::Speaker);
}

#[test]
fn the_application_chooses_more_and_less_than_usual() {
    let mut tracks = room();
    let now = Instant::now();
    let creator = [
        track("c", TrackSource::Camera),
        track("s", TrackSource::ScreenShare),
        track("m", TrackSource::Microphone),
    ];
    let guest = [track("g", TrackSource::Camera)];
    tracks.reset(
        "me",
        &[
            person("a", "creator", &creator),
            person("b", "guest", &guest),
        ],
    );
    tracks.select(now);
    let choose = |tracks: &mut Tracks, choices: &[(&str, Choice)]| {
        let choices = choices.iter().map(|(sid, choice)| ((*sid).into(), *choice));
        tracks.choose(choices.collect());
        tracks.select(now)
    };
    choose(&mut tracks, &[("g", Choice::Take)]);
    assert_eq!(sids(&tracks), ["c", "m", "g"]);
    assert_eq!(tracks.taken("g").unwrap().role, Role::Chosen);
    // The next best takes the place of what isn't wanted.
    choose(&mut tracks, &[("c", Choice::Leave), ("m", Choice::Leave)]);
    assert_eq!(sids(&tracks), ["s"]);
    choose(&mut tracks, &[]);
    assert_eq!(sids(&tracks), ["c", "m"]);
}

#[test]
fn nothing_is_taken_before_the_application_was_asked() {
    let mut tracks = Tracks::new(&RoomConfig {
        ask: true,
        ..RoomConfig::default()
    });
    let now = Instant::now();
    let both = [
        track("c", TrackSource::Camera),
        track("m", TrackSource::Microphone),
    ];
    tracks.reset("me", &[person("a", "creator", &both)]);
    let changes = tracks.select(now);
    let told = changes
        .iter()
        .filter(|change| matches!(change, Change::Published(_)));
    assert_eq!(told.count(), 2);
    assert_eq!(sids(&tracks), Vec::<String>::new());
    tracks.choose([("c".into(), Choice::Usual)].into());
    tracks.select(now);
    assert_eq!(sids(&tracks), ["c"]);
    tracks.update(&[person("a", "creator", &both[..1])]);
    let changes = tracks.select(now);
    assert_eq!(changes, [Change::Unpublished("m".into())]);
}

#[test]
fn a_screen_share_comes_first_where_that_is_wanted() {
    let mut tracks = Tracks::new(&RoomConfig {
        video_source: VideoSource::ScreenShareFirst,
        ..RoomConfig::default()
    });
    let both = [
        track("c", TrackSource::Camera),
        track("s", TrackSource::ScreenShare),
    ];
    tracks.reset("me", &[person("a", "creator", &both[..1])]);
    tracks.select(Instant::now());
    assert_eq!(sids(&tracks), ["c"]);
    tracks.update(&[person("a", "creator", &both)]);
    tracks.select(Instant::now());
    assert_eq!(sids(&tracks), ["s"]);
}

#[test]
fn a_streamer_who_is_back_replaces_the_old_self_that_the_server_still_names() {
    let mut tracks = room();
    let now = Instant::now();
    let joined = |sid: &str, at: i64, tracks: &[proto::TrackInfo]| proto::ParticipantInfo {
        joined_at_ms: at,
        ..person(sid, "creator", tracks)
    };
    let old = joined("a", 1, &[track("old", TrackSource::Camera)]);
    tracks.reset("me", std::slice::from_ref(&old));
    tracks.select(now);
    tracks.update(&[joined("b", 2, &[])]);
    tracks.select(now);
    assert_eq!(sids(&tracks), Vec::<String>::new());
    let new = joined("b", 2, &[track("new", TrackSource::Camera)]);
    tracks.update(&[new]);
    // What is still said of the old self is late.
    tracks.update(std::slice::from_ref(&old));
    let gone = proto::participant_info::State::Disconnected as i32;
    tracks.update(&[proto::ParticipantInfo { state: gone, ..old }]);
    let changes = tracks.select(now);
    assert_eq!(sids(&tracks), ["new"]);
    assert!(
        matches!(&changes[..], [Change::Published(_), Change::Streamer(Some(streamer)), Change::Started(_)] if streamer.sid == "b"),
        "{changes:?}"
    );
}

#[test]
fn a_videos_sizes_are_known_as_long_as_it_is_published() {
    let mut tracks = room();
    let mut camera = track("c", TrackSource::Camera);
    #[expect(deprecated, reason = "as an older server says it")]
    let named = &mut camera.layers;
    named.push(proto::VideoLayer {
        quality: proto::VideoQuality::High as i32,
        width: 640,
        height: 360,
        ..Default::default()
    });
    tracks.reset("me", &[person("a", "creator", &[camera])]);
    assert_eq!(tracks.layers("c")[0].width, 640);
    tracks.update(&[person("a", "creator", &[])]);
    assert!(tracks.layers("c").is_empty());
}
