//! A session that is recorded while something befalls it.

use crate::{
    Asked, Haven, Pause, Publishing, Recorded, Result, Stage, is_long_form, library_agrees,
    may_be_missing,
};
use haven_rig::{ClipSpec, Codec};
use serde_json::Value;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const LIMIT: Duration = Duration::from_secs(60);
/// Everything is recorded as it was published and encoded.
const FORMATS: [&str; 2] = ["source", "h264"];
const FPS: f64 = 30.0;
/// A clip can't answer a request for a key frame: pictures begin with its next one.
pub const KEY_FRAME_S: f64 = 1.0;
/// Progress is told about once a second, and asked for now and then. It is waited for until all are
/// seen to go on, of which one begins with the publisher's next key frame.
pub const SEEN_LATE_S: f64 = 1.5 + KEY_FRAME_S;
/// What a file may lose that nobody finalises.
pub const CUT_OFF_S: f64 = 2.0;

/// How long what befalls the recording lasts.
pub fn away() -> Duration {
    Duration::from_secs(if is_long_form() { 10 } else { 3 })
}

/// How long the recording runs undisturbed between.
pub fn calm() -> Duration {
    Duration::from_secs(if is_long_form() { 4 } else { 2 })
}

/// How far beside what was done a gap may be, in seconds: in the short form others may take the
/// processor away.
pub fn tolerance_s() -> f64 {
    if is_long_form() { 0.5 } else { 1.5 }
}

/// What is published.
pub fn large() -> ClipSpec {
    match is_long_form() {
        true => ClipSpec::default(),
        false => ClipSpec::small(Codec::H264, 80),
    }
}

/// As the large one, of half its width and height.
pub fn half() -> ClipSpec {
    ClipSpec {
        width: large().width / 2,
        height: large().height / 2,
        video_kbps: 500,
        ..large()
    }
}

/// Seconds since 1970.
pub fn now_s() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64()
}

/// A room whose session is recorded.
pub struct Scene {
    /// Its neighbours.
    pub stage: Stage,
    recordings: Vec<Asked>,
}

impl Scene {
    /// Has a room recorded in every format, the server with these variables beside others.
    ///
    /// # Errors
    /// When something is missing or doesn't come up.
    pub async fn begin(variables: Vec<(String, String)>) -> Result<Self> {
        let stage = Stage::set_with(Publishing::Clip(large()), variables).await?;
        stage.haven.start_session(&stage.mint).await?;
        let mut scene = Self {
            stage,
            recordings: Vec::new(),
        };
        scene.until_live().await?;
        for format in FORMATS {
            let asked = Asked::start(scene.haven(), &scene.stage.mint, format).await?;
            scene.recordings.push(asked);
        }
        tokio::time::sleep(calm()).await;
        Ok(scene)
    }

    /// The server.
    pub fn haven(&self) -> &Haven {
        &self.stage.haven
    }

    /// Waits until media arrives.
    ///
    /// # Errors
    /// When none does.
    pub async fn until_live(&self) -> Result {
        let is_live = |session: &Value| session["state"] == "live";
        let (haven, mint) = (self.haven(), &self.stage.mint);
        haven.wait_for_session(mint, LIMIT, is_live).await?;
        Ok(())
    }

