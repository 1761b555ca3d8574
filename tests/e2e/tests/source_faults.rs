//! What a room does to its subscribers: the same pads go on after each of it.
//!
//! The figures that are printed count from the moment the publisher (or the server) said that it was
//! back, so they hold what the publisher took until its first packet.

use gst::prelude::*;
use haven_e2e::{Cable, Publishing, Result, Room, Sinks, Source, is_long_form, may_be_missing};
use haven_rig::picture::Run;
use haven_rig::{ClipSpec, Codec, LiveOptions, Role, TrackKind};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(40);
/// How long the server is away.
const AWAY: Duration = Duration::from_secs(3);
const CLIP_SECONDS: u32 = 80;

fn muted() -> Duration {
    Duration::from_secs(if is_long_form() { 10 } else { 3 })
}

fn republished() -> usize {
    if is_long_form() { 20 } else { 5 }
}

fn killed() -> usize {
    if is_long_form() { 10 } else { 3 }
}

fn clip() -> Publishing {
    Publishing::Clip(ClipSpec::small(Codec::H264, CLIP_SECONDS))
}

/// Waits for media on the pad of this kind, `since` being when its publisher was back.
async fn comes_back(source: &Source, kind: &str, what: &str, since: Instant) -> Result<Duration> {
    source
        .wait_until(kind, LIMIT, |log| {
            log.buffers.last().is_some_and(|left| left.at >= since)
        })
        .await?;
    let back = source.look(kind, |log| {
        let first = log.buffers.iter().find(|left| left.at >= since);
        first.map_or(Duration::MAX, |left| left.at - since)
    });
    println!("{what}: {kind} back after {back:.2?}");
    source.more(kind, 15, LIMIT).await?;
    assert_eq!(source.pads(), ["audio_0", "video_0"], "{what}");
    let backwards = source.look(kind, |log| {
        let times = log.buffers.windows(2);
        times
            .filter(|pair| pair[1].time_s <= pair[0].time_s)
            .count()
    });
    assert_eq!(backwards, 0, "{what}");
    Ok(back)
}

/// Threads and open files of this process, and elements in the source.
fn holdings(source: &Source) -> Result<[usize; 3]> {
    let entries = |folder: &str| std::fs::read_dir(folder).map(Iterator::count);
    let elements = source.element.downcast_ref::<gst::Bin>().ok_or("no bin")?;
    Ok([
        entries("/proc/self/task")?,
        entries("/proc/self/fd")?,
        elements.iterate_recurse().into_iter().count(),
    ])
}

