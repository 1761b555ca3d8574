use super::*;

#[derive(Default)]
struct Times(Mutex<Vec<u64>>);

impl Consumer for Times {
    fn take(&self, unit: &Unit) -> Taken {
        self.0.lock().push(unit.pts.mseconds());
        Taken::Done
    }
}

fn push(tap: &Tap, ms: u64, key: bool) {
    push_lasting(tap, ms, key, 0);
}

fn push_lasting(tap: &Tap, ms: u64, key: bool, duration_ms: u64) {
    let mut buffer = gst::Buffer::with_size(10).unwrap();
    {
        let buffer = buffer.get_mut().unwrap();
        buffer.set_pts(gst::ClockTime::from_mseconds(ms));
        buffer.set_duration(gst::ClockTime::from_mseconds(duration_ms));
        if !key {
            buffer.set_flags(gst::BufferFlags::DELTA_UNIT);
        }
    }
    let caps = gst::Caps::new_empty_simple("video/x-vp8");
    let segment = gst::FormattedSegment::<gst::ClockTime>::new();
    let sample = gst::Sample::builder()
        .buffer(&buffer)
        .caps(&caps)
        .segment(&segment)
        .build();
    tap.push(&sample);
}

#[test]
fn a_late_consumer_starts_at_the_last_key_frame() {
    gst::init().unwrap();
    let tap = Tap::new("test", Memory::Gop, || ());
    for (ms, key) in [(0, true), (33, false), (66, true), (100, false)] {
        push(&tap, ms, key);
    }
    let times = Arc::new(Times::default());
    let attachment = tap.attach(times.clone());
    push(&tap, 133, false);
    drop(attachment);
    push(&tap, 166, false);
    assert_eq!(*times.0.lock(), [66, 100, 133]);
}

#[test]
fn who_begins_where_another_ended_misses_nothing_though_key_frames_came_since() {
    struct Cutter;
    impl Consumer for Cutter {
        fn take(&self, unit: &Unit) -> Taken {
            match unit.pts.mseconds() {
                66 => Taken::Keep,
                _ => Taken::Done,
            }
        }
    }
    gst::init().unwrap();
    let tap = Tap::new("test", Memory::Gop, || ());
    let cutter = tap.attach(Arc::new(Cutter));
    for (ms, key) in [
        (0, true),
        (33, false),
        (66, true),
        (100, false),
        (133, true),
    ] {
        push(&tap, ms, key);
    }
    drop(cutter);
    let times = Arc::new(Times::default());
    let _attachment = tap.attach_from(times.clone(), gst::ClockTime::from_mseconds(66));
    push(&tap, 166, true);
    assert_eq!(*times.0.lock(), [66, 100, 133, 166]);
    // What was kept for it is no longer kept.
    let later = Arc::new(Times::default());
    let _later = tap.attach(later.clone());
    assert_eq!(*later.0.lock(), [166]);
}

#[test]
fn recent_sound_is_for_who_begins_in_the_past_alone() {
    gst::init().unwrap();
    let tap = Tap::new("test", Memory::Recent, || ());
    for ms in [0, 1000, 2000, 2500] {
        push(&tap, ms, true);
    }
    let now = Arc::new(Times::default());
    let _now = tap.attach(now.clone());
    assert!(now.0.lock().is_empty());
    let past = Arc::new(Times::default());
    let _past = tap.attach_from(past.clone(), gst::ClockTime::from_mseconds(1500));
    assert_eq!(*past.0.lock(), [2000, 2500]);
}

#[test]
fn an_endless_group_of_pictures_is_given_up() {
    gst::init().unwrap();
    let tap = Tap::new("test", Memory::Gop, || ());
    push(&tap, 0, true);
    push(&tap, 10_001, false);
    push(&tap, 10_100, false);
    assert!(!tap.remembers());
    push(&tap, 10_200, true);
    assert!(tap.remembers());
}

#[test]
fn sound_is_kept_for_as_long_as_a_recording_waits_for_a_picture() {
    gst::init().unwrap();
    let tap = Tap::new("test", Memory::Recent, || ());
    for ms in [0, 500, 1500, 3400] {
        push(&tap, ms, true);
    }
    let times = Arc::new(Times::default());
    let _attachment = tap.attach_from(times.clone(), gst::ClockTime::from_mseconds(400));
    assert_eq!(*times.0.lock(), [500, 1500, 3400]);
}

#[test]
fn sound_that_goes_on_at_the_beginning_is_given() {
    gst::init().unwrap();
    let tap = Tap::new("test", Memory::Recent, || ());
    for ms in [100, 120, 140] {
        push_lasting(&tap, ms, true, 20);
    }
    let times = Arc::new(Times::default());
    let _attachment = tap.attach_from(times.clone(), gst::ClockTime::from_mseconds(130));
    assert_eq!(*times.0.lock(), [120, 140]);
}

#[test]
fn what_is_kept_for_one_who_does_not_come_stays_for_the_other() {
    struct Cutter;
    impl Consumer for Cutter {
        fn take(&self, unit: &Unit) -> Taken {
            match unit.pts.mseconds() {
                66 => Taken::Keep,
                _ => Taken::Done,
            }
        }
    }
    gst::init().unwrap();
    let tap = Tap::new("test", Memory::Gop, || ());
    let cutters = [tap.attach(Arc::new(Cutter)), tap.attach(Arc::new(Cutter))];
    push(&tap, 66, true);
    drop(cutters);
    let there = gst::ClockTime::from_mseconds(66);
    tap.forget_from(there);
    push(&tap, 100, true);
    assert_eq!(tap.key_frame(there).unwrap().pts, there);
    tap.forget_from(there);
    push(&tap, 133, true);
    assert_ne!(tap.key_frame(there).unwrap().pts, there);
}
