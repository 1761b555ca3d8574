use super::*;
use crate::recording::SILENT_PACKET;
use std::path::PathBuf;

/// Where an mp4 file says what is in it.
#[derive(Clone, Copy)]
pub(crate) enum Index {
    Whole,
    /// In fragments while it is written, in one place at its end: as recordings do it.
    Later,
    /// In fragments alone.
    None,
}

/// Makes a file of 30 pictures a second, with a tone.
pub(crate) fn make(path: &Path, container: &str, size: (u32, u32), frames: u32, index: Index) {
    let (width, height) = size;
    let mp4 = match index {
        Index::Whole => "mp4mux",
        Index::Later => "mp4mux fragment-mode=first-moov-then-finalise fragment-duration=500",
        Index::None => "mp4mux fragment-duration=500 streamable=true",
    };
    let video = |encoder: &str, muxer: &str| {
        format!(
            "videotestsrc num-buffers={frames} \
             ! video/x-raw,format=I420,width={width},height={height},framerate=30/1 \
             ! {encoder} ! {muxer} name=mux ! filesink location={}",
            path.display()
        )
    };
    let buffers = frames * 48_000 / 30 / 1024;
    let tone = format!(
        "audiotestsrc num-buffers={buffers} samplesperbuffer=1024 ! audio/x-raw,rate=48000,channels=2"
    );
    let text = match container {
        "mp4" => format!(
            "{} {tone} ! avenc_aac ! aacparse ! mux.",
            video(
                "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=15 ! h264parse",
                mp4
            )
        ),
        "webm" => format!(
            "{} {tone} ! opusenc ! mux.",
            video("vp9enc deadline=1 cpu-used=8 ! vp9parse", "webmmux")
        ),
        _ => format!(
            "{tone} ! audioconvert ! audio/x-raw,format=S16LE ! wavenc ! filesink location={}",
            path.display()
        ),
    };
    let pipeline = gst::parse::launch(&text).unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let types = [gst::MessageType::Eos, gst::MessageType::Error];
    let bus = pipeline.bus().unwrap();
    let message = bus
        .timed_pop_filtered(gst::ClockTime::from_seconds(60), &types)
        .unwrap();
    assert!(
        matches!(message.view(), gst::MessageView::Eos(_)),
        "{message:?}"
    );
    pipeline.set_state(gst::State::Null).unwrap();
}

/// How many buffers of each stream a file has.
fn buffers(path: &Path) -> BTreeMap<String, usize> {
    let reader = Reader::open(path, MAX_WAITING_BYTES).unwrap();
    let counts: BTreeMap<_, Arc<AtomicU64>> = reader
        .streams
        .iter()
        .map(|(media, (sink, _))| {
            let count = Arc::<AtomicU64>::default();
            let noticed = count.clone();
            let callbacks = gst_app::AppSinkCallbacks::builder().new_sample(move |sink| {
                sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                noticed.fetch_add(1, Ordering::Relaxed);
                Ok(gst::FlowSuccess::Ok)
            });
            sink.set_callbacks(callbacks.build());
            (media.clone(), count)
        })
        .collect();
    reader.pipeline.set_state(gst::State::Playing).unwrap();
    let types = [gst::MessageType::Eos, gst::MessageType::Error];
    let bus = reader.pipeline.bus().unwrap();
    let message = bus
        .timed_pop_filtered(gst::ClockTime::from_seconds(60), &types)
        .unwrap();
    assert!(
        matches!(message.view(), gst::MessageView::Eos(_)),
        "{message:?}"
    );
    counts
        .into_iter()
        .map(|(media, count)| (media, count.load(Ordering::Relaxed) as usize))
        .collect()
}

fn paths(dir: &tempfile::TempDir, extension: &str) -> [PathBuf; 3] {
    ["a", "b", "joined"].map(|name| dir.path().join(format!("{name}.{extension}")))
}

