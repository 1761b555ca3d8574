//! `wsjpegsink` as people see it: Chromium on the element's own page.

use gst::prelude::*;
use haven_e2e::{JpegSink, Result, is_long_form, measured_seconds};
use haven_rig::{Browser, Child, Page, built_binary, repository, within};
use serde_json::Value;
use std::{net::TcpListener, time::Duration};
use tokio::{process::Command, sync::Mutex};

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

/// Whether sound is on that was turned off and on again while it was being turned on.
const OFF_AND_ON: &str = "(async () => {
    sound.turnOff();
    const first = sound.turnOn();
    sound.turnOff();
    await Promise.all([first, sound.turnOn()]);
    return sound.on && sound.node !== null;
})()";

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
    assert_eq!(page.evaluate(OFF_AND_ON).await?, true);
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

#[tokio::test(flavor = "multi_thread")]
async fn the_documents_line_is_seen_in_a_browser_at_once() -> Result {
    let _alone = ONE_AT_A_TIME.lock().await;
    let document = std::fs::read_to_string(repository().join("docs/elements/wsjpegsink.md"))?;
    let line = document.split("```sh\n").nth(1);
    let line = line.and_then(|rest| rest.split("```").next());
    let line = line.ok_or("no line of shell in the document")?;
    assert!(line.contains("port=8080"), "{line}");
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let line = line.replace("port=8080", &format!("port={port}"));
    let folder = tempfile::tempdir()?;
    let mut command = Command::new("bash");
    command
        .args(["-c", &format!("exec {line}")])
        .env(
            "GST_PLUGIN_PATH",
            built_binary("haven")?.parent().ok_or("no folder")?,
        )
        .env("GST_REGISTRY", folder.path().join("registry"));
    let mut child = Child::spawn("the document's line", command)?;
    let browser = Browser::start().await?;
    let url = format!("http://127.0.0.1:{port}/");
    let page = within("the sink's page", LIMIT, async {
        loop {
            match browser.open(&url).await {
                Ok(page) => return page,
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    })
    .await?;
    page.wait_for("haven.stats().drawn > 30", LIMIT).await?;
    page.click("#sound").await?;
    page.wait_for("haven.stats().sound.playing", LIMIT).await?;

    // Interrupted, it ends in order, and the page says so and waits.
    child.signal(rustix::process::Signal::INT)?;
    assert!(child.wait(LIMIT).await?.success());
    page.wait_for("haven.stats().state === 'lost'", LIMIT)
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_was_dropped_stays_away_until_it_is_told_to_come_back() -> Result {
    let _alone = ONE_AT_A_TIME.lock().await;
    let sink = JpegSink::play(WATCH_AND_LISTEN)?;
    let browser = Browser::start().await?;
    let page = browser.open(&sink.url()).await?;
    page.wait_for("haven.stats().drawn > 0", LIMIT).await?;
    let id = sink.clients()?[0].id;
    assert!(sink.element.emit_by_name::<bool>("drop-client", &[&id]));
    page.wait_for("haven.stats().state === 'gone'", LIMIT)
        .await?;
    // Longer than the page waits after a lost connection.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(sink.clients()?, []);
    page.click("#again").await?;
    page.wait_for("haven.stats().state === 'live'", LIMIT)
        .await?;
    assert_ne!(sink.clients()?[0].id, id);
    sink.stop()?;
    page.wait_for("haven.stats().state === 'lost'", LIMIT)
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_sound_buffer_resamples_follows_clocks_and_counts_breaks() -> Result {
    let _alone = ONE_AT_A_TIME.lock().await;
    let sink = JpegSink::play(WATCH_AND_LISTEN)?;
    let browser = Browser::start().await?;
    let page = browser.open(&sink.url()).await?;
    let measured = page.evaluate(include_str!("sound_buffer.js")).await?;
    let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
    // Two chunks of 20 ms.
    let near =
        |stats: &Value| (number(&stats["bufferedMs"]) - number(&stats["targetMs"])).abs() < 40.0;
    let unbroken = |stats: &Value| stats["underruns"] == 0 && stats["skips"] == 0;
    for stats in measured["resampled"]
        .as_object()
        .ok_or("no object")?
        .values()
    {
        assert!(unbroken(stats) && near(stats), "{stats}");
        // Of full scale; a click would be a hundred times as much.
        assert!(number(&stats["worst"]) < 0.001, "{stats}");
        assert!((number(&stats["loudest"]) - 0.5).abs() < 0.01, "{stats}");
    }
    for stats in measured["drifting"]
        .as_object()
        .ok_or("no object")?
        .values()
    {
        assert!(unbroken(stats) && near(stats), "{stats}");
    }
    assert!(number(&measured["burstAt"]) > 300.0, "{measured}");
    assert!(
        unbroken(&measured["burstAfter"]) && near(&measured["burstAfter"]),
        "{measured}"
    );
    assert!(number(&measured["flood"]["skips"]) >= 1.0, "{measured}");
    assert!(
        number(&measured["flood"]["bufferedMs"]) < 500.0,
        "{measured}"
    );
    for (case, underruns, playing) in [
        ("silent", 1, false),
        ("again", 1, true),
        ("rested", 0, false),
        ("resumed", 0, true),
    ] {
        let stats = &measured[case];
        assert_eq!(stats["underruns"], underruns, "{case}: {stats}");
        assert_eq!(stats["playing"], playing, "{case}: {stats}");
    }
    sink.stop()
}
