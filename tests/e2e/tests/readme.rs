//! The lines of README.md, run as they stand there.

use haven_e2e::shell::{
    self, Shell, check_media, free_port, interrupt, viewer_on, wait_until_it_grows,
};
use haven_e2e::{Publishing, Result, Stage};
use haven_rig::media::probe;
use haven_rig::viewer::{Protocol, Viewer};
use haven_rig::{Child, repository};
use rustix::process::Signal;
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

/// A shell in which `$MINT` is the stage's.
fn shell_on(stage: &Stage) -> Result<Shell> {
    Ok(Shell::new(stage.pumpfun.environment())?.with("MINT", &stage.mint))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_watch_line_shows_the_room_in_a_browser() -> Result {
    let stage = Stage::set(Publishing::small()).await?;
    let port = free_port()?;
    let block = shell_block("wsjpegsink port=9000")?.replace("port=9000", &format!("port={port}"));
    let child = shell_on(&stage)?.run(&block)?;
    let mut viewer = viewer_on(port).await?;
    viewer
        .wait_until(LIMIT, |viewed| {
            viewed.frames.len() > 60 && viewed.sound.len() > 50
        })
        .await?;
    assert!(viewer.look(|viewed| viewed.counters().len() > 55));
    interrupt(child).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_record_lines_make_files_that_play() -> Result {
    for (name, video, audio) in [
        ("published.mp4", "h264", "opus"),
        ("recorded.mp4", "h264", "aac"),
        ("described.mp4", "h264", "aac"),
    ] {
        let stage = Stage::set(Publishing::small()).await?;
        let shell = shell_on(&stage)?;
        let mut child = shell.run(&shell_block(name)?)?;
        wait_until_it_grows(&mut child, &shell.path(name)).await?;
        interrupt(child).await?;
        check_media(&shell.path(name), Some(video), Some(audio)).await?;
    }
    Ok(())
}

/// Runs a line with `curl`, to the server that listens there.
async fn answer_to(line: &str, url: &str) -> Result<serde_json::Value> {
    let line = line.replace("http://127.0.0.1:8000", url);
    let answer = Command::new("bash").args(["-c", &line]).output().await?;
    let answer: serde_json::Value = serde_json::from_slice(&answer.stdout)?;
    assert_eq!(answer["success"], true, "{line}: {answer}");
    Ok(answer)
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
            shell::plugins()?.parent().ok_or("no target folder")?,
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
    answer_to(&shell_block("live-sessions/start")?, &url).await?;
    let mut viewer = Viewer::connect(&url, Protocol::Json, "demo").await?;
    viewer
        .wait_until(LIMIT, |viewed| viewed.frames.len() > 30)
        .await?;
    let block = shell_block("recording/start")?;
    let (start, stop) = block.trim().split_once('\n').ok_or("two lines")?;
    answer_to(start, &url).await?;
    let before = viewer.look(|viewed| viewed.frames.len());
    viewer
        .wait_until(LIMIT, |viewed| viewed.frames.len() > before + 30)
        .await?;
    let stopped = answer_to(stop, &url).await?;
    let file = stopped["output_path"].as_str().ok_or("no output_path")?;
    assert!(probe(file.as_ref()).await?.duration_s > 0.5, "{stopped}");
    child.signal(Signal::INT)?;
    assert!(child.wait(LIMIT).await?.success());
    Ok(())
}
