//! What the worker does with files and formats, without a session.

use haven_wire::{Cost, Costs, FormatProbe, Probe};
use std::{
    path::Path,
    time::{Duration, Instant},
};

pub(crate) fn probe() -> Probe {
    let h264 = FormatProbe {
        description: "H.264 codec".into(),
        codec: "libx264".into(),
        audio_codec: "aac".into(),
        container: "mp4".into(),
        aliases: vec!["mp4".into()],
        encoder: Some("fakeenc".into()),
        ..FormatProbe::default()
    };
    let vp9 = FormatProbe {
        container: "webm".into(),
        aliases: vec!["webm".into()],
        ..h264.clone()
    };
    let av1 = FormatProbe {
        aliases: Vec::new(),
        encoder: None,
        missing: [("av1enc".to_owned(), "gstreamer1.0-plugins-bad".to_owned())].into(),
        ..h264.clone()
    };
    let source = FormatProbe {
        codec: haven_wire::COPIED.into(),
        audio_codec: "copy".into(),
        aliases: Vec::new(),
        encoder: None,
        ..h264.clone()
    };
    let wav = FormatProbe {
        codec: haven_wire::NO_VIDEO.into(),
        audio_codec: "pcm_s16le".into(),
        container: "wav".into(),
        ..source.clone()
    };
    let formats = [
        ("h264", h264),
        ("vp9", vp9),
        ("av1", av1),
        ("source", source),
        ("wav", wav),
    ];
    Probe {
        worker_version: "fake".into(),
        gstreamer_version: "none".into(),
        formats: formats
            .map(|(name, format)| (name.to_owned(), format))
            .into(),
        ..Probe::default()
    }
}

/// A recording that encodes takes ten cores, a viewer one: beside that, what the server itself takes
/// is nothing.
pub(crate) fn costs() -> Costs {
    let cost = |cpu| Cost {
        cpu,
        memory_bytes: 1 << 20,
    };
    let of = |cpu| [("medium".to_owned(), cost(cpu))].into();
    Costs {
        session: cost(0.1),
        decoding: cost(2.5),
        preview: cost(1.0),
        recordings: [
            ("h264".to_owned(), of(10.0)),
            ("source".to_owned(), of(0.1)),
        ]
        .into(),
    }
}

pub(crate) fn unfit(why: &str) {
    println!("{{\"error\": \"{why}\"}}");
    std::process::exit(3);
}

pub(crate) fn measure(path: &str) {
    let Ok(metadata) = std::fs::metadata(path) else {
        println!("{{\"error\": \"no such file\"}}");
        std::process::exit(1);
    };
    let bytes = metadata.len();
    if path.contains("hollow") && bytes < 10 {
        unfit("nothing in it plays");
    }
    println!("{{\"duration_ms\": {}, \"bytes\": {bytes}}}", bytes * 10);
}

#[allow(
    clippy::disallowed_methods,
    reason = "nothing but the file itself tells of it"
)]
/// Waits until the test has made the file `released` beside this one.
pub(crate) fn until_released(path: &Path) {
    let until = Instant::now() + Duration::from_secs(60);
    while !path.with_file_name("released").exists() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
    }
}
