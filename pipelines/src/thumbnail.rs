//! A picture of a recording.

use crate::{output, unfit::ToolError};
use gst::prelude::*;
use serde::Serialize;
use std::{fs, path::Path};

/// A file that shows nothing within this long is given up.
const PATIENCE: gst::ClockTime = gst::ClockTime::from_seconds(10);
/// The picture is taken from here: recordings may begin with a black one.
const PLACE: gst::ClockTime = gst::ClockTime::from_seconds(3);
/// Only pictures are decoded; whatever their shape, neither side is longer than 640 pixels.
const LAUNCH: &str = "filesrc name=file ! parsebin name=parse \
     decodebin name=decode ! videoconvertscale \
     ! video/x-raw,format=I420,width=[16,640],height=[16,640],pixel-aspect-ratio=1/1 \
     ! jpegenc quality=80 ! appsink name=out sync=false max-buffers=1";

/// What was made.
#[derive(Debug, Serialize)]
pub(crate) struct Thumbnail {
    width: i32,
    height: i32,
}

/// Writes a JPEG of the recording at `path` to `output`.
///
/// # Errors
/// Unfit when the file has no picture.
pub(crate) fn thumbnail(path: &Path, output: &Path) -> Result<Thumbnail, ToolError> {
    let pipeline = gst::parse::launch(LAUNCH)
        .map_err(ToolError::failed)?
        .downcast::<gst::Pipeline>()
        .map_err(|_| ToolError::failed("not a pipeline"))?;
    let sample = take(&pipeline, path);
    let _ = pipeline.set_state(gst::State::Null);
    let sample = sample?;
    let size = sample
        .caps()
        .and_then(|caps| caps.structure(0))
        .map(|caps| {
            let side = |name: &str| caps.get::<i32>(name).unwrap_or_default();
            (side("width"), side("height"))
        });
    let (width, height) = size.unwrap_or_default();
    let jpeg = sample
        .buffer()
        .and_then(|buffer| buffer.map_readable().ok())
        .ok_or_else(|| ToolError::failed("the picture can't be read"))?;
    output::make_private(output)
        .and_then(|()| fs::write(output, jpeg.as_slice()))
        .map_err(ToolError::failed)?;
    Ok(Thumbnail { width, height })
}

fn take(pipeline: &gst::Pipeline, path: &Path) -> Result<gst::Sample, ToolError> {
    let missing = || ToolError::failed("an element is missing");
    let file = pipeline.by_name("file").ok_or_else(missing)?;
    file.set_property("location", path.display().to_string());
    let sink = pipeline
        .by_name("out")
        .and_then(|sink| sink.downcast::<gst_app::AppSink>().ok())
        .ok_or_else(missing)?;
    let parse = pipeline.by_name("parse").ok_or_else(missing)?;
    let decode = pipeline
        .by_name("decode")
        .and_then(|decode| decode.static_pad("sink"))
        .ok_or_else(missing)?;
    parse.connect_pad_added(move |_, pad| {
        let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
        let media = caps.structure(0).map(|caps| caps.name().as_str());
        let is_video = media.is_some_and(|media| media.starts_with("video/"));
        if is_video
            && !decode.is_linked()
            && let Err(error) = pad.link(&decode)
        {
            tracing::warn!(%error, "the pictures can't be decoded");
        }
    });
    let _ = pipeline.set_state(gst::State::Paused);
    wait(pipeline)?;
    let first = sink.try_pull_preroll(gst::ClockTime::ZERO);
    let later = place(pipeline).and_then(|place| {
        let flags = gst::SeekFlags::FLUSH | gst::SeekFlags::KEY_UNIT | gst::SeekFlags::SNAP_BEFORE;
        pipeline.seek_simple(flags, place).ok()?;
        wait(pipeline).ok()?;
        sink.try_pull_preroll(gst::ClockTime::ZERO)
    });
    later
        .or(first)
        .ok_or_else(|| ToolError::Unfit("the file has no picture".into()))
}

/// Where to take the picture; none for the beginning.
fn place(pipeline: &gst::Pipeline) -> Option<gst::ClockTime> {
    let duration = pipeline.query_duration::<gst::ClockTime>()?;
    Some(PLACE.min(duration / 2)).filter(|place| !place.is_zero())
}

/// Waits for a picture.
fn wait(pipeline: &gst::Pipeline) -> Result<(), ToolError> {
    let types = [
        gst::MessageType::AsyncDone,
        gst::MessageType::Error,
        gst::MessageType::Eos,
    ];
    let message = pipeline
        .bus()
        .and_then(|bus| bus.timed_pop_filtered(PATIENCE, &types));
    match message.as_ref().map(|message| message.view()) {
        Some(gst::MessageView::AsyncDone(_)) => Ok(()),
        Some(gst::MessageView::Error(error)) => {
            Err(ToolError::Unfit(format!("no picture: {}", error.error())))
        }
        _ => Err(ToolError::Unfit("the file has no picture".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::join::tests::{Index, make};

    #[test]
    fn a_picture_fits_into_a_square_and_sound_has_none() {
        gst::init().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("a.jpg");
        let film = dir.path().join("a.mp4");
        make(&film, "mp4", (1280, 720), 60, Index::Whole);
        let made = thumbnail(&film, &output).unwrap();
        assert_eq!((made.width, made.height), (640, 360));
        assert!(fs::read(&output).unwrap().starts_with(&[0xff, 0xd8]));

        let upright = dir.path().join("b.webm");
        make(&upright, "webm", (360, 480), 30, Index::Whole);
        let made = thumbnail(&upright, &output).unwrap();
        assert_eq!((made.width, made.height), (360, 480));

        let sound = dir.path().join("c.wav");
        make(&sound, "wav", (0, 0), 30, Index::Whole);
        for path in [sound, dir.path().join("missing.mp4")] {
            let error = thumbnail(&path, &output).unwrap_err();
            assert!(matches!(error, ToolError::Unfit(_)), "{error}");
        }
    }
}
