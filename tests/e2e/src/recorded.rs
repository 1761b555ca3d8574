//! What a recording holds when it is over, held against what the server says of it.

use crate::{Haven, Result};
use haven_rig::media::{VideoMark, decode_to_end, probe, video_marks};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// How much a file's length may differ from what the server says, in seconds: the last frame's own.
const LENGTH_TOLERANCE_S: f64 = 0.1;
/// Pictures from before a file's begin are put into its first moment, so that it shows something at
/// once: their places tell nothing.
const FIRST_MOMENT_S: f64 = 0.1;
/// Reasons after which the next file follows without a break.
const WITHOUT_BREAK: [&str; 2] = ["split", "source_changed"];

/// A time in which nothing was recorded, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pause {
    /// Its begin.
    pub from_s: f64,
    /// Its end.
    pub to_s: f64,
}

impl Pause {
    /// How long it is, in seconds.
    pub fn length_s(&self) -> f64 {
        self.to_s - self.from_s
    }

    /// How much of it is within another stretch of time, in seconds.
    fn within_s(&self, from_s: f64, to_s: f64) -> f64 {
        (self.to_s.min(to_s) - self.from_s.max(from_s)).max(0.0)
    }

    /// Whether another one lies within it, but for so much before it and after it.
    fn covers(&self, other: &Self, (before_s, after_s): (f64, f64)) -> bool {
        self.from_s - before_s <= other.from_s && other.to_s <= self.to_s + after_s
    }
}

/// One file of a recording.
#[derive(Clone, Debug)]
pub struct RecordedPart {
    /// Where it is.
    pub path: PathBuf,
    /// When it begins, in seconds since 1970.
    pub begin_s: f64,
    /// Its length in seconds.
    pub duration_s: f64,
    /// Why it ended.
    pub reason: String,
    /// FFmpeg's names of the codecs, width and height.
    pub kind: (String, u32, u32),
    /// FFmpeg's name of the sound's codec.
    pub audio: String,
    /// What it shows.
    pub marks: Vec<VideoMark>,
}

/// A recording that is over, all of whose files have been played to their end.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// What the server said at its end.
    pub answer: Value,
    /// Its files.
    pub parts: Vec<RecordedPart>,
    /// The times in which nothing was recorded, as the server lists them: where the next file begins
    /// with a gap, too, that is one with the pause before it.
    pub pauses: Vec<Pause>,
}

impl Recorded {
    /// Plays everything that an answer to `stop` or of the library names.
    ///
    /// # Errors
    /// When a file doesn't play to its end, or isn't what the server says.
    pub async fn play(answer: &Value) -> Result<Self> {
        let mut parts = Vec::new();
        for part in answer["parts"].as_array().ok_or("no parts")? {
            parts.push(play(part).await?);
        }
        let pauses = joined(pauses(answer, &parts)?);
        Ok(Self {
            answer: answer.clone(),
            parts,
            pauses,
        })
    }

    /// Its number.
    pub fn id(&self) -> i64 {
        self.answer["recording_id"].as_i64().unwrap_or_default()
    }

    /// The description beside its first file.
    ///
    /// # Errors
    /// When there is none that can be read.
    pub fn description(&self) -> Result<Value> {
        Ok(serde_json::from_slice(&std::fs::read(
            self.description_path()?,
        )?)?)
    }

    fn description_path(&self) -> Result<PathBuf> {
        let first = self.parts.first().ok_or("a recording without files")?;
        Ok(format!("{}.json", first.path.display()).into())
    }

    /// Why its files ended.
    pub fn reasons(&self) -> Vec<&str> {
        self.parts.iter().map(|part| &*part.reason).collect()
    }

    /// Seconds that its files play.
    pub fn played_s(&self) -> f64 {
        self.parts.iter().map(|part| part.duration_s).sum()
    }

    /// Seconds from its first file's begin to its last one's end.
    pub fn span_s(&self) -> f64 {
        match (self.parts.first(), self.parts.last()) {
            (Some(first), Some(last)) => last.begin_s + last.duration_s - first.begin_s,
            _ => 0.0,
        }
    }

    /// Seconds that its files play outside of the listed gaps.
    pub fn filled_s(&self) -> f64 {
        let in_gaps = |part: &RecordedPart| -> f64 {
            let end_s = part.begin_s + part.duration_s;
            let pauses = self.pauses.iter();
            pauses
                .map(|pause| pause.within_s(part.begin_s, end_s))
                .sum()
        };
        let parts = self.parts.iter();
        parts.map(|part| part.duration_s - in_gaps(part)).sum()
    }

