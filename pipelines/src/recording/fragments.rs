//! What mp4mux leaves out of a file's fragments.
//!
//! The muxer takes the duration of a fragment's first sample as the fragment's default, and takes it back
//! at the first sample that lasts longer or shorter. Samples that come later and last as long as the
//! first one did are then without a duration (`atom_traf_add_samples`, GStreamer 1.22). A file that is
//! finalised has another index; in one that was cut off such pictures take no time: players show one of
//! them and a pause. For a sample without a duration the file's own default counts
//! (ISO/IEC 14496-12, 8.8.3), which the muxer leaves at 0. Here it becomes what most samples of the
//! first fragment last, before it is written.

use gst::prelude::*;
use std::{collections::BTreeMap, ops::Range};

/// Sees to it that each sample has a duration in the fragments that this muxer writes, whatever else it
/// leaves out. Other muxers than mp4mux are left alone.
pub(super) fn complete(muxer: &gst::Element) {
    let Some(pad) = muxer.static_pad("src") else {
        return;
    };
    pad.add_probe(gst::PadProbeType::BUFFER, |_, probe| {
        let Some(gst::PadProbeData::Buffer(buffer)) = &mut probe.data else {
            return gst::PadProbeReturn::Ok;
        };
        if !begins_with(buffer, *b"moov") {
            return gst::PadProbeReturn::Ok;
        }
        match buffer.make_mut().map_writable() {
            Ok(mut index) => set_default_durations(&mut index),
            Err(error) => tracing::warn!(%error, "a file's index can't be completed"),
        }
        // The index at the end of the file needs no defaults.
        gst::PadProbeReturn::Remove
    });
}

fn begins_with(buffer: &gst::BufferRef, kind: [u8; 4]) -> bool {
    let mut head = [0; 8];
    // What is out of range panics there.
    let whole = buffer.size() >= head.len();
    whole && buffer.copy_to_slice(0, &mut head).is_ok() && head[4..] == kind
}

/// Sets the default duration of each track that has none to what most of its samples last.
fn set_default_durations(index: &mut [u8]) {
    let Some(moov) = find(index, 0..index.len(), *b"moov") else {
        return;
    };
    let mut common = BTreeMap::new();
    for track in boxes(index, moov.clone(), *b"trak") {
        if let Some(id) = track_id(index, &track)
            && let Some(duration) = common_duration(index, &track)
        {
            common.insert(id, duration);
        }
    }
    let Some(extends) = find(index, moov, *b"mvex") else {
        return;
    };
    for defaults in boxes(index, extends, *b"trex") {
        // Version and flags, the track, its description, the duration.
        let duration = defaults.start + 12..defaults.start + 16;
        let track = number(index, defaults.start + 4).and_then(|id| common.get(&id));
        if let Some(common) = track
            && duration.end <= defaults.end
            && number(index, duration.start) == Some(0)
        {
            index[duration].copy_from_slice(&common.to_be_bytes());
        }
    }
}

fn track_id(index: &[u8], track: &Range<usize>) -> Option<u32> {
    let header = find(index, track.clone(), *b"tkhd")?;
    // Times of 32 or of 64 bits come before it.
    match index.get(header.start)? {
        0 => number(index, header.start + 12),
        _ => number(index, header.start + 20),
    }
}

/// What most samples of a track last that its index has; none where it has no samples.
fn common_duration(index: &[u8], track: &Range<usize>) -> Option<u32> {
    let mut table = track.clone();
    for kind in [*b"mdia", *b"minf", *b"stbl", *b"stts"] {
        table = find(index, table, kind)?;
    }
    let entries = index.get(table.start + 8..table.end)?;
    let mut counts = BTreeMap::<u32, u32>::new();
    for entry in entries.chunks_exact(8) {
        let (count, duration) = (number(entry, 0)?, number(entry, 4)?);
        let sum = counts.entry(duration).or_default();
        *sum = sum.saturating_add(count);
    }
    let most = counts.into_iter().max_by_key(|(_, count)| *count);
    most.map(|(duration, _)| duration)
}

/// The contents of the first box of this type in a part of `data`.
fn find(data: &[u8], within: Range<usize>, kind: [u8; 4]) -> Option<Range<usize>> {
    boxes(data, within, kind).into_iter().next()
}

/// The contents of all boxes of this type in a part of `data`.
fn boxes(data: &[u8], within: Range<usize>, kind: [u8; 4]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = within.start;
    while let Some(size) = number(data, at) {
        let end = at.saturating_add(size as usize);
        // An index has no boxes of 4 GiB: a size of 0 or 1 is none of mp4mux's.
        if size < 8 || end > within.end {
            break;
        }
        if data[at + 4..at + 8] == kind {
            found.push(at + 8..end);
        }
        at = end;
    }
    found
}

