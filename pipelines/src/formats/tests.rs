mod mistakes;

use super::*;
use crate::inbox::Media;

/// Trials that find what they are told, and remember what they were asked.
#[derive(Default)]
struct Told {
    failing: Vec<&'static str>,
    asked: Vec<(Media, Vec<String>)>,
}

impl Trials for Told {
    fn run(&mut self, media: Media, chains: &[String]) -> Result<(), String> {
        self.asked.push((media, chains.to_vec()));
        let fails = |word: &&&str| chains.iter().any(|chain| chain.contains(**word));
        match self.failing.iter().find(fails) {
            Some(word) => Err(format!("{word} crashed")),
            None => Ok(()),
        }
    }
}

fn loaded() -> Formats {
    gst::init().unwrap();
    Formats::load(None).unwrap()
}

fn user_files(texts: &[&str]) -> Result<Formats, FormatError> {
    gst::init().unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (number, text) in texts.iter().enumerate() {
        fs::write(folder.path().join(format!("mine{number}.toml")), text).unwrap();
    }
    Formats::load(Some(folder.path()))
}

fn recipe(formats: &Formats, format: &str, quality: &str) -> Result<Recipe, FormatError> {
    formats.recipe(format, quality, &ChosenEncoders::default())
}

const MINE: &str = r#"
[formats.mine]
description = "Mine"
codec = "mine"
audio_codec = "aac"
container = "mp4"
muxer = "mp4mux"
video = ["mine"]
audio = ["voaacenc"]

[encoders.mine]
element = "x264enc"
options = "bitrate={video_kbps}"
"#;

#[test]
fn the_built_in_formats_offer_the_contract_s_qualities() {
    let probe = loaded().probe(&mut Told::default());
    for (name, codec, container) in [
        ("h264", "libx264", "mp4"),
        ("av1", "libaom-av1", "mp4"),
        ("vp9", "libvpx-vp9", "webm"),
    ] {
        let format = &probe[name];
        assert_eq!(
            (format.codec.as_str(), format.container.as_str()),
            (codec, container)
        );
        let kbps = |quality: &str| {
            let preset = format.qualities[quality];
            (preset.video_kbps, preset.audio_kbps)
        };
        assert_eq!(kbps("low"), (1000, 64));
        assert_eq!(kbps("medium"), (2000, 128));
        assert_eq!(kbps("high"), (4000, 192));
        assert!(format.available(), "{format:?}");
    }
}

#[test]
fn the_built_in_options_are_known_to_what_is_installed() {
    let formats = loaded();
    for finding in formats.findings(&mut Told::default()) {
        assert!(!matches!(finding.verdict, Verdict::Unfit(_)), "{finding:?}");
    }
}

#[test]
fn an_alias_names_its_format() {
    let formats = loaded();
    assert_eq!(
        recipe(&formats, "mp4", "medium").unwrap(),
        recipe(&formats, "h264", "medium").unwrap()
    );
}

#[test]
fn a_recipe_carries_the_bit_rates_of_its_quality() {
    let recipe = recipe(&loaded(), "h264", "high").unwrap();
    assert!(
        recipe.video_options.contains("4000"),
        "{}",
        recipe.video_options
    );
    assert!(
        recipe.audio_encoder.contains("192000"),
        "{}",
        recipe.audio_encoder
    );
}

#[test]
fn unknown_names_are_answered_with_the_known() {
    let formats = loaded();
    let error = recipe(&formats, "betamax", "low").unwrap_err().to_string();
    assert!(
        error.contains("betamax") && error.contains("av1, h264, vp9"),
        "{error}"
    );
    let error = recipe(&formats, "h264", "best").unwrap_err().to_string();
    assert!(
        error.contains("best") && error.contains("high, low, medium"),
        "{error}"
    );
}

#[test]
fn a_user_s_format_is_added_to_the_built_in_ones() {
    let formats = user_files(&[MINE]).unwrap();
    let mine = recipe(&formats, "mine", "low").unwrap();
    assert_eq!(mine.video_options.trim(), "bitrate=1000");
    assert_eq!(mine.video_encoder, "x264enc");
    assert!(mine.origin.ends_with("mine0.toml:13"), "{}", mine.origin);
    assert!(recipe(&formats, "h264", "low").is_ok());
}