#[test]
fn nothing_is_lost_and_lengths_add_up() {
    gst::init().unwrap();
    let dir = tempfile::tempdir().unwrap();
    for container in ["mp4", "webm", "wav"] {
        let [first, second, joined] = paths(&dir, container);
        make(&first, container, (320, 240), 60, Index::Whole);
        make(&second, container, (320, 240), 30, Index::Later);
        let measured = join(&joined, &[&first, &second]).unwrap();
        let sum: u64 = [&first, &second]
            .map(|path| measure(path).unwrap().duration_ms)
            .iter()
            .sum();
        assert!(
            measured.duration_ms.abs_diff(sum) <= 50,
            "{container}: {} ms of {sum}",
            measured.duration_ms
        );
        assert_eq!(measured.bytes, std::fs::metadata(&joined).unwrap().len());
        let (one, two, both) = (buffers(&first), buffers(&second), buffers(&joined));
        if container != "wav" {
            for media in ["video", "audio"] {
                assert_eq!(both[media], one[media] + two[media], "{container}: {media}");
            }
        }
    }
}

#[test]
fn a_cut_file_is_joined_as_far_as_it_goes() {
    gst::init().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let [first, second, joined] = paths(&dir, "mp4");
    make(&first, "mp4", (320, 240), 90, Index::None);
    make(&second, "mp4", (320, 240), 30, Index::Whole);
    // As a killed process leaves it: in the middle of a fragment.
    let bytes = std::fs::read(&first).unwrap();
    let last = bytes.windows(4).rposition(|kind| kind == b"moof").unwrap();
    std::fs::write(&first, &bytes[..last + 40]).unwrap();
    let length = measure(&first).unwrap().duration_ms;
    let measured = join(&joined, &[&first, &second]).unwrap();
    // All that was read before the cut is there, though it is read faster than it is written.
    let whole = dir.path().join("whole.mp4");
    std::fs::write(&whole, &bytes[..last - 4]).unwrap();
    let (one, two, both) = (buffers(&whole), buffers(&second), buffers(&joined));
    for media in ["video", "audio"] {
        assert_eq!(both[media], one[media] + two[media], "{media}");
    }
    let sum = length + measure(&second).unwrap().duration_ms;
    assert!(
        measured.duration_ms.abs_diff(sum) <= 100,
        "{} of {sum}",
        measured.duration_ms
    );
}

#[test]
fn what_is_there_already_is_never_overwritten_and_what_fails_leaves_nothing() {
    gst::init().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let [first, second, joined] = paths(&dir, "wav");
    make(&first, "wav", (0, 0), 15, Index::Whole);
    let before = std::fs::read(&first).unwrap();
    let error = join(&first, &[&first, &first]).unwrap_err();
    assert!(error.to_string().contains("a.wav"), "{error}");
    assert_eq!(std::fs::read(&first).unwrap(), before);
    std::fs::write(&second, "no film at all").unwrap();
    assert!(join(&joined, &[&first, &second]).is_err());
    assert!(!joined.exists());
}

#[test]
fn what_does_not_go_together_says_why() {
    gst::init().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let [first, second, joined] = paths(&dir, "mp4");
    make(&first, "mp4", (320, 240), 15, Index::Whole);
    make(&second, "mp4", (640, 360), 15, Index::Whole);
    let error = join(&joined, &[&first, &second]).unwrap_err();
    assert!(matches!(error, ToolError::Unfit(_)));
    assert!(
        error.to_string().contains("640x360 pixels after 320x240"),
        "{error}"
    );
    std::fs::write(&second, "no film at all").unwrap();
    let error = join(&joined, &[&first, &second]).unwrap_err();
    assert!(error.to_string().contains("part 2"), "{error}");
    assert!(join(&joined, &[]).is_err());
}

