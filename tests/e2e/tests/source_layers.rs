//! Video in several sizes, and the choice among them.

use gst::prelude::*;
use haven_e2e::{Left, Publishing, Result, Room, Sinks, Source};
use haven_rig::media::{decode_to_end, probe, video_marks};
use haven_rig::{LiveOptions, tool};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::process::Command;

/// Three sizes and three rates in one stream, the smaller ones used by the larger in key frames only.
const SCALABLE: &str = "L3T3_KEY";

/// A size follows within two seconds where nobody else needs the processor.
const LIMIT: Duration = Duration::from_secs(30);

/// 720p in three sizes, as streams of their own or as layers of one; 15 a second, so that two cores
/// can encode them.
fn publishing(codec: &'static str, scalability: &'static str) -> Publishing {
    Publishing::Live(LiveOptions {
        codec,
        simulcast: scalability.is_empty(),
        scalability,
        fps: 15,
        ..LiveOptions::default()
    })
}

/// Sets the largest height, and waits until pictures are as high as that allows.
async fn follow(source: &Source, max_height: u32, height: u32) -> Result {
    let asked = Instant::now();
    source.element.set_property("max-height", max_height);
    source
        .wait_until("video", LIMIT, |log| {
            log.buffers
                .last()
                .and_then(|left| left.size)
                .map(|size| size.1)
                == Some(height)
        })
        .await?;
    println!(
        "max-height={max_height}: {height} lines after {:?}",
        asked.elapsed()
    );
    source.more("video", 10, LIMIT).await
}

async fn the_size_follows(codec: &'static str) -> Result {
    let mut room = Room::open(&publishing(codec, "")).await?;
    let source = Source::join(&room, &Sinks::raw(), |element| {
        element.set_property("max-width", 400u32);
    })?;
    source.more("video", 1, LIMIT).await?;
    let narrow = |left: &Left| left.size.is_some_and(|(width, _)| width <= 400);
    source
        .wait_until("video", LIMIT, |log| log.buffers.last().is_some_and(narrow))
        .await?;
    source.look("video", |log| {
        let wide = log.buffers.iter().filter(|left| !narrow(left)).count();
        println!("{codec}: {wide} pictures before the limit of the start");
    });
    source.forget();
    source.more("video", 20, LIMIT).await?;
    source.look("video", |log| assert!(log.buffers.iter().all(narrow)));
    source.element.set_property("max-width", 0u32);
    follow(&source, 0, 720).await?;
    follow(&source, 500, 360).await?;
    follow(&source, 0, 720).await?;
    follow(&source, 100, 180).await?;

    // The limit is still in force in a room that was joined anew.
    let caps = source.look("video", |log| log.caps.len());
    assert!(caps >= 5, "each size has caps of its own: {caps}");
    room.livekit.kill().await?;
    room.livekit.restart().await?;
    room.publish(&publishing(codec, "")).await?;
    source.forget();
    let low = |left: &Left| left.size.is_some_and(|(_, height)| height == 180);
    source
        .wait_until("video", LIMIT, |log| {
            log.buffers.len() >= 20 && log.buffers.iter().rev().take(20).all(low)
        })
        .await?;
    source.look("video", |log| {
        let high = log.buffers.iter().filter(|left| !low(left)).count();
        println!("{codec}: {high} pictures before the limit after the new join");
        let ordered = log
            .buffers
            .windows(2)
            .all(|two| two[0].time_s < two[1].time_s);
        assert!(ordered, "time ran backwards");
    });
    assert_eq!(source.pads(), ["audio_0", "video_0"]);
    Ok(())
}

