//! One measurement.

use super::{
    footage::{BLOCKS_PER_SECOND, Footage},
    gauge::Gauge,
    published::{Encoded, Published},
    standing,
    subject::{Subject, Task, Wanted},
    usage,
};
use crate::{
    child::Fuse,
    decode::Decoder,
    inbox::{Decoded, Inbox},
    preview, probe,
    recording::{Inputs, Plan, Rehearsal},
    source::Guests,
    tap::{Memory, Tap},
    timebase::Timebase,
};
use haven_wire::{Cost, Costs};
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

/// Pictures before those that count: until encoders have settled, and pages are there.
pub(super) const WARM_UP: u32 = 6;
/// A machine that is slow is measured with fewer pictures: as many as it manages in this time.
pub(super) const PATIENCE: Duration = Duration::from_secs(4);
/// Nothing takes longer, or something hangs.
const LIMIT: Duration = Duration::from_secs(20);
/// By how much what runs has precedence (nice(2)): processor time is counted, not how long it takes.
const NICENESS: i32 = 10;
/// What decoders may hold back.
const HELD_BACK: u32 = 20;

/// What the process does that was given this task: what it costs, as JSON.
///
/// # Errors
/// What went wrong.
pub(crate) fn measure(task: &str) -> Result<String, String> {
    let Task {
        pictures,
        folder,
        subject,
    } = serde_json::from_str(task).map_err(text)?;
    let _fuse = Fuse::new(LIMIT).map_err(text)?;
    if let Err(error) = rustix::process::nice(NICENESS) {
        tracing::debug!(%error, "measuring takes the processor from what runs");
    }
    let cost = match subject {
        Subject::Publishing => {
            let published = Published::make(&Footage::new())?;
            published.write(&folder).map_err(text)?;
            Cost::default()
        }
        Subject::Session => standing::session(pictures, &folder)?,
        Subject::Decoding => decoding(pictures, &folder)?,
        Subject::Preview => encoding_for_viewers(pictures)?,
        Subject::Recording(wanted) => recording(&wanted, pictures, &folder)?,
    };
    serde_json::to_string(&cost).map_err(text)
}

pub(super) fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Loads what a session has loaded before it needs it.
pub(super) fn preload() -> Result<(), String> {
    let loading = probe::preload().map_err(text)?;
    loading.join().map_err(|_| "a plug-in panics".into())
}

/// What memory grows by while something is measured.
struct Growth(u64);

impl Growth {
    /// All that is needed for measuring is there.
    fn begin() -> Result<Self, String> {
        usage::forget_peak();
        usage::resident().map(Self).map_err(text)
    }

    fn bytes(&self) -> Result<u64, String> {
        Ok(usage::peak().map_err(text)?.saturating_sub(self.0))
    }
}

/// Where pictures and sound go in, and what they are.
struct Stage<'a> {
    video: Arc<Tap>,
    audio: Arc<Tap>,
    pictures: Pictures<'a>,
    footage: &'a Footage,
    timebase: Timebase,
}

/// What is recorded or shown.
enum Pictures<'a> {
    None,
    Decoded,
    Encoded(&'a Encoded),
}

impl<'a> Stage<'a> {
    fn new(footage: &'a Footage, pictures: Pictures<'a>) -> Self {
        // As decoders and the source keep them.
        let memory = match pictures {
            Pictures::None | Pictures::Decoded => Memory::Last,
            Pictures::Encoded(_) => Memory::Gop,
        };
        Self {
            video: Tap::new("pictures", memory, || ()),
            audio: Tap::new("sound", Memory::Recent, || ()),
            pictures,
            footage,
            timebase: Timebase::start(),
        }
    }

    /// Lets a picture in, and the sound until the next one; what making them took.
    fn feed(&self, number: u32) -> Result<Duration, String> {
        let begin = usage::thread_cpu().map_err(text)?;
        let picture = match self.pictures {
            Pictures::None => None,
            Pictures::Decoded => Some((self.footage.picture(number), Footage::picture_caps())),
            Pictures::Encoded(encoded) => Some((encoded.unit(number), encoded.caps()?)),
        };
        let picture = picture.map(|(unit, caps)| sample(unit, &caps, number, Costs::FPS));
        let blocks = block_at(number)..block_at(number + 1);
        let sound: Vec<_> = blocks
            .map(|block| {
                let caps = Footage::sound_caps();
                sample(self.footage.block(block), &caps, block, BLOCKS_PER_SECOND)
            })
            .collect();
        let made = usage::thread_cpu().map_err(text)?;
        if let Some(picture) = &picture {
            self.video.push(picture);
        }
        for block in &sound {
            self.audio.push(block);
        }
        Ok(made.saturating_sub(begin))
    }

    /// Lets pictures in, as fast as they are taken, until enough were counted. Processor seconds
    /// for each second of them, and the number of the picture that comes next.
    fn run(
        &self,
        from: u32,
        pictures: u32,
        check: impl Fn(u32) -> Result<(), String>,
    ) -> Result<(f64, u32), String> {
        let until = Instant::now() + PATIENCE;
        let mut next = from;
        while next < from + WARM_UP {
            self.feed(next)?;
            check(next)?;
            next += 1;
        }
        let begin = usage::process_cpu().map_err(text)?;
        let (first, mut made) = (next, Duration::ZERO);
        while next < first + pictures && (next == first || Instant::now() < until) {
            made += self.feed(next)?;
            check(next)?;
            next += 1;
        }
        let cpu = usage::process_cpu().map_err(text)?.saturating_sub(begin);
        let seconds = f64::from(next - first) / f64::from(Costs::FPS);
        Ok((cpu.saturating_sub(made).as_secs_f64() / seconds, next))
    }
}

