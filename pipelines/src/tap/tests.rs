use super::*;

#[derive(Default)]
struct Times(Mutex<Vec<u64>>);

impl Consumer for Times {
    fn take(&self, unit: &Unit) -> Taken {
        self.0.lock().push(unit.pts.mseconds());
        Taken::Done
    }
}

/// Ends at the buffer of this time, in milliseconds: the rest is another's.
struct Cutter(u64);

impl Consumer for Cutter {
    fn take(&self, unit: &Unit) -> Taken {
        match unit.pts.mseconds() == self.0 {
            true => Taken::Keep,
            false => Taken::Done,
        }
    }
}

fn ms(ms: u64) -> gst::ClockTime {
    gst::ClockTime::from_mseconds(ms)
}

fn gop_tap() -> Arc<Tap> {
    gst::init().unwrap();
    Tap::new("test", Memory::Gop, || ())
}

fn recent_tap() -> Arc<Tap> {
    gst::init().unwrap();
    Tap::new("test", Memory::Recent, || ())
}

fn push_all(tap: &Tap, units: &[(u64, bool)]) {
    for (ms, key) in units {
        push(tap, *ms, *key);
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
    let tap = gop_tap();
    push_all(&tap, &[(0, true), (33, false), (66, true), (100, false)]);
    let times = Arc::new(Times::default());
    let attachment = tap.attach(times.clone());
    push(&tap, 133, false);
    drop(attachment);
    push(&tap, 166, false);
    assert_eq!(*times.0.lock(), [66, 100, 133]);
}

#[test]
fn who_begins_where_another_ended_misses_nothing_though_key_frames_came_since() {
    let tap = gop_tap();
    let cutter = tap.attach(Arc::new(Cutter(66)));
    push_all(&tap, &[(0, true), (33, false), (66, true)]);
    push_all(&tap, &[(100, false), (133, true)]);
    let times = Arc::new(Times::default());
    let _attachment = tap.attach_from(times.clone(), ms(66));
    drop(cutter);
    push(&tap, 166, true);
    assert_eq!(*times.0.lock(), [66, 100, 133, 166]);
    // What was kept for it is no longer kept.
    let later = Arc::new(Times::default());
    let _later = tap.attach(later.clone());
    assert_eq!(*later.0.lock(), [166]);
}

#[test]
fn who_ends_within_what_it_is_given_first_keeps_the_rest_for_the_next() {
    let tap = gop_tap();
    let first = tap.attach(Arc::new(Cutter(66)));
    push_all(&tap, &[(0, true), (66, true), (100, true), (133, false)]);
    let second = tap.attach_from(Arc::new(Cutter(100)), ms(66));
    drop(first);
    push_all(&tap, &[(166, true), (200, true)]);
    let times = Arc::new(Times::default());
    let _third = tap.attach_from(times.clone(), ms(100));
    drop(second);
    assert_eq!(*times.0.lock(), [100, 133, 166, 200]);
}

#[test]
fn recent_sound_is_for_who_begins_in_the_past_alone() {
    let tap = recent_tap();
    for ms in [0, 1000, 2000, 2500] {
        push(&tap, ms, true);
    }
    let now = Arc::new(Times::default());
    let _now = tap.attach(now.clone());
    assert!(now.0.lock().is_empty());
    let past = Arc::new(Times::default());
    let _past = tap.attach_from(past.clone(), ms(1500));
    assert_eq!(*past.0.lock(), [2000, 2500]);
}

#[test]
fn an_endless_group_of_pictures_is_given_up() {
    let tap = gop_tap();
    push(&tap, 0, true);
    push(&tap, 10_001, false);
    push(&tap, 10_100, false);
    assert!(!tap.remembers());
    push(&tap, 10_200, true);
    assert!(tap.remembers());
}

#[test]
fn sound_is_kept_for_as_long_as_a_recording_waits_for_a_picture() {
    let tap = recent_tap();
    for ms in [0, 500, 1500, 3400] {
        push(&tap, ms, true);
    }
    let times = Arc::new(Times::default());
    let _attachment = tap.attach_from(times.clone(), ms(400));
    assert_eq!(*times.0.lock(), [500, 1500, 3400]);
}

#[test]
fn sound_that_goes_on_at_the_beginning_is_given() {
    let tap = recent_tap();
    for ms in [100, 120, 140] {
        push_lasting(&tap, ms, true, 20);
    }
    let times = Arc::new(Times::default());
    let _attachment = tap.attach_from(times.clone(), ms(130));
    assert_eq!(*times.0.lock(), [120, 140]);
}

#[test]
fn what_is_kept_for_one_who_does_not_come_stays_for_the_other() {
    let tap = gop_tap();
    let one = tap.attach(Arc::new(Cutter(66)));
    let other = tap.attach(Arc::new(Cutter(66)));
    push(&tap, 66, true);
    drop(one);
    push(&tap, 100, true);
    assert_eq!(tap.key_frame(ms(66)).unwrap().pts, ms(66));
    drop(other);
    push(&tap, 133, true);
    assert_ne!(tap.key_frame(ms(66)).unwrap().pts, ms(66));
}

#[test]
fn what_grew_too_long_is_given_up_and_kept_again_from_the_next_key_frame_on() {
    let tap = gop_tap();
    let cutter = tap.attach(Arc::new(Cutter(0)));
    push_all(&tap, &[(0, true), (10_001, false)]);
    push_all(&tap, &[(10_050, true), (10_100, true)]);
    let times = Arc::new(Times::default());
    let _attachment = tap.attach_from(times.clone(), ms(0));
    drop(cutter);
    assert_eq!(*times.0.lock(), [10_050, 10_100]);
}
