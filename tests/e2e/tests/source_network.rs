//! Sync and completeness over a network that delays and loses packets.

use gst::prelude::*;
use haven_e2e::{
    Publishing, Result, Room, Sinks, Source, is_long_form, may_be_missing, measured_seconds,
};
use haven_rig::ClipSpec;
use haven_rig::Codec;
use haven_rig::media::{LipSync, lip_sync};
use haven_rig::picture::Run;
use haven_rig::relay::{FAULTY, Faults, Network, Relay};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(40);
const CLIP_SECONDS: u32 = 80;
const FPS: u32 = 30;
/// Both tracks have sender reports by then (the first comes after 3 to 6 s), and what they
/// corrected is corrected: 150 ms take 6 s.
const SETTLED: Duration = Duration::from_secs(14);
/// How far flash and beep may move against one another, in milliseconds.
const STEADY_MS: f64 = 20.0;

/// A room whose media comes through the relay, and somebody in it.
async fn room_behind(relay: &Relay) -> Result<Room> {
    let clip = ClipSpec::small(Codec::H264, CLIP_SECONDS);
    Room::open_with(&relay.configuration(), &Publishing::Clip(clip)).await
}

fn join(room: &Room, sinks: &Sinks) -> Result<Source> {
    Source::join(room, sinks, |element| {
        element.set_property("ice-addresses", FAULTY.to_string());
    })
}

/// Flash against beep from now on.
async fn measure(source: &Source, what: &str, time: Duration) -> Result<LipSync> {
    source.forget();
    source.run_for(time).await?;
    let flashes = source.look("video", |log| log.flashes_s());
    let beeps = source.look("audio", |log| log.beeps_s());
    let sync = lip_sync(&flashes, &beeps).ok_or("no flash with a beep")?;
    println!("{what}: {sync:?}");
    assert!(sync.pairs as u64 + 4 >= time.as_secs(), "{sync:?}");
    Ok(sync)
}

#[tokio::test(flavor = "multi_thread")]
async fn flash_and_beep_stay_together_whatever_the_network_does_to_one_of_them() -> Result {
    let relay = Relay::start(1).await?;
    let mut room = room_behind(&relay).await?;
    let source = join(&room, &Sinks::raw())?;
    source.more("video", 10, LIMIT).await?;
    source.run_for(SETTLED).await?;
    let first = measure(&source, "plain", measured_seconds()).await?;
    assert!(
        (first.end_ms - first.start_ms).abs() < STEADY_MS,
        "{first:?}"
    );

    relay.set(Network {
        down: Faults {
            audio_delay: Duration::from_millis(150),
            ..Faults::default()
        },
        ..Network::default()
    });
    // The delay is seen when the time of the shortest way has been forgotten.
    source.run_for(SETTLED + Duration::from_secs(20)).await?;
    let sound = relay.counts().sound;
    assert!(sound > 1000, "{sound} packets of sound were recognised");
    let delayed = measure(&source, "sound 150 ms late", measured_seconds()).await?;
    assert!(
        (delayed.median_ms - first.median_ms).abs() < STEADY_MS,
        "{delayed:?} {first:?}"
    );
    assert!(
        (delayed.end_ms - delayed.start_ms).abs() < STEADY_MS,
        "{delayed:?}"
    );

    relay.set(Network::default());
    room.livekit.kill().await?;
    room.livekit.restart().await?;
    let clip = ClipSpec::small(Codec::H264, CLIP_SECONDS);
    room.publish(&Publishing::Clip(clip)).await?;
    source.more("video", 10, LIMIT).await?;
    source.run_for(SETTLED).await?;
    let again = measure(&source, "after a reconnect", measured_seconds()).await?;
    assert!(
        (again.median_ms - first.median_ms).abs() < STEADY_MS,
        "{again:?} {first:?}"
    );
    assert_eq!(source.pads(), ["audio_0", "video_0"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_packet_in_twenty_lost_both_ways_costs_no_frame_in_a_hundred() -> Result {
    let relay = Relay::start(2).await?;
    let room = room_behind(&relay).await?;
    let source = join(&room, &Sinks::raw())?;
    source.more("video", 30, LIMIT).await?;
    source.run_for(Duration::from_secs(3)).await?;
    relay.set(Network::losing(0.05));
    source.forget();
    source
        .run_for(measured_seconds().max(Duration::from_secs(10)))
        .await?;
    let counts = relay.counts();
    source.look("video", |log| {
        let run = Run::of(&log.counters(), FPS * CLIP_SECONDS);
        let breaks = log.buffers.iter().filter(|left| left.discontinuity).count();
        println!("5 % loss: {run:?}, {breaks} breaks, {counts:?}");
        assert!(run.seen > 200, "{run:?}");
        // A whole group of pictures is lost with a frame, since a clip answers no request.
        assert!(run.missing <= may_be_missing(run.seen), "{run:?}");
    });
    assert!(counts.lost > 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn media_is_back_within_three_seconds_of_the_first_packet_after_a_blackout() -> Result {
    let relay = Relay::start(3).await?;
    let room = room_behind(&relay).await?;
    let source = join(&room, &Sinks::encoded())?;
    source.more("video", 30, LIMIT).await?;
    relay.set(Network::losing(1.0));
    let dark = Duration::from_secs(if is_long_form() { 30 } else { 6 });
    source.run_for(dark).await?;
    source.forget();
    let light = Instant::now();
    relay.set(Network::default());
    for kind in ["video", "audio"] {
        source.more(kind, 1, LIMIT).await?;
    }
    let first_packet = relay
        .first_media()
        .ok_or("no packet of media came through")?;
    for kind in ["video", "audio"] {
        let at = source.look(kind, |log| log.buffers[0].at);
        println!(
            "{dark:?} dark: {kind} {:?} after the light, {:?} after the first packet",
            at - light,
            at.saturating_duration_since(first_packet)
        );
        assert!(at.saturating_duration_since(first_packet) < Duration::from_secs(3));
    }
    source.more("video", 60, LIMIT).await?;
    assert_eq!(source.pads(), ["audio_0", "video_0"]);
    Ok(())
}
