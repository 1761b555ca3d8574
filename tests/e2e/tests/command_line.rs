//! The command line with the real worker, as a person uses it.

use haven_e2e::{Result, is_long_form};
use haven_rig::media::{decode_to_end, probe};
use haven_rig::{Child, built_binary, repository};
use rustix::process::Signal;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;

/// Generous: the machine may be busy, and the first look at the plug-ins takes seconds.
const LIMIT: Duration = Duration::from_secs(120);

fn haven(arguments: &[&str], folder: &Path) -> Result<Command> {
    let mut command = Command::new(built_binary("haven")?);
    command
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .envs(std::env::vars().filter(|(name, _)| name == "PATH" || name == "HOME"))
        .stdin(Stdio::null());
    Ok(command)
}

async fn output(mut command: Command) -> Result<Output> {
    let output = command.kill_on_drop(true).output();
    Ok(haven_rig::within("the command", LIMIT, output).await??)
}

/// How much is recorded: as long as somebody would in the long form.
fn recorded_s() -> f64 {
    if is_long_form() { 20.0 } else { 5.0 }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_is_recorded_until_ctrl_c_and_shows_progress() -> Result {
    let folder = tempfile::tempdir()?;
    let line = "haven record demo --format h264 --output demo.mp4";
    let line: Vec<_> = line.split(' ').skip(1).collect();
    let mut command = haven(&line, folder.path())?;
    command
        .arg("--json")
        .env("HAVEN_DISK_RESERVE_BYTES", "0")
        .stdout(Stdio::piped());
    let mut child = Child::spawn("haven record", command)?;
    let stdout = child.take_stdout().ok_or("no standard output")?;
    let mut lines = BufReader::new(stdout).lines();
    let mut shown = 0;
    haven_rig::within("enough of the recording", LIMIT, async {
        while let Some(line) = lines.next_line().await? {
            let event: serde_json::Value = serde_json::from_str(&line)?;
            if event["event"] == "progress" {
                shown += 1;
                if event["duration_s"].as_f64().unwrap_or(0.0) >= recorded_s() {
                    return Ok::<_, Box<dyn std::error::Error + Send + Sync>>(());
                }
            }
        }
        Err("the recording ended by itself".into())
    })
    .await??;
    assert!(shown >= 3, "progress was shown {shown} times");
    child.signal(Signal::INT)?;
    let mut rest = String::new();
    lines.into_inner().read_to_string(&mut rest).await?;
    assert!(child.wait(LIMIT).await?.success(), "{rest}");
    let finished = rest.lines().last().ok_or("no last word")?;
    let finished: serde_json::Value = serde_json::from_str(finished)?;
    assert_eq!(finished["event"], "finished");

    let file = folder.path().join("demo.mp4");
    let probed = probe(&file).await?;
    for (kind, codec) in [("video", "h264"), ("audio", "aac")] {
        let stream = probed.stream(kind).ok_or("a stream is missing")?;
        assert_eq!(stream.codec, codec);
    }
    let told = finished["duration_s"].as_f64().unwrap_or(0.0);
    assert!(
        (probed.duration_s - told).abs() < 0.5,
        "{probed:?}: {told} s were told"
    );
    assert!(probed.duration_s >= recorded_s(), "{probed:?}");
    decode_to_end(&file).await?;
    let left: Vec<PathBuf> = std::fs::read_dir(folder.path())?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    assert_eq!(left, [file]);
    Ok(())
}

/// A folder with all of this machine's plug-ins but libav.
fn plugins_without_libav(folder: &Path) -> Result<PathBuf> {
    let system = std::process::Command::new("pkg-config")
        .args(["--variable=pluginsdir", "gstreamer-1.0"])
        .output()?;
    let system = PathBuf::from(String::from_utf8(system.stdout)?.trim());
    let plugins = folder.join("plugins");
    std::fs::create_dir(&plugins)?;
    let mut left_out = 0;
    for entry in std::fs::read_dir(system)? {
        let entry = entry?;
        if entry.file_name() == "libgstlibav.so" {
            left_out += 1;
        } else {
            std::os::unix::fs::symlink(entry.path(), plugins.join(entry.file_name()))?;
        }
    }
    assert_eq!(left_out, 1, "this machine has no libav to leave out");
    Ok(plugins)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_names_the_package_that_is_missing() -> Result {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let data = data.to_str().ok_or("an odd folder")?;
    let line = [
        "doctor",
        "--offline",
        "--listen",
        "127.0.0.1:0",
        "--data-dir",
        data,
    ];
    let mut command = haven(&line, folder.path())?;
    command
        .env(
            "GST_PLUGIN_SYSTEM_PATH_1_0",
            plugins_without_libav(folder.path())?,
        )
        .env("GST_REGISTRY", folder.path().join("registry"));
    let said = output(command).await?;
    let text = String::from_utf8(said.stdout)?;
    assert_eq!(said.status.code(), Some(1), "{text}");
    for line in [
        "MISSING  session: needs avdec_h264 (package gstreamer1.0-libav)",
        "apt-get install gstreamer1.0-libav",
        "ok       format vp9: by vp9enc",
    ] {
        assert!(text.lines().any(|shown| shown == line), "{line}\n{text}");
    }

    let said = output(haven(&line, folder.path())?).await?;
    let text = String::from_utf8(said.stdout)?;
    assert!(!text.contains("gstreamer1.0-libav"), "{text}");
    assert!(text.contains("ok       format h264: by x264enc"), "{text}");
    Ok(())
}

#[tokio::test]
async fn systemd_accepts_the_unit() -> Result {
    let folder = tempfile::tempdir()?;
    let program = built_binary("haven")?;
    let programs = program.parent().ok_or("no folder")?;
    let unit = std::fs::read_to_string(repository().join("packaging/haven.service.in"))?
        .replace("@bindir@", &programs.display().to_string())
        .replace("@sysconfdir@", "/etc")
        // The manual isn't installed where the tests run.
        .replace("Documentation=man:haven(1) man:haven-serve(1)\n", "");
    let path = folder.path().join("haven.service");
    std::fs::write(&path, unit)?;
    let mut command = Command::new("systemd-analyze");
    command.arg("verify").arg(&path);
    let said = output(command).await?;
    let text = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.status.success(), "{text}");
    // It also speaks of units that this machine has: ours must not be among it.
    assert!(!text.contains("haven.service"), "{text}");
    Ok(())
}