#[test]
fn a_user_s_key_replaces_the_built_in_one_and_leaves_the_others() {
    let formats = user_files(&[
        "[encoders.x264enc]\nby_quality.high = \"speed-preset=slow\"\n[qualities.high]\nvideo_kbps = 9000\naudio_kbps = 96\n",
        "[formats.h264]\nvideo = [\"openh264enc\", \"x264enc\"]\n",
        "[formats.h264]\nvideo = [\"x264enc\"]\n[formats.h264.qualities.high]\nvideo_kbps = 8000\naudio_kbps = 256\n",
    ])
    .unwrap();
    let high = recipe(&formats, "h264", "high").unwrap();
    assert_eq!(high.video_encoder, "x264enc");
    assert!(high.video_options.contains("speed-preset=slow"), "{high:?}");
    assert!(
        high.video_options.contains("tune=zerolatency bitrate=8000"),
        "{high:?}"
    );
    assert!(high.audio_encoder.contains("256000"), "{high:?}");
    let low = recipe(&formats, "h264", "low").unwrap();
    assert!(
        low.video_options.contains("speed-preset=ultrafast"),
        "{low:?}"
    );
    let vp9 = recipe(&formats, "vp9", "high").unwrap();
    assert!(vp9.video_options.contains("9000000"), "{vp9:?}");
}

#[test]
fn the_example_of_the_documentation_does_what_it_says() {
    let text = include_str!("../../../docs/pipelines.md");
    let example = text.split("```toml\n").nth(1).unwrap();
    let formats = user_files(&[example.split("```").next().unwrap()]).unwrap();
    let high = recipe(&formats, "h264", "high").unwrap();
    assert!(
        high.video_options.contains("speed-preset=medium"),
        "{high:?}"
    );
    let archive = recipe(&formats, "archive", "high").unwrap();
    assert!(
        archive.video_options.contains("bitrate=8000"),
        "{archive:?}"
    );
    assert_eq!(archive.muxer, "matroskamux");
}

#[test]
fn every_key_is_documented() {
    gst::init().unwrap();
    let text = include_str!("../../../docs/pipelines.md");
    for line in BUILT_IN.lines().filter(|line| !line.starts_with('#')) {
        let Some((key, _)) = line.split_once(" = ") else {
            continue;
        };
        let key = key.split('.').next().unwrap().trim();
        let is_element = gst::ElementFactory::find(key).is_some() || line.contains("gstreamer1.0-");
        assert!(
            is_element || text.contains(&format!("`{key}")),
            "{key} isn't documented"
        );
    }
}

#[test]
fn an_encoder_that_is_not_installed_is_passed_over_for_the_next() {
    let text = MINE.replace("video = [", "video = [\"none\", ")
        + "[encoders.none]\nelement = \"nosuchenc\"\noptions = \"x={video_bps}\"\n";
    let formats = user_files(&[&text]).unwrap();
    assert_eq!(
        recipe(&formats, "mine", "low").unwrap().video_encoder,
        "x264enc"
    );
    let probe = &formats.probe(&mut Told::default())["mine"];
    assert_eq!(probe.notes, Vec::<String>::new());
    assert_eq!(probe.chosen.video.as_deref(), Some("mine"));
}

#[test]
fn an_option_that_the_installed_version_lacks_means_the_next_encoder_and_a_note() {
    let other = "[encoders.other]\nelement = \"openh264enc\"\noptions = \"bitrate={video_bps}\"\n";
    for (wrong, word) in [
        ("bitrate={video_kbps} nosuch=1", "nosuch"),
        ("bitrate={video_kbps} speed-preset=warp", "warp"),
    ] {
        let text = MINE
            .replace("bitrate={video_kbps}", wrong)
            .replace("video = [\"mine\"", "video = [\"mine\", \"other\"")
            + other;
        let formats = user_files(&[&text]).unwrap();
        assert_eq!(
            recipe(&formats, "mine", "low").unwrap().video_encoder,
            "openh264enc"
        );
        let probe = &formats.probe(&mut Told::default())["mine"];
        assert_eq!(probe.encoder.as_deref(), Some("openh264enc"));
        assert_eq!(probe.notes.len(), 1, "{probe:?}");
        assert!(
            probe.notes[0].contains("mine0.toml:13: mine is passed over"),
            "{probe:?}"
        );
        assert!(probe.notes[0].contains(word), "{probe:?}");
    }
}

