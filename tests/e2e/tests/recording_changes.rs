//! Recordings of a room in which things happen: what is published changes, and guests speak.

use haven_e2e::{Publishing, Result, Stage, may_be_unheard};
use haven_rig::media::{audio_pcm, decode_to_end, probe, video_marks};
use haven_rig::speech::{Speech, words};
use haven_rig::{Clip, ClipParticipant, ClipSpec, Codec, LiveOptions, Publisher, Role, TrackKind};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(20);
/// How long the publisher does the same.
const WHILE: Duration = Duration::from_secs(3);

/// A session whose publisher is seen.
async fn live_stage(publishing: Publishing) -> Result<Stage> {
    let stage = Stage::set(publishing).await?;
    stage.haven.start_session(&stage.mint).await?;
    let is_live = |session: &Value| session["state"] == "live";
    stage
        .haven
        .wait_for_session(&stage.mint, LIMIT, is_live)
        .await?;
    Ok(stage)
}

async fn record(stage: &Stage, format: &str) -> Result {
    let request = json!({"mint_id": stage.mint, "output_format": format});
    let answer = stage.haven.post("/api/recording/start", &request).await?;
    answer.expect_ok()?;
    Ok(())
}

async fn stop(stage: &Stage, format: &str) -> Result<Value> {
    let request = json!({"mint_id": stage.mint, "output_format": format});
    let answer = stage.haven.post("/api/recording/stop", &request).await?;
    Ok(answer.expect_ok()?.clone())
}

fn path_of(part: &Value) -> Result<PathBuf> {
    let path = part["path"].as_str().ok_or("a part without a path")?;
    Ok(Path::new(path).to_owned())
}

/// The numbers that the pictures carry, of all files in turn.
async fn numbers(parts: &[Value]) -> Result<Vec<u32>> {
    let mut all = Vec::new();
    for part in parts {
        let marks = video_marks(&path_of(part)?).await?;
        all.extend(marks.iter().filter_map(|mark| mark.reading.counter));
    }
    Ok(all)
}

/// Has the publisher send one codec after the other, and then pictures of half the size.
async fn change_codecs_and_size(stage: &mut Stage) -> Result {
    let mint = stage.mint.clone();
    tokio::time::sleep(WHILE).await;
    for codec in ["vp8", "vp9", "h264"] {
        stage.publisher().change_codec(codec).await?;
        let is_codec = |session: &Value| session["video"]["codec"] == codec;
        stage.haven.wait_for_session(&mint, LIMIT, is_codec).await?;
        tokio::time::sleep(WHILE).await;
    }
    stage.publisher().change_size(320, 180).await?;
    tokio::time::sleep(WHILE).await;
    Ok(())
}

/// Codec, width and container of each file, all of which play.
async fn kinds(parts: &[Value]) -> Result<Vec<(String, u32, String)>> {
    let mut kinds = Vec::new();
    for part in parts {
        let file = path_of(part)?;
        let probed = probe(&file).await?;
        let video = probed.stream("video").ok_or("no video")?;
        let container = file.extension().unwrap_or_default().to_string_lossy();
        kinds.push((video.codec.clone(), video.width, container.into_owned()));
        decode_to_end(&file).await?;
    }
    Ok(kinds)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_source_is_recorded_file_after_file_as_it_changes_and_no_picture_is_lost() -> Result {
    let mut stage = live_stage(Publishing::Live(LiveOptions {
        width: 640,
        height: 360,
        ..LiveOptions::default()
    }))
    .await?;
    let started = Instant::now();
    record(&stage, "source").await?;
    change_codecs_and_size(&mut stage).await?;
    let wall_s = started.elapsed().as_secs_f64();
    let stopped = stop(&stage, "source").await?;

    let parts = stopped["parts"].as_array().ok_or("no parts")?;
    let kinds = kinds(parts).await?;
    println!(
        "{kinds:?}; {wall_s:.1} s recorded as {}",
        stopped["duration_s"]
    );
    for (codec, width, container) in [
        ("vp8", 640, "webm"),
        ("vp9", 640, "webm"),
        ("h264", 640, "mp4"),
        ("h264", 320, "mp4"),
    ] {
        let kind = (codec.to_owned(), width, container.to_owned());
        assert!(kinds.contains(&kind), "{kind:?}: {kinds:?}");
    }
    for part in &parts[..parts.len() - 1] {
        assert_eq!(part["reason"], "source_changed", "{stopped}");
    }
    let recorded_s = stopped["duration_s"].as_f64().unwrap_or_default();
    assert!(
        (recorded_s - wall_s).abs() < 1.5,
        "{recorded_s} s of {wall_s} s"
    );
    let numbers = numbers(parts).await?;
    assert!(
        numbers.windows(2).all(|pair| pair[1] > pair[0]),
        "{numbers:?}"
    );
    assert_eq!(stopped["dropped_frames"], 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_muted_camera_is_a_gap_in_the_recording_and_ends_nothing() -> Result {
    let mut stage = live_stage(Publishing::small()).await?;
    for format in ["source", "h264"] {
        record(&stage, format).await?;
    }
    tokio::time::sleep(WHILE).await;
    stage.publisher().mute(TrackKind::Video).await?;
    tokio::time::sleep(2 * WHILE).await;
    stage.publisher().unmute(TrackKind::Video).await?;
    tokio::time::sleep(WHILE).await;
    for format in ["source", "h264"] {
        let stopped = stop(&stage, format).await?;
        println!(
            "{format}: {} s, gaps {}",
            stopped["duration_s"], stopped["gaps"]
        );
        let parts = stopped["parts"].as_array().ok_or("no parts")?;
        assert_eq!(parts.len(), 1, "{stopped}");
        let gaps = stopped["gaps"].as_array().ok_or("no gaps")?;
        assert_eq!(gaps.len(), 1, "{stopped}");
        let length_s = gaps[0]["for_s"].as_f64().unwrap_or_default();
        // What the publisher had on its way, and its next key frame, belong to it.
        let muted_s = 2.0 * WHILE.as_secs_f64();
        assert!(
            (muted_s - 1.0..muted_s + 2.0).contains(&length_s),
            "{stopped}"
        );
        decode_to_end(&path_of(&parts[0])?).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn guests_are_heard_in_recordings_from_their_first_to_their_last_word() -> Result {
    const SPEECH: Speech = Speech {
        pitch_hz: 2_000,
        words: 6,
    };
    let stage = live_stage(Publishing::small()).await?;
    for format in ["source", "wav"] {
        record(&stage, format).await?;
    }
    let token = stage.livekit.token(&stage.room, "guest", Role::Publisher)?;
    let clip = Clip::get(ClipSpec::small(Codec::H264, 80)).await?;
    let voice = ClipParticipant::voice("guest", token, SPEECH.clip().await?);
    let mut guest = Publisher::clip(&stage.livekit.url(), &clip, &[voice], false).await?;
    guest.take(LIMIT, |event| event.event == "finished").await?;
    guest.stop().await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    for format in ["source", "wav"] {
        let stopped = stop(&stage, format).await?;
        let parts = stopped["parts"].as_array().ok_or("no parts")?;
        let samples = audio_pcm(&path_of(&parts[0])?).await?;
        let heard = words(&samples, 48_000, SPEECH.pitch_hz);
        println!("{format}: {heard:.2?}");
        assert_eq!(
            SPEECH.was_heard(&heard, may_be_unheard()),
            Ok(()),
            "{format}"
        );
    }
    Ok(())
}
