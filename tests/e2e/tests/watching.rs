//! What viewers of a real room see and hear.

use haven_e2e::{Publishing, Result, Stage, may_be_missing, may_break, measured_seconds};
use haven_rig::media::{measure_tone, samples_of};
use haven_rig::picture::Run;
use haven_rig::viewer::{Protocol, Viewer};
use haven_rig::{ClipSpec, TrackKind};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(20);

/// The publisher's clip, 720p30 with a counter in each frame.
fn clip() -> ClipSpec {
    ClipSpec::default()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_frame_arrives_in_order_and_the_sound_is_whole() -> Result {
    let stage = Stage::set(Publishing::Clip(clip())).await?;
    let asked = Instant::now();
    stage.haven.start_session(&stage.mint).await?;
    let answered = asked.elapsed();
    let mut viewer = Viewer::connect(&stage.haven.url, Protocol::Binary, &stage.mint).await?;
    viewer
        .wait_until(LIMIT, |viewed| !viewed.frames.is_empty())
        .await?;
    let first_jpeg = asked.elapsed();

    tokio::time::sleep(measured_seconds()).await;
    let viewed = viewer.close().await;
    let run = Run::of(&viewed.counters(), clip().frames());
    let tone = measure_tone(&samples_of(&viewed.pcm(), 1), 44_100);
    println!(
        "answered after {answered:.2?}, first JPEG after {first_jpeg:.2?}; {run:?}; {} chunks of sound, {tone:?}",
        viewed.sound.len()
    );
    assert_eq!(run.backward, 0);
    // Numbers are missing where the publisher itself was late; what it sent is what counts.
    assert!(run.missing <= may_be_missing(run.seen), "{run:?}");
    assert!(
        viewed
            .frames
            .iter()
            .all(|frame| (frame.width, frame.height) == (1280, 720))
    );
    assert!(
        viewed
            .sound
            .iter()
            .all(|chunk| chunk.pcm.len() == 2 * 44_100 / 50)
    );
    assert!((tone.frequency_hz - 440.0).abs() < 1.0, "{tone:?}");
    // The first second has the start itself.
    let late_breaks = tone.breaks_s.iter().filter(|at| **at > 1.0).count();
    let heard_s = viewed.sound.len() as f64 * 0.02;
    assert!(late_breaks <= may_break(heard_s), "{tone:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn phones_and_grids_get_smaller_pictures() -> Result {
    let stage = Stage::set(Publishing::Clip(clip())).await?;
    stage.haven.start_session(&stage.mint).await?;
    let path = Protocol::Binary.path(&stage.mint);
    for (max_width, size) in [(640, (640, 360)), (320, (320, 180))] {
        let url = format!("{}{path}?max_width={max_width}", stage.haven.url);
        let mut viewer = Viewer::connect_to(&url, Protocol::Binary).await?;
        viewer
            .wait_until(LIMIT, |viewed| {
                viewed.frames.len() > 30 && !viewed.sound.is_empty()
            })
            .await?;
        let viewed = viewer.close().await;
        let sizes = viewed
            .frames
            .iter()
            .map(|frame| (frame.width, frame.height));
        assert!(sizes.into_iter().all(|shown| shown == size), "{max_width}");
        let run = Run::of(&viewed.counters(), clip().frames());
        assert!(run.missing <= may_be_missing(run.seen), "{run:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn both_protocols_show_the_same_frames_from_one_subscription() -> Result {
    let stage = Stage::set(Publishing::small()).await?;
    stage.haven.start_session(&stage.mint).await?;
    let mut json = Viewer::connect(&stage.haven.url, Protocol::Json, &stage.mint).await?;
    let mut binary = Viewer::connect(&stage.haven.url, Protocol::Binary, &stage.mint).await?;
    for viewer in [&mut json, &mut binary] {
        viewer
            .wait_until(LIMIT, |viewed| {
                viewed.frames.len() > 60 && viewed.sound.len() > 50
            })
            .await?;
    }
    let participants = stage
        .livekit
        .room_service()
        .participants(&stage.room)
        .await?;
    let viewers: Vec<_> = participants
        .iter()
        .filter(|one| one.identity != "streamer")
        .collect();
    assert_eq!(viewers.len(), 1, "{participants:?}");
    assert!(!viewers[0].permission.can_publish && !viewers[0].permission.can_publish_data);
    let session = stage
        .haven
        .wait_for_session(&stage.mint, LIMIT, |session| session["viewers"] == 2)
        .await?;
    assert_eq!(session["state"], "live");
    assert_eq!(session["room_name"], stage.room.as_str());

    let json = json.close().await;
    let frame = &json.frames[1].fields;
    assert_eq!(frame["type"], "video_frame");
    assert_eq!(frame["mint_id"], stage.mint.as_str());
    for field in ["timestamp", "width", "height", "pts_ms", "seq"] {
        assert!(!frame[field].is_null(), "{field} is missing");
    }
    let common = json
        .counters()
        .iter()
        .filter(|counter| binary.look(|viewed| viewed.counters().contains(counter)))
        .count();
    assert!(
        common * 10 > json.frames.len() * 8,
        "{common} of {}",
        json.frames.len()
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_republished_track_is_shown_without_anybody_asking() -> Result {
    let mut stage = Stage::set(Publishing::small()).await?;
    stage.haven.start_session(&stage.mint).await?;
    let mut viewer = Viewer::connect(&stage.haven.url, Protocol::Binary, &stage.mint).await?;
    viewer
        .wait_until(LIMIT, |viewed| viewed.frames.len() > 10)
        .await?;
    for _ in 0..3 {
        stage.publisher().unpublish(TrackKind::Video).await?;
        stage.publisher().republish(TrackKind::Video).await?;
        let seen = viewer.look(|viewed| viewed.frames.len());
        viewer
            .wait_until(LIMIT, |viewed| viewed.frames.len() > seen + 30)
            .await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_that_comes_late_is_waited_for() -> Result {
    let mut stage = Stage::set(Publishing::Nobody).await?;
    let started = stage.haven.start_session(&stage.mint).await?;
    assert!(started["participant_sid"].is_null());
    let mut viewer = Viewer::connect(&stage.haven.url, Protocol::Json, &stage.mint).await?;
    viewer
        .wait_until(LIMIT, |viewed| {
            viewed
                .statuses
                .iter()
                .any(|status| status["state"] == "waiting")
        })
        .await?;
    stage.publish(&Publishing::small()).await?;
    viewer
        .wait_until(LIMIT, |viewed| viewed.frames.len() > 30)
        .await?;
    let session = stage
        .haven
        .wait_for_session(&stage.mint, LIMIT, |session| session["state"] == "live")
        .await?;
    assert!(
        session["participant_sid"]
            .as_str()
            .is_some_and(|sid| sid.starts_with("PA_"))
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_livekit_server_that_dies_and_returns_is_rejoined() -> Result {
    let mut stage = Stage::set(Publishing::small()).await?;
    stage.haven.start_session(&stage.mint).await?;
    let mut viewer = Viewer::connect(&stage.haven.url, Protocol::Binary, &stage.mint).await?;
    viewer
        .wait_until(LIMIT, |viewed| viewed.frames.len() > 30)
        .await?;
    stage.livekit.kill().await?;
    stage
        .haven
        .wait_for_session(&stage.mint, LIMIT, |session| {
            session["state"] == "reconnecting"
        })
        .await?;
    stage.livekit.restart().await?;
    let seen = viewer.look(|viewed| viewed.frames.len());
    // The publisher's own backoff is most of it.
    viewer
        .wait_until(Duration::from_secs(60), |viewed| {
            viewed.frames.len() > seen + 60
        })
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_room_moves_and_sounds() -> Result {
    let stage = Stage::set(Publishing::Nobody).await?;
    stage.haven.start_session("demo").await?;
    for protocol in [Protocol::Json, Protocol::Binary] {
        let mut viewer = Viewer::connect(&stage.haven.url, protocol, "demo").await?;
        viewer
            .wait_until(LIMIT, |viewed| {
                viewed.frames.len() > 60 && viewed.sound.len() > 100
            })
            .await?;
        let viewed = viewer.close().await;
        let sizes: std::collections::HashSet<_> =
            viewed.frames.iter().map(|frame| frame.bytes).collect();
        assert!(
            sizes.len() > 20,
            "a picture that moves has JPEGs of many sizes"
        );
        let tone = measure_tone(&samples_of(&viewed.pcm(), 1), 44_100);
        assert!(tone.amplitude > 0.01, "{tone:?}");
    }
    Ok(())
}
