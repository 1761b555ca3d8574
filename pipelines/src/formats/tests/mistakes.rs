//! What is wrong in files of formats, and how it is said.

use super::*;

/// The example, with one thing in it another way.
fn replaced(from: &str, to: &str) -> String {
    assert!(MINE.contains(from));
    MINE.replace(from, to)
}

/// Checks that a file is refused, with the line and a word.
fn assert_refused(text: &str, line: usize, word: &str) {
    let error = user_files(&[text]).unwrap_err().to_string();
    assert!(
        error.contains(&format!("mine0.toml:{line}: ")),
        "{line}: {error}"
    );
    assert!(error.contains(word), "{word}: {error}");
}

#[test]
fn what_is_no_toml_or_has_unknown_keys_is_refused_with_its_line() {
    assert_refused("\n\n[formats.mine]\ndescription = 7\n", 4, "string");
    assert_refused("\n[formats.mine\n", 2, "unclosed table");
    assert_refused(
        &replaced("codec = \"mine\"", "kodec = \"mine\""),
        4,
        "kodec",
    );
    assert_refused("[encoders.x]\noptions = []\n", 2, "string");
    let zero = "[qualities.none]\nvideo_kbps = 0\naudio_kbps = 64\n";
    assert_refused(zero, 1, "bit rate of 0");
}

#[test]
fn what_needs_no_description_cannot_be_described() {
    for name in ["source", "wav"] {
        let text = MINE.replace("[formats.mine]", &format!("[formats.{name}]"));
        assert_refused(&text, 2, "is built in");
        let alias = replaced("\nmuxer =", &format!("\naliases = [\"{name}\"]\nmuxer ="));
        assert_refused(&alias, 7, "taken");
    }
}

#[test]
fn mistakes_in_a_format_are_named_with_their_line() {
    for (from, to, line, word) in [
        ("\nmuxer = \"mp4mux\"", "", 2, "\"muxer\" is missing"),
        ("\"mp4mux\"", "\"mp4mux !\"", 7, "element"),
        ("\"mp4mux\"", "\"mp4mux x\"", 7, "PROPERTY=VALUE"),
        ("\"mp4mux\"", "\"mp4mux x='1\"", 7, "quotation mark"),
        ("\"mp4mux\"", "\"\"", 7, "element"),
        (
            "container = \"mp4\"",
            "container = \"../x\"",
            6,
            "extension",
        ),
        ("video = [\"mine\"]", "video = []", 2, "encoder for video"),
        ("[\"mine\"]", "[\n\"nosuch\"]", 9, "[encoders.nosuch]"),
        ("[\"voaacenc\"]", "[\"voaacenc\", \"voaacenc\"]", 9, "twice"),
    ] {
        assert_refused(&replaced(from, to), line, word);
    }
}

#[test]
fn mistakes_in_an_encoder_are_named_with_their_line() {
    for (from, to, line, word) in [
        ("{video_kbps}", "{video_mbps}", 13, "video_mbps"),
        ("{video_kbps}", "2000", 13, "{video_kbps}"),
        ("\"x264enc\"", "\"x264 enc\"", 12, "name"),
        (
            "options",
            "by_quality.best = \"b={video_bps}\"\noptions",
            13,
            "best",
        ),
        (
            "options",
            "parser = \"h264parse ! ! x\"\noptions",
            13,
            "element",
        ),
        (
            "options",
            "delay_samples = 99999\noptions",
            11,
            "delay_samples",
        ),
    ] {
        assert_refused(&replaced(from, to), line, word);
    }
}

#[test]
fn an_alias_that_is_taken_is_refused_with_its_line() {
    let more = "[formats.more]\ndescription = \"\"\ncodec = \"\"\naudio_codec = \"\"\n\
        container = \"mp4\"\nmuxer = \"mp4mux\"\nvideo = [\"mine\"]\naudio = [\"voaacenc\"]\n";
    for taken in ["h264", "mine", "webm"] {
        let text = format!("{MINE}{more}aliases = [\"{taken}\"]\n");
        assert_refused(&text, 22, &format!("{taken:?} is taken"));
    }
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let text = MINE
        .replace("\"mp4mux\"", "\"mp4mux !\"")
        .replace("{video_kbps}", "{x}");
    let error = user_files(&[&text, "[formats"]).unwrap_err();
    let FormatError::Malformed(problems) = error else {
        panic!("{error}");
    };
    let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
    for place in ["mine0.toml:7: ", "mine0.toml:13: ", "mine1.toml:1: "] {
        assert!(lines.iter().any(|line| line.contains(place)), "{lines:?}");
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