    /// How many pictures it shows, each counted once for as long as it stands.
    pub fn shown(&self) -> usize {
        self.numbers().len()
    }

    /// For how long its last picture stands, in seconds, but for what a listed gap makes of that.
    pub fn still_at_end_s(&self) -> f64 {
        let end_s = self
            .parts
            .last()
            .map_or(0.0, |part| part.begin_s + part.duration_s);
        let changed_s = self.numbers().last().map_or(0.0, |(at_s, _)| *at_s);
        let pauses = self.pauses.iter();
        let listed_s: f64 = pauses.map(|pause| pause.within_s(changed_s, end_s)).sum();
        end_s - changed_s - listed_s
    }

    /// The pictures in their order, each with when it was recorded (seconds since 1970) and its number.
    fn numbers(&self) -> Vec<(f64, u32)> {
        let shown = |part: &RecordedPart| {
            let begin_s = part.begin_s;
            let read = part.marks.iter().filter_map(move |mark| {
                let number = mark.reading.counter?;
                Some((begin_s + mark.pts_s, number))
            });
            read.collect::<Vec<_>>()
        };
        let mut all: Vec<_> = self.parts.iter().flat_map(shown).collect();
        all.dedup_by_key(|(_, number)| *number);
        all
    }

    /// Where pictures are missing that `publishers` publishers in turn have sent, each of which begins
    /// to count anew: how many pictures, and from when to when. Of what a publisher's last and the
    /// next one's first pictures are, nothing is known: that counts as none.
    ///
    /// # Errors
    /// When the numbers go back more often than that.
    pub fn losses(&self, publishers: usize) -> Result<Vec<(Pause, u32)>> {
        let mut begins = 1;
        let mut losses = Vec::new();
        for pair in self.numbers().windows(2) {
            let ((from_s, before), (to_s, after)) = (pair[0], pair[1]);
            let pause = Pause { from_s, to_s };
            if after < before {
                begins += 1;
                losses.push((pause, 0));
            } else if after > before + 1 {
                losses.push((pause, after - before - 1));
            }
        }
        if begins > publishers {
            return Err(format!("the pictures' numbers begin {begins} times: {losses:?}").into());
        }
        Ok(losses)
    }

    /// How many of the missing pictures are in none of the listed gaps, and how often a publisher's
    /// end is in none. So much time before and after a gap, in seconds, counts as the gap's.
    ///
    /// # Errors
    /// As for [`Recorded::losses`].
    pub fn lost_elsewhere(&self, publishers: usize, beside_s: (f64, f64)) -> Result<u32> {
        let in_a_gap = |loss: &Pause| {
            let mut pauses = self.pauses.iter();
            pauses.any(|pause| pause.covers(loss, beside_s))
        };
        let losses = self.losses(publishers)?;
        let elsewhere = losses.iter().filter(|(loss, _)| !in_a_gap(loss));
        Ok(elsewhere.map(|(_, count)| (*count).max(1)).sum())
    }

    /// How far pictures are from where their numbers put them, in seconds: at most, of every publisher's
    /// by its middle one.
    pub fn displaced_s(&self, fps: f64) -> f64 {
        let mut worst = 0.0_f64;
        let mut at = Vec::new();
        let mut before = 0;
        let mut close = |at: &mut Vec<f64>| {
            at.sort_by(f64::total_cmp);
            if let (Some(first), Some(last)) = (at.first(), at.last()) {
                let middle = at[at.len() / 2];
                worst = worst.max(middle - first).max(last - middle);
            }
            at.clear();
        };
        for part in &self.parts {
            for mark in &part.marks {
                let Some(number) = mark.reading.counter else {
                    continue;
                };
                if number < before {
                    close(&mut at);
                }
                // A picture that is shown again counts where it was first.
                if number != before && mark.pts_s >= FIRST_MOMENT_S {
                    at.push(part.begin_s + mark.pts_s - f64::from(number) / fps);
                }
                before = number;
            }
        }
        close(&mut at);
        worst
    }
}

