//! Pictures and sound to measure with, made without a codec.
//!
//! Pictures are clouds: smooth noise of several sizes, whose detail falls with its size as that of
//! photographs does. A foreground sways before a background that pans, so that there is motion of
//! two kinds, and something is uncovered all the time. `docs/pipelines.md` compares what they cost
//! with other pictures.

use gstlivekitsrc::mixer::{self, FRAME_BYTES, SAMPLE_RATE};
use haven_wire::Costs;
use std::f32::consts::TAU;

const WIDTH: usize = Costs::WIDTH as usize;
const HEIGHT: usize = Costs::HEIGHT as usize;
/// How far the picture can move over the clouds, in pixels.
const MARGIN: usize = 128;
/// The foreground's place, in pixels of the picture.
const FRONT: (usize, usize) = (400, 160);
/// Its size: a person before a camera.
const FRONT_SIZE: (usize, usize) = (480, 560);
/// Cells of the noise of brightness, in pixels, and how much each contributes.
const LUMA: [(usize, i32); 5] = [(128, 90), (32, 50), (8, 26), (4, 14), (2, 8)];
/// The same for colours.
const CHROMA: [(usize, i32); 2] = [(64, 60), (16, 20)];
/// Blocks of sound a second.
pub(super) const BLOCKS_PER_SECOND: u32 = 50;
const BLOCK_FRAMES: usize = (SAMPLE_RATE / BLOCKS_PER_SECOND) as usize;

/// The pictures and the sound.
pub(super) struct Footage {
    planes: [Clouds; 3],
    /// A second of it.
    sound: Vec<u8>,
}

impl Footage {
    pub(super) fn new() -> Self {
        Self {
            planes: [
                Clouds::new(WIDTH + MARGIN, HEIGHT + MARGIN, &LUMA, 1),
                Clouds::new((WIDTH + MARGIN) / 2, (HEIGHT + MARGIN) / 2, &CHROMA, 2),
                Clouds::new((WIDTH + MARGIN) / 2, (HEIGHT + MARGIN) / 2, &CHROMA, 3),
            ],
            sound: voice(),
        }
    }

    /// A picture, as a decoder gives it.
    pub(super) fn picture(&self, number: u32) -> gst::Buffer {
        let mut pixels = vec![0; WIDTH * HEIGHT * 3 / 2];
        let (luma, chroma) = pixels.split_at_mut(WIDTH * HEIGHT);
        let (blue, red) = chroma.split_at_mut(chroma.len() / 2);
        for (plane, (clouds, scale)) in [luma, blue, red]
            .into_iter()
            .zip(self.planes.iter().zip([1, 2, 2]))
        {
            draw(plane, clouds, scale, number as usize);
        }
        gst::Buffer::from_mut_slice(pixels)
    }

    /// A block of sound, as the mixer gives it.
    pub(super) fn block(&self, number: u32) -> gst::Buffer {
        let bytes = BLOCK_FRAMES * FRAME_BYTES;
        let from = (number % BLOCKS_PER_SECOND) as usize * bytes;
        gst::Buffer::from_mut_slice(self.sound[from..from + bytes].to_vec())
    }

    /// What the pictures are.
    pub(super) fn picture_caps() -> gst::Caps {
        gst::Caps::builder("video/x-raw")
            .field("format", "I420")
            .field("width", Costs::WIDTH as i32)
            .field("height", Costs::HEIGHT as i32)
            .field("framerate", gst::Fraction::new(Costs::FPS as i32, 1))
            .field("pixel-aspect-ratio", gst::Fraction::new(1, 1))
            .field("interlace-mode", "progressive")
            .build()
    }

    /// What the sound is.
    pub(super) fn sound_caps() -> gst::Caps {
        mixer::caps()
    }
}

/// One plane of something larger than a picture.
struct Clouds {
    width: usize,
    pixels: Vec<u8>,
}

impl Clouds {
    fn new(width: usize, height: usize, sizes: &[(usize, i32)], seed: u32) -> Self {
        let mut pixels = Vec::with_capacity(width * height);
        let mut row = vec![0; width];
        for y in 0..height {
            row.fill(128 << 8);
            for (index, (cell, weight)) in sizes.iter().enumerate() {
                add_noise(&mut row, y, *cell, *weight, seed * 16 + index as u32);
            }
            pixels.extend(row.iter().map(|value| (value >> 8).clamp(16, 235) as u8));
        }
        Self { width, pixels }
    }
}

