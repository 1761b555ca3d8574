//! Many rooms recorded at once as they are published. The long form has fifteen of 360p, for a minute;
//! `HAVEN_E2E_ROOMS=20` has so many of 720p.

use haven_e2e::{Haven, Process, Result, is_long_form, measured_seconds};
use haven_rig::media::{decode_to_end, video_marks};
use haven_rig::picture::Run;
use haven_rig::pumpfun::{Coin, FakePumpFun, random_mint};
use haven_rig::viewer::{Protocol, Viewer};
use haven_rig::{Clip, ClipParticipant, ClipSpec, Codec, LiveKitServer, Publisher, Role};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
const CLIP_SECONDS: u32 = 80;

/// How many rooms of 720p somebody wants to see.
fn large_rooms() -> Option<usize> {
    std::env::var("HAVEN_E2E_ROOMS").ok()?.parse().ok()
}

fn rooms() -> usize {
    large_rooms().unwrap_or(if is_long_form() { 15 } else { 3 })
}

fn length() -> Duration {
    if is_long_form() {
        measured_seconds()
    } else {
        Duration::from_secs(5)
    }
}

/// How many of the frames that are due must have come.
fn enough_percent() -> u64 {
    if is_long_form() { 95 } else { 50 }
}

/// What all that records has used so far: processor time in seconds, and memory in bytes.
fn used(haven: &Haven) -> Result<(f64, u64)> {
    let mut all = haven.workers()?;
    all.push(Process {
        pid: haven.pid(),
        arguments: String::new(),
    });
    let mut sum = (0.0, 0);
    for process in &all {
        sum = (sum.0 + process.cpu_s()?, sum.1 + process.own_bytes()?);
    }
    Ok(sum)
}

/// Begins a session and its recording.
async fn begin(haven: &Haven, mint: &str) -> Result {
    haven.start_session(mint).await?;
    haven
        .wait_for_session(mint, LIMIT, |session| session["state"] == "live")
        .await?;
    let request = json!({"mint_id": mint, "output_format": "source"});
    let answer = haven.post("/api/recording/start", &request).await?;
    answer.expect_ok().map(drop)
}

/// The numbers in the pictures of a recording that has ended.
async fn played(stopped: &Value, spec: ClipSpec) -> Result<Run> {
    assert_eq!(stopped["dropped_frames"], 0, "{stopped}");
    let file = stopped["output_path"].as_str().ok_or("no output_path")?;
    decode_to_end(Path::new(file)).await?;
    let marks = video_marks(Path::new(file)).await?;
    let numbers: Vec<u32> = marks
        .iter()
        .filter_map(|mark| mark.reading.counter)
        .collect();
    Ok(Run::of(&numbers, spec.frames()))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_picture_of_every_room_is_in_its_file() -> Result {
    let livekit = LiveKitServer::start().await?;
    let pumpfun = FakePumpFun::start(&livekit).await?;
    let coins: Vec<Coin> = (0..rooms()).map(|_| Coin::new(random_mint())).collect();
    let spec = match large_rooms() {
        Some(_) => ClipSpec::default(),
        None => ClipSpec::small(Codec::H264, CLIP_SECONDS),
    };
    let clip = Clip::get(spec).await?;
    let mut streamers = Vec::new();
    for coin in &coins {
        let token = livekit.token(&coin.room, "streamer", Role::Publisher)?;
        streamers.push(ClipParticipant::new("streamer", token));
        pumpfun.add_coin(coin.clone());
    }
    let mut environment = pumpfun.environment();
    environment.extend(livekit.environment());
    let haven = Haven::start(environment).await?;
    let publisher = Publisher::clip(&livekit.url(), &clip, &streamers, true).await?;
    let mints: Vec<&str> = coins.iter().map(|coin| coin.mint.as_str()).collect();
    for mint in &mints {
        begin(&haven, mint).await?;
    }
    let mut viewer = Viewer::connect(&haven.url, Protocol::Binary, mints[0]).await?;
    viewer
        .wait_until(LIMIT, |viewed| !viewed.frames.is_empty())
        .await?;
    let before = used(&haven)?;
    tokio::time::sleep(length()).await;
    let after = used(&haven)?;
    println!(
        "{} rooms of {} lines: {:.1} % of a core and {} MB",
        rooms(),
        spec.height,
        (after.0 - before.0) / length().as_secs_f64() * 100.0,
        after.1 / 1_000_000
    );

    // Played only when nothing is recorded any more: that takes the processor.
    let mut ended = Vec::new();
    for mint in &mints {
        let request = json!({"mint_id": mint});
        let answer = haven.post("/api/recording/stop", &request).await?;
        ended.push(answer.expect_ok()?);
    }
    let sent = publisher.stop().await?;
    let late_ms = sent.iter().map(|one| one.max_late_ms).fold(0.0, f64::max);
    println!("frames were published up to {late_ms:.0} ms late");
    let mut all = (0, 0);
    for stopped in &ended {
        let run = played(stopped, spec).await?;
        // A publisher that is too late on a busy machine sends fewer; then nothing is proved.
        let due = length().as_secs() * u64::from(spec.fps);
        assert!(
            run.seen > due * enough_percent() / 100,
            "{run:?}, {late_ms} ms late"
        );
        assert_eq!(run.backward, 0, "{run:?}");
        all = (all.0 + run.seen, all.1 + run.missing);
    }
    println!("{} rooms: {} pictures, {} missing", rooms(), all.0, all.1);
    assert_eq!(all.1, 0);
    Ok(())
}
