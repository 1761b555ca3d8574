//! `livekitsrc` is started and stopped at every moment, against a real room.

use gst::prelude::*;
use haven_e2e::{Result, is_long_form};
use haven_rig::{Child, Clip, ClipParticipant, ClipSpec, Codec, LiveKitServer, Publisher, Role};
use rand::RngExt;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use tokio::process::Command;

/// Set where the test's own program runs again, with GStreamer's tracer of leaks.
const ROOM_URI: &str = "HAVEN_TEST_ROOM_URI";

const CYCLES: u32 = 50;
/// Plugins, threads of pools, and the allocator's own growth come with the first cycles, which
/// all run long enough to decode.
const WARM_UP: u32 = 15;
/// What the allocator may keep of 35 sessions, each of which moves some megabytes.
const MAY_GROW_KB: u64 = 16_000;
/// A session takes 0.3 s to its first frame; some cycles end before the join, some after.
const LONGEST_MS: u64 = 700;

/// How long a stop may take; others may hold the processor when no figures are measured.
fn stop_limit() -> Duration {
    Duration::from_millis(if is_long_form() { 1_000 } else { 3_000 })
}

async fn room() -> Result<(LiveKitServer, Publisher, String)> {
    let server = LiveKitServer::start().await?;
    let clip = Clip::get(ClipSpec::small(Codec::H264, 80)).await?;
    let token = server.token("stage", "streamer", Role::Publisher)?;
    let streamer = ClipParticipant::new("streamer", token);
    let publisher = Publisher::clip(&server.url(), &clip, &[streamer], true).await?;
    let uri = format!(
        "{}/stage?api-key={}&api-secret={}&ice-addresses=127.0.0.1",
        server.url().replace("ws://", "livekit://"),
        server.keys().key,
        server.keys().secret
    );
    Ok((server, publisher, uri))
}

fn init() -> Result {
    gst::init()?;
    Ok(gstlivekitsrc::plugin_register_static()?)
}

/// A pipeline that takes everything, encoded or decoded.
fn pipeline(uri: &str, decoded: bool) -> Result<(gst::Pipeline, gst::Element)> {
    let line = if decoded {
        "capsfilter name=video caps=video/x-raw ! fakesink sync=false \
         capsfilter name=audio caps=audio/x-raw ! fakesink sync=false"
    } else {
        "fakesink name=video sync=false fakesink name=audio sync=false"
    };
    let pipeline = gst::parse::launch(line)?
        .downcast::<gst::Pipeline>()
        .map_err(|_| "no pipeline")?;
    let source = gst::Element::make_from_uri(gst::URIType::Src, uri, None)?;
    pipeline.add(&source)?;
    let weak = pipeline.downgrade();
    source.connect_pad_added(move |_, pad| {
        let kind = if pad.name().starts_with("video") {
            "video"
        } else {
            "audio"
        };
        let entry = weak
            .upgrade()
            .and_then(|pipeline| pipeline.by_name(kind))
            .and_then(|element| element.static_pad("sink"));
        if let Some(entry) = entry {
            let _ = pad.link(&entry);
        }
    });
    Ok((pipeline, source))
}

/// Stops, twice; the time it took.
fn stop(pipeline: &gst::Pipeline) -> Result<Duration> {
    let before = Instant::now();
    pipeline.set_state(gst::State::Null)?;
    let took = before.elapsed();
    pipeline.set_state(gst::State::Null)?;
    Ok(took)
}

fn entries(folder: &str) -> Result<usize> {
    Ok(std::fs::read_dir(folder)?.count())
}

fn resident_kb() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.ok_or("no VmRSS")?.parse()?)
}

fn wait(time: Duration) {
    // A channel that nothing comes through: the moment is what is tested.
    let (_open, nothing) = mpsc::channel::<()>();
    let _ = nothing.recv_timeout(time);
}

/// Types of what is alive, by the leaks tracer. Its list of objects gives references away that it
/// doesn't have (GStreamer 1.22), so its log is read.
fn alive() -> Result<Vec<String>> {
    let tracer = gst::active_tracers()
        .into_iter()
        .find(|tracer| tracer.type_().name() == "GstLeaksTracer")
        .ok_or("the leaks tracer isn't there")?;
    let file = std::env::var("GST_DEBUG_FILE")?;
    let before = std::fs::read_to_string(&file)?.len();
    tracer.emit_by_name::<()>("log-live-objects", &[]);
    let log = std::fs::read_to_string(&file)?;
    let kinds = log[before..].lines().filter_map(|line| {
        let (_, rest) = line.split_once("object-alive, type-name=(string)")?;
        Some(rest.split(',').next()?.to_owned())
    });
    Ok(kinds.collect())
}