/// Adds noise between minus and plus half of `weight`, in 256ths, to a row: random values at the
/// corners of cells, and a straight line between them.
fn add_noise(row: &mut [i32], y: usize, cell: usize, weight: i32, seed: u32) {
    let corner = |x: usize, y: usize| {
        let mut hash = seed.wrapping_mul(0x9e37_79b9) ^ (x as u32).wrapping_mul(0x85eb_ca6b);
        hash =
            (hash ^ (hash >> 15) ^ (y as u32).wrapping_mul(0xc2b2_ae35)).wrapping_mul(0x2c1b_3c6d);
        ((hash ^ (hash >> 13)).wrapping_mul(0x297a_2d39) >> 24) as i32 - 128
    };
    let (above, down) = (y / cell, (y % cell) as i32);
    let edge = |x: usize| {
        let (top, bottom) = (corner(x, above), corner(x, above + 1));
        top * cell as i32 + (bottom - top) * down
    };
    let squared = (cell * cell) as i32;
    let mut left = edge(0);
    for (index, pixels) in row.chunks_mut(cell).enumerate() {
        let right = edge(index + 1);
        let mut value = left * cell as i32;
        for pixel in pixels {
            *pixel += value / squared * weight;
            value += right - left;
        }
        left = right;
    }
}

/// Back and forth between 0 and `span`.
fn sway(way: usize, span: usize) -> usize {
    span - (way % (2 * span)).abs_diff(span)
}

/// Draws picture `number` of a plane with `scale` times fewer pixels a side.
fn draw(plane: &mut [u8], clouds: &Clouds, scale: usize, number: usize) {
    let width = WIDTH / scale;
    let mut copy = |to: (usize, usize), size: (usize, usize), from: (usize, usize)| {
        for row in 0..size.1 {
            let source = (from.1 + row) * clouds.width + from.0;
            let target = (to.1 + row) * width + to.0;
            plane[target..target + size.0].copy_from_slice(&clouds.pixels[source..source + size.0]);
        }
    };
    let by = |(x, y): (usize, usize)| (x / scale, y / scale);
    let pan = (sway(number * 2, MARGIN), sway(number, MARGIN));
    copy((0, 0), by((WIDTH, HEIGHT)), by(pan));
    // Another part of the clouds, which comes along.
    let moved = (sway(number * 3, MARGIN), sway(number * 2, MARGIN));
    let place = (FRONT.0 + moved.0, FRONT.1 - MARGIN + moved.1);
    copy(by(place), by(FRONT_SIZE), by((MARGIN, MARGIN)));
}

/// A second of something like a voice: a tone with overtones that swells four times, as 16-bit stereo.
fn voice() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(SAMPLE_RATE as usize * FRAME_BYTES);
    for frame in 0..SAMPLE_RATE {
        let time = frame as f32 / SAMPLE_RATE as f32;
        let tone = |harmonic: f32| (TAU * 150.0 * harmonic * time).sin() / harmonic;
        let swell = 0.6 + 0.4 * (TAU * 4.0 * time).sin();
        let sample = (tone(1.0) + tone(2.0) + tone(5.0) + tone(13.0)) * swell * 8000.0;
        let sample = (sample as i16).to_le_bytes();
        bytes.extend(sample);
        bytes.extend(sample);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_move_and_stay_in_the_picture() {
        gst::init().unwrap();
        let footage = Footage::new();
        let picture = |number| footage.picture(number).map_readable().unwrap().to_vec();
        let first = picture(0);
        assert_eq!(first.len(), WIDTH * HEIGHT * 3 / 2);
        assert_eq!(first, picture(0));
        for number in [1, 64, 65, 128, 1000] {
            let other = picture(number);
            let same = first.iter().zip(&other).filter(|(a, b)| a == b).count();
            assert!(same < first.len() / 2, "{number}: {same}");
        }
    }

    #[test]
    fn pictures_are_neither_flat_nor_noise() {
        let clouds = Clouds::new(WIDTH, HEIGHT, &LUMA, 1);
        let steps: Vec<_> = clouds
            .pixels
            .windows(2)
            .map(|pair| u64::from(pair[0].abs_diff(pair[1])))
            .collect();
        let mean = steps.iter().sum::<u64>() as f64 / steps.len() as f64;
        assert!((1.0..12.0).contains(&mean), "{mean}");
        let (low, high) = (
            clouds.pixels.iter().min().unwrap(),
            clouds.pixels.iter().max().unwrap(),
        );
        assert!(*low < 70 && *high > 190, "{low} {high}");
    }

    #[test]
    fn the_sound_repeats_after_a_second() {
        gst::init().unwrap();
        let footage = Footage::new();
        let block = |number| footage.block(number).map_readable().unwrap().to_vec();
        assert_eq!(block(3).len(), 3840);
        assert_eq!(block(3), block(53));
        assert_ne!(block(3), block(4));
    }
}
