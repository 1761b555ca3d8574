use super::{
    plan::{MIX_BPS, MP4_MUXER},
    signature::Signature,
};
use crate::{formats::Recipe, measure};
use gst::prelude::*;
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

// Every pipeline below is in gst-launch syntax. The sources aren't live: the muxer then goes by what
// it is given, which the tracks keep complete, and not by the clock. Queues before the muxer are
// bounded and wait: what can't be taken is left out, and counted, at the tracks' feeds.

const SOURCE: &str = "format=time is-live=false block=false max-bytes=0";
const QUEUE: &str = "queue max-size-buffers=0 max-size-time=0 max-size-bytes=33554432";
const FILE: &str = "filesink name=file buffer-mode=unbuffered async=false sync=false";

/// mp4mux 1.22 takes the Opus pre-skip from the stream's header and writes its bytes in the wrong
/// order: players leave out 0.3 s. The times of the packets say the same and are right.
const WITHOUT_HEADER: &str = "capssetter replace=true \
     caps=audio/x-opus,rate=48000,channels=2,channel-mapping-family=0";

/// Pictures and sound, encoded.
pub(super) fn encoding(recipe: &Recipe) -> String {
    let link = |text: &str| match text {
        "" => String::new(),
        text => format!("{text} ! "),
    };
    format!(
        "appsrc name=pictures {SOURCE} ! videoconvertscale add-borders=true ! \
         capsfilter name=geometry ! {converter}{video} name=encoder {options} ! {video_parser}{QUEUE} ! mux. \
         appsrc name=sound {SOURCE} ! audioconvert ! audioresample ! \
         {audio} ! {audio_parser}{QUEUE} ! mux. \
         {muxer} name=mux ! {FILE}",
        converter = link(&recipe.video_converter),
        video = recipe.video_encoder,
        options = recipe.video_options,
        video_parser = link(&recipe.video_parser),
        audio = recipe.audio_encoder,
        audio_parser = link(&recipe.audio_parser),
        muxer = recipe.muxer,
    )
}

/// What Opus of WebRTC always is (RFC 7587, section 7).
pub(super) fn opus_caps() -> gst::Caps {
    gst::Caps::builder("audio/x-opus")
        .field("rate", 48_000)
        .field("channels", 2)
        .field("channel-mapping-family", 0)
        .build()
}

/// What the sound of a copy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CopiedSound {
    /// There is none.
    None,
    /// Packets as they were published.
    Packets,
    /// A mix, to be encoded.
    Mix,
}

/// Pictures of these parameters as they are, and sound.
pub(super) fn copying(video: Option<&Signature>, sound: CopiedSound) -> String {
    let parser = match video.map(Signature::media) {
        Some("video/x-h264") => "h264parse ! video/x-h264,stream-format=avc,alignment=au ! ",
        Some("video/x-av1") => "av1parse ! video/x-av1,stream-format=obu-stream,alignment=tu ! ",
        Some("video/x-vp9") => "vp9parse ! ",
        _ => "",
    };
    let pictures = match video {
        Some(_) => format!("appsrc name=pictures {SOURCE} ! {parser}{QUEUE} ! mux. "),
        None => String::new(),
    };
    let sound = match sound {
        CopiedSound::None => String::new(),
        CopiedSound::Packets => {
            format!("appsrc name=sound {SOURCE} ! opusparse ! {WITHOUT_HEADER} ! {QUEUE} ! mux. ")
        }
        CopiedSound::Mix => format!(
            "appsrc name=sound {SOURCE} ! audioconvert ! audioresample ! \
             opusenc bitrate={MIX_BPS} ! {WITHOUT_HEADER} ! {QUEUE} ! mux. "
        ),
    };
    let muxer = match container(video) {
        "mp4" => MP4_MUXER,
        _ => "webmmux",
    };
    format!("{pictures}{sound}{muxer} name=mux ! {FILE}")
}

/// What holds pictures of these parameters; also a file's extension.
pub(super) fn container(video: Option<&Signature>) -> &'static str {
    match video.map(Signature::media) {
        Some("video/x-h264" | "video/x-av1") => "mp4",
        _ => "webm",
    }
}

/// Sound alone, not compressed.
pub(super) fn wave() -> String {
    format!("appsrc name=sound {SOURCE} ! {QUEUE} ! wavenc name=mux ! {FILE}")
}

/// How far the muxer was given each of its streams.
#[derive(Debug)]
pub(super) struct Position(Vec<Arc<AtomicU64>>);

impl Position {
    /// Follows what this muxer is given.
    pub(super) fn of(muxer: &gst::Element) -> Self {
        Self(muxer.sink_pads().iter().map(follow).collect())
    }

    /// Up to where every stream is there: what is behind that waits in the muxer.
    pub(super) fn get(&self) -> gst::ClockTime {
        let positions = self.0.iter().map(|one| one.load(Ordering::Relaxed));
        gst::ClockTime::from_nseconds(positions.min().unwrap_or_default())
    }
}

fn follow(pad: &gst::Pad) -> Arc<AtomicU64> {
    let position = Arc::new(AtomicU64::new(0));
    let reached = position.clone();
    let types = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
    pad.add_probe(types, move |pad, probe| {
        let end = match &probe.data {
            Some(gst::PadProbeData::Buffer(buffer)) => measure::end_time(pad, buffer),
            Some(gst::PadProbeData::Event(event)) => match event.view() {
                gst::EventView::Gap(gap) => {
                    let (begin, length) = gap.get();
                    Some(begin + length.unwrap_or_default())
                }
                _ => None,
            },
            _ => None,
        };
        if let Some(end) = end {
            reached.fetch_max(end.nseconds(), Ordering::Relaxed);
        }
        gst::PadProbeReturn::Ok
    });
    position
}

/// Sets `noticed` when something came out of this pad.
pub(super) fn notice_first_buffer(pad: Option<&gst::Pad>, noticed: &Arc<AtomicBool>) {
    let noticed = noticed.clone();
    if let Some(pad) = pad {
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
            noticed.store(true, Ordering::Relaxed);
            gst::PadProbeReturn::Remove
        });
    }
}
