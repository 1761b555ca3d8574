use super::*;
use crate::{feed::Overflow, recording::Track, timebase::Timebase};

/// A track's stream, collected.
struct Output {
    pipeline: gst::Pipeline,
    sink: gst_app::AppSink,
    geometry: gst::Element,
}

impl Output {
    fn new() -> (Self, Feed) {
        gst::init().unwrap();
        let text = "appsrc name=in format=time max-bytes=0 ! capsfilter name=geometry ! \
                    appsink name=out sync=false";
        let pipeline = gst::parse::launch(text).unwrap();
        let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
        let by_name = |name| pipeline.by_name(name).unwrap();
        let source = by_name("in").downcast::<gst_app::AppSrc>().unwrap();
        let sink = by_name("out").downcast::<gst_app::AppSink>().unwrap();
        let geometry = by_name("geometry");
        pipeline.set_state(gst::State::Playing).unwrap();
        let feed = Feed::new(source, 100 << 20, Overflow::DropBuffer);
        let output = Self {
            pipeline,
            sink,
            geometry,
        };
        (output, feed)
    }

    /// Everything until the end of the stream.
    fn buffers(&self) -> Vec<gst::Buffer> {
        std::iter::from_fn(|| self.sink.pull_sample().ok())
            .map(|sample| sample.buffer_owned().unwrap())
            .collect()
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.pipeline.set_state(gst::State::Null).unwrap();
    }
}

fn ms(ms: u64) -> gst::ClockTime {
    gst::ClockTime::from_mseconds(ms)
}

/// 20 ms of sound, each sample of which is `value`.
fn sound(pts: gst::ClockTime, value: u8) -> Unit {
    let bytes = SAMPLE_RATE as usize / 50 * FRAME_BYTES;
    Unit {
        buffer: gst::Buffer::from_mut_slice(vec![value; bytes]),
        caps: mixer::caps(),
        pts,
        key: true,
    }
}

fn picture(pts: gst::ClockTime, width: i32, height: i32) -> Unit {
    let bytes = (width * height * 3 / 2) as usize;
    let mut unit = black().unwrap();
    unit.buffer = gst::Buffer::from_mut_slice(vec![0; bytes]);
    let caps = unit.caps.make_mut();
    caps.set("width", width);
    caps.set("height", height);
    unit.pts = pts;
    unit
}

/// The value of each millisecond of an audio stream, checking that it has no gap.
fn listen(buffers: &[gst::Buffer]) -> Vec<u8> {
    let mut next = 0;
    let mut values = Vec::new();
    for buffer in buffers {
        let pts = buffer.pts().unwrap();
        assert_eq!(frames(pts), next, "a gap or an overlap at {pts}");
        let map = buffer.map_readable().unwrap();
        next += (map.len() / FRAME_BYTES) as u64;
        values.extend_from_slice(&map);
    }
    values
        .chunks(SAMPLE_RATE as usize / 1000 * FRAME_BYTES)
        .map(|chunk| chunk[0])
        .collect()
}

fn audio_track(origin: gst::ClockTime) -> (Output, AudioTrack) {
    let (output, feed) = Output::new();
    let track = AudioTrack::new(
        feed,
        gst::ClockTime::ZERO,
        Span::new(origin, Timebase::start()),
    );
    (output, track)
}

#[test]
fn sound_from_before_the_start_is_cut_to_the_sample() {
    let (output, track) = audio_track(ms(105));
    for (at, value) in [(80, 1), (100, 2), (120, 3)] {
        track.take(&sound(ms(at), value));
    }
    track.span.end_at(ms(135));
    track.finish();
    let values = listen(&output.buffers());
    assert_eq!(values.len(), 135);
    assert!(values[..15].iter().all(|value| *value == 2));
    assert!(values[15..35].iter().all(|value| *value == 3));
}

#[test]
fn an_encoder_s_delay_is_made_up_for() {
    let (output, feed) = Output::new();
    let track = AudioTrack::new(feed, ms(15), Span::new(ms(0), Timebase::start()));
    for (at, value) in [(0, 1), (20, 2), (40, 3)] {
        track.take(&sound(ms(at), value));
    }
    track.span.end_at(ms(160));
    track.finish();
    let values = listen(&output.buffers());
    assert_eq!(values.len(), 145);
    // After the encoder's 15 ms, what was heard at 20 ms is at 20 ms.
    assert_eq!((values[4], values[5], values[25]), (1, 2, 3));
}