/// In the second process: the cycles, and what they leave.
fn cycles(uri: &str) -> Result {
    init()?;
    let mut before = (0, 0, 0);
    let mut slowest = Duration::ZERO;
    let mut had_pads = 0;
    for cycle in 0..CYCLES {
        if cycle == WARM_UP {
            before = (
                entries("/proc/self/fd")?,
                entries("/proc/self/task")?,
                resident_kb()?,
            );
        }
        let (pipeline, source) = pipeline(uri, cycle % 5 == 4)?;
        pipeline.set_state(gst::State::Playing)?;
        wait(Duration::from_millis(match cycle {
            0..WARM_UP => 2 * LONGEST_MS,
            _ => rand::rng().random_range(0..LONGEST_MS),
        }));
        had_pads += usize::from(source.num_src_pads() > 0);
        slowest = slowest.max(stop(&pipeline)?);
        if source.num_src_pads() > 0 || source.property::<Option<String>>("streamer-sid").is_some()
        {
            return Err("a stopped source has pads, or a streamer".into());
        }
    }
    let after = (
        entries("/proc/self/fd")?,
        entries("/proc/self/task")?,
        resident_kb()?,
    );
    println!(
        "{CYCLES} cycles, {had_pads} with pads; slowest stop {slowest:?}; descriptors, threads, kB: {before:?}, then {after:?}"
    );
    assert!(slowest < stop_limit(), "{slowest:?}");
    assert!(had_pads > 0, "no cycle was long enough");
    assert!(
        after.0 <= before.0 + 2,
        "descriptors: {before:?} became {after:?}"
    );
    assert!(
        after.1 <= before.1 + 5,
        "threads: {before:?} became {after:?}"
    );
    assert!(
        after.2 <= before.2 + MAY_GROW_KB,
        "memory: {before:?} became {after:?}"
    );
    let kept = pipeline(uri, false)?;
    assert!(alive()?.contains(&"GstLiveKitSrc".into()));
    drop(kept);
    let left: Vec<_> = alive()?.into_iter().filter(|kind| is_leak(kind)).collect();
    assert!(left.is_empty(), "{left:?}");
    Ok(())
}

/// Whether this should be gone. Factories, templates, their caps and clocks stay for good.
fn is_leak(kind: &str) -> bool {
    let stays = [
        "GstPadTemplate",
        "GstCaps",
        "GstElementFactory",
        "GstTypeFindFactory",
        "GstTracerFactory",
        "GstPlugin",
        "GstSystemClock",
        "GstRegistry",
        "GstDeviceProviderFactory",
        "GstDynamicTypeFactory",
        "GstLeaksTracer",
        "GstAllocatorSysmem",
        "GstTaskPool",
        "GstTracerRecord",
    ];
    !stays.contains(&kind)
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_starts_and_stops_at_random_moments_leave_nothing_behind() -> Result {
    if let Ok(uri) = std::env::var(ROOM_URI) {
        return tokio::task::spawn_blocking(move || cycles(&uri)).await?;
    }
    let (_server, _publisher, uri) = room().await?;
    let folder = tempfile::tempdir()?;
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["fifty_starts_and_stops_at_random_moments", "--nocapture"])
        .env(ROOM_URI, uri)
        .env("GST_TRACERS", "leaks")
        .env("GST_DEBUG", "GST_TRACER:7")
        .env("GST_DEBUG_NO_COLOR", "1")
        .env("GST_DEBUG_FILE", folder.path().join("log"));
    let mut child = Child::spawn("the cycles", command)?;
    assert!(child.wait(Duration::from_secs(300)).await?.success());
    Ok(())
}

