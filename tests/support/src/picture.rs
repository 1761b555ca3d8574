//! The test picture: a counter that a program can read, a flash each second, and something that moves.
//!
//! The geometry is relative to the frame, on a grid of 16 × 16 cells, so that it survives scaling:
//!
//! ```text
//! rows  1–4   columns 1–14   the counter: 24 bits and 4 check bits, most significant first;
//!                            row 1 holds the first 14 bits, row 2 their inverse,
//!                            row 3 the other 14, row 4 their inverse; white is 1
//! rows  6–7   columns 1–6    the flash: white for 1/15 s from each whole second, else black
//! rows  9–15  all columns    a moving texture
//! ```
//!
//! Frame `n` (from 0) shows the number `n` at the time `n / fps`. `tests/rig/python/picture.py` draws the same.

use crate::error::{Result, RigError};
use zune_core::{bytestream::ZCursor, colorspace::ColorSpace, options::DecoderOptions};
use zune_jpeg::JpegDecoder;

/// Numbers go up to this, then begin again at 0.
pub const COUNTER_LIMIT: u32 = 1 << 24;

const GRID: usize = 16;
const BITS_PER_ROW: usize = 14;
const CHECK_BITS: u32 = 4;
const FIRST_COLUMN: usize = 1;
const FIRST_ROW: usize = 1;
const FLASH_ROWS: [usize; 2] = [6, 8];
const FLASH_COLUMNS: [usize; 2] = [1, 7];
const TEXTURE_ROW: usize = 9;
const WHITE: u8 = 235;
const BLACK: u8 = 16;
const GREY: u8 = 80;
/// A bit and its inverse must differ by this much to be believed.
const MIN_CONTRAST: i32 = 48;

/// What a frame shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// The frame's number, if all its bits are clear and the check is right.
    pub counter: Option<u32>,
    /// Whether the flash is on.
    pub flash: bool,
}

/// A grey picture, one byte a pixel, rows without padding.
#[derive(Clone, Copy, Debug)]
pub struct Grey<'a> {
    /// The pixels.
    pub pixels: &'a [u8],
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

/// Whether frame `number` is one with the flash on.
pub fn flash_is_on(number: u32, fps: u32) -> bool {
    let fps = fps.max(1);
    number % fps < (fps / 15).max(1)
}

/// Draws frame `number` as planar 4:2:0 (I420, limited range) into `frame`.
///
/// # Panics
/// When `frame` isn't `width × height × 3/2` bytes, or a side is odd.
pub fn draw(frame: &mut [u8], width: usize, height: usize, number: u32, fps: u32) {
    assert!(width.is_multiple_of(2) && height.is_multiple_of(2));
    assert_eq!(frame.len(), width * height * 3 / 2);
    let (luma, chroma) = frame.split_at_mut(width * height);
    let texture_start = TEXTURE_ROW * height / GRID;
    luma[..texture_start * width].fill(GREY);
    draw_texture(&mut luma[texture_start * width..], width, number as usize);
    draw_chroma(chroma, width, height, number as usize);
    let word = with_check(number % COUNTER_LIMIT);
    for bit in 0..2 * BITS_PER_ROW {
        let one = word >> (2 * BITS_PER_ROW - 1 - bit) & 1 == 1;
        let (row, column) = bit_cell(bit);
        let shades = if one { [WHITE, BLACK] } else { [BLACK, WHITE] };
        for (below, shade) in shades.into_iter().enumerate() {
            fill(
                luma,
                width,
                height,
                [row + below, row + below + 1],
                [column, column + 1],
                shade,
            );
        }
    }
    let shade = if flash_is_on(number, fps) {
        WHITE
    } else {
        BLACK
    };
    fill(luma, width, height, FLASH_ROWS, FLASH_COLUMNS, shade);
}

/// Reads a frame.
pub fn read(picture: Grey<'_>) -> Reading {
    let mut word = 0;
    let mut clear = picture.width >= 2 * GRID && picture.height >= 2 * GRID;
    for bit in 0..2 * BITS_PER_ROW {
        let (row, column) = bit_cell(bit);
        let difference = cell_mean(picture, row, column) - cell_mean(picture, row + 1, column);
        clear &= difference.abs() >= MIN_CONTRAST;
        word = word << 1 | u32::from(difference > 0);
    }
    let number = word >> CHECK_BITS;
    let flash_cells = (FLASH_ROWS[0]..FLASH_ROWS[1])
        .flat_map(|row| (FLASH_COLUMNS[0]..FLASH_COLUMNS[1]).map(move |column| (row, column)));
    let brightness: Vec<i32> = flash_cells
        .map(|(row, column)| cell_mean(picture, row, column))
        .collect();
    Reading {
        counter: (clear && with_check(number) == word).then_some(number),
        flash: brightness.iter().sum::<i32>() > 128 * brightness.len() as i32,
    }
}

