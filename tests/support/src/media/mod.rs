//! Readers of what came out: files, and sound.

mod beeps;
mod file_marks;
mod probe;
mod sync;
mod tone;

pub use beeps::beep_onsets;
pub use file_marks::{VideoMark, audio_pcm, file_beeps, flash_onsets, video_marks};
pub use probe::{Probe, ProbedStream, decode_to_end, probe};
pub use sync::{LipSync, lip_sync};
pub use tone::{Tone, measure_tone};

/// Reads S16LE samples, the first of `channels` channels, as values of ±1.
pub fn samples_of(pcm: &[u8], channels: usize) -> Vec<f32> {
    pcm.chunks_exact(2 * channels.max(1))
        .map(|frame| f32::from(i16::from_le_bytes([frame[0], frame[1]])) / 32768.0)
        .collect()
}
