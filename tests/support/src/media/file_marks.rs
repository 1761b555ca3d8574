use super::{beeps::beep_onsets, probe::READ_LIMIT, samples_of};
use crate::{
    clip::ffmpeg,
    error::{Result, RigError},
    picture::{self, Grey, Reading},
    process,
};
use std::path::Path;

/// Size to which frames are scaled before they are read: each cell of the counter is still 20 × 11.
const WIDTH: usize = 320;
const HEIGHT: usize = 180;
/// Rate to which sound is resampled before beeps are looked for.
const SAMPLE_RATE: u32 = 48_000;
/// A flash begins at the first bright frame; with a longer gap before it, that isn't known.
const MAX_FRAME_GAP_S: f64 = 0.1;

/// A video frame of a file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VideoMark {
    /// Presentation time in seconds.
    pub pts_s: f64,
    /// What the frame shows.
    pub reading: Reading,
}

/// Decodes the first video stream of a file and reads each frame.
///
/// # Errors
/// When ffmpeg is missing or can't decode the file.
pub async fn video_marks(file: &Path) -> Result<Vec<VideoMark>> {
    let mut command = ffmpeg()?;
    command
        .args(["-loglevel", "info", "-copyts", "-i"])
        .arg(file);
    let filter = format!("showinfo=checksum=0,scale={WIDTH}:{HEIGHT}:flags=area,format=gray");
    command.args([
        "-map",
        "0:v:0",
        "-vf",
        &filter,
        "-fps_mode",
        "passthrough",
        "-f",
        "rawvideo",
        "-",
    ]);
    let what = format!("reading the frames of {}", file.display());
    let answer = process::output(&what, command, READ_LIMIT).await?;
    let times = shown_times(&answer.stderr);
    let frames = answer.stdout.chunks_exact(WIDTH * HEIGHT);
    if times.len() != frames.len() {
        let detail = format!("{} frames but {} times", frames.len(), times.len());
        return Err(RigError::unexpected(what, detail));
    }
    let read = |pixels| {
        picture::read(Grey {
            pixels,
            width: WIDTH,
            height: HEIGHT,
        })
    };
    Ok(times
        .into_iter()
        .zip(frames)
        .map(|((pts_s, _), pixels)| VideoMark {
            pts_s,
            reading: read(pixels),
        })
        .collect())
}

/// When flashes begin, in seconds.
pub fn flash_onsets(marks: &[VideoMark]) -> Vec<f64> {
    marks
        .windows(2)
        .filter(|pair| pair[1].reading.flash && !pair[0].reading.flash)
        .filter(|pair| pair[1].pts_s - pair[0].pts_s < MAX_FRAME_GAP_S)
        .map(|pair| pair[1].pts_s)
        .collect()
}

/// When beeps begin in the first audio stream of a file, in seconds of its time stamps.
///
/// # Errors
/// When ffmpeg is missing or can't decode the file.
pub async fn file_beeps(file: &Path) -> Result<Vec<f64>> {
    let (samples, blocks) = decode_sound(file).await?;
    let to_time = |onset_s: f64| {
        let index = onset_s * f64::from(SAMPLE_RATE);
        let block = blocks.partition_point(|(first, _)| *first as f64 <= index);
        let (first, pts_s) = blocks[block.saturating_sub(1)];
        pts_s + (index - first as f64) / f64::from(SAMPLE_RATE)
    };
    Ok(beep_onsets(&samples, SAMPLE_RATE)
        .into_iter()
        .map(to_time)
        .collect())
}

/// The first audio stream of a file as mono samples of ±1 at 48 kHz, gaps closed.
///
/// # Errors
/// When ffmpeg is missing or can't decode the file.
pub async fn audio_pcm(file: &Path) -> Result<Vec<f32>> {
    Ok(decode_sound(file).await?.0)
}

/// Samples, and for each decoded block the index of its first sample and its time.
async fn decode_sound(file: &Path) -> Result<(Vec<f32>, Vec<(usize, f64)>)> {
    let mut command = ffmpeg()?;
    command
        .args(["-loglevel", "info", "-copyts", "-i"])
        .arg(file);
    let filter =
        format!("aresample={SAMPLE_RATE},aformat=sample_fmts=s16:channel_layouts=mono,ashowinfo");
    command.args(["-map", "0:a:0", "-af", &filter, "-f", "s16le", "-"]);
    let what = format!("reading the sound of {}", file.display());
    let answer = process::output(&what, command, READ_LIMIT).await?;
    let samples = samples_of(&answer.stdout, 1);
    let mut blocks = Vec::new();
    let mut first = 0;
    for (pts_s, length) in shown_times(&answer.stderr) {
        blocks.push((first, pts_s));
        first += length;
    }
    if blocks.is_empty() || first != samples.len() {
        let detail = format!("{} samples but times for {first}", samples.len());
        return Err(RigError::unexpected(what, detail));
    }
    Ok((samples, blocks))
}

/// The times that `showinfo` and `ashowinfo` print, with the number of samples in each block.
fn shown_times(log: &str) -> Vec<(f64, usize)> {
    let field = |line: &str, name: &str| {
        let value = line.split_once(name)?.1.trim_start();
        value.split_whitespace().next().map(str::to_owned)
    };
    log.lines()
        .filter(|line| line.contains("showinfo"))
        .filter_map(|line| {
            let pts_s = field(line, " pts_time:")?.parse().ok()?;
            let samples = field(line, " nb_samples:").and_then(|n| n.parse().ok());
            Some((pts_s, samples.unwrap_or(0)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_from_both_filters() {
        let log = "[Parsed_showinfo_0 @ 0x55] n:   1 pts:   3000 pts_time:0.0333333 duration: 3000 fmt:yuv420p\n\
                   Stream mapping:\n\
                   [Parsed_ashowinfo_2 @ 0x66] n:0 pts:-312 pts_time:-0.0065 fmt:s16 channels:1 chlayout:mono rate:48000 nb_samples:648 checksum:1";
        assert_eq!(shown_times(log), [(0.033_333_3, 0), (-0.0065, 648)]);
    }

    #[test]
    fn a_flash_behind_a_gap_has_no_known_start() {
        let mark = |pts_s, flash| VideoMark {
            pts_s,
            reading: Reading {
                counter: None,
                flash,
            },
        };
        let marks = [
            mark(0.0, true),
            mark(0.1, false),
            mark(0.13, true),
            mark(0.16, false),
            mark(0.5, true),
        ];
        assert_eq!(flash_onsets(&marks), [0.13]);
    }
}