/// Makes a film of 12 seconds whose sound pauses from the first second to the last.
fn make_with_a_pause(path: &Path) {
    let text = format!(
        "appsrc name=video format=time caps=video/x-vp8,width=64,height=64,framerate=0/1 ! mux. \
         appsrc name=audio format=time \
         caps=audio/x-opus,rate=48000,channels=2,channel-mapping-family=0 ! opusparse ! mux. \
         webmmux name=mux ! filesink location={}",
        path.display()
    );
    let pipeline = gst::parse::launch(&text).unwrap();
    let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
    let source = |name| {
        let source = pipeline.by_name(name).unwrap();
        source.downcast::<gst_app::AppSrc>().unwrap()
    };
    let (video, audio) = (source("video"), source("audio"));
    pipeline.set_state(gst::State::Playing).unwrap();
    let buffer = |ms, mut bytes: Vec<u8>, size| {
        bytes.resize(size, 7);
        let mut buffer = gst::Buffer::from_mut_slice(bytes);
        let times = buffer.get_mut().unwrap();
        times.set_pts(gst::ClockTime::from_mseconds(ms));
        buffer
    };
    for ms in (0..12_000).step_by(20) {
        let key = vec![0x10, 0, 0, 0x9d, 1, 0x2a, 64, 0, 64, 0];
        video.push_buffer(buffer(ms, key, 500)).unwrap();
        if !(1000..11_000).contains(&ms) {
            let packet = buffer(ms, SILENT_PACKET.to_vec(), SILENT_PACKET.len());
            audio.push_buffer(packet).unwrap();
        }
    }
    video.end_of_stream().unwrap();
    audio.end_of_stream().unwrap();
    let types = [gst::MessageType::Eos, gst::MessageType::Error];
    let bus = pipeline.bus().unwrap();
    let message = bus.timed_pop_filtered(gst::ClockTime::from_seconds(60), &types);
    let message = message.unwrap();
    let is_end = matches!(message.view(), gst::MessageView::Eos(_));
    assert!(is_end, "{message:?}");
    pipeline.set_state(gst::State::Null).unwrap();
}

#[test]
fn a_long_pause_of_one_stream_does_not_stop_the_other() {
    gst::init().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let [first, second, joined] = paths(&dir, "webm");
    for path in [&first, &second] {
        make_with_a_pause(path);
    }
    // Ten seconds of pictures are 250 kB: far more than may wait here.
    let measured = join_with(&joined, &[&first, &second], 8 << 10).unwrap();
    assert!(measured.duration_ms.abs_diff(24_000) < 200, "{measured:?}");
    let (one, both) = (buffers(&first), buffers(&joined));
    assert_eq!(both["video"], 2 * one["video"]);
    assert!(both["audio"] >= 2 * one["audio"], "{both:?} of {one:?}");
}

#[test]
fn a_damaged_part_is_not_taken_for_one_that_was_cut_off() {
    gst::init().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let [first, second, joined] = paths(&dir, "webm");
    make(&first, "webm", (320, 240), 150, Index::Whole);
    make(&second, "webm", (320, 240), 30, Index::Whole);
    let bytes = std::fs::read(&first).unwrap();
    std::fs::write(&first, &bytes[..bytes.len() / 2]).unwrap();
    let error = join(&joined, &[&first, &second]).unwrap_err();
    assert!(matches!(error, ToolError::Unfit(_)), "{error}");
    assert!(
        error.to_string().contains("part 1: it is damaged"),
        "{error}"
    );
}

#[test]
fn more_sound_than_a_wav_file_holds_is_not_joined() {
    gst::init().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let [first, second, joined] = paths(&dir, "wav");
    for path in [&first, &second] {
        let file = std::fs::File::create(path).unwrap();
        file.set_len(3 << 30).unwrap();
    }
    let error = join(&joined, &[&first, &second]).unwrap_err();
    assert!(matches!(error, ToolError::Unfit(_)), "{error}");
    assert!(error.to_string().contains("4 GiB"), "{error}");
}

#[test]
fn the_joined_file_is_for_those_who_may_read_its_parts() {
    use std::os::unix::fs::PermissionsExt;
    gst::init().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let [first, second, joined] = paths(&dir, "wav");
    make(&first, "wav", (0, 0), 15, Index::Whole);
    make(&second, "wav", (0, 0), 15, Index::Whole);
    join(&joined, &[&first, &second]).unwrap();
    let mode = std::fs::metadata(&joined).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
}