/// Runs a pipeline until `provoke`, which gets the pipeline and a channel to say it, has stopped
/// it by itself; then stops it again and plays once more.
async fn stopped_by_itself(
    provoke: impl Fn(&gst::Pipeline, &gst::Element, mpsc::Sender<Duration>) + Send + 'static,
) -> Result {
    init()?;
    let (_server, _publisher, uri) = room().await?;
    let run = move || -> Result {
        let (pipeline, source) = pipeline(&uri, false)?;
        let (say, said) = mpsc::channel();
        provoke(&pipeline, &source, say);
        pipeline.set_state(gst::State::Playing)?;
        let took = said.recv_timeout(Duration::from_secs(30))?;
        stop(&pipeline)?;
        assert!(took < stop_limit(), "{took:?}");
        assert_eq!(source.num_src_pads(), 0);
        Ok(())
    };
    tokio::task::spawn_blocking(run).await?
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_of_pad_added_may_stop_the_pipeline() -> Result {
    stopped_by_itself(|pipeline, source, say| {
        let weak = pipeline.downgrade();
        source.connect_pad_added(move |_, _| {
            let Some(pipeline) = weak.upgrade() else {
                return;
            };
            if let Ok(took) = stop(&pipeline) {
                let _ = say.send(took);
            }
        });
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_streaming_thread_may_have_the_pipeline_stopped() -> Result {
    stopped_by_itself(|pipeline, source, say| {
        let weak = pipeline.downgrade();
        source.connect_pad_added(move |_, pad| {
            let (weak, say) = (weak.clone(), say.clone());
            pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
                let say = say.clone();
                if let Some(pipeline) = weak.upgrade() {
                    // GStreamer's way: no thread can wait for its own end.
                    pipeline.call_async(move |pipeline| {
                        if let Ok(took) = stop(pipeline) {
                            let _ = say.send(took);
                        }
                    });
                }
                gst::PadProbeReturn::Remove
            });
        });
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_waits_for_the_stop_itself_does_not_keep_it_waiting() -> Result {
    stopped_by_itself(|pipeline, source, say| {
        let weak = pipeline.downgrade();
        source.connect_pad_added(move |_, _| {
            let (weak, say) = (weak.clone(), say.clone());
            let (done, stopped) = mpsc::channel::<()>();
            std::thread::spawn(move || {
                let Some(pipeline) = weak.upgrade() else {
                    return;
                };
                if let Ok(took) = stop(&pipeline) {
                    let _ = say.send(took);
                }
                drop(done);
            });
            let _ = stopped.recv_timeout(Duration::from_secs(20));
        });
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn it_stops_while_the_server_is_gone_and_it_reconnects() -> Result {
    init()?;
    let (mut server, _publisher, uri) = room().await?;
    let (pipeline, source) = pipeline(&uri, false)?;
    pipeline.set_state(gst::State::Playing)?;
    let becomes = async |wanted: &str| -> Result {
        haven_rig::within(wanted, Duration::from_secs(30), async {
            let state = || source.property_value("connection-state").serialize();
            while state().is_ok_and(|state| state != wanted) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await?;
        Ok(())
    };
    becomes("live").await?;
    server.kill().await?;
    becomes("reconnecting").await?;
    let took = tokio::task::spawn_blocking({
        let pipeline = pipeline.clone();
        move || stop(&pipeline)
    })
    .await??;
    assert!(took < stop_limit(), "{took:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_statistics_tell_of_both_tracks_and_of_the_connection() -> Result {
    init()?;
    let (_server, _publisher, uri) = room().await?;
    let (pipeline, source) = pipeline(&uri, false)?;
    pipeline.set_state(gst::State::Playing)?;
    let tracks = |stats: &gst::Structure| -> Vec<gst::Structure> {
        let tracks = stats.get::<gst::Array>("tracks").unwrap_or_default();
        tracks.iter().filter_map(|track| track.get().ok()).collect()
    };
    let stats = haven_rig::within("both tracks' figures", Duration::from_secs(30), async {
        loop {
            let stats = source.property::<gst::Structure>("stats");
            let measured = tracks(&stats).iter().all(|track| {
                track.get::<u64>("bitrate").is_ok_and(|rate| rate > 0) && track.has_field("jitter")
            });
            if measured && tracks(&stats).len() == 2 && stats.has_field("round-trip-time") {
                return stats;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await?;
    stop(&pipeline)?;
    assert_eq!(stats.get::<&str>("protocol")?, "udp");
    assert!(
        stats
            .get::<&str>("remote-address")?
            .starts_with("127.0.0.1:")
    );
    // A round trip on loopback: more than nothing, less than a second on a very busy machine.
    assert!(
        (1..1_000_000_000).contains(&stats.get::<u64>("round-trip-time")?),
        "{stats}"
    );
    for track in tracks(&stats) {
        let video = track.get::<&str>("kind")? == "video";
        let codec = if video { "h264" } else { "opus" };
        assert_eq!(track.get::<&str>("codec")?, codec);
        assert_eq!(track.get::<&str>("identity")?, "streamer");
        // The clip: 360p at a few hundred kbit/s with a key frame each second, Opus at 64 kbit/s.
        assert!(
            (10_000..3_000_000).contains(&track.get::<u64>("bitrate")?),
            "{track}"
        );
        assert!(
            track.get::<u64>("packets")? >= track.get::<u64>("frames")? / 2,
            "{track}"
        );
        assert!(track.get::<u64>("jitter")? < 1_000_000_000, "{track}");
        assert_eq!(track.get::<u64>("key-frames")? > 0, video, "{track}");
        assert_eq!(
            track.get::<u32>("width").ok(),
            video.then_some(640),
            "{track}"
        );
    }
    Ok(())
}
