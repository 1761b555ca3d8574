//! Every format, one after the other and two at once, as players and a browser find them.

use haven_e2e::{
    Asked, Haven, Length, Publishing, Recorded, Result, Stage, is_long_form, may_be_missing,
};
use haven_e2e::{measured_seconds, scene::large};
use haven_rig::media::{file_beeps, flash_onsets, lip_sync};
use haven_rig::picture::Run;
use haven_rig::{Browser, Page};
use serde_json::Value;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
/// Format, container, and the codecs of pictures and sound.
const FORMATS: [(&str, &str, &str, &str); 4] = [
    ("av1", "mp4", "av1", "aac"),
    ("vp9", "webm", "vp9", "opus"),
    ("h264", "mp4", "h264", "aac"),
    ("source", "mp4", "h264", "opus"),
];
/// The first and the last seconds of a file are watched in the browser.
const WATCHED_S: f64 = 1.5;
/// Flash and beep may be so far apart, and that may change so much from begin to end.
const APART_MS: f64 = 60.0;
const DRIFT_MS: f64 = 20.0;

/// How long each recording is.
fn length() -> Duration {
    match is_long_form() {
        true => measured_seconds(),
        false => Duration::from_secs(4),
    }
}

/// Records in these formats at once.
async fn record(stage: &Stage, formats: &[&str]) -> Result<Vec<(Recorded, Length)>> {
    let mut began = Vec::new();
    for format in formats {
        began.push(Asked::start(&stage.haven, &stage.mint, format).await?);
    }
    tokio::time::sleep(length()).await;
    let mut ended = Vec::new();
    for asked in began {
        ended.push(asked.stop(&stage.haven).await?);
    }
    let mut all = Vec::new();
    for (answer, length) in ended {
        all.push((Recorded::play(&answer).await?, length));
    }
    Ok(all)
}

/// Whether all that was published is there, in time.
async fn is_whole(recorded: &Recorded, length: &Length) -> Result {
    let format = recorded.answer["output_format"]
        .as_str()
        .ok_or("no format")?;
    let known = FORMATS.iter().find(|known| known.0 == format);
    let (_, container, video, audio) = known.ok_or("an unknown format")?;
    let [part] = &recorded.parts[..] else {
        return Err(format!("several files: {}", recorded.answer).into());
    };
    let spec = large();
    assert_eq!(part.kind, ((*video).to_owned(), spec.width, spec.height));
    assert_eq!(part.audio, *audio);
    assert_eq!(part.path.extension(), Some(std::ffi::OsStr::new(container)));
    let numbers: Vec<u32> = part
        .marks
        .iter()
        .filter_map(|mark| mark.reading.counter)
        .collect();
    let run = Run::of(&numbers, spec.frames());
    let sync = lip_sync(&flash_onsets(&part.marks), &file_beeps(&part.path).await?)
        .ok_or("no pairs of flash and beep")?;
    let beside_s = length.beside_s(recorded.played_s());
    println!(
        "{format}: {:.2} s, {beside_s:+.2} s beside {length:.2?}; {run:?}; {sync:?}",
        recorded.played_s()
    );
    let allowed = match format {
        "source" => 0,
        _ => may_be_missing(run.seen),
    };
    assert!(run.backward == 0 && run.missing <= allowed, "{run:?}");
    // What is in the file counts: a long pause at its begin would be no missing picture.
    let full = recorded.played_s() * f64::from(spec.fps);
    assert!(run.seen as f64 > 0.8 * full, "{run:?} of {full}");
    // Where others take the processor away, its start is answered late.
    assert!(beside_s.abs() < if is_long_form() { 0.5 } else { 3.0 });
    assert!(sync.median_ms.abs() <= APART_MS, "{sync:?}");
    if is_long_form() {
        assert!((sync.end_ms - sync.start_ms).abs() <= DRIFT_MS, "{sync:?}");
    }
    assert_eq!(recorded.pauses, []);
    Ok(())
}

/// Chromium plays the first seconds, then the last ones to the end.
async fn plays_in(browser: &Browser, haven: &Haven, recorded: &Recorded) -> Result {
    let url = format!("{}/api/recordings/{}/file", haven.url, recorded.id());
    let page = browser.open(&url).await?;
    let limit = LIMIT;
    // Not the element of the browser's own page, which plays and pauses by itself.
    let start = "(async () => { const video = document.createElement('video');
        video.muted = true; video.src = location.href; document.body.replaceChildren(video);
        await video.play(); return true; })()";
    page.evaluate(start).await?;
    page.wait_for(
        &format!("document.querySelector('video').currentTime > {WATCHED_S}"),
        limit,
    )
    .await?;
    let seek = format!(
        "(() => {{ const video = document.querySelector('video');
        video.currentTime = video.duration - {WATCHED_S}; return true; }})()"
    );
    page.evaluate(&seek).await?;
    page.wait_for("document.querySelector('video').ended", limit)
        .await?;
    let seen = seen(&page).await?;
    let number = |name: &str| seen[name].as_f64().unwrap_or(-1.0);
    let length_s = recorded.played_s();
    println!("in the browser: {seen}, {length_s:.2} s");
    assert_eq!(seen["error"], Value::Null);
    assert_eq!(seen["width"], large().width);
    assert!((number("duration") - length_s).abs() < 0.2, "{seen}");
    assert!((number("at") - length_s).abs() < 0.2, "{seen}");
    assert!(number("frames") > 10.0, "{seen}");
    Ok(())
}

async fn seen(page: &Page<'_>) -> Result<Value> {
    let look = "(() => { const video = document.querySelector('video'); return {
        error: video.error && video.error.message, duration: video.duration, at: video.currentTime,
        width: video.videoWidth, frames: video.getVideoPlaybackQuality().totalVideoFrames }; })()";
    Ok(page.evaluate(look).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_format_holds_every_picture_in_time_with_the_sound_and_plays_in_a_browser() -> Result {
    let stage = Stage::set(Publishing::Clip(large())).await?;
    stage.haven.start_session(&stage.mint).await?;
    let is_live = |session: &Value| session["state"] == "live";
    let haven = &stage.haven;
    haven.wait_for_session(&stage.mint, LIMIT, is_live).await?;
    let mut all = Vec::new();
    for (format, ..) in FORMATS {
        // The short form has these two in other tests, and at once below.
        if is_long_form() || !["h264", "source"].contains(&format) {
            all.extend(record(&stage, &[format]).await?);
        }
    }
    all.extend(record(&stage, &["h264", "source"]).await?);
    for (recorded, length) in &all {
        is_whole(recorded, length).await?;
    }
    let browser = Browser::start().await?;
    for (recorded, _) in &all {
        plays_in(&browser, haven, recorded).await?;
    }
    Ok(())
}