    /// Waits until both recordings write their part of this number.
    ///
    /// # Errors
    /// When they don't.
    pub async fn until_part(&self, number: usize) -> Result {
        let deadline = Instant::now() + LIMIT;
        loop {
            let library = self.haven().get("/api/recordings").await?.expect_ok()?;
            let all = library["recordings"].as_array().ok_or("no recordings")?;
            let grows = |one: &Value| {
                let part = &one["parts"][number - 1];
                part["duration_s"]
                    .as_f64()
                    .is_some_and(|length| length > 0.0)
            };
            if all.iter().all(grows) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("no part {number}: {library}").into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Ends the recordings, plays them, and holds them against the library and what it took.
    ///
    /// # Errors
    /// When something of them isn't so.
    ///
    /// # Panics
    /// When they are longer or shorter than it took.
    pub async fn end(&self) -> Result<Vec<Recorded>> {
        tokio::time::sleep(calm()).await;
        let (mut all, mut lengths) = (Vec::new(), Vec::new());
        for recording in &self.recordings {
            let (answer, length) = recording.stop(self.haven()).await?;
            all.push(answer);
            lengths.push(length);
        }
        let all = self.play(&all).await?;
        for (recorded, length) in all.iter().zip(lengths) {
            let beside_s = length.beside_s(recorded.span_s());
            // Where others take the processor away, the start and the end are answered late.
            let allowed_s = if is_long_form() { 0.5 } else { 3.0 };
            assert!(beside_s.abs() < allowed_s, "{beside_s} s beside {length:?}");
        }
        let first = all.first().and_then(|one| one.parts.first());
        let folder = first.and_then(|part| part.path.parent());
        library_agrees(self.haven(), folder.ok_or("no files")?, &all).await?;
        Ok(all)
    }

    /// Waits until both recordings have ended by themselves, and plays them.
    ///
    /// # Errors
    /// When they don't end or play.
    pub async fn until_ended(&self) -> Result<Vec<Recorded>> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let library = self.haven().get("/api/recordings").await?.expect_ok()?;
            let all = library["recordings"].as_array().ok_or("no recordings")?;
            if all.iter().all(|one| !one["end_reason"].is_null()) {
                let mut all = all.clone();
                all.reverse();
                return self.play(&all).await;
            }
            if Instant::now() > deadline {
                return Err(format!("still recording: {library}").into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn play(&self, ended: &[Value]) -> Result<Vec<Recorded>> {
        let mut all = Vec::new();
        for answer in ended {
            let recorded = Recorded::play(answer).await?;
            println!(
                "{}: {} files, {:.2} s, {:?}, gaps {}, losses {:?}, pictures at most {:.3} s from \
                 their place",
                answer["output_format"],
                recorded.parts.len(),
                recorded.played_s(),
                recorded.reasons(),
                answer["gaps"],
                recorded.losses(usize::MAX)?,
                recorded.displaced_s(FPS),
            );
            all.push(recorded);
        }
        Ok(all)
    }
}

/// No picture is missing outside of the gaps, all are where they belong, and they change up to the end.
///
/// # Errors
/// When there were more publishers than that.
///
/// # Panics
/// When it isn't so.
pub fn nothing_else_is_lost(recorded: &Recorded, publishers: usize) -> Result {
    let shown: usize = recorded.parts.iter().map(|part| part.marks.len()).sum();
    let format = &recorded.answer["output_format"];
    // What is encoded may be too much for a busy machine, which then says so.
    let allowed = match format == "source" {
        true => 0,
        false => may_be_missing(shown as u64),
    };
    // Sound goes on at once, pictures with the publisher's next key frame.
    let beside_s = (tolerance_s(), tolerance_s() + KEY_FRAME_S);
    let lost = recorded.lost_elsewhere(publishers, beside_s)?;
    let losses = recorded.losses(publishers)?;
    let dropped = recorded.answer["dropped_frames"].as_u64();
    assert!(
        u64::from(lost) <= allowed && dropped <= Some(allowed),
        "{format}: {lost} lost, {dropped:?} of them here: {losses:?}"
    );
    let displaced_s = recorded.displaced_s(FPS);
    assert!(displaced_s < tolerance_s(), "{format}: {displaced_s}");
    // Where nothing changes, nothing is seen to be missing.
    let (changes, filled_s) = (recorded.shown(), recorded.filled_s());
    let begins = 1.0 + recorded.pauses.len() as f64;
    let beside_s = (tolerance_s() + KEY_FRAME_S) * begins;
    let least = (filled_s - beside_s) * FPS - allowed as f64;
    assert!(
        changes as f64 >= least,
        "{format}: {changes} pictures in {filled_s} s"
    );
    let still_s = recorded.still_at_end_s();
    assert!(
        still_s < tolerance_s(),
        "{format}: {still_s} s of one picture"
    );
    println!("  {changes} pictures in {filled_s:.2} s, the last one for {still_s:.2} s");
    Ok(())
}

/// Something that was done, which leaves a gap.
#[derive(Clone, Copy, Debug)]
pub struct Done {
    /// From when to when.
    pub pause: Pause,
    /// How much of the time before it is lost, too, at most.
    pub lost_before_s: f64,
    /// How much of the time after it is lost, too, at most.
    pub lost_after_s: f64,
    /// How much later than the recording went on that was seen, at most.
    pub seen_late_s: f64,
}

impl Done {
    /// From then until now, after which a clip's next key frame is waited for.
    pub fn since(from_s: f64) -> Self {
        let pause = Pause {
            from_s,
            to_s: now_s(),
        };
        Self {
            pause,
            lost_before_s: 0.0,
            lost_after_s: KEY_FRAME_S,
            seen_late_s: 0.0,
        }
    }
}

/// The listed gaps are what was done.
///
/// # Panics
/// When they aren't.
pub fn gaps_are(recorded: &Recorded, all: &[Done]) {
    let pauses = &recorded.pauses;
    assert_eq!(pauses.len(), all.len(), "{pauses:?} {all:?}");
    for (listed, one) in pauses.iter().zip(all) {
        let done = &one.pause;
        let earliest_s = done.from_s - one.lost_before_s - tolerance_s();
        let latest_s = done.to_s + one.lost_after_s + tolerance_s();
        let begins = earliest_s..done.from_s + tolerance_s();
        let ends = done.to_s - one.seen_late_s - tolerance_s()..latest_s;
        println!(
            "  gap of {:.2} s for {:.2} s, {:+.2} s and {:+.2} s beside",
            listed.length_s(),
            done.length_s(),
            listed.from_s - done.from_s,
            listed.to_s - done.to_s
        );
        assert!(begins.contains(&listed.from_s), "{listed:?} {done:?}");
        assert!(ends.contains(&listed.to_s), "{listed:?} {done:?}");
    }
}