/// The first block of sound that doesn't begin before a picture.
fn block_at(picture: u32) -> u32 {
    (picture * BLOCKS_PER_SECOND).div_ceil(Costs::FPS)
}

/// The instant of a buffer of which there are `rate` a second.
fn time(number: u32, rate: u32) -> gst::ClockTime {
    gst::ClockTime::SECOND * u64::from(number) / u64::from(rate)
}

/// A buffer at its place in a stream of `rate` a second.
pub(super) fn sample(
    mut buffer: gst::Buffer,
    caps: &gst::Caps,
    number: u32,
    rate: u32,
) -> gst::Sample {
    let begin = time(number, rate);
    {
        let buffer = buffer.make_mut();
        buffer.set_pts(begin);
        buffer.set_duration(time(number + 1, rate) - begin);
    }
    let segment = gst::FormattedSegment::<gst::ClockTime>::new();
    gst::Sample::builder()
        .buffer(&buffer)
        .caps(caps)
        .segment(&segment)
        .build()
}

/// Pictures as fast as they are decoded; then sound, which is mixed as fast as it plays.
fn decoding(pictures: u32, folder: &Path) -> Result<Cost, String> {
    preload()?;
    let published = Published::read(folder).map_err(text)?;
    let growth = Growth::begin()?;
    let (video, audio) = (&published.video, &published.audio);
    let blocks = pictures * BLOCKS_PER_SECOND / Costs::FPS;
    let cpu = decode(Decoded::Pictures, video, Costs::FPS, pictures)?
        + decode(Decoded::Voices, audio, BLOCKS_PER_SECOND, blocks)?;
    Ok(Cost {
        cpu,
        memory_bytes: growth.bytes()?,
    })
}

/// Processor seconds for each second of one stream.
fn decode(what: Decoded, encoded: &Encoded, rate: u32, units: u32) -> Result<f64, String> {
    let memory = match what {
        Decoded::Pictures => Memory::Gop,
        Decoded::Voices | Decoded::Streamer => Memory::Recent,
    };
    let tap = Tap::new("encoded", memory, || ());
    let caps = encoded.caps()?;
    let (inbox, _events) = Inbox::new();
    let guests = Guests::default();
    let timebase = Timebase::start();
    let mut decoder = Decoder::new(what, tap.clone(), guests, timebase, inbox);
    let gauge = Arc::new(Gauge::new(WARM_UP, units));
    let _measuring = decoder.decoded().attach(gauge.clone());
    // What is decoded is known by its first unit.
    tap.push(&sample(encoded.unit(0), &caps, 0, rate));
    let _lease = decoder.lease();
    for number in 1..WARM_UP + units + HELD_BACK {
        tap.push(&sample(encoded.unit(number), &caps, number, rate));
    }
    Ok(gauge.per_buffer(PATIENCE)? * f64::from(rate))
}

fn encoding_for_viewers(pictures: u32) -> Result<Cost, String> {
    preload()?;
    let footage = Footage::new();
    let stage = Stage::new(&footage, Pictures::Decoded);
    let growth = Growth::begin()?;
    let preview = preview::Rehearsal::start(&stage.video, &stage.audio).map_err(text)?;
    let (cpu, _) = stage.run(0, pictures, |_| preview.check())?;
    Ok(Cost {
        cpu,
        memory_bytes: growth.bytes()?,
    })
}

fn recording(wanted: &Wanted, pictures: u32, folder: &Path) -> Result<Cost, String> {
    preload()?;
    let formats_dir = wanted.formats_dir.as_deref();
    let plan = Plan::choose(
        &wanted.format,
        &wanted.quality,
        &wanted.encoders,
        formats_dir,
    )
    .map_err(text)?;
    let footage = Footage::new();
    let published = match plan {
        Plan::Copy => Some(Published::read(folder).map_err(text)?),
        Plan::Encode(_) | Plan::Wave => None,
    };
    let pictures_of = match (&plan, &published) {
        (Plan::Wave, _) => Pictures::None,
        (_, Some(published)) => Pictures::Encoded(&published.video),
        (_, None) => Pictures::Decoded,
    };
    let stage = Stage::new(&footage, pictures_of);
    let growth = Growth::begin()?;
    // A copy depends on what is copied.
    stage.feed(0)?;
    let inputs = Inputs {
        video: stage.video.clone(),
        audio: stage.audio.clone(),
        mixes: true,
        _leases: Vec::new(),
        timebase: stage.timebase.clone(),
        asked: gst::ClockTime::ZERO,
    };
    let file = folder.join(format!("{}-{}", wanted.format, wanted.quality));
    let rehearsal = Rehearsal::begin(&plan, inputs, &file).map_err(text)?;
    let check = |number: u32| {
        if number.is_multiple_of(Costs::FPS) {
            rehearsal.force_key_frame();
        }
        rehearsal.check().map_err(text)
    };
    let (cpu, next) = stage.run(1, pictures, check)?;
    let end = time(next, Costs::FPS);
    rehearsal.end_at(end);
    // By what comes behind it, it is known that all before the end has come.
    stage.feed(next)?;
    let bytes = rehearsal.finish(end).map_err(text)?;
    if bytes == 0 {
        return Err("nothing was written".into());
    }
    Ok(Cost {
        cpu,
        memory_bytes: growth.bytes()?,
    })
}
