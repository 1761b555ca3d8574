//! Every codec that publishers send, as it was sent and decoded.

use haven_e2e::{
    Publishing, Result, Room, Sinks, Source, is_long_form, may_be_missing, measured_seconds,
};
use haven_rig::media::{decode_to_end, probe};
use haven_rig::picture::Run;
use haven_rig::{ClipSpec, Codec, LiveOptions, PublisherEvent};
use std::time::Duration;

/// For things that take a second where nobody else needs the processor.
const LIMIT: Duration = Duration::from_secs(30);
const FPS: f64 = 30.0;
/// What the caches of the rig hold.
const CLIP_SECONDS: u32 = 80;

/// A codec and what leaves the pads for it.
struct Case {
    name: &'static str,
    /// What the publisher of clips can send; AV1 is encoded live.
    clip: Option<Codec>,
    encoded: &'static str,
    parser: &'static str,
    muxer: &'static str,
    extension: &'static str,
}

const H264: Case = Case {
    name: "h264",
    clip: Some(Codec::H264),
    encoded: "video/x-h264, stream-format=(string)byte-stream, alignment=(string)au",
    parser: "h264parse",
    muxer: "mp4mux",
    extension: "mp4",
};
const VP8: Case = Case {
    name: "vp8",
    clip: Some(Codec::Vp8),
    encoded: "video/x-vp8, framerate=(fraction)0/1, width=(int)640, height=(int)360",
    parser: "identity",
    muxer: "webmmux",
    extension: "webm",
};
const VP9: Case = Case {
    name: "vp9",
    clip: Some(Codec::Vp9),
    encoded: "video/x-vp9, alignment=(string)super-frame, framerate=(fraction)0/1",
    parser: "vp9parse",
    muxer: "webmmux",
    extension: "webm",
};
const AV1: Case = Case {
    name: "av1",
    clip: None,
    encoded: "video/x-av1, stream-format=(string)obu-stream, alignment=(string)tu, framerate=(fraction)0/1",
    parser: "av1parse",
    muxer: "mp4mux",
    extension: "mp4",
};

async fn open(case: &Case) -> Result<Room> {
    let publishing = match case.clip {
        None => Publishing::Live(LiveOptions {
            codec: "av1",
            width: 640,
            height: 360,
            ..LiveOptions::default()
        }),
        Some(codec) => Publishing::Clip(ClipSpec::small(codec, CLIP_SECONDS)),
    };
    Room::open(&publishing).await
}

/// Lets it run, and returns how many frames a publisher that encodes live, and leaves some out
/// where the processor is busy, sent in that time.
async fn measure(room: &mut Room, source: &Source, case: &Case) -> Result<Option<u64>> {
    if case.clip.is_some() {
        source.run_for(measured_seconds()).await?;
        return Ok(None);
    }
    // Reports of the time before come first.
    source.run_for(Duration::from_secs(1)).await?;
    let mut before = progress(room).await?;
    while before.frame_number < source.look("video", |log| log.buffers.len() as i64) {
        before = progress(room).await?;
    }
    source.forget();
    source.run_for(measured_seconds()).await?;
    let end = before.frame_number + (measured_seconds().as_secs_f64() * FPS) as i64;
    let mut after = progress(room).await?;
    while after.frame_number < end {
        after = progress(room).await?;
    }
    Ok(Some(after.video_frames - before.video_frames))
}

async fn progress(room: &mut Room) -> Result<PublisherEvent> {
    let publisher = room.publisher()?;
    Ok(publisher
        .take(LIMIT, |event| event.event == "progress")
        .await?)
}

/// Joins, and says how long the first frame of either kind took.
async fn join(room: &Room, sinks: &Sinks, what: &str) -> Result<Source> {
    let source = Source::join(room, sinks, |_| {})?;
    for kind in ["video", "audio"] {
        source.more(kind, 1, LIMIT).await?;
        let first = source.look(kind, |log| log.buffers[0].at) - source.started;
        println!("{what}: first {kind} {first:?} after PLAYING");
        let limit = if is_long_form() { 1.5 } else { 15.0 };
        assert!(first.as_secs_f64() < limit, "first {kind} after {first:?}");
    }
    Ok(source)
}

/// Frames of a length of time that follow one another at the publisher's rate.
fn assert_full_rate(source: &Source, sent: Option<u64>, what: &str) {
    source.look("video", |log| {
        let expected = sent.unwrap_or((log.span_s() * FPS).round() as u64 + 1);
        let seen = log.buffers.len() as u64;
        println!(
            "{what}: {seen} of {expected} frames in {:.1} s",
            log.span_s()
        );
        // A live publisher reports once a second, not at the instant of the measurement.
        let expected = expected - sent.map_or(0, |_| FPS as u64);
        assert!(
            seen + may_be_missing(expected) >= expected,
            "{seen} of {expected}"
        );
        let ordered = log
            .buffers
            .windows(2)
            .all(|two| two[0].time_s < two[1].time_s);
        assert!(ordered, "time ran backwards");
    });
    source.look("audio", |log| {
        let expected = (log.span_s() * 50.0).round() as u64 + 1;
        let seen = log.buffers.len() as u64;
        println!("{what}: {seen} of {expected} packets of sound");
        assert!(
            seen + may_be_missing(expected) >= expected,
            "{seen} of {expected}"
        );
    });
}

