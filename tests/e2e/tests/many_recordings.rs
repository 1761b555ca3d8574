//! Many rooms recorded at once as they are published. The long form has fifteen, for a minute.

use haven_e2e::{Haven, Result, is_long_form, measured_seconds};
use haven_rig::media::{decode_to_end, video_marks};
use haven_rig::picture::Run;
use haven_rig::pumpfun::{Coin, FakePumpFun, random_mint};
use haven_rig::viewer::{Protocol, Viewer};
use haven_rig::{Clip, ClipParticipant, ClipSpec, Codec, LiveKitServer, Publisher, Role};
use serde_json::json;
use std::path::Path;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
const CLIP_SECONDS: u32 = 80;

fn rooms() -> usize {
    if is_long_form() { 15 } else { 3 }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_picture_of_every_room_is_in_its_file() -> Result {
    let livekit = LiveKitServer::start().await?;
    let pumpfun = FakePumpFun::start(&livekit).await?;
    let coins: Vec<Coin> = (0..rooms()).map(|_| Coin::new(random_mint())).collect();
    let spec = ClipSpec::small(Codec::H264, CLIP_SECONDS);
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
        haven.start_session(mint).await?;
        haven
            .wait_for_session(mint, LIMIT, |session| session["state"] == "live")
            .await?;
        let request = json!({"mint_id": mint, "output_format": "source"});
        haven
            .post("/api/recording/start", &request)
            .await?
            .expect_ok()?;
    }
    let mut viewer = Viewer::connect(&haven.url, Protocol::Binary, mints[0]).await?;
    viewer
        .wait_until(LIMIT, |viewed| !viewed.frames.is_empty())
        .await?;
    tokio::time::sleep(measured_seconds()).await;

    let mut all = (0, 0);
    for mint in &mints {
        let request = json!({"mint_id": mint});
        let answer = haven.post("/api/recording/stop", &request).await?;
        let stopped = answer.expect_ok()?;
        assert_eq!(stopped["dropped_frames"], 0, "{stopped}");
        let file = stopped["output_path"].as_str().ok_or("no output_path")?;
        decode_to_end(Path::new(file)).await?;
        let marks = video_marks(Path::new(file)).await?;
        let numbers: Vec<u32> = marks
            .iter()
            .filter_map(|mark| mark.reading.counter)
            .collect();
        let run = Run::of(&numbers, spec.frames());
        assert!(run.seen > 100 && run.backward == 0, "{mint}: {run:?}");
        all = (all.0 + run.seen, all.1 + run.missing);
    }
    println!("{} rooms: {} pictures, {} missing", rooms(), all.0, all.1);
    assert_eq!(all.1, 0);
    publisher.stop().await?;
    Ok(())
}
