//! The user's own recording formats, through the API.

use haven_e2e::{Haven, Result, shell};
use serde_json::json;
use std::fs;
use std::path::Path;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

/// The example of docs/pipelines.md, with a first encoder that no version has the options for.
fn example() -> Result<String> {
    let text = fs::read_to_string(haven_rig::repository().join("docs/pipelines.md"))?;
    let example = text.split("```toml\n").nth(1).ok_or("no example")?;
    let example = example.split("```").next().ok_or("no end")?;
    let wrong =
        "\n[encoders.wrong]\nelement = \"x264enc\"\noptions = \"bitrate={video_kbps} warp=9\"\n";
    Ok(example.replace(
        "video = [\"x264enc\", ",
        "video = [\"wrong\", \"x264enc\", ",
    ) + wrong)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_format_of_the_users_is_listed_and_recorded() -> Result {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("mine.toml"), example()?)?;
    let haven = Haven::start(vec![
        ("HAVEN_DEMO".into(), "true".into()),
        (
            "HAVEN_FORMATS_DIR".into(),
            folder.path().display().to_string(),
        ),
    ])
    .await?;
    let formats = haven.get("/api/recording/formats").await?.expect_ok()?;
    let archive = &formats["formats"]["archive"];
    assert_eq!(archive["available"], true, "{formats}");
    assert_eq!(archive["encoder"], "x264enc");
    let log = haven.log()?;
    assert!(log.contains("mine.toml") && log.contains("warp"), "{log}");

    haven.start_session("demo").await?;
    let request = json!({"mint_id": "demo", "output_format": "archive", "video_quality": "high"});
    let started = haven
        .post("/api/recording/start", &request)
        .await?
        .expect_ok()?;
    let file = started["output_path"]
        .as_str()
        .ok_or("no output_path")?
        .to_owned();
    assert_eq!(
        Path::new(&file).extension().and_then(|e| e.to_str()),
        Some("mkv")
    );
    haven_rig::within("two seconds", LIMIT, async {
        while haven
            .get("/api/recording/status/demo")
            .await
            .map_or(0.0, |answer| {
                answer.body["duration_s"].as_f64().unwrap_or(0.0)
            })
            < 2.0
        {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    })
    .await?;
    haven
        .post("/api/recording/stop", &request)
        .await?
        .expect_ok()?;
    shell::check_media(Path::new(&file), Some("h264"), Some("opus")).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_file_of_formats_is_named_with_its_line() -> Result {
    let folder = tempfile::tempdir()?;
    fs::write(
        folder.path().join("mine.toml"),
        "\n[formats.h264]\nmuxer = \"mp4mux !\"\n",
    )?;
    let haven = Haven::start(vec![
        ("HAVEN_DEMO".into(), "true".into()),
        (
            "HAVEN_FORMATS_DIR".into(),
            folder.path().display().to_string(),
        ),
    ])
    .await?;
    let formats = haven.get("/api/recording/formats").await?.expect_ok()?;
    assert_eq!(formats["formats"]["h264"]["available"], false, "{formats}");
    let log = haven.log()?;
    assert!(log.contains("mine.toml:3: an element is missing"), "{log}");
    Ok(())
}
