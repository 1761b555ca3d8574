//! The lines of README.md, run as they stand there.

use haven_e2e::{Publishing, Result, Stage};
use haven_rig::media::{decode_to_end, probe};
use haven_rig::viewer::{Protocol, Viewer};
use haven_rig::{Child, built_binary, repository};
use rustix::process::Signal;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::Command;

const LIMIT: Duration = Duration::from_secs(20);

/// What a shell has that builds with cargo.
const USER_ENVIRONMENT: [&str; 5] = ["PATH", "HOME", "CARGO_HOME", "RUSTUP_HOME", "CI"];

/// The shell block of the README that has this in it.
fn shell_block(part: &str) -> Result<String> {
    let readme = std::fs::read_to_string(repository().join("README.md"))?;
    readme
        .split("```sh\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .find(|block| block.contains(part))
        .map(str::to_owned)
        .ok_or_else(|| format!("README.md has no shell block with {part:?}").into())
}

/// Where the plugins were built to.
fn plugins() -> Result<PathBuf> {
    let folder = built_binary("haven")?;
    Ok(folder.parent().ok_or("no folder")?.to_owned())
}

/// Runs a block until it is told to stop; `exec`, so that signals reach the program.
fn run(block: &str, stage: &Stage, folder: &Path) -> Result<Child> {
    let mut command = Command::new("bash");
    command
        .args(["-c", &format!("exec {block}")])
        .current_dir(folder)
        .env("MINT", &stage.mint)
        .env("GST_PLUGIN_PATH", plugins()?)
        .env("GST_REGISTRY", folder.join("registry"))
        .envs(stage.pumpfun.environment());
    Ok(Child::spawn("a line of the README", command)?)
}

/// Waits until a second or so is in the file.
async fn wait_until_it_grows(file: &Path) -> Result {
    haven_rig::within("the file to grow", LIMIT, async {
        while std::fs::metadata(file).map_or(0, |data| data.len()) < 200_000 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_watch_line_shows_the_room_in_a_browser() -> Result {
    let stage = Stage::set(Publishing::small()).await?;
    let port = std::net::TcpListener::bind("127.0.0.1:0")?
        .local_addr()?
        .port();
    let folder = tempfile::tempdir()?;
    let block = shell_block("wsjpegsink port=9000")?.replace("port=9000", &format!("port={port}"));
    let mut child = run(&block, &stage, folder.path())?;
    let url = format!("http://127.0.0.1:{port}");
    let mut viewer = haven_rig::within("the sink's server", LIMIT, async {
        loop {
            if let Ok(viewer) = Viewer::connect(&url, Protocol::Binary, "any").await {
                return viewer;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await?;
    viewer
        .wait_until(LIMIT, |viewed| {
            viewed.frames.len() > 60 && viewed.sound.len() > 50
        })
        .await?;
    assert!(viewer.look(|viewed| viewed.counters().len() > 55));
    child.signal(Signal::INT)?;
    assert!(child.wait(LIMIT).await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_record_lines_make_files_that_play() -> Result {
    for (name, video, audio) in [
        ("published.mp4", "h264", "opus"),
        ("recorded.mp4", "h264", "aac"),
    ] {
        let stage = Stage::set(Publishing::small()).await?;
        let folder = tempfile::tempdir()?;
        let mut child = run(&shell_block(name)?, &stage, folder.path())?;
        let file = folder.path().join(name);
        wait_until_it_grows(&file).await?;
        child.signal(Signal::INT)?;
        assert!(child.wait(LIMIT).await?.success());
        let probed = probe(&file).await?;
        assert_eq!(
            probed.stream("video").map(|stream| &*stream.codec),
            Some(video)
        );
        assert_eq!(
            probed.stream("audio").map(|stream| &*stream.codec),
            Some(audio)
        );
        assert!(probed.duration_s > 1.0, "{probed:?}");
        decode_to_end(&file).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_launch_scripts_run() -> Result {
    let stage = Stage::set(Publishing::small()).await?;
    let folder = tempfile::tempdir()?;
    let scripts = repository().join("pipelines/launch");
    let line = format!(
        "{}/record-h264.sh recording.mp4 mint-id=$MINT",
        scripts.display()
    );
    let mut child = run(&line, &stage, folder.path())?;
    let file = folder.path().join("recording.mp4");
    wait_until_it_grows(&file).await?;
    child.signal(Signal::INT)?;
    assert!(child.wait(LIMIT).await?.success());
    decode_to_end(&file).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn run_sh_serves_the_demo_room_and_stops_on_ctrl_c() -> Result {
    let folder = tempfile::tempdir()?;
    let mut command = Command::new(repository().join("scripts/run.sh"));
    command
        .args(["--listen", "127.0.0.1:0", "--data-dir"])
        .arg(folder.path())
        // A user's environment: what `cargo test` sets for its tests makes build scripts run again.
        .env_clear()
        .envs(std::env::vars().filter(|(name, _)| USER_ENVIRONMENT.contains(&name.as_str())))
        .env(
            "CARGO_TARGET_DIR",
            plugins()?.parent().ok_or("no target folder")?,
        )
        .stdout(std::process::Stdio::piped());
    let mut child = Child::spawn("scripts/run.sh", command)?;
    let output = child.take_stdout().ok_or("no standard output")?;
    let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(output));
    let url = haven_rig::within("the server", Duration::from_secs(600), async {
        while let Ok(Some(line)) = lines.next_line().await {
            if let Some(url) = line.strip_prefix("listening on ") {
                return Some(url.to_owned());
            }
        }
        None
    })
    .await?
    .ok_or("the script ended before the server listened")?;
    let start = reqwest::Client::new()
        .post(format!("{url}/api/live-sessions/start"))
        .header("content-type", "application/json")
        .body(r#"{"mint_id": "demo"}"#);
    assert!(start.send().await?.status().is_success());
    let mut viewer = Viewer::connect(&url, Protocol::Json, "demo").await?;
    viewer
        .wait_until(LIMIT, |viewed| viewed.frames.len() > 30)
        .await?;
    child.signal(Signal::INT)?;
    assert!(child.wait(LIMIT).await?.success());
    Ok(())
}