fn number(data: &[u8], at: usize) -> Option<u32> {
    let bytes = data.get(at..at + 4)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        path::Path,
        sync::{
            Arc, Mutex,
            atomic::{AtomicUsize, Ordering},
            mpsc::channel,
        },
        time::Duration,
    };

    /// Writes three seconds of pictures that come a little early or late, and of sound, and leaves the
    /// file as one is whose writer died.
    fn write_without_end(path: &Path, completed: bool) {
        let text = format!(
            "videotestsrc num-buffers=100 ! video/x-raw,format=I420,width=64,height=64,framerate=30/1 \
             ! identity name=uneven ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=30 \
             ! h264parse ! mux. \
             audiotestsrc num-buffers=170 samplesperbuffer=960 ! audio/x-raw,rate=48000,channels=2 \
             ! opusenc ! mux. \
             {} name=mux ! filesink buffer-mode=unbuffered location={}",
            super::super::plan::MP4_MUXER,
            path.display()
        );
        let pipeline = gst::parse::launch(&text).unwrap();
        let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
        let muxer = pipeline.by_name("mux").unwrap();
        if completed {
            complete(&muxer);
        }
        let uneven = pipeline.by_name("uneven").unwrap();
        let count = AtomicUsize::new(0);
        let pad = uneven.static_pad("src").unwrap();
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, probe| {
            if let Some(gst::PadProbeData::Buffer(buffer)) = &mut probe.data {
                let late = [0, 0, 700, 0, 0][count.fetch_add(1, Ordering::Relaxed) % 5];
                let late = gst::ClockTime::from_useconds(late);
                let pts = buffer.pts().unwrap();
                buffer.make_mut().set_pts(pts + late);
            }
            gst::PadProbeReturn::Ok
        });
        // Nobody finalises the file: its end never reaches the muxer, which waits for more of the stream
        // that is over first.
        let (told, ended) = channel();
        for pad in muxer.sink_pads() {
            let told = told.clone();
            pad.add_probe(
                gst::PadProbeType::EVENT_DOWNSTREAM,
                move |_, probe| match probe.event().map(|event| event.type_()) {
                    Some(gst::EventType::Eos) => {
                        let _ = told.send(());
                        drop(probe.data.take());
                        gst::PadProbeReturn::Handled
                    }
                    _ => gst::PadProbeReturn::Ok,
                },
            );
        }
        pipeline.set_state(gst::State::Playing).unwrap();
        ended.recv_timeout(Duration::from_secs(60)).unwrap();
        pipeline.set_state(gst::State::Null).unwrap();
    }

    /// When the pictures of a file are shown, in milliseconds.
    fn times(path: &Path) -> Vec<u64> {
        let text = format!(
            "filesrc location={} ! qtdemux name=file file.video_0 ! fakesink name=sink sync=false",
            path.display()
        );
        let pipeline = gst::parse::launch(&text).unwrap();
        let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
        let times = Arc::<Mutex<Vec<u64>>>::default();
        let seen = times.clone();
        let sink = pipeline.by_name("sink").unwrap();
        let pad = sink.static_pad("sink").unwrap();
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, probe| {
            let pts = probe.buffer().and_then(|buffer| buffer.pts()).unwrap();
            seen.lock().unwrap().push(pts.mseconds());
            gst::PadProbeReturn::Ok
        });
        pipeline.set_state(gst::State::Playing).unwrap();
        let types = [gst::MessageType::Eos, gst::MessageType::Error];
        let limit = gst::ClockTime::from_seconds(60);
        pipeline.bus().unwrap().timed_pop_filtered(limit, &types);
        pipeline.set_state(gst::State::Null).unwrap();
        let times = times.lock().unwrap();
        times.clone()
    }

    #[test]
    fn pictures_of_a_file_that_was_cut_off_come_one_after_the_other() {
        gst::init().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.mp4");
        let shortest = |times: &[u64]| {
            let steps = times.windows(2).map(|pair| pair[1].saturating_sub(pair[0]));
            steps.min().unwrap()
        };
        write_without_end(&path, false);
        let before = times(&path);
        std::fs::remove_file(&path).unwrap();
        write_without_end(&path, true);
        let times = times(&path);
        assert!(times.len() >= 60, "{times:?}");
        assert_eq!(times.len(), before.len());
        assert!(shortest(&times) >= 30, "{times:?}");
        // Once the muxer does it right, all this can go.
        assert_eq!(shortest(&before), 0, "{before:?}");
    }

    #[test]
    fn only_what_begins_with_a_box_of_that_type_is_looked_into() {
        gst::init().unwrap();
        for (bytes, is_index) in [
            (&b"\0\0\0\x08moov"[..], true),
            (b"\0\0\0\x08mdat", false),
            (b"\0\0\0\x08moo", false),
            (b"", false),
        ] {
            let buffer = gst::Buffer::from_slice(bytes);
            assert_eq!(begins_with(&buffer, *b"moov"), is_index, "{bytes:?}");
        }
    }

    #[test]
    fn what_is_no_index_stays_as_it_is() {
        for data in [
            &[][..],
            b"\0\0\0\x08moov",
            b"\0\0\0\x10moov\0\0\0\x08trak",
            b"\0\0\0\x10moov\0\0\0\x09trak",
            b"\0\0\0\x00moov",
            b"\xff\xff\xff\xffmoovmvex",
            b"\0\0\0\x20moov\0\0\0\x18mvex\0\0\0\x10trex\0\0\0\0\0\0\0\x01",
        ] {
            let mut same = data.to_vec();
            set_default_durations(&mut same);
            assert_eq!(same, data);
        }
    }
}