async fn play(part: &Value) -> Result<RecordedPart> {
    let path = Path::new(part["path"].as_str().ok_or("a part without a path")?);
    let probed = probe(path).await?;
    let video = probed.stream("video").ok_or("no video")?;
    let audio = probed.stream("audio").ok_or("no audio")?;
    decode_to_end(path).await?;
    let said_s = part["duration_s"].as_f64().unwrap_or_default();
    if (said_s - probed.duration_s).abs() > LENGTH_TOLERANCE_S {
        return Err(format!("{part} is {} s long", probed.duration_s).into());
    }
    if part["bytes"].as_u64() != Some(path.metadata()?.len()) {
        return Err(format!("{part} has {} bytes", probed.size_bytes).into());
    }
    Ok(RecordedPart {
        path: path.to_owned(),
        begin_s: seconds_since_1970(&part["start_time"])?,
        duration_s: probed.duration_s,
        reason: part["reason"].as_str().unwrap_or_default().to_owned(),
        kind: (video.codec.clone(), video.width, video.height),
        audio: audio.codec.clone(),
        marks: video_marks(path).await?,
    })
}

fn seconds_since_1970(text: &Value) -> Result<f64> {
    let time: Timestamp = text.as_str().ok_or("no time")?.parse()?;
    Ok(time.as_millisecond() as f64 / 1000.0)
}

/// The listed gaps as times of the day: they are told in the time of the files one after the other, in
/// which a pause between two files takes no time.
fn pauses(answer: &Value, parts: &[RecordedPart]) -> Result<Vec<Pause>> {
    let mut listed = answer["gaps"]
        .as_array()
        .ok_or("no gaps")?
        .iter()
        .peekable();
    let mut pauses = Vec::new();
    let mut place_s = 0.0;
    let said = answer["parts"].as_array().ok_or("no parts")?;
    for (index, part) in parts.iter().enumerate() {
        let length_s = said[index]["duration_s"].as_f64().unwrap_or_default();
        let end_s = place_s + length_s;
        let followed = parts.get(index + 1);
        while let Some(gap) = listed.peek() {
            let (at_s, for_s) = (number(gap, "at_s")?, number(gap, "for_s")?);
            let between = at_s > end_s - 0.001;
            if between && followed.is_none() {
                return Err(format!("{gap} is behind the end").into());
            }
            if between && WITHOUT_BREAK.contains(&&*part.reason) {
                break;
            }
            let from_s = part.begin_s + at_s.min(end_s) - place_s;
            pauses.push(Pause {
                from_s,
                to_s: from_s + for_s,
            });
            listed.next();
            if between {
                break;
            }
        }
        place_s = end_s;
    }
    match listed.next() {
        None => Ok(pauses),
        Some(gap) => Err(format!("{gap} belongs to no file").into()),
    }
}

/// What follows without anything between is one.
fn joined(pauses: Vec<Pause>) -> Vec<Pause> {
    let mut all: Vec<Pause> = Vec::new();
    for pause in pauses {
        match all.last_mut() {
            Some(last) if pause.from_s - last.to_s < FIRST_MOMENT_S => last.to_s = pause.to_s,
            _ => all.push(pause),
        }
    }
    all
}

fn number(of: &Value, name: &str) -> Result<f64> {
    Ok(of[name]
        .as_f64()
        .ok_or_else(|| format!("no {name}: {of}"))?)
}

/// Checks that the server knows exactly the files that are in `folder`, that each recording is still
/// told as when it ended, and that the descriptions beside them say the same.
///
/// # Errors
/// With what doesn't agree.
pub async fn library_agrees(haven: &Haven, folder: &Path, ended: &[Recorded]) -> Result {
    let library = haven.get("/api/recordings?limit=500").await?.expect_ok()?;
    if library["total"] != json!(ended.len()) {
        return Err(format!("{} recordings have ended: {library}", ended.len()).into());
    }
    let mut known = BTreeSet::new();
    for one in ended {
        let id = one.id();
        let answer = haven.get(&format!("/api/recordings/{id}")).await?;
        let told = &answer.expect_ok()?["recording"];
        let described = one.description()?;
        for field in [
            "parts",
            "gaps",
            "duration_s",
            "bytes",
            "end_reason",
            "end_time",
        ] {
            if told[field] != one.answer[field] || described[field] != one.answer[field] {
                let (told, described) = (&told[field], &described[field]);
                let ended = &one.answer[field];
                return Err(format!("{field}: {ended}, then {told}, beside it {described}").into());
            }
        }
        known.insert(one.description_path()?);
        known.extend(one.parts.iter().map(|part| part.path.clone()));
    }
    let entries = std::fs::read_dir(folder)?;
    let found: BTreeSet<_> = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_, std::io::Error>>()?;
    if found == known {
        return Ok(());
    }
    let strange: Vec<_> = found.symmetric_difference(&known).collect();
    Err(format!("only the server or only the folder has {strange:?}").into())
}
