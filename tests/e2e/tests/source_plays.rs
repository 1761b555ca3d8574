//! `livekitsrc` behind a URI: in everything that GStreamer plays URIs with, in the lines of its
//! document, and in its example in Python.

use haven_e2e::{Publishing, Result, Stage};
use haven_rig::{Child, built_binary, repository};
use rustix::process::Signal;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

/// The first start reads every plugin on the machine.
const LIMIT: Duration = Duration::from_secs(90);
/// Buffers that each sink must get: a second of pictures, and of sound.
const WANTED: usize = 30;

const VIDEO_SINK: &str = "fakesink name=pictures silent=false";
const AUDIO_SINK: &str = "fakesink name=sound silent=false";

/// Where the plugins were built to.
fn plugins() -> Result<PathBuf> {
    let folder = built_binary("haven")?;
    Ok(folder.parent().ok_or("no folder")?.to_owned())
}

/// A command that finds the element, and the stage's room.
fn command(program: impl AsRef<std::ffi::OsStr>, stage: &Stage, folder: &Path) -> Result<Command> {
    let mut command = Command::new(program);
    command
        .current_dir(folder)
        .env("MINT", &stage.mint)
        .env("GST_PLUGIN_PATH", plugins()?)
        .env("GST_REGISTRY", folder.join("registry"))
        .envs(stage.pumpfun.environment())
        .env("HAVEN_ICE_ADDRESSES", "127.0.0.1")
        .stdout(Stdio::piped());
    Ok(command)
}

/// Runs it until both sinks have told of enough buffers (`-v` prints what they say), then ends it
/// in order.
async fn plays(what: &str, command: Command) -> Result {
    let mut child = Child::spawn("a player", command)?;
    let output = child.take_stdout().ok_or("no standard output")?;
    let mut lines = BufReader::new(output).lines();
    let (mut pictures, mut sound, mut last) = (0, 0, String::new());
    let enough = haven_rig::within(what, LIMIT, async {
        while let Ok(Some(line)) = lines.next_line().await {
            if line.contains("last-message = chain") {
                pictures += usize::from(line.contains("(pictures:sink)"));
                sound += usize::from(line.contains("(sound:sink)"));
            } else {
                last = line;
            }
            if pictures >= WANTED && sound >= WANTED {
                return true;
            }
        }
        false
    });
    if !enough.await? {
        return Err(
            format!("{what} ended with {pictures} pictures, {sound} sounds: {last}").into(),
        );
    }
    let reader = tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    child.signal(Signal::INT)?;
    child.wait(LIMIT).await?;
    reader.await?;
    Ok(())
}

fn launch(line: &str, stage: &Stage, folder: &Path) -> Result<Command> {
    let mut command = command("bash", stage, folder)?;
    command.args(["-c", &format!("exec gst-launch-1.0 -v {line}")]);
    Ok(command)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_player_of_uris_plays_a_livestream_and_a_room() -> Result {
    let stage = Stage::set(Publishing::small()).await?;
    let folder = tempfile::tempdir()?;
    let keys = stage.livekit.keys();
    let room = format!(
        "{}/{}?api-key={}&api-secret={}&ice-addresses=127.0.0.1",
        stage.livekit.url().replace("ws://", "livekit://"),
        stage.room,
        keys.key,
        keys.secret
    );
    for uri in [format!("pumpfun://{}", stage.mint), room] {
        for player in ["playbin3", "playbin"] {
            let line =
                format!("{player} 'uri={uri}' video-sink='{VIDEO_SINK}' audio-sink='{AUDIO_SINK}'");
            plays(player, launch(&line, &stage, folder.path())?).await?;
        }
        for bin in ["uridecodebin3", "uridecodebin"] {
            let line = format!(
                "{bin} 'uri={uri}' name=bin bin. ! video/x-raw ! {VIDEO_SINK} \
                 bin. ! audio/x-raw ! {AUDIO_SINK}"
            );
            plays(bin, launch(&line, &stage, folder.path())?).await?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_in_python_plays_and_ends_with_the_room() -> Result {
    let stage = Stage::set(Publishing::small()).await?;
    let folder = tempfile::tempdir()?;
    let script = repository().join("plugins/livekitsrc/examples/play.py");
    let mut command = command(script, &stage, folder.path())?;
    command.arg(format!("pumpfun://{}", stage.mint));
    // Its files grow with each buffer.
    let files = ["video", "audio"].map(|kind| folder.path().join(kind));
    for (kind, file) in ["video", "audio"].iter().zip(&files) {
        command.arg(format!("{kind}-sink=filesink location={}", file.display()));
    }
    let mut child = Child::spawn("play.py", command)?;
    let has = |file: &Path, bytes| std::fs::metadata(file).is_ok_and(|data| data.len() > bytes);
    haven_rig::within("a second of pictures and sound", LIMIT, async {
        // 640 × 360 in I420; 48 kHz in two channels of 16 bits.
        while !has(&files[0], 30 * 345_600) || !has(&files[1], 192_000) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await?;
    stage
        .livekit
        .room_service()
        .delete_room(&stage.room)
        .await?;
    assert!(child.wait(LIMIT).await?.success());
    Ok(())
}

/// The document's shell blocks that have this in them.
fn documented(part: &str) -> Result<String> {
    let document = std::fs::read_to_string(repository().join("docs/elements/livekitsrc.md"))?;
    let block = document
        .split("```sh\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .find(|block| block.contains(part));
    Ok(block
        .ok_or_else(|| format!("no shell block with {part:?}"))?
        .to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lines_of_the_document_play() -> Result {
    let stage = Stage::set(Publishing::small()).await?;
    let folder = tempfile::tempdir()?;
    for part in ["playbin3", "room.video_0", "audio-mode=mix"] {
        // The sinks are what a machine without a screen can't have.
        let line = documented(part)?
            .replace("gst-launch-1.0 ", "")
            .replace("autovideosink", VIDEO_SINK)
            .replace("autoaudiosink", AUDIO_SINK);
        let line = match part {
            "playbin3" => {
                let line = line.trim_end();
                format!("{line} video-sink='{VIDEO_SINK}' audio-sink='{AUDIO_SINK}'")
            }
            _ => line,
        };
        plays(part, launch(&line, &stage, folder.path())?).await?;
    }
    Ok(())
}
