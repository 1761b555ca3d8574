use super::*;

fn loaded() -> Formats {
    gst::init().unwrap();
    Formats::load(None).unwrap()
}

fn user_file(text: &str) -> Result<Formats, FormatError> {
    gst::init().unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("mine.toml"), text).unwrap();
    Formats::load(Some(folder.path()))
}

const MINE: &str = r#"
[formats.mine]
description = "Mine"
codec = "mine"
audio_codec = "aac"
container = "mp4"
muxer = "mp4mux"
video = [{ encoder = "x264enc bitrate={video_kbps}" }]
audio = [{ encoder = "voaacenc bitrate={audio_bps}", parser = "aacparse" }]
"#;

#[test]
fn the_built_in_formats_offer_the_contract_s_qualities() {
    let probe = loaded().probe();
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
    }
}

#[test]
fn an_alias_names_its_format() {
    let formats = loaded();
    assert_eq!(
        formats.recipe("mp4", "medium").unwrap(),
        formats.recipe("h264", "medium").unwrap()
    );
}

#[test]
fn a_recipe_carries_the_bit_rates_of_its_quality() {
    let recipe = loaded().recipe("h264", "high").unwrap();
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
    let error = formats.recipe("betamax", "low").unwrap_err().to_string();
    assert!(
        error.contains("betamax") && error.contains("av1, h264, vp9"),
        "{error}"
    );
    let error = formats.recipe("h264", "best").unwrap_err().to_string();
    assert!(
        error.contains("best") && error.contains("high, low, medium"),
        "{error}"
    );
}

#[test]
fn a_user_s_format_is_added_to_the_built_in_ones() {
    let formats = user_file(MINE).unwrap();
    assert_eq!(
        formats.recipe("mine", "low").unwrap().video_options.trim(),
        "bitrate=1000"
    );
    assert!(formats.recipe("h264", "low").is_ok());
}

#[test]
fn an_encoder_that_is_not_installed_is_passed_over_for_the_next() {
    let text = MINE.replace("video = [{", "video = [{ encoder = \"nosuchenc\" }, {");
    let formats = user_file(&text).unwrap();
    assert_eq!(
        formats.recipe("mine", "low").unwrap().video_encoder,
        "x264enc"
    );
}

#[test]
fn a_format_without_an_installed_encoder_says_what_is_missing() {
    let text = MINE.replace("x264enc bitrate={video_kbps}", "nosuchenc")
        + "\n[packages]\nnosuchenc = \"nosuch-package\"\n";
    let formats = user_file(&text).unwrap();
    let error = formats.recipe("mine", "low").unwrap_err().to_string();
    assert!(
        error.contains("nosuchenc (package nosuch-package)"),
        "{error}"
    );
    let probe = &formats.probe()["mine"];
    assert!(!probe.available());
    assert_eq!(probe.missing["nosuchenc"], "nosuch-package");
}

#[test]
fn errors_name_the_file_and_the_line() {
    for (text, line, word) in [
        (
            "\n\n[formats.mine]\ndescription = 7\n".to_owned(),
            4,
            "string",
        ),
        (
            MINE.replace("{video_kbps}", "{video_mbps}"),
            8,
            "video_mbps",
        ),
        (MINE.replace("\"mp4mux\"", "\"mp4mux !\""), 7, "element"),
        (
            MINE.replace("container = \"mp4\"", "container = \"../x\""),
            6,
            "extension",
        ),
        (
            MINE.replace("codec = \"mine\"", "kodec = \"mine\""),
            4,
            "kodec",
        ),
    ] {
        let error = user_file(&text).unwrap_err().to_string();
        assert!(error.contains(&format!("mine.toml:{line}: ")), "{error}");
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn a_missing_folder_is_named() {
    gst::init().unwrap();
    let error = Formats::load(Some(Path::new("/nonexistent/formats"))).unwrap_err();
    assert!(
        error.to_string().contains("/nonexistent/formats"),
        "{error}"
    );
}