async fn encoded_frames_leave_as_they_were_published(case: &Case) -> Result {
    let mut room = open(case).await?;
    let what = format!("{} encoded", case.name);
    let source = join(&room, &Sinks::encoded(), &what).await?;
    let sent = measure(&mut room, &source, case).await?;
    assert_full_rate(&source, sent, &what);
    source.look("video", |log| {
        let newest = log.newest_caps().map(ToString::to_string);
        assert_eq!(newest.as_deref(), Some(case.encoded));
        assert!(sent.is_some() || log.buffers[0].key && log.buffers[0].discontinuity);
        let breaks = log.buffers.iter().skip(1).filter(|left| left.discontinuity);
        println!("{what}: {} discontinuities", breaks.count());
        if case.clip.is_none() {
            // Each temporal unit begins with its delimiter (AV1 specification, 7.5).
            assert!(
                log.buffers
                    .iter()
                    .all(|left| left.head.starts_with(&[0x12, 0x00]))
            );
        }
    });
    source.look("audio", |log| {
        let structure = log.newest_caps().and_then(|caps| caps.structure(0));
        assert!(
            structure.is_some_and(|opus| opus.get("channels") == Ok(2i32)
                && opus.get("channel-mapping-family") == Ok(0i32)),
            "{structure:?}"
        );
    });
    Ok(())
}

async fn pictures_and_samples_are_decoded(case: &Case) -> Result {
    let mut room = open(case).await?;
    let what = format!("{} raw", case.name);
    let source = join(&room, &Sinks::raw(), &what).await?;
    let sent = measure(&mut room, &source, case).await?;
    assert_full_rate(&source, sent, &what);
    source.look("video", |log| {
        let counters = log.counters();
        let run = Run::of(&counters, FPS as u32 * CLIP_SECONDS);
        println!("{what}: {run:?}");
        // The first pictures after a join may be blurred.
        assert!(counters.len() + 30 >= log.buffers.len(), "{run:?}");
        assert!(
            sent.is_some() || run.missing <= may_be_missing(run.seen),
            "{run:?}"
        );
        assert_eq!((run.repeated, run.backward), (0, 0));
        assert!(log.buffers.iter().all(|left| left.size == Some((640, 360))));
        let structure = log.newest_caps().and_then(|caps| caps.structure(0));
        assert_eq!(
            structure.map(|raw| raw.name().as_str()),
            Some("video/x-raw")
        );
    });
    source.look("audio", |log| {
        let structure = log.newest_caps().and_then(|caps| caps.structure(0));
        let channels = structure.and_then(|raw| raw.get::<i32>("channels").ok());
        assert_eq!(channels, Some(2), "{structure:?}");
        let beeps = log.beeps_s();
        assert!(beeps.len() as f64 >= log.span_s() - 2.0, "{beeps:?}");
    });
    Ok(())
}

async fn a_file_of_it_plays_to_the_end(case: &Case) -> Result {
    let room = open(case).await?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join(format!("room.{}", case.extension));
    let sinks = Sinks::file(case.parser, case.muxer, &file);
    let source = join(&room, &sinks, &format!("{} file", case.name)).await?;
    source.run_for(Duration::from_secs(6)).await?;
    source.finish().await?;
    if case.name == "h264" {
        let caps = source.caps_into("mux", "video").ok_or("no caps")?;
        let avc = caps.structure(0).ok_or("empty caps")?;
        assert_eq!(avc.get::<&str>("stream-format")?, "avc");
        assert_eq!(avc.get::<&str>("profile")?, "constrained-baseline");
        assert!(avc.get::<gst::Buffer>("codec_data")?.size() > 10);
    }
    let frames = source.look("video", |log| log.buffers.len() as u64);
    drop(source);
    let probed = probe(&file).await?;
    let video = probed.stream("video").ok_or("no video")?;
    println!("{}: {frames} frames, file {video:?}", case.name);
    assert_eq!(video.codec, case.name);
    assert_eq!((video.width, video.height), (640, 360));
    assert!(video.frames + 3 >= frames, "{} of {frames}", video.frames);
    let audio = probed.stream("audio").ok_or("no audio")?;
    assert_eq!((&*audio.codec, audio.channels), ("opus", 2));
    decode_to_end(&file).await?;
    Ok(())
}

macro_rules! matrix {
    ($($name:ident: $check:ident($case:ident);)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() -> Result {
            $check(&$case).await
        }
    )*};
}

matrix! {
    h264_leaves_as_it_was_published: encoded_frames_leave_as_they_were_published(H264);
    vp8_leaves_as_it_was_published: encoded_frames_leave_as_they_were_published(VP8);
    vp9_leaves_as_it_was_published: encoded_frames_leave_as_they_were_published(VP9);
    av1_leaves_as_it_was_published: encoded_frames_leave_as_they_were_published(AV1);
    h264_is_decoded: pictures_and_samples_are_decoded(H264);
    vp8_is_decoded: pictures_and_samples_are_decoded(VP8);
    vp9_is_decoded: pictures_and_samples_are_decoded(VP9);
    av1_is_decoded: pictures_and_samples_are_decoded(AV1);
    h264_in_mp4_plays_to_the_end: a_file_of_it_plays_to_the_end(H264);
    vp8_in_webm_plays_to_the_end: a_file_of_it_plays_to_the_end(VP8);
    vp9_in_webm_plays_to_the_end: a_file_of_it_plays_to_the_end(VP9);
    av1_in_mp4_plays_to_the_end: a_file_of_it_plays_to_the_end(AV1);
}