/// What a scalable stream gives out: whole pictures of one size, each at its own time.
async fn a_scalable_stream_is_one_stream(codec: &'static str) -> Result {
    let room = Room::open(&publishing(codec, SCALABLE)).await?;
    for (what, sinks) in [("raw", Sinks::raw()), ("encoded", Sinks::encoded())] {
        let source = Source::join(&room, &sinks, |_| {})?;
        source.more("video", 1, LIMIT).await?;
        source.run_for(Duration::from_secs(8)).await?;
        source.look("video", |log| {
            let mut sizes: Vec<_> = log.buffers.iter().map(|left| left.size).collect();
            let times: Vec<f64> = log.buffers.iter().map(|left| left.time_s).collect();
            let shortest = times
                .windows(2)
                .map(|two| two[1] - two[0])
                .fold(f64::MAX, f64::min);
            let counters = log.counters();
            sizes.dedup();
            println!(
                "{codec} {what}: {} buffers in {:.1} s, sizes {sizes:?}, nearest {shortest:.3} s",
                log.buffers.len(),
                log.span_s()
            );
            // A picture's layers are one buffer: no two are at the same time.
            assert!(shortest > 0.02, "{shortest}");
            if what == "raw" {
                assert_eq!(sizes.last(), Some(&Some((1280, 720))));
                let forward = counters.windows(2).all(|two| two[0] < two[1]);
                assert!(forward && counters.len() > 40, "{counters:?}");
            }
        });
        if what == "raw" {
            follow(&source, 400, 360).await?;
            follow(&source, 0, 720).await?;
        }
    }
    Ok(())
}

/// Records a scalable stream; returns the file in its folder.
async fn record_scalable(
    codec: &'static str,
    parser: &str,
    muxer: &str,
) -> Result<(tempfile::TempDir, PathBuf)> {
    let room = Room::open(&publishing(codec, SCALABLE)).await?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("room");
    let source = Source::join(&room, &Sinks::file(parser, muxer, &file), |_| {})?;
    source.more("video", 60, LIMIT).await?;
    source.run_for(Duration::from_secs(3)).await?;
    source.finish().await?;
    Ok((folder, file))
}

/// A decoder that isn't libvpx finds the frames of a picture by its index only. It shows those of
/// the lower layers too, at the same time, since VP9 marks them as shown.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_scalable_vp9_has_every_picture_in_full_size() -> Result {
    let (_folder, file) = record_scalable("vp9", "vp9parse", "webmmux").await?;
    let packets = probe(&file)
        .await?
        .stream("video")
        .ok_or("no video")?
        .frames;
    let mut command = Command::new(tool("ffprobe")?);
    command.args(["-v", "error", "-select_streams", "v", "-show_entries"]);
    command.args(["frame=width", "-of", "csv=p=0"]).arg(&file);
    let widths = String::from_utf8(command.output().await?.stdout)?;
    let full = widths
        .lines()
        .filter(|line| line.trim_matches(',') == "1280");
    let full = full.count() as u64;
    println!("vp9: {full} pictures in full size of {packets}");
    assert_eq!(full, packets);
    assert!(packets >= 60, "{packets}");
    let counters: Vec<u32> = video_marks(&file)
        .await?
        .iter()
        .filter_map(|mark| mark.reading.counter)
        .collect();
    assert!(counters.windows(2).all(|two| two[0] <= two[1]));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_scalable_av1_plays_to_the_end() -> Result {
    let (_folder, file) = record_scalable("av1", "av1parse", "mp4mux").await?;
    let probed = probe(&file).await?;
    let video = probed.stream("video").ok_or("no video")?;
    assert_eq!((video.width, video.height), (1280, 720));
    decode_to_end(&file).await?;
    let counters: Vec<u32> = video_marks(&file)
        .await?
        .iter()
        .filter_map(|mark| mark.reading.counter)
        .collect();
    println!("av1: {} of {} pictures read", counters.len(), video.frames);
    assert!(counters.windows(2).all(|two| two[0] < two[1]));
    assert!(counters.len() as u64 + 15 > video.frames);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_size_of_h264_follows_the_limits() -> Result {
    the_size_follows("h264").await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_size_of_vp8_follows_the_limits() -> Result {
    the_size_follows("vp8").await
}

#[tokio::test(flavor = "multi_thread")]
async fn scalable_vp9_is_one_stream_of_whole_pictures() -> Result {
    a_scalable_stream_is_one_stream("vp9").await
}

#[tokio::test(flavor = "multi_thread")]
async fn scalable_av1_is_one_stream_of_whole_pictures() -> Result {
    a_scalable_stream_is_one_stream("av1").await
}
