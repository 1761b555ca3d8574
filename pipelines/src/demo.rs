use crate::source::SourceError;
use gst::prelude::*;
use gst_video::prelude::*;
use std::time::{SystemTime, UNIX_EPOCH};

/// Which of the seven segments each digit lights: top, upper left, upper right, middle, lower
/// left, lower right, bottom.
const SEGMENTS: [[bool; 7]; 10] = {
    const O: bool = false;
    const I: bool = true;
    [
        [I, I, I, O, I, I, I],
        [O, O, I, O, O, I, O],
        [I, O, I, I, I, O, I],
        [I, O, I, I, O, I, I],
        [O, I, I, I, O, I, O],
        [I, I, O, I, O, I, I],
        [I, I, O, I, I, I, I],
        [I, O, I, O, O, I, O],
        [I, I, I, I, I, I, I],
        [I, I, I, I, O, I, I],
    ]
};

/// Width of a digit, in pixels; its height is twice that.
const DIGIT: usize = 64;
/// Width of a segment's stroke, in pixels.
const STROKE: usize = 12;
/// Luma of the background and of the digits, in the video range of BT.601.
const DARK: u8 = 16;
const LIGHT: u8 = 235;

/// What publishes the pictures, and the sound, as a LiveKit room's streamer does.
pub(crate) const VIDEO_ENCODER: &str = "x264enc tune=zerolatency speed-preset=ultrafast \
     bitrate=2500 key-int-max=30 threads=1 ! \
     video/x-h264,stream-format=byte-stream,alignment=au,profile=constrained-baseline";
pub(crate) const AUDIO_ENCODER: &str = "audioconvert ! opusenc frame-size=20 bitrate=48000";

const PATTERN: &str = "videotestsrc name=pattern is-live=true pattern=smpte ! \
     video/x-raw,format=I420,width=1280,height=720,framerate=30/1 ! \
     queue max-size-buffers=4 max-size-bytes=0 max-size-time=0";
const TONE: &str = "audiotestsrc is-live=true wave=sine freq=440 volume=0.2 samplesperbuffer=960 ! \
     audio/x-raw,rate=48000,channels=1";

/// The built-in room: colour bars with a running clock (UTC, with tenths of a second), and a tone
/// of 440 Hz. Published as a LiveKit room's streamer would: H.264 and Opus.
///
/// # Errors
/// When an element is missing.
pub(crate) fn build() -> Result<gst::Pipeline, SourceError> {
    let text = format!(
        "{PATTERN} ! {VIDEO_ENCODER} ! appsink name=video {TONE} ! {AUDIO_ENCODER} ! appsink name=audio"
    );
    let pipeline = gst::parse::launch(&text)
        .map_err(|error| SourceError::Build(error.to_string()))?
        .downcast::<gst::Pipeline>()
        .map_err(|_| SourceError::Build("not a pipeline".into()))?;
    let pad = pipeline
        .by_name("pattern")
        .and_then(|pattern| pattern.static_pad("src"))
        .ok_or_else(|| SourceError::Build("no test pattern".into()))?;
    pad.add_probe(gst::PadProbeType::BUFFER, |pad, probe| {
        if let Some(buffer) = probe.buffer_mut()
            && let Some(caps) = pad.current_caps()
            && let Ok(info) = gst_video::VideoInfo::from_caps(&caps)
        {
            draw_clock(buffer.make_mut(), &info);
        }
        gst::PadProbeReturn::Ok
    });
    Ok(pipeline)
}

fn draw_clock(buffer: &mut gst::BufferRef, info: &gst_video::VideoInfo) {
    let Ok(mut frame) = gst_video::VideoFrameRef::from_buffer_ref_writable(buffer, info) else {
        return;
    };
    let stride = frame.plane_stride()[0] as usize;
    let width = frame.width() as usize;
    if let Ok(luma) = frame.plane_data_mut(0) {
        let mut picture = Picture { luma, stride };
        picture.clock(width, &clock_text());
    }
}

fn clock_text() -> String {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let seconds = since.as_secs() % 86_400;
    format!(
        "{:02}:{:02}:{:02}.{}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        since.subsec_millis() / 100
    )
}

/// The luma plane of a picture.
struct Picture<'a> {
    luma: &'a mut [u8],
    stride: usize,
}

impl Picture<'_> {
    /// Draws a time in the middle of the upper half, on a dark field.
    fn clock(&mut self, width: usize, text: &str) {
        const MARGIN: usize = 24;
        let advance = |c: char| {
            if c.is_ascii_digit() {
                DIGIT + STROKE
            } else {
                STROKE * 2
            }
        };
        let total: usize = text.chars().map(advance).sum();
        let Some(left) = (width.checked_sub(total)).map(|rest| rest / 2) else {
            return;
        };
        let top = 96;
        self.fill(
            (left.saturating_sub(MARGIN), top - MARGIN),
            (total + MARGIN, DIGIT * 2 + MARGIN * 2),
            DARK,
        );
        let mut x = left;
        for c in text.chars() {
            match c.to_digit(10) {
                Some(digit) => self.digit((x, top), &SEGMENTS[digit as usize]),
                None => {
                    let below = (x, top + DIGIT * 2 - STROKE);
                    self.fill(below, (STROKE, STROKE), LIGHT);
                    if c == ':' {
                        self.fill((x, top + DIGIT - STROKE * 2), (STROKE, STROKE), LIGHT);
                    }
                }
            }
            x += advance(c);
        }
    }

    fn digit(&mut self, (x, y): (usize, usize), lit: &[bool; 7]) {
        let right = x + DIGIT - STROKE;
        let half = DIGIT;
        let segments = [
            ((x, y), (DIGIT, STROKE)),
            ((x, y), (STROKE, half)),
            ((right, y), (STROKE, half)),
            ((x, y + half - STROKE / 2), (DIGIT, STROKE)),
            ((x, y + half), (STROKE, half)),
            ((right, y + half), (STROKE, half)),
            ((x, y + half * 2 - STROKE), (DIGIT, STROKE)),
        ];
        for ((at, size), lit) in segments.into_iter().zip(lit) {
            if *lit {
                self.fill(at, size, LIGHT);
            }
        }
    }

    fn fill(&mut self, (x, y): (usize, usize), (width, height): (usize, usize), luma: u8) {
        for row in y..y + height {
            let start = row * self.stride + x;
            if let Some(pixels) = self.luma.get_mut(start..start + width) {
                pixels.fill(luma);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_looks_different() {
        let draw = |text: &str| {
            let mut luma = vec![128; 1280 * 720];
            let mut picture = Picture {
                luma: &mut luma,
                stride: 1280,
            };
            picture.clock(1280, text);
            luma
        };
        let pictures: Vec<_> = (0..10).map(|d| draw(&format!("12:34:56.{d}"))).collect();
        for (i, one) in pictures.iter().enumerate() {
            assert!(pictures[i + 1..].iter().all(|other| one != other));
        }
    }

    #[test]
    fn a_picture_too_small_for_the_clock_stays_as_it_is() {
        let mut luma = vec![128; 100 * 100];
        let mut picture = Picture {
            luma: &mut luma,
            stride: 100,
        };
        picture.clock(100, "12:34:56.7");
        assert!(luma.iter().all(|pixel| *pixel == 128));
    }
}
