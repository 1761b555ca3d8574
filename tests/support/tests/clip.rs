//! The clip is what the other tests measure with: it must be exact itself.

use haven_rig::{
    Clip, ClipSpec, Codec, media,
    picture::{flash_is_on, read_jpeg},
};
use std::process::Command;

#[tokio::test]
async fn every_frame_of_the_clip_carries_its_number_at_its_time() {
    for codec in [Codec::H264, Codec::Vp8, Codec::Vp9] {
        let spec = ClipSpec::small(codec, 12);
        let clip = Clip::get(spec).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("clip.nut");
        clip.mux(&file).await.unwrap();
        let marks = media::video_marks(&file).await.unwrap();
        assert_eq!(marks.len(), spec.frames() as usize, "{codec:?}");
        for (number, mark) in (0..).zip(&marks) {
            assert_eq!(mark.reading.counter, Some(number), "{codec:?}");
            assert_eq!(
                mark.reading.flash,
                flash_is_on(number, 30),
                "{codec:?} {number}"
            );
            let time_s = mark.pts_s - marks[0].pts_s;
            assert!((time_s - f64::from(number) / 30.0).abs() < 0.001);
        }
    }
}

#[tokio::test]
async fn flash_and_beep_of_the_clip_are_one_instant() {
    let clip = Clip::get(ClipSpec::small(Codec::H264, 12)).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("clip.nut");
    clip.mux(&file).await.unwrap();
    let flashes = media::flash_onsets(&media::video_marks(&file).await.unwrap());
    let beeps = media::file_beeps(&file).await.unwrap();
    let sync = media::lip_sync(&flashes, &beeps).unwrap();
    assert_eq!(sync.pairs, 11, "{flashes:?} {beeps:?}");
    assert!(
        sync.median_ms.abs() < 2.0 && sync.worst_ms.abs() < 3.0,
        "{sync:?}"
    );
    let tone = media::measure_tone(&media::audio_pcm(&file).await.unwrap(), 48_000);
    assert!((tone.frequency_hz - 440.0).abs() < 0.1, "{tone:?}");
    assert!(tone.breaks_s.is_empty(), "{tone:?}");
}

#[tokio::test]
async fn a_probe_describes_the_clip_and_it_decodes_to_the_end() {
    let clip = Clip::get(ClipSpec::small(Codec::H264, 12)).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("clip.nut");
    clip.mux(&file).await.unwrap();
    let probe = media::probe(&file).await.unwrap();
    let video = probe.stream("video").unwrap();
    assert_eq!(
        (&*video.codec, video.width, video.height, video.frames),
        ("h264", 640, 360, 360)
    );
    let audio = probe.stream("audio").unwrap();
    assert_eq!(
        (&*audio.codec, audio.sample_rate, audio.channels),
        ("opus", 48_000, 2)
    );
    assert!((probe.duration_s - 12.0).abs() < 0.1, "{probe:?}");
    media::decode_to_end(&file).await.unwrap();
}

#[tokio::test]
async fn a_damaged_file_is_told_from_a_whole_one() {
    let clip = Clip::get(ClipSpec::small(Codec::H264, 12)).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("damaged.h264");
    let mut content = std::fs::read(&clip.video).unwrap();
    // Noise in many places: what a decoder makes of one of them is a matter of luck.
    let mut noise = 1u32;
    let step = content.len() / 30;
    for start in (1..30).map(|place| place * step) {
        for byte in &mut content[start..start + 400] {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = (noise >> 24) as u8;
        }
    }
    std::fs::write(&file, content).unwrap();
    assert!(media::decode_to_end(&file).await.is_err());
    let missing = media::probe(&folder.path().join("missing.mp4"))
        .await
        .unwrap_err();
    assert!(missing.to_string().contains("missing.mp4"), "{missing}");
}

#[tokio::test]
async fn the_counter_survives_a_jpeg_of_the_clip_at_360p_and_less() {
    let clip = Clip::get(ClipSpec::small(Codec::H264, 12)).await.unwrap();
    for (width, height) in [(640, 360), (320, 180)] {
        let folder = tempfile::tempdir().unwrap();
        let scale = format!("scale={width}:{height}");
        let made = Command::new(haven_rig::tool("ffmpeg").unwrap())
            .args(["-loglevel", "error", "-framerate", "30", "-i"])
            .arg(&clip.video)
            .args([
                "-vf",
                &scale,
                "-frames:v",
                "60",
                "-pix_fmt",
                "yuvj420p",
                "-q:v",
                "5",
            ])
            .arg(folder.path().join("%d.jpg"))
            .status()
            .unwrap();
        assert!(made.success());
        for number in 0..60 {
            let jpeg = std::fs::read(folder.path().join(format!("{}.jpg", number + 1))).unwrap();
            let read = read_jpeg(&jpeg).unwrap();
            assert_eq!((read.width, read.height), (width, height));
            assert_eq!(read.reading.counter, Some(number));
            assert_eq!(read.reading.flash, flash_is_on(number, 30));
        }
    }
}