async fn flows(source: &Source) -> Result {
    for kind in ["video", "audio"] {
        source.more(kind, 30, LIMIT).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_publisher_does_leaves_the_pads_as_they_are() -> Result {
    let mut room = Room::open(&clip()).await?;
    let source = Source::join(&room, &Sinks::encoded(), |_| ())?;
    flows(&source).await?;

    // The first time may load code and open files that stay.
    let mut before = None;
    for _ in 0..republished() {
        room.publisher()?.unpublish(TrackKind::Video).await?;
        room.publisher()?.republish(TrackKind::Video).await?;
        comes_back(&source, "video", "republished", Instant::now()).await?;
        before.get_or_insert(holdings(&source)?);
    }
    let after = holdings(&source)?;
    println!("threads, files, elements: {before:?} before, {after:?} after");
    let grown = before.is_some_and(|before| (0..3).any(|index| after[index] > before[index] + 2));
    assert!(!grown, "{before:?} {after:?}");
    let told = source.look("video", |log| log.gaps);
    room.publisher()?.mute(TrackKind::Video).await?;
    room.publisher()?.mute(TrackKind::Audio).await?;
    source.run_for(muted()).await?;
    for kind in ["video", "audio"] {
        let gaps = source.look(kind, |log| log.gaps) - if kind == "video" { told } else { 0 };
        println!("muted for {:?}: {gaps} gaps on {kind}", muted());
        assert!(gaps >= 5, "{kind}: {gaps}");
    }
    let unmuted = Instant::now();
    room.publisher()?.unmute(TrackKind::Video).await?;
    room.publisher()?.unmute(TrackKind::Audio).await?;
    comes_back(&source, "video", "unmuted", unmuted).await?;
    comes_back(&source, "audio", "unmuted", unmuted).await?;

    room.publisher()?.share_screen().await?;
    comes_back(&source, "video", "from camera to screen", Instant::now()).await?;

    // Killed, and back under the same identity before the server has noticed.
    for _ in 0..killed() {
        room.publish(&clip()).await?;
        let back = Instant::now();
        comes_back(&source, "video", "publisher killed and back", back).await?;
        comes_back(&source, "audio", "publisher killed and back", back).await?;
    }
    // All of it by itself, not because the connection was made anew.
    let stats = source.element.property::<gst::Structure>("stats");
    assert_eq!(stats.get::<u64>("reconnects")?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn another_codec_and_another_size_come_out_of_the_same_pads() -> Result {
    // The long form begins with what a camera sends; encoding that is too much for a busy machine.
    let (width, height) = if is_long_form() {
        (1280, 720)
    } else {
        (640, 360)
    };
    let mut room = Room::open(&Publishing::Live(LiveOptions {
        width,
        height,
        ..LiveOptions::default()
    }))
    .await?;
    let source = Source::join(&room, &Sinks::encoded(), |_| ())?;
    flows(&source).await?;
    for codec in ["vp8", "h264", "vp9"] {
        room.publisher()?.change_codec(codec).await?;
        let changed = Instant::now();
        let caps = format!("video/x-{codec}");
        source
            .wait_until("video", LIMIT, |log| {
                let newest = log.newest_caps().and_then(|caps| caps.structure(0));
                newest.is_some_and(|structure| structure.name() == caps.as_str())
            })
            .await?;
        comes_back(&source, "video", codec, changed).await?;
    }
    room.publisher()?.change_size(width / 2, height / 2).await?;
    comes_back(&source, "video", "half the size", Instant::now()).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn signalling_that_is_cut_costs_no_frame() -> Result {
    let room = Room::open(&clip()).await?;
    let url = room.livekit.url();
    let (_, port) = url.rsplit_once(':').ok_or("a URL without a port")?;
    let way = Cable::to(port.parse()?).await?;
    let source = Source::join(&room, &Sinks::raw(), |element| {
        element.set_property("url", format!("ws://{}", way.address));
    })?;
    flows(&source).await?;
    source.forget();
    for _ in 0..3 {
        way.cut();
        source.run_for(Duration::from_secs(3)).await?;
    }
    source.look("video", |log| {
        let run = Run::of(&log.counters(), 30 * CLIP_SECONDS);
        println!("signalling cut three times: {run:?}");
        assert!(run.seen > 200 && run.backward == 0, "{run:?}");
        assert!(run.missing <= may_be_missing(run.seen), "{run:?}");
    });
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_killed_is_found_again() -> Result {
    let mut room = Room::open(&clip()).await?;
    let source = Source::join(&room, &Sinks::encoded(), |_| ())?;
    flows(&source).await?;
    room.livekit.kill().await?;
    source.run_for(AWAY).await?;
    room.livekit.restart().await?;
    room.publish(&clip()).await?;
    let back = Instant::now();
    comes_back(&source, "video", "server killed and back", back).await?;
    comes_back(&source, "audio", "server killed and back", back).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_to_the_room_and_who_comes_is_told() -> Result {
    let room = Room::open(&clip()).await?;
    let source = Source::join(&room, &Sinks::encoded(), |_| ())?;
    flows(&source).await?;
    // The data channel opens some time after the join, and says nothing of it: what is sent before
    // is lost. So it is sent until it comes.
    let service = room.livekit.room_service();
    let began = Instant::now();
    let data = loop {
        service.send_data(&room.name, "news", b"hello").await?;
        let is_data = |structure: &gst::StructureRef| structure.name() == "livekit-data";
        match source.told(Duration::from_millis(500), is_data).await {
            Ok(data) => break data,
            Err(error) if began.elapsed() > LIMIT => return Err(error),
            Err(_not_yet) => {}
        }
    };
    assert_eq!(data.get::<&str>("topic")?, "news");
    assert_eq!(&*data.get::<gst::glib::Bytes>("payload")?, b"hello");
    // Tokens that the element makes by itself are of hidden viewers.
    let token = room
        .livekit
        .token(&room.name, "viewer-other", Role::Viewer)?;
    let other = Source::join(&room, &Sinks::encoded(), |element| {
        element.set_property("api-key", "");
        element.set_property("token", token);
    })?;
    let of_other = |state: &'static str| {
        move |structure: &gst::StructureRef| {
            structure.name() == "livekit-presence"
                && structure.get("identity") == Ok("viewer-other")
                && structure.get("state") == Ok(state)
        }
    };
    source.told(LIMIT, of_other("joined")).await?;
    drop(other);
    source.told(LIMIT, of_other("left")).await?;
    Ok(())
}