#[test]
fn a_format_without_an_installed_encoder_says_what_is_missing() {
    let text = MINE.replace("element = \"x264enc\"", "element = \"nosuchenc\"")
        + "\n[packages]\nnosuchenc = \"nosuch-package\"\n";
    let formats = user_files(&[&text]).unwrap();
    let error = recipe(&formats, "mine", "low").unwrap_err().to_string();
    assert!(
        error.contains("nosuchenc (package nosuch-package)"),
        "{error}"
    );
    let probe = &formats.probe(&mut Told::default())["mine"];
    assert!(!probe.available());
    assert_eq!(probe.missing["nosuchenc"], "nosuch-package");
}

#[test]
fn a_format_whose_only_encoder_is_unfit_says_why() {
    let text = MINE.replace("bitrate={video_kbps}", "bitrate={video_kbps} nosuch=1");
    let formats = user_files(&[&text]).unwrap();
    let error = recipe(&formats, "mine", "low").unwrap_err().to_string();
    assert!(
        error.contains("mine0.toml:13") && error.contains("nosuch"),
        "{error}"
    );
    let probe = &formats.probe(&mut Told::default())["mine"];
    assert!(!probe.available() && probe.missing.is_empty(), "{probe:?}");
    assert_eq!(probe.notes.len(), 1, "{probe:?}");
}

#[test]
fn an_encoder_that_fails_its_trial_is_passed_over_for_the_next() {
    let mut trials = Told {
        failing: vec!["x264enc"],
        ..Told::default()
    };
    let formats = loaded();
    let probe = &formats.probe(&mut trials)["h264"];
    assert_eq!(probe.chosen.video.as_deref(), Some("openh264enc"));
    assert!(
        probe
            .notes
            .iter()
            .any(|note| note.contains("x264enc crashed")),
        "{probe:?}"
    );
    let asked = trials
        .asked
        .iter()
        .find(|(_, chains)| chains[0].contains("x264enc"));
    // Options differ by quality: each is tried.
    assert_eq!(asked.unwrap().1.len(), 3);
    assert!(trials.asked.iter().any(|(media, _)| *media == Media::Audio));
}

#[test]
fn an_encoder_in_hardware_is_taken_only_if_the_probe_chose_it() {
    let text = MINE.replace(
        "[encoders.mine]",
        "[encoders.mine]\nhardware = true\nconverter = \"videoconvert\"",
    );
    let formats = user_files(&[&text]).unwrap();
    let probe = &formats.probe(&mut Told::default())["mine"];
    let chosen = formats.recipe("mine", "low", &probe.chosen).unwrap();
    assert_eq!(chosen.video_converter, "videoconvert");
    let error = recipe(&formats, "mine", "low").unwrap_err().to_string();
    assert!(error.contains("hardware"), "{error}");

    let text = text.replace("video = [\"mine\"", "video = [\"mine\", \"openh264enc\"");
    let formats = user_files(&[&text]).unwrap();
    assert_eq!(
        recipe(&formats, "mine", "low").unwrap().video_encoder,
        "openh264enc"
    );
    let mut trials = Told {
        failing: vec!["x264enc"],
        ..Told::default()
    };
    let probe = &formats.probe(&mut trials)["mine"];
    assert_eq!(probe.encoder.as_deref(), Some("openh264enc"));
    assert!(probe.notes[0].contains("crashed"), "{probe:?}");
}

#[test]
fn a_chosen_encoder_that_is_gone_is_replaced() {
    let chosen = ChosenEncoders {
        video: Some("gone".into()),
        audio: Some("gone".into()),
    };
    let recipe = loaded().recipe("h264", "low", &chosen).unwrap();
    assert_eq!(recipe.video_encoder, "x264enc");
}