#[test]
fn missing_sound_becomes_silence_of_the_same_length() {
    let (output, track) = audio_track(ms(0));
    track.take(&sound(ms(40), 1));
    track.take(&sound(ms(1060), 2));
    track.span.end_at(ms(2000));
    track.finish();
    let values = listen(&output.buffers());
    assert_eq!(values.len(), 2000);
    let heard = |value: u8| values.iter().filter(|v| **v == value).count();
    assert_eq!((heard(1), heard(2)), (20, 20));
    assert_eq!((values[40], values[1060]), (1, 2));
}

#[test]
fn sound_that_comes_twice_is_written_once() {
    let (output, track) = audio_track(ms(0));
    for (at, value) in [(0, 1), (20, 2), (10, 3), (40, 4)] {
        track.take(&sound(ms(at), value));
    }
    track.span.end_at(ms(160));
    track.finish();
    let values = listen(&output.buffers());
    assert_eq!(values.len(), 160);
    assert!(!values.contains(&3));
}

#[test]
fn nothing_is_written_beyond_the_end() {
    let (output, track) = audio_track(ms(0));
    track.span.end_at(ms(110));
    for at in [0, 20, 40, 60, 80] {
        track.take(&sound(ms(at), 1));
        assert!(!track.is_complete());
    }
    track.take(&sound(ms(100), 2));
    assert!(track.is_complete());
    track.take(&sound(ms(120), 3));
    track.finish();
    assert_eq!(listen(&output.buffers()).len(), 110);
}

fn video_track(origin: gst::ClockTime) -> (Output, VideoTrack) {
    let (output, feed) = Output::new();
    let track = VideoTrack::new(
        feed,
        output.geometry.clone(),
        Span::new(origin, Timebase::start()),
    );
    (output, track)
}

fn times(buffers: &[gst::Buffer]) -> Vec<u64> {
    buffers
        .iter()
        .map(|buffer| buffer.pts().unwrap().mseconds())
        .collect()
}

#[test]
fn the_last_picture_from_before_the_start_is_the_first() {
    let (output, track) = video_track(ms(1000));
    for at in [900, 980, 1030, 1060] {
        track.take(&picture(ms(at), 320, 240));
    }
    track.finish();
    assert_eq!(times(&output.buffers()), [0, 30, 60]);
    assert_eq!(track.dropped(), 0);
}

#[test]
fn a_room_without_a_picture_is_black() {
    let (output, track) = video_track(ms(0));
    track.span.end_at(ms(1000));
    track.finish();
    let buffers = output.buffers();
    assert_eq!(times(&buffers), [0, 950]);
    assert_eq!(buffers[0].size(), 1280 * 720 * 3 / 2);
}

#[test]
fn a_short_file_of_a_muted_camera_shows_its_last_picture() {
    let (output, track) = video_track(ms(1000));
    track.take(&picture(ms(900), 320, 240));
    track.span.end_at(ms(300));
    track.finish();
    let buffers = output.buffers();
    assert_eq!(times(&buffers), [0, 250]);
    assert_eq!(buffers[0].size(), 320 * 240 * 3 / 2);
}

#[test]
fn a_filler_of_two_by_two_pixels_does_not_set_the_geometry() {
    let (output, track) = video_track(ms(0));
    track.take(&picture(ms(0), 2, 2));
    assert_eq!(
        output.geometry.property::<gst::Caps>("caps"),
        gst::Caps::new_any()
    );
    track.take(&picture(ms(33), 640, 360));
    track.finish();
    let caps = output.geometry.property::<gst::Caps>("caps");
    assert_eq!(size(&caps), Some((640, 360)));
    assert_eq!(output.buffers().len(), 1);
}

#[test]
fn an_odd_size_is_recorded_as_the_even_one_below() {
    let (fixed, _) = fixed_caps(&picture(ms(0), 361, 481).caps).unwrap();
    assert_eq!(size(&fixed), Some((360, 480)));
}

#[test]
fn pictures_out_of_order_are_counted_as_dropped() {
    let (output, track) = video_track(ms(0));
    for at in [0, 66, 33, 100] {
        track.take(&picture(ms(at), 320, 240));
    }
    track.finish();
    assert_eq!(times(&output.buffers()), [0, 66, 100]);
    assert_eq!(track.dropped(), 1);
}

#[test]
fn a_pause_of_the_sound_is_a_gap() {
    let (_output, track) = audio_track(ms(100));
    for at in [100, 120, 2500] {
        track.take(&sound(ms(at), 1));
    }
    track.span.end_at(ms(2420));
    track.finish();
    let gap = Gap {
        at_ms: 20,
        for_ms: 2380,
    };
    assert_eq!(track.gaps(), [gap]);
}
