//! A publisher that mutes, leaves, returns, and changes codec and size, while it is watched and
//! recorded.

use haven_e2e::shell::{Shell, free_port, interrupt, viewer_on};
use haven_e2e::{Publishing, Result, Stage};
use haven_rig::media::{decode_to_end, file_beeps, probe, video_marks};
use haven_rig::viewer::{Protocol, Viewer};
use haven_rig::{LiveOptions, TrackKind};
use serde_json::json;
use std::path::Path;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(20);
/// Longer than a stalled connection is tolerated, and than a remembered group of pictures.
const MUTED: Duration = Duration::from_secs(11);

/// Waits for this many frames more, the newest of this width.
async fn new_frames(viewer: &mut Viewer, count: usize, width: u32) -> Result {
    let before = viewer.look(|viewed| viewed.frames.len());
    viewer
        .wait_until(LIMIT, |viewed| {
            let width_fits = viewed
                .frames
                .last()
                .is_some_and(|frame| frame.width == width);
            viewed.frames.len() >= before + count && width_fits
        })
        .await?;
    Ok(())
}

/// Has the publisher do everything that publishers do; each time, viewers must see it go on.
async fn change_everything(stage: &mut Stage, viewer: &mut Viewer) -> Result {
    let mint = stage.mint.clone();
    new_frames(viewer, 10, 640).await?;
    stage.publisher().mute(TrackKind::Video).await?;
    tokio::time::sleep(MUTED).await;
    stage.publisher().unmute(TrackKind::Video).await?;
    new_frames(viewer, 10, 640).await?;

    stage.publisher().unpublish(TrackKind::Video).await?;
    stage.publisher().unpublish(TrackKind::Audio).await?;
    stage
        .haven
        .wait_for_session(&mint, LIMIT, |session| session["state"] == "waiting")
        .await?;
    stage.publisher().republish(TrackKind::Audio).await?;
    stage.publisher().republish(TrackKind::Video).await?;
    new_frames(viewer, 10, 640).await?;

    for codec in ["vp8", "h264", "vp9"] {
        stage.publisher().change_codec(codec).await?;
        stage
            .haven
            .wait_for_session(&mint, LIMIT, |session| session["video"]["codec"] == codec)
            .await?;
        new_frames(viewer, 10, 640).await?;
    }
    stage.publisher().change_size(320, 180).await?;
    new_frames(viewer, 10, 320).await?;
    let session = stage
        .haven
        .wait_for_session(&mint, LIMIT, |session| session["video"]["width"] == 320)
        .await?;
    assert_eq!(session["state"], "live");
    Ok(())
}

fn small() -> Publishing {
    Publishing::Live(LiveOptions {
        width: 640,
        height: 360,
        ..LiveOptions::default()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_publisher_changes_viewers_and_recording_go_on() -> Result {
    let mut stage = Stage::set(small()).await?;
    stage.haven.start_session(&stage.mint).await?;
    let mut viewer = Viewer::connect(&stage.haven.url, Protocol::Json, &stage.mint).await?;
    new_frames(&mut viewer, 1, 640).await?;
    let request = json!({"mint_id": stage.mint, "output_format": "h264"});
    let started = Instant::now();
    let haven = &stage.haven;
    let answer = haven.post("/api/recording/start", &request).await?;
    let file = answer.expect_ok()?["output_path"].clone();
    let file = Path::new(file.as_str().ok_or("no output_path")?).to_owned();

    let outcome = change_everything(&mut stage, &mut viewer).await;
    if let Err(error) = outcome {
        return Err(format!("{error}; the server said:\n{}", stage.haven.log()?).into());
    }
    let wall_s = started.elapsed().as_secs_f64();
    let haven = &stage.haven;
    haven
        .post("/api/recording/stop", &request)
        .await?
        .expect_ok()?;
    let probed = probe(&file).await?;
    assert!((probed.duration_s - wall_s).abs() < 0.5, "{probed:?}");
    let video = probed.stream("video").ok_or("no video")?;
    assert_eq!((video.width, video.height), (640, 360));
    decode_to_end(&file).await?;

    // The file has a picture for all of its length, and the sound is missing only while there
    // was none.
    let times: Vec<f64> = video_marks(&file)
        .await?
        .iter()
        .map(|mark| mark.pts_s)
        .collect();
    let longest = times
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .fold(0.0, f64::max);
    assert!(longest < 1.1, "{longest} s without a picture");
    let beeps = file_beeps(&file).await?;
    let silences = beeps.windows(2).filter(|pair| pair[1] - pair[0] > 1.2);
    assert!(silences.count() <= 1, "{beeps:?}");
    assert!(
        beeps.windows(2).all(|pair| pair[1] - pair[0] < 8.0),
        "{beeps:?}"
    );
    Ok(())
}

/// The element decodes by itself here, and has to do it otherwise after each change.
#[tokio::test(flavor = "multi_thread")]
async fn a_launch_line_that_wants_pictures_gets_them_whatever_the_codec() -> Result {
    let mut stage = Stage::set(small()).await?;
    let port = free_port()?;
    let line = format!(
        "livekitsrc name=room mint-id={} wsjpegsink name=viewers port={port} async=false \
         room.video_0 ! videoconvert ! jpegenc ! viewers.sink room.audio_0 ! audioconvert ! \
         audioresample ! audio/x-raw,format=S16LE,rate=44100,channels=1 ! viewers.audio",
        stage.mint
    );
    let shell = Shell::new(stage.pumpfun.environment())?;
    let words = ["-q", "-e"].into_iter().chain(line.split_whitespace());
    let child = shell.program("gst-launch-1.0", words)?;
    let mut viewer = viewer_on(port).await?;
    new_frames(&mut viewer, 10, 640).await?;
    for codec in ["vp8", "h264", "vp9", "vp8"] {
        stage.publisher().change_codec(codec).await?;
        new_frames(&mut viewer, 10, 640).await?;
    }
    stage.publisher().change_size(320, 180).await?;
    new_frames(&mut viewer, 10, 320).await?;
    stage.publisher().republish(TrackKind::Audio).await?;
    let chunks = viewer.look(|viewed| viewed.sound.len());
    viewer
        .wait_until(LIMIT, |viewed| viewed.sound.len() > chunks + 50)
        .await?;
    interrupt(child).await
}