/// How a series of counters runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// How many counters there are.
    pub seen: u64,
    /// Numbers between the first and the last that never came.
    pub missing: u64,
    /// Numbers that came again right after themselves.
    pub repeated: u64,
    /// Steps backward.
    pub backward: u64,
}

impl Run {
    /// Follows counters in the order in which they came. A repeated clip begins again at 0 after
    /// `cycle` frames: a step back by more than half of that counts as a new round.
    pub fn of(counters: &[u32], cycle: u32) -> Self {
        let cycle = cycle.clamp(2, COUNTER_LIMIT);
        let mut run = Self {
            seen: counters.len() as u64,
            ..Self::default()
        };
        // How far behind the farthest number the series is after steps backward.
        let mut behind = 0;
        for pair in counters.windows(2) {
            let step = (pair[1] % cycle + cycle - pair[0] % cycle) % cycle;
            if step == 0 {
                run.repeated += 1;
            } else if step > cycle / 2 {
                run.backward += 1;
                behind += u64::from(cycle - step);
            } else {
                let ahead = u64::from(step);
                run.missing += ahead.saturating_sub(behind).saturating_sub(1);
                behind = behind.saturating_sub(ahead);
            }
        }
        run
    }
}

/// A decoded JPEG's size in pixels, and what it shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JpegReading {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// What it shows.
    pub reading: Reading,
}

/// Reads a JPEG.
///
/// # Errors
/// When it isn't a whole JPEG.
pub fn read_jpeg(jpeg: &[u8]) -> Result<JpegReading> {
    let options = DecoderOptions::default()
        .jpeg_set_out_colorspace(ColorSpace::Luma)
        .set_strict_mode(true);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(jpeg), options);
    let pixels = decoder
        .decode()
        .map_err(|error| RigError::unexpected("decoding a JPEG", format!("{error:?}")))?;
    let (width, height) = decoder
        .dimensions()
        .ok_or_else(|| RigError::unexpected("decoding a JPEG", "it has no size"))?;
    let picture = Grey {
        pixels: &pixels,
        width,
        height,
    };
    Ok(JpegReading {
        width: width as u32,
        height: height as u32,
        reading: read(picture),
    })
}

/// Row and column of a bit's cell; its inverse is one row below.
fn bit_cell(bit: usize) -> (usize, usize) {
    (
        FIRST_ROW + bit / BITS_PER_ROW * 2,
        FIRST_COLUMN + bit % BITS_PER_ROW,
    )
}

/// The number followed by its CRC-4 (x⁴ + x + 1).
fn with_check(number: u32) -> u32 {
    let mut remainder = number << CHECK_BITS;
    for bit in (CHECK_BITS..CHECK_BITS + 24).rev() {
        if remainder >> bit & 1 == 1 {
            remainder ^= 0b10011 << (bit - CHECK_BITS);
        }
    }
    number << CHECK_BITS | remainder
}

/// Mean of the middle of a cell: its edges blur when a picture is scaled or coded.
fn cell_mean(picture: Grey<'_>, row: usize, column: usize) -> i32 {
    let middle = |index: usize, size: usize| {
        let (start, end) = (index * size / GRID, (index + 1) * size / GRID);
        let margin = (end - start) / 4;
        start + margin..(end - margin).max(start + margin + 1)
    };
    let columns = middle(column, picture.width);
    let (mut sum, mut count) = (0, 0);
    for y in middle(row, picture.height) {
        let line = y * picture.width;
        let pixels = picture
            .pixels
            .get(line + columns.start..line + columns.end)
            .unwrap_or_default();
        sum += pixels.iter().map(|pixel| i32::from(*pixel)).sum::<i32>();
        count += pixels.len() as i32;
    }
    sum / count.max(1)
}

fn fill(
    luma: &mut [u8],
    width: usize,
    height: usize,
    rows: [usize; 2],
    columns: [usize; 2],
    shade: u8,
) {
    let [left, right] = columns.map(|column| column * width / GRID);
    let [top, bottom] = rows.map(|row| row * height / GRID);
    for line in luma.chunks_exact_mut(width).take(bottom).skip(top) {
        line[left..right].fill(shade);
    }
}

