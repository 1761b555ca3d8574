//! Who is heard and seen of those in a room: guests beside the streamer.

use gst::prelude::*;
use haven_e2e::{Publishing, Result, Room, Sinks, Source, may_be_unheard, may_break};
use haven_rig::media::measure_tone;
use haven_rig::speech::{Speech, words};
use haven_rig::{Clip, ClipParticipant, ClipSpec, Codec, Publisher, Role};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);
const SAMPLE_RATE: u32 = 48_000;

/// Somebody who joins, says these words, and leaves.
async fn guest(room: &Room, identity: &str, speech: Speech) -> Result<Publisher> {
    let token = room.livekit.token(&room.name, identity, Role::Publisher)?;
    let clip = Clip::get(ClipSpec::small(Codec::H264, 80)).await?;
    let voice = ClipParticipant::voice(identity, token, speech.clip().await?);
    Ok(Publisher::clip(&room.livekit.url(), &clip, &[voice], false).await?)
}

async fn until_done(mut guest: Publisher) -> Result {
    guest.take(LIMIT, |event| event.event == "finished").await?;
    guest.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_guests_are_heard_from_their_first_to_their_last_word() -> Result {
    const LOW: Speech = Speech {
        pitch_hz: 2_000,
        words: 5,
    };
    const HIGH: Speech = Speech {
        pitch_hz: 3_000,
        words: 9,
    };
    let room = Room::open(&Publishing::small()).await?;
    let source = Source::join(&room, &Sinks::raw(), |element| {
        element.set_property_from_str("audio-mode", "mix");
    })?;
    source.more("audio", 100, LIMIT).await?;
    // The second comes and goes while the first speaks.
    let long = guest(&room, "guest-1", HIGH).await?;
    let short = guest(&room, "guest-2", LOW).await?;
    until_done(short).await?;
    until_done(long).await?;
    source.more("audio", 100, LIMIT).await?;

    source.look("audio", |log| {
        for speech in [LOW, HIGH] {
            let heard = words(log.sound(), SAMPLE_RATE, speech.pitch_hz);
            println!("{} Hz: {heard:.2?}", speech.pitch_hz);
            assert_eq!(speech.was_heard(&heard, may_be_unheard()), Ok(()));
        }
        // The streamer goes on, and so does time.
        let tone = measure_tone(log.sound(), SAMPLE_RATE);
        println!("{tone:?}");
        let breaks = tone.breaks_s.iter().filter(|at| **at > 1.0).count();
        let heard_s = log.sound().len() as f64 / f64::from(SAMPLE_RATE);
        assert!(breaks <= may_break(heard_s), "{tone:?}");
        let steps = log.buffers.windows(2);
        let uneven = steps.filter(|pair| (pair[1].time_s - pair[0].time_s - 0.02).abs() > 0.001);
        assert_eq!(uneven.count(), 0);
    });
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mix_of_a_room_without_a_voice_is_silence() -> Result {
    let mut room = Room::open(&Publishing::small()).await?;
    let source = Source::join(&room, &Sinks::raw(), |element| {
        element.set_property_from_str("audio-mode", "mix");
    })?;
    source.more("audio", 50, LIMIT).await?;
    room.end_publisher().await?;
    source.forget();
    source.more("audio", 150, LIMIT).await?;
    source.look("audio", |log| {
        let last = &log.sound()[log.sound().len() - SAMPLE_RATE as usize..];
        assert!(last.iter().all(|sample| sample.abs() < 0.001));
        assert!(!log.ended);
    });
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_takes_whom_it_chooses_on_pads_of_their_own() -> Result {
    let room = Room::open(&Publishing::small()).await?;
    let token = room.livekit.token(&room.name, "guest", Role::Publisher)?;
    let clip = Clip::get(ClipSpec::small(Codec::H264, 80)).await?;
    let guest = [ClipParticipant::new("guest", token)];
    let source = Source::join(&room, &Sinks::encoded(), |element| {
        element.connect("select-track", false, |values| {
            let track = values[1].get::<gst::Structure>().ok()?;
            let of_guest = track.get::<&str>("identity") == Ok("guest");
            let choice = match (of_guest, track.get::<&str>("kind")) {
                (true, Ok("video")) => "take",
                (true, _) => "leave",
                (false, _) => "usual",
            };
            let choices = values[0].get::<gst::Element>().ok()?;
            let signal = gst::glib::subclass::SignalId::lookup("select-track", choices.type_())?;
            let answer = signal.query().return_type().type_();
            let class = gst::glib::EnumClass::with_type(answer)?;
            class.to_value_by_nick(choice)
        });
        link_to_nothing(element);
    })?;
    let guest = Publisher::clip(&room.livekit.url(), &clip, &guest, true).await?;
    source.more("video_1", 60, LIMIT).await?;
    source.more("video_0", 30, LIMIT).await?;
    assert_eq!(source.pads(), ["audio_0", "video_0", "video_1"]);
    // Who doesn't come back loses the pad, in order.
    guest.stop().await?;
    source.wait_until("video_1", LIMIT, |log| log.ended).await?;
    source.more("video_0", 30, LIMIT).await?;
    assert!(source.element.static_pad("video_1").is_none());
    Ok(())
}

/// Links the further pads, for which the pipeline has nothing.
fn link_to_nothing(element: &gst::Element) {
    element.connect_pad_added(|element, pad| {
        if pad.name().ends_with("_0") {
            return;
        }
        let pipeline = element.parent().and_downcast::<gst::Bin>();
        let sink = gst::ElementFactory::make("fakesink")
            .property("sync", false)
            .property("async", false)
            .build();
        if let (Some(pipeline), Ok(sink)) = (pipeline, sink) {
            let added = pipeline.add(&sink);
            let started = added.and_then(|()| sink.sync_state_with_parent());
            if let (Ok(()), Some(entry)) = (started, sink.static_pad("sink")) {
                let _ = pad.link(&entry);
            }
        }
    });
}
