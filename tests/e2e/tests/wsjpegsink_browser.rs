//! `wsjpegsink` as people see it: Chromium on the element's own page.

use haven_e2e::{JpegSink, Result, is_long_form, measured_seconds};
use haven_rig::{Browser, Page, within};
use serde_json::Value;
use std::time::Duration;
use tokio::sync::Mutex;

/// How long anything may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// A ball that moves over black, and a tone.
const WATCH_AND_LISTEN: &str = "videotestsrc is-live=true pattern=ball \
     ! video/x-raw,width=640,height=360,framerate=30/1 ! jpegenc ! wsjpegsink name=sink \
     audiotestsrc is-live=true samplesperbuffer=441 ! audio/x-raw,rate=44100,channels=1 ! sink.audio";

/// Two browsers at once leave too little of a small machine to measure anything.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// Where the ball is: the middle of all that is bright on the canvas, in pixels.
const BALL: &str = "(() => {
    const canvas = document.getElementById('picture');
    const copy = new OffscreenCanvas(canvas.width, canvas.height)
        .getContext('2d', { willReadFrequently: true });
    copy.drawImage(canvas, 0, 0);
    const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
    let [sumX, sumY, count] = [0, 0, 0];
    for (let at = 0; at < data.length; at += 4) {
        if (data[at] < 128) continue;
        sumX += (at / 4) % canvas.width;
        sumY += Math.floor(at / 4 / canvas.width);
        count += 1;
    }
    return count ? [sumX / count, sumY / count] : null;
})()";

async fn stats(page: &Page<'_>) -> Result<Value> {
    Ok(page.evaluate("window.haven.stats()").await?)
}

/// The ball's places as the canvas shows them, until they are so many different ones.
async fn places(page: &Page<'_>, count: usize) -> Result<Vec<Value>> {
    let places = within("a picture that moves", LIMIT, async {
        let mut places = Vec::new();
        while places.len() < count {
            let place = page.evaluate(BALL).await?;
            if !place.is_null() && !places.contains(&place) {
                places.push(place);
            }
        }
        Ok::<_, haven_rig::RigError>(places)
    });
    Ok(places.await??)
}

/// Watches and listens for the measured time; what must be true of both protocols.
async fn watch(query: &str, protocol: &str, rate: u64) -> Result {
    let _alone = ONE_AT_A_TIME.lock().await;
    let sink = JpegSink::play(WATCH_AND_LISTEN)?;
    let browser = Browser::start().await?;
    let page = browser.open(&format!("{}/{query}", sink.url())).await?;
    page.wait_for(
        "haven.stats().state === 'live' && haven.stats().drawn > 10",
        LIMIT,
    )
    .await?;
    places(&page, 10).await?;
    assert_eq!(sink.clients()?[0].protocol, protocol);

    page.click("#sound").await?;
    page.wait_for("haven.stats().sound.playing", LIMIT).await?;
    let before = stats(&page).await?;
    tokio::time::sleep(measured_seconds()).await;
    let after = stats(&page).await?;
    let drawn = |stats: &Value| stats["drawn"].as_u64().unwrap_or_default();
    let seconds = measured_seconds().as_secs_f64();
    let fps = (drawn(&after) - drawn(&before)) as f64 / seconds;
    println!("{protocol}: {fps:.1} pictures a second for {seconds} s; {after}");
    assert_eq!(after["protocol"], protocol);
    assert_eq!(
        (&after["width"], &after["height"]),
        (&640.into(), &360.into())
    );
    assert_eq!(after["broken"], 0);
    assert_eq!(after["connections"], 1);
    let sound = &after["sound"];
    assert_eq!(sound["worklet"], true);
    assert_eq!(
        (&sound["playing"], &sound["rate"]),
        (&true.into(), &rate.into())
    );
    let breaks = sound["underruns"].as_u64().unwrap_or(u64::MAX);
    assert!(breaks <= if is_long_form() { 0 } else { 3 }, "{sound}");
    assert!(fps > if is_long_form() { 27.0 } else { 10.0 });
    places(&page, 10).await?;
    assert_eq!(page.complaints(), [""; 0]);
    sink.stop()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_moves_and_sounds_by_the_binary_protocol() -> Result {
    watch("", "binary", 44_100).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_moves_and_sounds_by_the_json_protocol() -> Result {
    watch("?protocol=json&audio=48000&channels=2", "json", 48_000).await
}