/// Slow waves that drift to the right and downwards at different speeds.
fn draw_texture(area: &mut [u8], width: usize, number: usize) {
    let wave = |x: usize| {
        let angle = x as f32 * std::f32::consts::TAU / 256.0;
        30.0 * angle.sin() + 14.0 * (5.0 * angle).sin() + 6.0 * (23.0 * angle).sin()
    };
    let along: Vec<i16> = (0..width)
        .map(|x| wave((x + 256 * number - 3 * number) % 256) as i16 + 120)
        .collect();
    for (y, line) in area.chunks_exact_mut(width).enumerate() {
        let shift = wave((2 * y + 5 * number) % 256) as i16;
        for (pixel, value) in line.iter_mut().zip(&along) {
            *pixel = (value + shift).clamp(16, 235) as u8;
        }
    }
}

fn draw_chroma(chroma: &mut [u8], width: usize, height: usize, number: usize) {
    let row_bytes = width / 2;
    let texture_start = TEXTURE_ROW * (height / 2) / GRID;
    for (plane, area) in chroma
        .chunks_exact_mut(row_bytes * (height / 2))
        .enumerate()
    {
        let (plain, texture) = area.split_at_mut(texture_start * row_bytes);
        plain.fill(128);
        for (y, line) in texture.chunks_exact_mut(row_bytes).enumerate() {
            let phase = (y + number * (plane + 1)) as f32 * std::f32::consts::TAU / 180.0;
            line.fill((128.0 + 50.0 * phase.sin()) as u8);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(width: usize, height: usize, number: u32) -> Vec<u8> {
        let mut frame = vec![0; width * height * 3 / 2];
        draw(&mut frame, width, height, number, 30);
        frame
    }

    fn reading(frame: &[u8], width: usize, height: usize) -> Reading {
        let pixels = &frame[..width * height];
        read(Grey {
            pixels,
            width,
            height,
        })
    }

    #[test]
    fn a_number_is_read_as_it_was_drawn_in_every_size() {
        for (width, height) in [(1280, 720), (640, 360), (360, 480), (320, 180), (322, 182)] {
            for number in [
                0,
                1,
                29,
                30,
                31,
                32,
                0x00aa_aaaa,
                0x0055_5555,
                COUNTER_LIMIT - 1,
            ] {
                let read = reading(&drawn(width, height, number), width, height);
                assert_eq!(read.counter, Some(number), "{width}x{height}");
                assert_eq!(read.flash, number % 30 < 2, "{number}");
            }
        }
    }

    #[test]
    fn a_single_wrong_bit_is_noticed() {
        for bit in 0..2 * BITS_PER_ROW {
            let mut frame = drawn(640, 360, 123_456);
            let (row, column) = bit_cell(bit);
            let luma = &mut frame[..640 * 360];
            let one = luma[(row * 360 / GRID + 3) * 640 + column * 640 / GRID + 3] == WHITE;
            let shades = if one { [BLACK, WHITE] } else { [WHITE, BLACK] };
            for (below, shade) in shades.into_iter().enumerate() {
                fill(
                    luma,
                    640,
                    360,
                    [row + below, row + below + 1],
                    [column, column + 1],
                    shade,
                );
            }
            assert_eq!(reading(&frame, 640, 360).counter, None, "bit {bit}");
        }
    }

    #[test]
    fn a_run_counts_what_is_missing_repeated_and_backward() {
        let run = |counters: &[u32]| {
            let run = Run::of(counters, 100);
            (run.seen, run.missing, run.repeated, run.backward)
        };
        assert_eq!(run(&[5, 6, 7, 8]), (4, 0, 0, 0));
        assert_eq!(run(&[97, 98, 0, 1]), (4, 1, 0, 0));
        assert_eq!(run(&[1, 2, 2, 3, 6]), (5, 2, 1, 0));
        assert_eq!(run(&[10, 11, 9, 12]), (4, 0, 0, 1));
        assert_eq!(run(&[]), (0, 0, 0, 0));
    }

    #[test]
    fn a_picture_without_a_counter_has_no_number() {
        for shade in [0, 128, 255] {
            assert_eq!(reading(&vec![shade; 640 * 360], 640, 360).counter, None);
        }
        assert_eq!(reading(&[], 0, 0).counter, None);
        assert_eq!(reading(&[7; 4], 2, 2).counter, None);
    }

    #[test]
    fn what_is_no_jpeg_is_refused() {
        assert!(read_jpeg(b"").is_err());
        assert!(read_jpeg(b"\xff\xd8\xff\xe0 not really").is_err());
    }
}
